"""The first-order hypergradient: what the genome does to each update, but not what an update does to later ones.

The Jacobian of each update with respect to the state before it is replaced by the identity; for gradient descent that drops
the second derivatives of the loss. Finn et al. 2017, section 5.2 (first-order MAML).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from rulec.meta.hypergradients.descent import GradientDescent, reverse_gradient
from rulec.meta.hypergradients.interface import Settings
from rulec.meta.hypergradients.reading import check_differentiable, no_checkpoint, no_settings
from rulec.meta.objective import Scored
from rulec.meta.optimizers import optimizer_of
from rulec.meta.parameters import Free
from rulec.meta.problem import Problem
from rulec.semantics.typed import Outer


@final
@dataclass(frozen=True)
class FirstOrder(GradientDescent):
    """`through first_order`."""

    def gradient(self, problem: Problem, free: Free, number: int) -> tuple[Scored, Free]:
        return reverse_gradient(problem, free, number, straight=True)


def read(outer: Outer, settings: Settings) -> FirstOrder:
    no_settings(outer)
    no_checkpoint(outer)
    check_differentiable(outer)
    return FirstOrder(optimizer_of(outer), settings.clip, settings.patience)
