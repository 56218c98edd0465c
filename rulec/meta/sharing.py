"""One meta-step shared by several processes: each works for some of the tasks, or else for some of the members.

A process draws for its part what one process alone would draw for it, so the sum of what all of them find differs from what one
finds by no more than the order of additions. Candidates of evolution strategies are members of a widened problem. In the end every
process knows the whole, and moves the search by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import reduce

import torch
from torch import Tensor

from rulec.meta import messages
from rulec.meta.objective import Scored
from rulec.meta.parameters import Free
from rulec.meta.part import Part
from rulec.meta.problem import Draws, Problem
from rulec.meta.processes import ALONE, Team
from rulec.meta.turns import turns
from rulec.runtime.compiled import State
from rulec.source import RuleError


@dataclass(frozen=True)
class Found:
    """Scores and, where they are asked for, a gradient (members, ...) and states (members, tasks, ...)."""

    score: Scored
    gradient: Free = field(default_factory=dict)
    state: State = field(default_factory=dict)


Work = Callable[[Problem, Free], Found]  # from a problem, or a part of one, to what is found there


def shared(problem: Problem, work: Work, free: Free, number: int, *, slopes: Collection[str] = ()) -> Found:
    """Return what `work` finds for the whole problem in meta-step `number`, in every process. `slopes` names the gradient that it returns.

    Scores and gradients are means over tasks. What has a gradient is worked on in parts that take turns, where that holds less.
    """
    if problem.team.size == 1:
        return _in_turns(problem, work, free, number, slopes)
    part = part_of(problem, problem.team)
    if part.first < part.last:
        found = _in_turns(_own(problem, part), work, part.of_members(free), number, slopes)
    else:
        found = _nothing(problem, free, slopes)
    return _totals(problem.team, _placed(part, found))


def _in_turns(problem: Problem, work: Work, free: Free, number: int, slopes: Collection[str]) -> Found:
    """Work on one part after the other: what one holds is given back before the next one begins."""
    parts = turns(problem) if slopes else []
    if len(parts) < 2:
        return work(problem, free)
    draws = problem.drawn(number)
    founds = (_placed(part, work(_own(problem, part, draws), part.of_members(free))) for part in parts)
    return reduce(_plus, founds)


def scores(problem: Problem, free: Free, number: int) -> Scored:
    """Return the scores of meta-step `number` for the whole problem, in every process."""
    return shared(problem, lambda own, places: Found(own.lesson(places, number)), free, number).score


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


def share_of(problem: Problem) -> Problem:
    """Return the problem that this process works on."""
    return problem if problem.team.size == 1 else _own(problem, part_of(problem, problem.team))


def _own(problem: Problem, part: Part, draws: Draws | None = None) -> Problem:
    """Return the problem of a part, which no one else shares; `draws` are those of the whole."""
    if part.by_tasks:
        step = problem.step.some_tasks(part.first, part.last)
    else:
        axes = {"tasks": problem.step.tasks, "replicas": problem.step.replicas}
        step = problem.step.resized(population=part.count, **axes)
    return replace(
        problem,
        step=step,
        fixed=part.of_members(problem.fixed),
        living=problem.living and part.of_states(problem.living),
        team=ALONE,
        part=part.within(problem.part),
        draws=draws and draws.of(part),
    )


def _nothing(problem: Problem, free: Free, slopes: Collection[str]) -> Found:
    """Return what a process finds that has no part: it only adds zeros."""
    none = torch.zeros(0, device=problem.step.device, dtype=problem.step.dtype)
    return Found(Scored(none, none, none), {name: free[name][:0] for name in slopes})


def _values(score: Scored) -> tuple[Tensor, Tensor, Tensor]:
    return score.loss, score.accuracy, score.objective


def _placed(part: Part, found: Found) -> Found:
    """Return what a part adds to what is found for the whole."""
    return Found(
        Scored(*(part.mean(value.detach()) for value in _values(found.score))),
        {name: part.mean(value.detach()) for name, value in found.gradient.items()},
        {name: part.placed(value.detach()) if value.ndim else value for name, value in found.state.items()},
    )


def _plus(one: Found, other: Found) -> Found:
    """Add what two parts add to the whole; numbers that all networks share stay."""
    return Found(
        Scored(*(a + b for a, b in zip(_values(one.score), _values(other.score), strict=True))),
        {name: value + other.gradient[name] for name, value in one.gradient.items()},
        {name: value + other.state[name] if value.ndim else value for name, value in one.state.items()},
    )


def _totals(team: Team, found: Found) -> Found:
    """Add up over all processes, in one exchange."""
    placed = {name: value for name, value in found.state.items() if value.ndim}
    values = [*_values(found.score), *found.gradient.values(), *placed.values()]
    total = team.total(torch.cat([value.reshape(-1) for value in values]))
    pieces = iter(total.split([value.numel() for value in values]))
    whole = [next(pieces).reshape(value.shape) for value in values]
    gradient = dict(zip(found.gradient, whole[3:], strict=False))
    state = dict(zip(placed, whole[3 + len(gradient) :], strict=True))
    return Found(Scored(*whole[:3]), gradient, found.state | state)
