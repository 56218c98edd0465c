"""One meta-step shared by several processes: each works for some of the tasks, or else for some of the members.

A process draws for its part what one process alone would draw for it, so the sum of what all of them find differs from what one
finds by no more than the order of additions. Candidates of evolution strategies are members of a widened problem. In the end every
process knows the whole, and moves the search by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rulec.meta import messages
from rulec.meta.objective import Scored
from rulec.meta.parameters import Free
from rulec.meta.part import Part
from rulec.meta.problem import Problem
from rulec.meta.processes import ALONE, Team
from rulec.runtime.compiled import State
from rulec.source import RuleError


@dataclass(frozen=True)
class Found:
    """Scores and, where they are asked for, a gradient (members, ...) and states (members, tasks, ...)."""

    score: Scored
    gradient: Free = field(default_factory=dict)
    state: State = field(default_factory=dict)


Work = Callable[[Problem, Free], Found]  # from a problem, or a part of one, to what is found there


def shared(problem: Problem, work: Work, free: Free, *, slopes: Iterable[str] = ()) -> Found:
    """Return what `work` finds for the whole problem, in every process. `slopes` names the gradient that it returns.

    Scores and gradients are means over tasks.
    """
    if problem.team.size == 1:
        return work(problem, free)
    part = part_of(problem, problem.team)
    if part.first < part.last:
        found = work(_own(problem, part), part.of_members(free))
    else:
        found = _nothing(problem, free, slopes)
    score, gradient = found.score, {name: found.gradient[name] for name in slopes}
    means = [part.mean(value.detach()) for value in (*_values(score), *gradient.values())]
    placed = {name: part.placed(value.detach()) for name, value in found.state.items() if value.ndim}
    whole = _totals(problem.team, [*means, *placed.values()])
    return Found(
        Scored(*whole[:3]),
        dict(zip(gradient, whole[3:], strict=False)),
        found.state | dict(zip(placed, whole[len(means) :], strict=True)),
    )


def scores(problem: Problem, free: Free, number: int) -> Scored:
    """Return the scores of meta-step `number` for the whole problem, in every process."""
    return shared(problem, lambda own, places: Found(own.lesson(places, number)), free).score


def part_of(problem: Problem, team: Team) -> Part:
    """Return the part of this process: tasks, if there are enough for all."""
    tasks = problem.step.tasks or 1
    by_tasks = tasks >= team.size
    whole = tasks if by_tasks else problem.members
    return Part(1 if by_tasks else 0, *team.share(whole), whole)


def check_enough(problem: Problem, tried: int, team: Team) -> None:
    """Check that there is work for every process; `tried` genomes stand for each member. Raises `RuleError` (`too-many-processes`)."""
    if not is_enough(problem, tried, team):
        tasks = problem.step.tasks or 1
        raise RuleError([messages.too_many_processes(problem.outer.span, team.size, tasks, problem.members * tried)])


def is_enough(problem: Problem, tried: int = 1, team: Team | None = None) -> bool:
    """Whether there is work for every process."""
    return max(problem.step.tasks or 1, problem.members * tried) >= (team or problem.team).size


def _own(problem: Problem, part: Part) -> Problem:
    """Return the problem of a part, which no one else shares."""
    if part.by_tasks:
        step = problem.step.some_tasks(part.first, part.last)
    else:
        axes = {"tasks": problem.step.tasks, "replicas": problem.step.replicas}
        step = problem.step.resized(population=part.last - part.first, **axes)
    living = problem.living and part.of_states(problem.living)
    return replace(problem, step=step, fixed=part.of_members(problem.fixed), living=living, team=ALONE, part=part)


def _nothing(problem: Problem, free: Free, slopes: Iterable[str]) -> Found:
    """Return what a process finds that has no part: it only adds zeros."""
    none = torch.zeros(0, device=problem.step.device, dtype=problem.step.dtype)
    return Found(Scored(none, none, none), {name: free[name][:0] for name in slopes})


def _values(score: Scored) -> tuple[Tensor, Tensor, Tensor]:
    return score.loss, score.accuracy, score.objective


def _totals(team: Team, values: list[Tensor]) -> list[Tensor]:
    """Add up over all processes, in one exchange."""
    total = team.total(torch.cat([value.reshape(-1) for value in values]))
    pieces = total.split([value.numel() for value in values])
    return [piece.reshape(value.shape) for piece, value in zip(pieces, values, strict=True)]
