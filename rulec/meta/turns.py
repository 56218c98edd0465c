"""Parts of a problem that take turns: how many networks a process works on at a time.

A meta-gradient is a mean over tasks, and that of a member depends on no other member. So the way forward, the objective and the way
back of some networks can be done before those of the next begin, and memory is that of one part. Where a generated kernel takes each network
there and back by itself (`CompiledRule.judged_lesson`), nothing is gained. Otherwise parts are made where memory is bounded and the whole
would need more; and unasked, where kernels do most of the work and networks are so large that the calls of a part do not count. A rule
with noise, which every part draws for the whole, is divided only if it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Literal

import torch

from rulec.meta.part import Part, even_parts

if TYPE_CHECKING:
    from rulec.meta.problem import Problem
    from rulec.runtime.compiled import CompiledRule

Way = Literal["kernel", "both", "graph"]
LARGE = 8 * 2**20  # bytes that a part may hold unasked


@dataclass(frozen=True)
class Held:
    """The bytes that each network holds until its way back, and what for.

    `way` says where: in a generated `kernel` if there is one, in one and in other graphs (`both`), or in the `graph` of all networks.
    """

    each: int
    of: str
    way: Way = "graph"


def turns(problem: Problem) -> list[Part]:
    """Return the parts that take turns: of the tasks, or of the members where these are more."""
    tasks, members = problem.step.tasks or 1, problem.members
    axis = problem.part.axis if problem.part is not None else int(tasks >= members)
    whole = tasks if axis else members
    each = prod(problem.step.lead_shape) // whole
    least = whole if problem.at_once is None else min(whole, -(-problem.at_once // each))
    return even_parts(axis, whole, least)


def networks_at_once(step: CompiledRule, batch: int, held: Held, memory: int | None) -> int:
    """Return how many networks to work on at a time, where `memory` is a bound that was asked for."""
    nets, threads = prod(step.lead_shape), torch.get_num_threads()
    if takes_each(step, batch, held):
        return nets
    room = nets * held.each if memory is None else memory
    if held.way != "graph" and step.backend_for(batch) == "kernel" and not step.lowered.noise:
        room = min(room, LARGE)
    return nets if nets * held.each <= room else min(nets, max(threads, room // held.each))


def takes_each(step: CompiledRule, batch: int, held: Held) -> bool:
    """Whether a generated kernel takes each network there and back, and a thread holds what one needs."""
    return held.way == "kernel" and step.backend_for(batch) == "kernel"


def fewest(step: CompiledRule) -> int:
    """Return how many networks are worked on at a time at least."""
    shorter = prod(step.lead_shape) // max(step.tasks or 1, step.population or 1)
    return max(shorter, min(prod(step.lead_shape), torch.get_num_threads()))
