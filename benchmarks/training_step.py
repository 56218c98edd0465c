"""Benchmark 3: updates of ordinary training, where the language should cost nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from benchmarks.contender import Contender, Section, outcome
from benchmarks.contenders import training
from benchmarks.contenders.training import Training
from benchmarks.match import match
from benchmarks.suite import Effort

CONTENDERS: list[Contender[Training]] = [
    training.UNROLL,
    training.by_rulec("fx"),
    training.by_rulec("inductor"),
    training.EAGER,
    training.FUSED,
    training.COMPILED,
]
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "MLP 784-256-128-10": (partial(training.mlp, 784, 256, 128, 10), (784,)),
    "CNN 1x28x28, 16 and 32 channels": (training.cnn, (1, 28, 28)),
}


def sections(effort: Effort) -> list[Section]:
    found = []
    batch, steps = 64, effort.sized(20, 3)
    for network, (module, shape) in NETWORKS.items():
        for rule in training.RATES if not effort.quick else ("adam",):
            effort.say(f"Training, {network}, {rule}")
            given = training.training(module, rule, shape, steps, batch)
            tiny = training.training(partial(training.mlp, 6, 5, 10), rule, (6,), 3, 4)
            # Adam's guard stands at two places; what that changes, at rounding of float64, is left out of the small problem.
            small = None if rule == "adam" else (tiny, outcome(training.EAGER.prepare(tiny)))
            rows = match(
                effort.chosen(CONTENDERS),
                given.to(torch.float32),
                outcome(training.EAGER.prepare(given)),
                rounds=effort.rounds,
                small=small,
                say=effort.say,
            )
            found.append(
                Section(
                    f"Training, {network}, {rule}",
                    f"batch {batch}, {steps} updates a run, float32",
                    rows,
                    training.EAGER.name,
                    f"{steps} updates",
                    [
                        "`error`: largest relative difference of any weight after the first run, from autograd in float64."
                    ],
                )
            )
    return found
