"""What a meta-step holds in memory, network by network: estimates, which decide about hypergradients and are told before a run."""

from __future__ import annotations

import os
from math import prod
from typing import TYPE_CHECKING

import torch

from rulec.meta.hypergradients.interface import Hypergradient
from rulec.meta.parameters import Free
from rulec.meta.sharing import share_of
from rulec.meta.turns import Held, Way, takes_each, turns
from rulec.runtime.compiled import CompiledRule
from rulec.semantics.typed import Outer

if TYPE_CHECKING:
    from rulec.meta.plan import Plan


def held_by(
    method: Hypergradient, free: Free, outer: Outer, step: CompiledRule, updates: int, batch: int, query: int
) -> Held:
    """Estimate what a meta-step holds: updates for the way back, tangents, or copies of the networks."""
    through, tried, states = outer.through, method.tried(free), state_bytes(step)
    each, asked = update_bytes(step, batch), prediction_bytes(step, query)
    if through.name in ("unroll", "first_order", "truncated", "one_step"):
        if through.name == "truncated":
            updates = min(updates, int(through.arguments[0]))
        kept = 1 if through.name == "one_step" else fewest_updates(updates) if outer.checkpoint else updates
        return Held(kept * each + asked, f"{kept} update{'s' * (kept != 1)}", "kernel")
    if through.name == "forward":
        directions = min(32, sum(value[0].numel() for value in free.values()))
        tangents = f"{directions} tangent{'s' * (directions > 1)} of the networks, however many updates"
        return Held((directions + 1) * states, tangents)
    if tried > 1 or through.name == "cma":
        return Held(tried * states, f"{tried} copies of the networks" if tried > 1 else "the candidates' networks")
    way: Way = "graph" if through.name == "evograd" else "both"
    return Held(5 * states + each + asked, "one update and a few copies of the networks, however many updates", way)


def told_memory(made: Plan) -> str:
    """Say about how much a meta-step keeps in this process."""
    problem = share_of(made.problem)
    nets, part = prod(problem.step.lead_shape), turns(problem)[-1]
    here = nets * part.count // part.whole
    if takes_each(problem.step, problem.batch, made.held):
        here = min(nets, torch.get_num_threads())
    kept, of = made.held.each * here, made.held.of
    if here < nets:
        of = f"{of}, {here} of {nets} networks at a time"
    if problem.memory is not None and kept > problem.memory:
        return f"about {size(problem.memory)}, as asked, instead of {size(kept)}"
    return f"about {size(kept)} ({of})"


def fewest_updates(updates: int) -> int:
    """Return about how many updates checkpoints keep."""
    return min(updates, int(2 * updates**0.5 + 1))


def state_bytes(step: CompiledRule) -> int:
    """Return the size of the states of a network."""
    return sum(prod(max(size, 1) for size in slot.shape) for slot in step.lowered.state) * step.dtype.itemsize


def update_bytes(step: CompiledRule, batch: int) -> int:
    """Estimate what one update of a network keeps: its states, and a few values of every neuron and sample."""
    kept = sum(
        prod(size for size in slot.shape if size != -1) * batch ** (-1 in slot.shape) for slot in step.lowered.state
    )
    return kept * step.dtype.itemsize + prediction_bytes(step, batch)


def prediction_bytes(step: CompiledRule, samples: int) -> int:
    """Estimate what a prediction of a network keeps: a few values of every neuron and sample."""
    widths = sum(prod(layer.shape) * (3 if layer.norm is not None else 1) for layer in step.network.layers)
    each = 1 + sum(prod(e for e in s.shape if isinstance(e, int)) for s in step.program.states if s.kind == "neuron")
    return 2 * each * widths * samples * step.dtype.itemsize


def free_bytes() -> int:
    """Return half of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{max(count / 2**20, 0.1):.1f} MiB"
