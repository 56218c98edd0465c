"""The hypergradient of an outer step that names none."""

from __future__ import annotations

import pytest

import rulec
from rulec.meta.hypergradients.evolution import Es
from rulec.meta.hypergradients.forward import Forward
from rulec.meta.hypergradients.unroll import Unroll
from rulec.meta.train import meta_train

from .conftest import planned

OUTER = """
outer open
  option lambda = 1.0
  inner rule for 10 steps on support
  meta META
  minimize GOAL on query
  by adam(lr = 0.01), clip = 10
"""


def made(functions, meta="genome", goal="loss", **given):
    rule = rulec.parse(rulec.load("sgd").text + OUTER.replace("META", meta).replace("GOAL", goal))
    return planned(rule.compile("2-8-1(tanh)", loss="mse"), functions, rule.outer("open"), **given)


@pytest.mark.parametrize(
    ("given", "kind", "checkpointed", "word"),
    [
        ({}, Unroll, False, "may be used"),
        ({"goal": "error"}, Es, False, "no derivative"),
        ({"inner_steps": 400, "memory": 1 << 18}, Unroll, True, "made again"),
        ({"inner_steps": 400, "memory": 1 << 12}, Forward, False, "few enough"),
        ({"inner_steps": 400, "memory": 1 << 12, "meta": "init(w)"}, Unroll, True, "made again"),
    ],
)
def test_memory_and_objectives_decide(functions, given, kind, checkpointed, word):
    one = made(functions, **given)
    assert isinstance(one.method, kind) and word in one.why
    assert getattr(one.method, "checkpointed", False) == checkpointed
    assert one.problem.outer.through.name != "auto"


def test_a_run_says_what_it_took(functions):
    rule = rulec.parse(rulec.load("sgd").text + OUTER.replace("META", "genome").replace("GOAL", "loss"))
    compiled = rule.compile("2-4-1(tanh)", loss="mse")
    given = {"steps": 2, "inner_steps": 3, "batch": 16, "episodes": 2}
    result = meta_train(compiled, functions, rule.outer("open"), **given)
    assert result.through.startswith("unroll: 3 updates keep")
    assert meta_train(compiled, functions, "adam", **given).through == ""
