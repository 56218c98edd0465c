"""What a step must compute for those who ask only for some of its results."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from torch import fx

from rulec.backend.lowering import Lowered


def carried_states(step: Lowered, prediction: Lowered) -> tuple[str, ...]:
    """Return the states that a prediction may depend on, perhaps many steps later; the others only ever change themselves.

    On a network this is less than what the rule reads: backward synapses into the input layer, for example, reach nothing.
    """
    wanted = {slot.name for slot in restricted(prediction, ("prediction",)).state}
    while True:
        reached = wanted | {slot.name for slot in restricted(step, wanted).state}
        if reached == wanted:
            return tuple(name for name in step.outputs if name in wanted)
        wanted = reached


def unread_states(step: Lowered, prediction: Lowered) -> dict[str, tuple[str, ...]]:
    """Return the states that are not carried, each with those whose next value reads it."""
    carried = carried_states(step, prediction)
    states = [name for name in step.outputs if name not in carried and name not in ("prediction", "loss")]
    reads = {name: {slot.name for slot in restricted(step, (name,)).state} for name in states}
    return {name: tuple(other for other in states if name in reads[other]) for name in states}


def restricted(lowered: Lowered, outputs: Collection[str], arguments: Collection[str] = ()) -> Lowered:
    """Return the graph of these results alone, with the arguments that they need, and those named in `arguments`.

    The places of `x`, `y` and `t` are always there.
    """
    graph = fx.Graph()
    results = graph.graph_copy(lowered.graph, {})
    assert isinstance(results, tuple)
    kept = [(name, node) for name, node in zip(lowered.outputs, results, strict=True) if name in outputs]
    graph.output(tuple(node for _, node in kept))
    graph.eliminate_dead_code()
    places = [n for n in graph.nodes if n.op == "placeholder"]
    genome, states = len(lowered.genome), len(lowered.genome) + len(lowered.state)
    named = [slot.name in arguments for slot in (*lowered.genome, *lowered.state)] + [True] * 3
    used = [bool(place.users) or (k < len(named) and named[k]) for k, place in enumerate(places)]
    for place, needed in zip(places, used, strict=True):
        if not needed:
            graph.erase_node(place)
    graph.lint()
    return replace(
        lowered,
        graph=graph,
        genome=tuple(s for s, needed in zip(lowered.genome, used[:genome], strict=True) if needed),
        state=tuple(s for s, needed in zip(lowered.state, used[genome:states], strict=True) if needed),
        noise=tuple(s for s, needed in zip(lowered.noise, used[states + 3 :], strict=True) if needed),
        outputs=tuple(name for name, _ in kept),
    )
