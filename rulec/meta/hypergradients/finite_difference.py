"""The hypergradient by central differences: every meta-parameter is moved up and down, all side by side.

No derivative of the rule is needed, so objectives and rules without one can be learned, too; the cost is two inner loops for each
meta-parameter. Data, initial synapses and noise are the same for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from rulec.meta.hypergradients.descent import GradientDescent
from rulec.meta.hypergradients.forward import unit_rows
from rulec.meta.hypergradients.interface import Settings
from rulec.meta.hypergradients.reading import no_arguments, no_checkpoint, settings_of
from rulec.meta.objective import Scored
from rulec.meta.optimizers import optimizer_of
from rulec.meta.parameters import Free
from rulec.meta.problem import Problem
from rulec.meta.sharing import scores
from rulec.semantics.typed import Outer

CHUNK = 64  # meta-parameters that are moved at once


@final
@dataclass(frozen=True)
class FiniteDifference(GradientDescent):
    """`through finite_difference(eps = 0.001)`."""

    eps: float

    def tried(self, free: Free) -> int:
        return min(CHUNK, sum(value[0].numel() for value in free.values()))

    def found(self, problem: Problem, free: Free, number: int) -> tuple[Scored, Free]:
        return self.gradient(problem, free, number)  # which shares out the places it looks at

    @torch.no_grad()
    def gradient(self, problem: Problem, free: Free, number: int) -> tuple[Scored, Free]:
        rows = unit_rows(free)
        gradient = {name: torch.zeros_like(value) for name, value in free.items()}
        for begin in range(0, len(next(iter(rows.values()))), CHUNK):
            part = {name: self.eps * value[begin : begin + CHUNK] for name, value in rows.items()}
            ends = [at_offsets(problem, free, _signed(part, sign), number).objective for sign in (1, -1)]
            slope = (ends[0] - ends[1]) / (2 * self.eps)  # (moved, members)
            for name, value in part.items():
                along = slope.reshape(*slope.shape, *[1] * (value.ndim - 2))
                gradient[name] += (along * value / self.eps).sum(0)
        return scores(problem, free, number), gradient


def _signed(offsets: Free, sign: int) -> Free:
    return {name: sign * value for name, value in offsets.items()}


def at_offsets(problem: Problem, free: Free, offsets: Free, number: int) -> Scored:
    """Score each member at so many places beside where it is: offsets (count, members, ...), scores (count, members)."""
    count = len(next(iter(offsets.values())))
    wide = {name: spread(free[name] + offset) for name, offset in offsets.items()}
    found = scores(problem.widened(count), wide, number)
    return Scored(*(gathered(values, count) for values in (found.loss, found.accuracy, found.objective)))


def spread(values: Tensor) -> Tensor:
    """Put (count, members, ...) on one axis, those of a member side by side."""
    return values.transpose(0, 1).flatten(0, 1)


def gathered(values: Tensor, count: int) -> Tensor:
    """Undo `spread`."""
    return values.unflatten(0, (-1, count)).transpose(0, 1)


def read(outer: Outer, settings: Settings) -> FiniteDifference:
    no_arguments(outer)
    given = settings_of(outer, {"eps": 1e-3}, positive=("eps",))
    no_checkpoint(outer)
    return FiniteDifference(optimizer_of(outer), settings.clip, settings.patience, given["eps"])
