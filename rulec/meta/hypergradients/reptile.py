"""Reptile: towards where the inner loop ends. No query is looked at, and nothing is differentiated.

The direction for the initial values is (start - end), averaged over tasks and replicas, so that plain gradient descent with rate e makes
start += e (end - start). Nichol, Achiam and Schulman 2018, "On First-Order Meta-Learning Algorithms", algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from rulec.meta import messages
from rulec.meta.hypergradients.descent import GradientDescent
from rulec.meta.hypergradients.interface import Settings
from rulec.meta.hypergradients.reading import each_anew, no_checkpoint, no_settings
from rulec.meta.objective import Scored
from rulec.meta.optimizers import optimizer_of
from rulec.meta.parameters import Free
from rulec.meta.problem import Problem
from rulec.semantics.typed import Outer
from rulec.source import RuleError


@final
@dataclass(frozen=True)
class Reptile(GradientDescent):
    """`through reptile`, for initial values alone."""

    @torch.no_grad()
    def gradient(self, problem: Problem, free: Free, number: int) -> tuple[Scored, Free]:
        inner = problem.begun(free, number)
        after = problem.updated(inner, inner.state, 0, problem.inner_steps)
        score = problem.judged(inner, after, problem.inner_steps)
        gradient = {}
        for name in problem.parameters.initial:
            start = free[f"init({name})"]
            apart = (inner.state[name] - after[name]).reshape(problem.members, -1, *start.shape[1:])
            gradient[f"init({name})"] = apart.mean(1)
        return score, gradient


def read(outer: Outer, settings: Settings) -> Reptile:
    no_settings(outer)
    no_checkpoint(outer)
    each_anew(outer)
    for item in outer.meta:
        if item.name != "init":
            raise RuleError([messages.starts_alone(item.span)])
    return Reptile(optimizer_of(outer), settings.clip, settings.patience)
