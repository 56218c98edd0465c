"""Recorded unrolls. Without a GPU, a recording is played by calling what was recorded: what is copied where is the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

import rulec
from rulec.runtime import unroll as unroll_module
from rulec.runtime.unrolls.capture import Part, captured_unroll
from tests.runtime.test_unroll import Case


def by_calling(parts: Sequence[Part]) -> list[tuple[Callable[[], None], list[Tensor]]]:
    """Play a part by calling it again and copying its results over the first ones."""
    recorded = []
    for part in parts:
        results = part()

        def play(part: Part = part, results: list[Tensor] = results) -> None:
            for old, new in zip(results, part(), strict=True):
                old.copy_(new)

        recorded.append((play, results))
    return recorded


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        unroll_module,
        "walked_back",
        lambda walk, entries, state: captured_unroll(walk, _form(True), entries, state, by_calling),
    )
    monkeypatch.setattr(
        unroll_module,
        "walked",
        lambda walk, entries, state: captured_unroll(walk, _form(False), entries, state, by_calling),
    )


def assert_same(case: Case) -> None:
    expected, slopes = case.gradient("loop")
    for mode in ("unroll", "lesson", "least"):
        prediction, found = case.gradient(mode)
        torch.testing.assert_close(prediction, expected, rtol=1e-10, atol=1e-12)
        for name, slope in slopes.items():
            torch.testing.assert_close(found[name], slope, rtol=1e-8, atol=1e-11, msg=f"{mode} {name}")


def _form(reverse: bool) -> unroll_module.Form:
    return unroll_module.Form((), reverse, frozenset(), True, False)


def small() -> Case:
    return Case(rulec.load("blur").compile("3-4-2", replicas=2, loss="mse", dtype="float64", backend="fx"))


@pytest.mark.usefixtures("recording")
def test_a_recording_is_the_unroll_whatever_the_numbers():
    case = small()
    assert_same(case)
    case.x, case.y = case.x + 0.5, case.y.flip(0)
    case.genome = {name: value * 1.1 for name, value in case.genome.items()}
    assert_same(case)
    assert len(case.compiled.graphs.recordings) == 3  # one for each mode
    with torch.no_grad():
        found, expected = (case.prediction(mode, case.genome, case.state) for mode in ("lesson", "loop"))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("recording")
def test_ways_back_in_another_order():
    case = small()
    expected, found = [], []
    losses = []
    for factor in (1.0, 1.3):
        genome = {name: (value * factor).requires_grad_() for name, value in case.genome.items()}
        loss = case.prediction("lesson", genome, case.state).square().sum()
        again = case.prediction("loop", genome, case.state).square().sum()
        leaves = [genome["forward_mix"], genome["pre"]]
        expected.append(torch.autograd.grad(again, leaves))
        losses.append((loss, leaves))
    for loss, leaves in losses:  # the first one's tape is overwritten by now
        found.append(torch.autograd.grad(loss, leaves))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["blur", "backprop", "adam", "node_perturbation"])
def test_cuda_graphs_are_the_unroll(name: str):
    given = {"replicas": 2, "loss": "mse", "dtype": "float64"}
    on_cpu = Case(rulec.load(name).compile("3-4-2", backend="fx", **given))
    expected, slopes = on_cpu.gradient("lesson")
    case = Case(rulec.load(name).compile("3-4-2", device="cuda", **given))
    case.genome = {n: v.cuda() for n, v in on_cpu.genome.items()}
    case.state = {n: v.cuda() for n, v in on_cpu.state.items()}
    case.x, case.y, case.query = on_cpu.x.cuda(), on_cpu.y.cuda(), on_cpu.query.cuda()
    for _ in range(2):
        prediction, found = case.gradient("lesson")
        torch.testing.assert_close(prediction.cpu(), expected, rtol=1e-9, atol=1e-12)
        for entry, slope in slopes.items():
            torch.testing.assert_close(found[entry].cpu(), slope, rtol=1e-8, atol=1e-10)
    assert case.compiled.graphs.recordings
