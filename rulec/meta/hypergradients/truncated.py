"""The truncated hypergradient: back through the last updates only. What the earlier ones made is taken as given.

At a fixed point of the update, the last k updates give the first k terms of the Neumann series of the implicit hypergradient. With
k = 1 it is the one-step method, T1-T2: what the genome does to the last update. Shaban et al. 2019, "Truncated Back-propagation for
Bilevel Optimization"; Luketina et al. 2016, "Scalable Gradient-Based Tuning of Continuous Regularization Hyperparameters".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from rulec.meta.hypergradients.descent import GradientDescent, pulled
from rulec.meta.hypergradients.interface import Settings
from rulec.meta.hypergradients.reading import (
    check_differentiable,
    check_starts,
    count_of,
    no_checkpoint,
    no_settings,
)
from rulec.meta.objective import Scored
from rulec.meta.optimizers import optimizer_of
from rulec.meta.parameters import Free
from rulec.meta.problem import Problem
from rulec.semantics.typed import Outer


@final
@dataclass(frozen=True)
class Truncated(GradientDescent):
    """`through truncated(k)`, and `through one_step`."""

    last: int

    def gradient(self, problem: Problem, free: Free, number: int) -> tuple[Scored, Free]:
        leaves = {name: value.detach().requires_grad_() for name, value in free.items()}
        inner = problem.begun(leaves, number)
        first = max(0, problem.inner_steps - self.last)
        state = inner.state
        if first:
            with torch.no_grad():
                state = problem.updated(inner, state, 0, first)
        score = problem.judged(inner, state, first)
        return score, pulled(score.objective.sum(), leaves)


def read(outer: Outer, settings: Settings) -> Truncated:
    last = count_of(outer)
    check_differentiable(outer)
    if last < outer.steps:
        check_starts(outer)
    return Truncated(optimizer_of(outer), settings.clip, settings.patience, last)


def read_one_step(outer: Outer, settings: Settings) -> Truncated:
    no_settings(outer)
    no_checkpoint(outer)
    check_differentiable(outer)
    if outer.steps > 1:
        check_starts(outer)
    return Truncated(optimizer_of(outer), settings.clip, settings.patience, 1)
