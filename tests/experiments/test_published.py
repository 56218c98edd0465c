"""What papers report, on as much data as there is: minutes each, run by `make experiments`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import rulec
from rulec.meta.evaluate import evaluate
from rulec.meta.train import meta_train
from rulec.tasks.registry import task_from

pytestmark = pytest.mark.experiment

MAML = """
outer maml "Finn et al. 2017, with the settings of the experiment"
  option rate = 0.01
  option tasks = 25
  inner sgd(lr = rate) for 1 steps on support
  meta init(w)
  minimize loss on query
  through unroll
  by adam(lr = 0.001), tasks = tasks
"""
OMNIGLOT = "1x28x28-" + "-".join(["conv(32,stride=2)-batchnorm"] * 4) + "-5"


def learned(outer: str, options: dict[str, float], task: str, net: str, steps: int, query: int):
    """Meta-train gradient descent; return the compiled rule, the result and the task."""
    rule = rulec.parse(rulec.load("sgd").text + outer)
    data = task_from(task)
    compiled = rule.compile(net, loss=data.loss, input_shape=data.input_shape, outputs=data.outputs)
    name = outer.split()[1]
    result = meta_train(compiled, data, rule.outer(name, options), steps=steps, query=query, clip=1e6)
    return compiled, result, data


def test_maml_on_sinusoids():
    """Finn et al. 2017, figure 2: ten points, one update of a rate of 0.01 in training; errors over 600 curves."""
    compiled, result, task = learned(MAML, {}, "sinusoid(shots=10)", "1-40-40-1", 10_000, 10)
    curve = evaluate(compiled, result.genome, task, updates=(0, 1, 10), episodes=600, query=100, initial=result.initial)
    for row in curve.rows():
        print(f"after {row['updates']} updates: mean squared error {row['loss']:.3f} +- {row['loss_ci95']:.3f}")
    assert curve.loss[0] > 2.5 and curve.loss[1] <= 0.6 and curve.loss[2] <= 0.2


@pytest.mark.skipif("RULEC_DATA" not in os.environ, reason="needs the archives of Omniglot: set RULEC_DATA")
def test_maml_on_omniglot():
    """Five ways, one shot, on the two small archives; whole alphabets held out. The paper has 98.7% on all of Omniglot."""
    assert Path(os.environ["RULEC_DATA"]).is_dir()
    task = "omniglot(ways=5, shots=1)"
    compiled, result, data = learned(MAML, {"rate": 0.4, "tasks": 16}, task, OMNIGLOT, 800, 75)
    found = {}
    for together in (True, False):
        found[together] = evaluate(
            compiled,
            result.genome,
            data,
            updates=(0, 1, 3),
            episodes=600,
            query=25,
            initial=result.initial,
            together=together,
        )
        how = "transductive" if together else "not transductive"
        for row in found[together].rows():
            print(f"{how}, after {row['updates']} updates: {row['accuracy']:.3f} +- {row['accuracy_ci95']:.3f}")
    assert found[False].at(1) >= 0.80 and found[False].at(0) < 0.25
