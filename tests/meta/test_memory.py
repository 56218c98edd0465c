"""A bound on memory changes what is kept for the way back, and nothing else."""

from __future__ import annotations

import pytest
import torch

import rulec
from rulec.meta.hypergradients.unroll import Unroll
from rulec.source import RuleError

from .conftest import planned


@pytest.mark.parametrize("outer", ["adam", "adam_checkpoint"])
def test_the_gradient_is_the_same(functions, monkeypatch, outer):
    compiled = rulec.load("blur").compile("2-4-1(tanh)", loss="mse", dtype="float64")
    found, kept = [], []
    for memory in (None, 1, 1 << 30):
        made = planned(compiled, functions, outer, memory=memory, inner_steps=9)
        lesson = type(compiled).lesson

        def watched(*given, lesson=lesson, **settings):
            kept.append(settings["memory"])
            return lesson(*given, **settings)

        monkeypatch.setattr(type(compiled), "lesson", watched)
        assert isinstance(made.method, Unroll)
        found.append(made.method.gradient(made.problem, made.free, 0)[1])
        monkeypatch.undo()
    assert kept == ["least" if outer == "adam_checkpoint" else None, 1, 1 << 30]
    for other in found[1:]:
        for name, value in found[0].items():
            torch.testing.assert_close(value, other[name], rtol=1e-12, atol=1e-14)


def test_no_memory_is_refused(functions):
    compiled = rulec.load("blur").compile("2-4-1(tanh)", loss="mse")
    with pytest.raises(RuleError) as caught:
        rulec.meta_train(compiled, functions, memory=0)
    assert "memory" in str(caught.value)
