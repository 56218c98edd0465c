"""Let derivatives of the loss read the prediction that is set, where `build` has traced it back through earlier blocks.

Before: a program as built. After: the same values; in an `output` block that sets the prediction, the loss and its slope have
this value as their argument if theirs is the same, with every state as earlier blocks have set it.
"""

from __future__ import annotations

from dataclasses import replace

from rulec.ir.build import rename, substitute
from rulec.ir.graph import Block, Op, Program, Repeat, rewrite, rewrite_block, with_args
from rulec.ir.passes.fold import fold

Definitions = dict[str, Op]  # what forward and output blocks have set at `j` last


def settle_losses(program: Program) -> Program:
    definitions: Definitions = {}

    def visit(blocks: tuple[Block | Repeat, ...]) -> tuple[Block | Repeat, ...]:
        return tuple(
            Repeat(b.count, visit(b.body)) if isinstance(b, Repeat) else _settled(b, program, definitions)
            for b in blocks
        )

    return replace(program, blocks=visit(program.blocks))


def _settled(block: Block, program: Program, definitions: Definitions) -> Block:
    prediction = next((w.value for w in block.writes if w.name == "prediction"), None)
    before = dict(definitions)
    if block.kind in ("forward", "output"):
        definitions.update({w.name: w.value for w in block.writes if w.side == "j"})
    if prediction is None:
        return block

    def change(op: Op) -> Op:
        if op.name not in ("loss", "loss_slope") or not op.args or op.args[0] is prediction:
            return op
        return with_args(op, (prediction,)) if _same(op.args[0], prediction, program, before) else op

    return rewrite_block(block, change)


def _same(one: Op, other: Op, program: Program, definitions: Definitions) -> bool:
    known: dict[tuple[object, ...], Op] = {}

    def change(op: Op) -> Op:
        op = fold(op)
        return known.setdefault(op.key(), op)

    pair = [_traced(op, program, definitions) for op in (one, other)]
    made = rewrite(pair, change)
    return made[id(pair[0])] is made[id(pair[1])]


def _traced(op: Op, program: Program, definitions: Definitions) -> Op:
    """Replace states of the neuron by what earlier blocks have set them to."""

    def change(leaf: Op) -> Op:
        if leaf.name != "state" or leaf["side"] != "j" or leaf["name"] not in definitions:
            return leaf
        value = definitions[leaf["name"]]
        pairs = tuple(zip(program.state(leaf["name"]).indices, leaf["indices"], strict=True))
        at = tuple((own, item) for own, item in pairs if isinstance(item, int) and own in value.axes)
        if at:
            value = Op("take", (value,), (("at", at),), value.axes - {own for own, _ in at}, leaf.span)
        return rename(value, tuple((own, item) for own, item in pairs if isinstance(item, str) and own != item))

    return substitute(op, {}, change)
