"""Benchmark 7: the meta-gradient of MAML on curves, for more and more inner steps."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.adaptation import Maml, curves
from benchmarks.contender import Contender, Section, outcome
from benchmarks.contenders import maml
from benchmarks.match import match
from benchmarks.suite import Effort

CONTENDERS: list[Contender[Maml]] = [
    maml.RULEC,
    maml.RULEC_FX,
    maml.FUNC,
    maml.COMPILED,
    maml.HIGHER,
    maml.TORCHOPT,
    maml.JAX,
]
LONGEST_COMPILED = 5  # whole unrolls are compiled step by step: minutes for more of them


def sections(effort: Effort) -> Iterator[Section]:
    tiny = curves((1, 5, 4, 1), tasks=3, shots=4, steps=3)
    for steps in (2, 3) if effort.quick else (5, 20, 100):
        effort.say(f"MAML on curves, {steps} updates")
        given = curves((1, 8, 8, 1) if effort.quick else (1, 40, 40, 1), effort.sized(25, 3), 10, steps)
        wanted = [c for c in CONTENDERS if c is not maml.COMPILED or steps <= LONGEST_COMPILED]
        rows = match(
            effort.chosen(wanted),
            given.to(torch.float32),
            outcome(maml.FUNC.prepare(given)),
            rounds=effort.rounds if steps < 100 else effort.sized(5, 2),
            small=(tiny, outcome(maml.FUNC.prepare(tiny))),
            say=effort.say,
        )
        yield Section(
            f"MAML on curves, {steps} updates",
            f"{given.net}, relu, {len(given.x)} tasks, 10 points and 10 to be judged by, float32",
            rows,
            maml.FUNC.name,
            "meta-gradient",
        )
