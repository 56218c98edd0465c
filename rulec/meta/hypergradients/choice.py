"""Which hypergradient an outer step takes that names none: a cost model, so that a run repeats itself.

Reverse mode through every update is exact and costs least, as long as its memory is there: the states and residuals of all updates, or
of about twice the square root of their number with checkpoints. Forward mode needs no more for more updates, but as much again for each
meta-parameter. Without a derivative to follow, evolution strategies.
"""

from __future__ import annotations

import os
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from rulec.meta.parameters import Parameters
from rulec.runtime.compiled import CompiledRule
from rulec.semantics.typed import Call, Outer

if TYPE_CHECKING:
    from rulec.meta.plan import Plan

FEW = 10  # meta-parameters up to which forward mode may be the better one


def chosen(
    outer: Outer, step: CompiledRule, parameters: Parameters, steps: int, batch: int, memory: int | None
) -> tuple[Outer, str]:
    """Return the outer step with a hypergradient, and why it is this one; one that names its own comes back as it is."""
    if outer.through.name != "auto":
        return outer, ""
    name, checkpoint, why = _method(outer, step, parameters, steps, batch, memory)
    return replace(outer, through=Call(name, (), {}, outer.through.span), checkpoint=checkpoint), why


def _method(
    outer: Outer, step: CompiledRule, parameters: Parameters, steps: int, batch: int, memory: int | None
) -> tuple[str, bool, str]:
    if any(objective.quantity == "error" for objective in outer.objectives):
        return "es", False, "the share of wrong answers has no derivative"
    numbers = sum(prod(step.genome_spec[name].shape) for name in parameters.entries)
    kept, room = steps * step_bytes(step, batch), memory or free_bytes()
    told = f"{steps} updates keep about {_size(kept)} for the way back, and {_size(room)} may be used"
    if kept <= room:
        return "unroll", False, told
    least = int(2 * steps**0.5 + 1) * step_bytes(step, batch)
    if least > room and not parameters.initial and numbers <= FEW:
        return "forward", False, f"{told}; {numbers} meta-parameters are few enough to carry their derivatives along"
    return "unroll", True, f"{told}: updates are made again"


def told_memory(made: Plan) -> str:
    """Say about how much a meta-step keeps: updates for the way back, tangents, or copies of the networks."""
    problem, through = made.problem, made.problem.outer.through
    each, steps = step_bytes(problem.step, problem.batch), problem.inner_steps
    states = state_bytes(problem.step)
    tried = made.method.tried(made.free)
    if through.name in ("unroll", "first_order"):
        updates = int(2 * steps**0.5 + 1) if problem.outer.checkpoint else steps
        kept, of = updates * each, f"{updates} updates"
    elif through.name == "truncated":
        updates = min(steps, int(through.arguments[0]))
        kept, of = updates * each, f"{updates} updates"
    elif through.name == "forward":
        directions = min(32, sum(value[0].numel() for value in made.free.values()))
        kept, of = (
            (directions + 1) * states,
            f"{directions} tangent{'s' if directions > 1 else ''} of the networks, however many updates",
        )
    elif tried > 1 or through.name == "cma":
        kept, of = tried * states, f"{tried} copies of the networks" if tried > 1 else "the candidates' networks"
    else:
        kept, of = 5 * states + each, "one update and a few copies of the networks, however many updates"
    if problem.memory is not None and kept > problem.memory:
        return f"about {_size(problem.memory)}, as asked, instead of {_size(kept)}"
    return f"about {_size(kept)} ({of})"


def state_bytes(step: CompiledRule) -> int:
    """Return the size of the states of all networks."""
    sizes = (prod(max(size, 1) for size in slot.shape) for slot in step.lowered.state)
    return sum(sizes) * prod(step.lead_shape) * step.dtype.itemsize


def step_bytes(step: CompiledRule, batch: int) -> int:
    """Estimate what one update of all networks keeps: its states, and a few values of every neuron and sample."""
    states = sum(prod(batch if size == -1 else size for size in slot.shape) for slot in step.lowered.state)
    widths = sum(prod(layer.shape) for layer in step.network.layers)
    each = 1 + sum(prod(e for e in s.shape if isinstance(e, int)) for s in step.program.states if s.kind == "neuron")
    return (states + 2 * each * widths * batch) * prod(step.lead_shape) * step.dtype.itemsize


def free_bytes() -> int:
    """Return half of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{max(count / 2**20, 0.1):.1f} MiB"
