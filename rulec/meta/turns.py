"""Parts of a problem that take turns: how many networks a process works on at a time.

A meta-gradient is a mean over tasks, and that of a member depends on no other member. So the way forward, the objective and the way
back of some networks can be done before those of the next begin, and memory is that of one part. Generated kernels take one network after
the other anyway, and lose nothing as long as each core has one; other backends work on all at once, and are divided only where memory
is bounded, as is a rule with noise, which every part draws for the whole.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch

from rulec.meta.part import Part, even_parts
from rulec.runtime.unrolls.choice import CACHE
from rulec.runtime.unrolls.run import SMALL_STEP

if TYPE_CHECKING:
    from rulec.meta.problem import Problem
    from rulec.runtime.compiled import CompiledRule

LARGE = 8 * 2**20  # bytes up to which all networks may hold what they like


def turns(problem: Problem) -> list[Part]:
    """Return the parts that take turns: of the tasks, or of the members where these are more."""
    tasks, members = problem.step.tasks or 1, problem.members
    axis = problem.part.axis if problem.part is not None else int(tasks >= members)
    whole = tasks if axis else members
    each = prod(problem.step.lead_shape) // whole
    least = whole if problem.at_once is None else min(whole, -(-problem.at_once // each))
    return even_parts(axis, whole, least)


def networks_at_once(step: CompiledRule, batch: int, each: int, update: int, memory: int | None) -> int:
    """Return how many networks to work on at a time, where each holds so many bytes until its way back, `update` of them for an update.

    `update` is 0 where it is no generated kernel that holds them. `memory` is a bound that was asked for.
    """
    nets, threads = prod(step.lead_shape), torch.get_num_threads()
    kernel = update > 0 and step.backend_for(batch) == "kernel"
    if kernel and update < SMALL_STEP:
        return nets  # a thread makes such updates again, for one network after the other
    room = nets * each if memory is None else memory
    if kernel and not step.lowered.noise and nets * each > LARGE:
        room = min(room, threads * CACHE)
    return min(nets, max(threads, room // each))


def fewest(step: CompiledRule) -> int:
    """Return how many networks are worked on at a time at least."""
    shorter = prod(step.lead_shape) // max(step.tasks or 1, step.population or 1)
    return max(shorter, min(prod(step.lead_shape), torch.get_num_threads()))
