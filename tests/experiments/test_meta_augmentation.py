"""Meta-augmentation on fixed groups: what is learned by heart when class and number always go together, and what keys do about it.

Rajendran et al. 2020, "Meta-Learning Requires Meta-Augmentation"; Yin et al. 2020 report 7.8% for MAML on 20-way groups that are fixed, and 83.3% with a
regulariser. Here: the two small archives of Omniglot, 35 fixed groups of 20 of the 716 characters (four rotations of 179), RULEC_DATA says where.
"""

from __future__ import annotations

import os

import pytest
import torch

import rulec
from rulec.meta.evaluate import evaluate
from rulec.meta.train import meta_train
from rulec.tasks.registry import task_from

from .test_published import OMNIGLOT

pytestmark = pytest.mark.experiment

TASK = "omniglot(ways=20, shots=1, labels=fixed)"
STEPS = 2000
OUTER = """
outer augmented
  inner sgd(lr = 0.1) for 1 steps on support
KEY  meta init(w)
  minimize loss on query
  through unroll
  by adam(lr = 0.001), tasks = 4
"""
KEY = "  key e = permutation\n  tasks y = permute(y, e)\n"


def found(key: str, seed: int) -> dict[str, float]:
    """Return accuracies on 600 tasks: of training before adapting, and of training and held-out ones after an update."""
    rule = rulec.parse(rulec.load("sgd").text + OUTER.replace("KEY", key))
    task = task_from(TASK)
    net = OMNIGLOT.replace("-5", "-20")
    compiled = rule.compile(net, loss=task.loss, input_shape=task.input_shape, outputs=task.outputs)
    result = meta_train(compiled, task, rule.outer("augmented"), steps=STEPS, seed=seed, query=20, clip=1e6)
    given = {"updates": (0, 1), "episodes": 600, "query": 20, "initial": result.initial}
    training = evaluate(compiled, result.genome, task, held_out=False, **given)
    fresh = evaluate(compiled, result.genome, task, **given)
    half = fresh.rows()[1]["accuracy_ci95"]
    assert isinstance(half, float)
    return {"before, training": training.at(0), "training": training.at(1), "held out": fresh.at(1), "ci95": half}


@pytest.mark.skipif("RULEC_DATA" not in os.environ, reason="needs the archives of Omniglot: set RULEC_DATA")
def test_keys_keep_groups_from_being_learned_by_heart():
    table = {}
    for name, key in (("without a key", ""), ("with a key", KEY)):
        rows = [found(key, seed) for seed in range(3)]
        for seed, row in enumerate(rows):
            print(
                f"{name}, seed {seed}: " + ", ".join(f"{what} {value:.3f}" for what, value in row.items()), flush=True
            )
        table[name] = {what: torch.tensor([row[what] for row in rows]) for what in rows[0]}
        print(name, {what: f"{v.mean():.3f} +- {v.std():.3f}" for what, v in table[name].items()})
    without, keyed = table.values()
    assert (keyed["before, training"] < 0.1).all()  # chance is 0.05
    assert without["before, training"].mean() > keyed["before, training"].mean() + 0.05
    assert keyed["held out"].mean() - without["held out"].mean() > 2 * float(without["ci95"].mean())
