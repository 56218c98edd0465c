"""Descent along a gradient of the objective, member by member: clipping, quarantine, the outer optimiser."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from rulec.meta.hypergradients.interface import Hypergradient, Search, Step
from rulec.meta.objective import Scored
from rulec.meta.optimizers import Optimizer
from rulec.meta.parameters import Free, all_finite
from rulec.meta.problem import Problem
from rulec.meta.sharing import Found, is_enough, shared
from rulec.runtime.compiled import State
from rulec.runtime.unrolls.engine import Memory


@dataclass(frozen=True)
class Descent(Hypergradient, abc.ABC):
    """Every method that follows a gradient of each member and leaves the step to an optimiser.

    A member whose loss, gradient or next genome is not finite keeps its meta-parameters and optimiser state; after `patience`
    such steps in a row it is retired. Members never meet in a sum, so none spoils another.
    """

    optimizer: Optimizer
    clip: float
    patience: int

    def members(self, population: int | None) -> int:
        return population or 1

    def begin(self, problem: Problem, free: Free) -> Search:
        count = problem.members
        device = next(iter(free.values())).device
        memory = {
            "bad": torch.zeros(count, dtype=torch.int64, device=device),
            "retired": torch.full((count,), -1, dtype=torch.int64, device=device),
        }
        return Search(free, memory | self.optimizer.begin(free))

    def moved(
        self, problem: Problem, search: Search, number: int, score: Scored, gradient: Free
    ) -> tuple[Search, Step]:
        """Step along a gradient; what the search remembers is what descent itself does."""
        finite = score.objective.isfinite() & all_finite(gradient)
        healed = {name: torch.where(_wide(finite, g), g, torch.zeros_like(g)) for name, g in gradient.items()}
        clipped, norm = clip(healed, self.clip)
        free, memory = self.optimizer.step(search.free, clipped, search.memory)
        finite = finite & all_finite(problem.parameters.values(free))
        moved = finite & (search.memory["retired"] < 0)
        free = {name: torch.where(_wide(moved, new), new, search.free[name]) for name, new in free.items()}
        memory = {name: torch.where(_wide(moved, new), new, search.memory[name]) for name, new in memory.items()}
        memory |= _quarantine(search.memory, finite, number, self.patience)
        return Search(free, memory), Step(score.loss.detach(), score.accuracy, norm, ~finite)

    def retired(self, search: Search) -> Tensor:
        return search.memory["retired"]


@dataclass(frozen=True)
class GradientDescent(Descent, abc.ABC):
    """Every method whose gradient depends on the meta-parameters alone, and not on what earlier meta-steps left.

    The gradient is a mean over tasks, and that of a member depends on no other: processes find it for a part each.
    """

    @abc.abstractmethod
    def gradient(self, problem: Problem, free: Free, number: int) -> tuple[Scored, Free]:
        """Return the scores of meta-step `number` and the gradient of each member's objective."""

    def begin(self, problem: Problem, free: Free) -> Search:
        search = super().begin(problem, free)
        return Search(search.free, search.memory | (begun(problem, free, 0) if problem.goes_on else {}))

    def step(self, problem: Problem, search: Search, number: int) -> tuple[Search, Step]:
        """Make a meta-step. Where inner loops go on, the next one finds the synapses that the new meta-parameters lead to."""
        if not problem.goes_on:
            return self.moved(problem, search, number, *self.found(problem, search.free, number))
        first = problem.place(number)[1] == 0
        living = begun(problem, search.free, number) if first else search.memory
        here = replace(problem, living=state_in(living))
        after, told = self.moved(problem, search, number, *self.found(here, search.free, number))
        advance = partial(_updated, number)
        ahead = shared(here, advance, after.free, number) if is_enough(here) else advance(here, after.free)
        return Search(after.free, after.memory | kept(ahead.state)), told

    def found(self, problem: Problem, free: Free, number: int) -> tuple[Scored, Free]:
        """Return what `gradient` does for the whole problem, whose work several processes may share."""
        found = shared(problem, lambda own, free: Found(*self.gradient(own, free, number)), free, number, slopes=free)
        return found.score, found.gradient


@torch.no_grad()
def _updated(number: int, problem: Problem, free: Free) -> Found:
    inner = problem.begun(free, number)
    unscored = torch.zeros(problem.members, device=problem.step.device, dtype=problem.step.dtype)
    state = problem.updated(inner, inner.state, 0, problem.inner_steps)
    return Found(Scored(unscored, unscored, unscored), state=state)


_INNER = "inner "


def begun(problem: Problem, free: Free, number: int) -> dict[str, Tensor]:
    """Return what is remembered of the synapses at the beginning of an inner loop."""
    state = problem.start({name: value.detach() for name, value in free.items()}, number)
    carried = {*problem.step.carried(False), "t", "seed"}
    return kept({name: value for name, value in state.items() if name in carried})


def kept(state: State) -> dict[str, Tensor]:
    return {f"{_INNER}{name}": value.detach().clone() for name, value in state.items()}


def state_in(memory: Mapping[str, Tensor]) -> State:
    """Return the synapses among what is remembered."""
    return {name.removeprefix(_INNER): value for name, value in memory.items() if name.startswith(_INNER)}


def reverse_gradient(
    problem: Problem, free: Free, number: int, *, straight: bool = False, memory: Memory = None
) -> tuple[Scored, Free]:
    """Differentiate the sum of the members' objectives: each depends on its own meta-parameters alone."""
    leaves = {name: value.detach().requires_grad_() for name, value in free.items()}
    score = problem.lesson(leaves, number, straight=straight, memory=memory)
    return score, pulled(score.objective.sum(), leaves)


def pulled(total: Tensor, leaves: Free) -> Free:
    """Differentiate a number; what does not reach it gets zeros."""
    if not total.requires_grad:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    pairs = zip(leaves.items(), found, strict=True)
    return {name: torch.zeros_like(leaf) if slope is None else slope for (name, leaf), slope in pairs}


def clip(gradient: Free, most: float) -> tuple[Free, Tensor]:
    """Scale each member's gradient down to a norm of `most` over all its meta-parameters; also return the norms before."""
    norm = torch.stack([g.reshape(len(g), -1).square().sum(1) for g in gradient.values()]).sum(0).sqrt()
    factor = (most / norm.clamp(min=torch.finfo(norm.dtype).tiny)).clamp(max=1.0)
    return {name: g * _wide(factor, g) for name, g in gradient.items()}, norm


def _quarantine(memory: dict[str, Tensor], finite: Tensor, number: int, patience: int) -> dict[str, Tensor]:
    """Count bad steps in a row, and retire whoever had too many."""
    bad = torch.where(finite, torch.zeros_like(memory["bad"]), memory["bad"] + 1)
    gone = (bad >= patience) & (memory["retired"] < 0)
    return {"bad": bad, "retired": torch.where(gone, torch.full_like(bad, number), memory["retired"])}


def _wide(per_member: Tensor, like: Tensor) -> Tensor:
    return per_member.reshape(-1, *[1] * (like.ndim - 1))
