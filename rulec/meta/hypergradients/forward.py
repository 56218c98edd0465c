"""The exact hypergradient in forward mode: the derivative of the state by each meta-parameter is carried along.

Memory does not depend on the number of updates, and grows with the number of meta-parameters: for genomes of a few numbers. With
`forward(directions = S)`, the derivative along S random directions of signs, whose products with them average to the gradient: its variance
grows with the number of meta-parameters. Franceschi et al. 2017, "Forward and Reverse Gradient-Based Hyperparameter
Optimization", section 3.2; Silver et al. 2022, "Learning by Directional Gradient Descent".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from rulec.meta.hypergradients.descent import GradientDescent
from rulec.meta.hypergradients.interface import Settings
from rulec.meta.hypergradients.reading import (
    check_differentiable,
    no_arguments,
    no_checkpoint,
    query_alone,
    settings_of,
)
from rulec.meta.objective import Scored, judged, scored
from rulec.meta.optimizers import optimizer_of
from rulec.meta.parameters import Free, with_initial
from rulec.meta.problem import Problem
from rulec.meta.seeds import derived_seed
from rulec.semantics.typed import Outer

CHUNK = 32  # directions that are carried along at once


@final
@dataclass(frozen=True)
class Forward(GradientDescent):
    """`through forward`, and `through forward(directions = S)`."""

    directions: int | None  # None: one along each meta-parameter

    def gradient(self, problem: Problem, free: Free, number: int) -> tuple[Scored, Free]:
        free = {name: value.detach() for name, value in free.items()}
        rows = self._rows(problem, free, number)
        gradient = {name: torch.zeros_like(value) for name, value in free.items()}
        score: Scored | None = None
        for begin in range(0, len(next(iter(rows.values()))), CHUNK):
            part = {name: value[begin : begin + CHUNK] for name, value in rows.items()}
            score, slope = directional(problem, free, part, number)
            for name, value in part.items():  # slope: (directions, members)
                along = slope.reshape(*slope.shape, *[1] * (value.ndim - 2))
                gradient[name] += (along * value).sum(0) / (self.directions or 1)
        assert score is not None
        return score, gradient

    def _rows(self, problem: Problem, free: Free, number: int) -> Free:
        """Return the directions: (directions, members, ...) for each meta-parameter."""
        if self.directions is not None:
            generator = torch.Generator().manual_seed(derived_seed("forward", problem.seed, number))
            part = problem.part
            whole = part.whole if part and not part.by_tasks else problem.members
            own = part.members if part else slice(None)  # drawn for all members, as each has its place among them
            return {
                name: _signs((self.directions, whole, *value.shape[1:]), generator)[:, own].to(value)
                for name, value in free.items()
            }
        return unit_rows(free)


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator) * 2 - 1


def unit_rows(free: Free) -> Free:
    """Return a direction along each number of the meta-parameters, the same for all members."""
    sizes = {name: value[0].numel() for name, value in free.items()}
    total, rows, begin = sum(sizes.values()), dict[str, Tensor](), 0
    for name, value in free.items():
        own = torch.zeros(total, sizes[name], dtype=value.dtype, device=value.device)
        own[begin : begin + sizes[name]] = torch.eye(sizes[name], dtype=value.dtype, device=value.device)
        begin += sizes[name]
        rows[name] = own.reshape(total, 1, *value.shape[1:]).expand(total, *value.shape)
    return rows


def directional(problem: Problem, free: Free, rows: Free, number: int) -> tuple[Scored, Tensor]:
    """Return the scores, and the derivative of each member's objective along each direction: (directions, members)."""
    names, drawn = list(free), problem.start(free, number)

    def placed(*values: Tensor) -> dict[str, Tensor]:
        given = dict(zip(names, values, strict=True))
        genome = problem.parameters.genome(given, problem.fixed)
        state = with_initial(problem.step, drawn, problem.parameters.initial_state(given))
        learned = {name: genome[name] for name in problem.parameters.entries}
        return learned | {name: state[name] for name in problem.parameters.initial}

    def turned(*direction: Tensor) -> dict[str, Tensor]:
        return torch.func.jvp(placed, tuple(free.values()), direction)[1]  # type: ignore[no-any-return]

    tangents = torch.func.vmap(turned)(*(rows[name] for name in names))
    inner = problem.begun(free, number)
    data = inner.batches
    prediction, moved = problem.step.lesson_tangents(inner.genome, inner.state, tangents, data.x, data.y, data.query_x)

    def score(value: Tensor, *given: Tensor) -> Scored:
        learned = problem.parameters.values(dict(zip(names, given, strict=True)))
        return scored(problem.outer.objectives, {"query": judged(problem.task, value, data.query_y)}, learned)

    def slope(move: Tensor, *direction: Tensor) -> Tensor:
        return torch.func.jvp(lambda *at: score(*at).objective, (prediction, *free.values()), (move, *direction))[1]  # type: ignore[no-any-return]

    return score(prediction, *free.values()), torch.func.vmap(slope)(moved, *(rows[name] for name in names))


def read(outer: Outer, settings: Settings) -> Forward:
    no_arguments(outer)
    given = settings_of(outer, {"directions": 0} if not outer.through.settings else {"directions": 1})
    no_checkpoint(outer)
    check_differentiable(outer)
    query_alone(outer)
    directions = int(given["directions"]) if outer.through.settings else None
    return Forward(optimizer_of(outer), settings.clip, settings.patience, directions)
