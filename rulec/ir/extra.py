"""Terms that an outer step adds to the inner problem, as part of the program: the rule's gradient becomes that of loss and terms.

`w - init(w)` needs the value that the network's parameters began with: a state of its own, which starts as they do and never changes.
Rajeswaran et al. 2019, equation 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rulec.ir.graph import Block, Op, Program, change_blocks, rewrite, walk_blocks
from rulec.semantics import typed as t

START = "w_start"  # the name of that state


def with_extra_terms(program: Program, terms: Sequence[t.Extra]) -> Program:
    """Add the derivatives of the terms to every gradient of the network's own parameters."""
    if not terms:
        return program
    w = _read("w")
    slope: Op | None = None
    for term in terms:
        own = (w - _read(START) if term.from_start else w) * (2.0 * term.weight)
        slope = own if slope is None else slope + own

    def change(op: Op) -> Op:
        assert slope is not None
        return op + slope if op.name == "grad" and op["name"] == "w" else op

    def changed(block: Block) -> Block:
        made = rewrite([write.value for write in block.writes], change)
        return replace(block, writes=tuple(replace(w, value=made[id(w.value)]) for w in block.writes))

    span = terms[0].span
    start = t.State(START, "synapse", "p", (), (), False, t.StateRef(frozenset("p"), span, "w", "p", ()), span)
    states = (*program.states, start) if any(term.from_start for term in terms) else program.states
    return replace(change_blocks(program, changed), states=states)


def constant_states(program: Program) -> frozenset[str]:
    """Return the synapse states that no update writes: what they begin with is what they are."""
    written = {write.name for block in walk_blocks(program.blocks) for write in block.writes}
    return frozenset(s.name for s in program.states if s.kind == "synapse" and s.name not in written)


def copies_of(program: Program, name: str) -> list[str]:
    """Return the states that begin as another state does."""
    return [s.name for s in program.states if isinstance(s.initial, t.StateRef) and s.initial.name == name]


def _read(name: str) -> Op:
    return Op("state", (), (("name", name), ("side", "p"), ("indices", ())), frozenset("p"))
