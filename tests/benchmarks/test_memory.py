"""What is measured for memory: meta-steps that do the same work, on images that need no data."""

import numpy as np
import pytest

from benchmarks.agreement import difference
from benchmarks.contender import Section, outcome
from benchmarks.fresh import Failed
from benchmarks.memory import THROUGH, _section, meta_step
from benchmarks.suite import Effort


def test_with_checkpoints_a_meta_step_is_the_same() -> None:
    found = [outcome(meta_step(kind, 3, True)) for kind in ("unroll", "unroll with checkpoint")]
    assert difference(*found) < 1e-4


@pytest.mark.parametrize("kind", THROUGH)
def test_every_kind_moves_the_initial_weights(kind: str) -> None:
    first, again = (outcome(meta_step(kind, 2, True)) for _ in range(2))
    assert all(np.isfinite(value).all() for value in first.values())
    assert difference(first, again) == 0.0 and all(name.startswith("init(w.") for name in first)


def test_what_fails_is_told_and_the_rest_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(function: str, arguments: dict[str, object], steps: int) -> int:
        if (arguments["kind"], steps) == ("b", 4):
            raise Failed("out of memory")
        return steps * 2**20

    monkeypatch.setattr("benchmarks.memory.peak", peak)
    section: Section = _section(Effort(True, lambda _: None), "t", "c", "prepared", ["a", "b"], (2, 4, 8))
    whole, broken = section.rows
    assert whole.values["MiB per further update"] == 1.0 and whole.status == "ok"
    assert (broken.status, broken.note) == ("failed", "4 updates: out of memory") and section.lines["b"]["y"] == [2.0]
