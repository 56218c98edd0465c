"""Which hypergradient an outer step takes that names none: a cost model, so that a run repeats itself.

Reverse mode through every update is exact and costs least, as long as its memory is there: the states and residuals of all updates, or
of about twice the square root of their number with checkpoints. Forward mode needs no more for more updates, but as much again for each
meta-parameter. Without a derivative to follow, evolution strategies.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from rulec.meta.hypergradients.memory import fewest_updates, free_bytes, size, update_bytes
from rulec.meta.parameters import Parameters
from rulec.meta.turns import fewest
from rulec.runtime.compiled import CompiledRule
from rulec.semantics.typed import Call, Outer

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
    each, room = fewest(step) * update_bytes(step, batch), memory or free_bytes()
    kept = steps * each
    told = f"{steps} updates keep about {size(kept)} for the way back, and {size(room)} may be used"
    if kept <= room:
        return "unroll", False, told
    if fewest_updates(steps) * each > room and not parameters.initial and numbers <= FEW:
        return "forward", False, f"{told}; {numbers} meta-parameters are few enough to carry their derivatives along"
    return "unroll", True, f"{told}: updates are made again"
