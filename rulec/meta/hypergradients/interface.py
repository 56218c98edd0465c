"""What every hypergradient is: a way from the objective after the inner loop to the next meta-parameters."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rulec.meta.parameters import Free
from rulec.meta.problem import Problem
from rulec.semantics.typed import Outer


@dataclass(frozen=True)
class Search:
    """Where the search stands. `memory` holds whatever the method must remember; both are saved in checkpoints."""

    free: Free  # (members, ...)
    memory: dict[str, Tensor]


@dataclass(frozen=True)
class Step:
    """What one meta-step measured, per member: (members,). `norm` is that of the gradient before clipping."""

    loss: Tensor
    accuracy: Tensor
    norm: Tensor
    bad: Tensor  # whether the member's loss or gradient was not finite


class Hypergradient(abc.ABC):
    """A method of an outer step. It is a function of its arguments alone, so that a resumed run repeats an unbroken one."""

    least_updates: ClassVar[int] = 0  # that an inner loop must make

    @abc.abstractmethod
    def members(self, population: int | None) -> int:
        """Return how many genomes are learned side by side when the rule was compiled for `population`."""

    def tried(self, free: Free) -> int:
        """Return how many genomes are tried side by side for each member: so many processes may share the work."""
        return 1

    @abc.abstractmethod
    def begin(self, problem: Problem, free: Free) -> Search:
        """Return the search at its start."""

    @abc.abstractmethod
    def step(self, problem: Problem, search: Search, number: int) -> tuple[Search, Step]:
        """Make meta-step `number`, counted from zero."""

    @abc.abstractmethod
    def retired(self, search: Search) -> Tensor:
        """Return per member the meta-step at which it was given up, or -1: (members,)."""


@dataclass(frozen=True)
class Settings:
    """What meta-training fixes for every method."""

    clip: float
    patience: int  # bad meta-steps in a row after which a member is given up
    population: int | None  # as compiled


Reader = Callable[[Outer, Settings], Hypergradient]  # reads the clauses `through` and `by`; raises `RuleError`
