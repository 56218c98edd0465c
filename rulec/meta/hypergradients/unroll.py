"""The exact hypergradient: reverse-mode differentiation through every update of the inner loop.

With `checkpoint` only some states are kept, and the updates between them are made again on the way back: memory grows with the
square root of the number of updates instead of with the number (`rulec.runtime.unrolls.schedule`). Noise is keyed by the state, so it
repeats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from rulec.meta.hypergradients.descent import GradientDescent, reverse_gradient
from rulec.meta.hypergradients.interface import Settings
from rulec.meta.hypergradients.reading import check_differentiable, no_settings
from rulec.meta.objective import Scored
from rulec.meta.optimizers import optimizer_of
from rulec.meta.parameters import Free
from rulec.meta.problem import Problem
from rulec.semantics.typed import Outer


@final
@dataclass(frozen=True)
class Unroll(GradientDescent):
    """`through unroll`, and `through unroll with checkpoint`."""

    checkpointed: bool

    def gradient(self, problem: Problem, free: Free, number: int) -> tuple[Scored, Free]:
        return reverse_gradient(problem, free, number, memory="least" if self.checkpointed else None)


def read(outer: Outer, settings: Settings) -> Unroll:
    no_settings(outer)
    check_differentiable(outer)
    return Unroll(optimizer_of(outer), settings.clip, settings.patience, outer.checkpoint)
