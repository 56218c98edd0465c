"""What an outer step makes of the inner problem, as part of the program: the rule learns from a changed loss and changed data.

The outer step's own genome joins the rule's. Terms besides the loss (`plus`) add their derivatives to every `grad(loss, w)`. A weight of the
loss multiplies the loss of each sample, and its derivatives; the weight itself is not differentiated by the rule. Changes of the data
that read what is learned become blocks of their own kinds, `support` and `query`, which run before all others.

`w - init(w)` needs the value that the network's parameters began with: a state of its own, which starts as they do and never changes.
Rajeswaran et al. 2019, equation 3; Shu et al. 2019, "Meta-Weight-Net", equation 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rulec.ir.build import build_values, substitute
from rulec.ir.graph import Block, Op, Program, Write, change_blocks, pointwise, rewrite_block, walk_blocks, walk_ops
from rulec.semantics import typed as t

START = "w_start"  # the name of that state

_LOSS_OPS = ("loss", "loss_slope")


def with_inner_problem(program: Program, outer: t.Outer) -> Program:
    """Return the program of the rule on the inner problem of an outer step."""
    if not outer.changes_inner_problem:
        return program
    program = replace(
        program, genome=(*program.genome, *outer.genome), nets=(*program.nets, *outer.nets), within=outer.within
    )
    program = _per_layer(program, {item.name.split(".")[-1] for item in outer.meta if item.per_layer})
    program = with_extra_terms(program, outer.plus)
    if outer.weight is not None:
        program = _with_weight(program, outer.weight)
    return _with_changes(program, [change for change in outer.changes if change.of_program])


def _per_layer(program: Program, names: set[str]) -> Program:
    """Give entries and nets a value for each connection."""

    def widened(name: str, already: bool) -> bool:
        return already or name in names or "genome" in names

    genome = tuple(replace(entry, per_layer=widened(entry.name, entry.per_layer)) for entry in program.genome)
    nets = tuple(replace(net, per_layer=widened(net.name, net.per_layer)) for net in program.nets)
    return replace(program, genome=genome, nets=nets)


def _built(program: Program, values: Sequence[t.Expr], names: Mapping[str, t.Expr]) -> list[Op]:
    """Build expressions of an outer step; noise is counted on from the program's own."""
    roots = [write.value for block in walk_blocks(program.blocks) for write in block.writes]
    sites = [op["site"] for op in walk_ops(roots) if op.name == "noise"]
    return build_values(values, names, max(sites, default=-1) + 1)


# --- Terms besides the loss ------------------------------------------------------------------


def with_extra_terms(program: Program, terms: Sequence[t.Extra]) -> Program:
    """Add the derivatives of the terms to every gradient of the network's own parameters."""
    if not terms:
        return program
    w, start = _read("w"), _read(START)
    slope: Op | None = None
    for term, weight in zip(terms, _built(program, [term.weight for term in terms], {}), strict=True):
        origin = Op("stop", (start,), (), start.axes) if term.stopped else start
        own = (w - origin if term.from_start else w) * (2.0 * weight)
        slope = own if slope is None else slope + own

    def change(op: Op) -> Op:
        assert slope is not None
        return op + slope if op.name == "grad" and op["name"] == "w" else op

    span = terms[0].span
    begun = t.State(START, "synapse", "p", (), (), False, t.StateRef(frozenset("p"), span, "w", "p", ()), span)
    states = (*program.states, begun) if any(term.from_start for term in terms) else program.states
    return replace(change_blocks(program, lambda block: rewrite_block(block, change)), states=states)


def constant_states(program: Program) -> frozenset[str]:
    """Return the synapse states that no update writes: what they begin with is what they are."""
    written = {write.name for block in walk_blocks(program.blocks) for write in block.writes}
    return frozenset(s.name for s in program.states if s.kind == "synapse" and s.name not in written)


def copies_of(program: Program, name: str) -> list[str]:
    """Return the states that begin as another state does."""
    return [s.name for s in program.states if isinstance(s.initial, t.StateRef) and s.initial.name == name]


def _read(name: str) -> Op:
    return Op("state", (), (("name", name), ("side", "p"), ("indices", ())), frozenset("p"))


# --- The weight of the loss ------------------------------------------------------------------


def _with_weight(program: Program, weight: t.Expr) -> Program:
    """Multiply each sample's loss and its slope with the weight, as it is for that prediction."""
    (own,) = _built(program, [weight], {})
    block = Block("weight", (Write("weight", "", own, weight.span),), weight.span)
    if program.acts_on_parameters:  # its prediction is there before all blocks
        return replace(program, blocks=(block, *program.blocks))

    def change(op: Op) -> Op:
        if op.name not in _LOSS_OPS:
            return op
        return pointwise("mul", op, _at(own, op.args), span=op.span)

    program = change_blocks(program, lambda block: rewrite_block(block, change))
    return replace(program, blocks=(*program.blocks, block))


def _at(weight: Op, predicted: tuple[Op, ...]) -> Op:
    """Return the weight for a prediction that has been made in the same block."""
    if not predicted:
        return weight

    def change(op: Op) -> Op:
        if op.name == "loss":
            return Op("loss", predicted, (), op.axes, op.span)
        return predicted[0] if op.name == "prediction" else op

    return substitute(weight, {}, change)


# --- Changes of the data ---------------------------------------------------------------------


def _with_changes(program: Program, changes: Sequence[t.Recast]) -> Program:
    """Put a block in front for each side of the data that changes: writes to `input` and `target`, one after the other."""
    blocks = []
    for side in ("support", "query"):
        writes: dict[str, Write] = {}
        for change in (change for change in changes if side in change.sides):
            name, letter = ("input", "i") if change.target == "x" else ("target", "j")
            data = Op(name, (), (("letter", letter),), frozenset(("n", letter)), change.span)
            (value,) = _built(program, [change.value], {change.target: t.DataRef(data.axes, change.span, name)})
            if change.operator == "rotate":
                value = Op("rotate", (data, value), (), data.axes, change.span)
            if name in writes:
                value = _after(writes[name], value)
            writes[name] = Write(name, letter, value, change.span)
        if writes:
            blocks.append(Block(side, tuple(writes.values()), changes[0].span))
    return replace(program, blocks=(*blocks, *program.blocks))


def _after(before: Write, value: Op) -> Op:
    """Let a change read what an earlier one has made of the same data."""
    return substitute(value, {}, lambda op: before.value if op.name == before.name else op)
