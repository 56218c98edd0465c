"""Take out of a step what is the same in every step: whatever depends on the genome alone, and constants."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx

from rulec.backend.lowering import Lowered


@dataclass(frozen=True)
class Hoisted:
    """`before(*genome)` gives the invariants; `step(*invariants, *state, x, y, t, *noise)` the results."""

    lowered: Lowered
    before: fx.GraphModule
    step: fx.GraphModule
    reads: tuple[frozenset[str], ...]  # the genome entries that each invariant depends on


def hoisted(lowered: Lowered) -> Hoisted:
    """Split a lowered graph into what is computed once and what is computed in each step."""
    nodes = list(lowered.graph.nodes)
    places = [n for n in nodes if n.op == "placeholder"]
    entries = dict(zip(places, (slot.name for slot in lowered.genome), strict=False))
    reads: dict[fx.Node, frozenset[str]] = {place: frozenset([name]) for place, name in entries.items()}
    for node in nodes:
        if node.op == "call_function" and all(n in reads for n in node.all_input_nodes):
            reads[node] = frozenset().union(*(reads[n] for n in node.all_input_nodes))
    invariant = [n for n in reads if any(user not in reads for user in n.users)]
    output = nodes[-1]
    before, made = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in (*entries, *(n for n in nodes if n in reads and n not in entries)):
        made[node] = before.node_copy(node, lambda n: made[n])
    before.output(tuple(made[n] for n in invariant))
    before.eliminate_dead_code()
    step, kept = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in invariant:
        kept[node] = step.placeholder(node.name)
    for node in nodes[:-1]:
        if node not in reads:
            kept[node] = step.node_copy(node, lambda n: kept[n])
    step.output(fx.node.map_arg(output.args[0], lambda n: kept[n]))
    root = torch.nn.Module()
    return Hoisted(
        lowered,
        fx.GraphModule(root, before, class_name="Invariants"),
        fx.GraphModule(root, step, class_name="Step"),
        tuple(reads[n] for n in invariant),
    )
