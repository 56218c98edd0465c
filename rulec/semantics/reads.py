"""What an expression reads, with the reductions it is read under; locals are looked through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rulec.semantics import typed as t

Locals = Mapping[tuple[str, int], t.Expr]
LEAVES = (t.StateRef, t.GenomeRef, t.DataRef, t.StepCount, t.Noise, t.Grad)


@dataclass(frozen=True)
class Read:
    """A leaf, and the reductions around it, outermost first. `slope`: it is only differentiated, as `loss` in `diff(loss, z[j])`."""

    node: t.Expr
    under: tuple[t.Reduce, ...] = ()
    slope: bool = False


def parts(node: t.Expr) -> tuple[t.Expr, ...]:
    """Return the expressions an expression is made of."""
    match node:
        case t.Apply() | t.NetCall():
            return node.arguments
        case t.Features():
            return (node.value,)
        case t.Activation() | t.Reduce() | t.Stop():
            return (node.argument,)
        case t.Diff():
            return node.value, node.variable
        case t.Grad():
            return (node.value,)
        case t.Solve():
            return node.matrix, node.right
        case t.Sample():
            return node.first, node.second
    return ()


def locals_of(block: t.Block) -> Locals:
    """Return what each local name of a block stands for."""
    return {(w.name, w.version): w.value for w in block.body if w.kind == "local"}


def reads(node: t.Expr, names: Locals, under: tuple[t.Reduce, ...] = (), slope: bool = False) -> Iterator[Read]:
    """Yield every leaf that the value depends on, in the order of the text."""
    if isinstance(node, t.LocalRef):
        yield from reads(names[(node.name, node.version)], names, under, slope)
    elif isinstance(node, (*LEAVES, t.NetCall)):
        yield Read(node, under, slope)
    if isinstance(node, t.Diff):
        yield from reads(node.value, names, under, True)
        yield from reads(node.variable, names, under, slope)
    elif not isinstance(node, t.Grad):
        inner = (*under, node) if isinstance(node, t.Reduce) else under
        for part in parts(node):
            yield from reads(part, names, inner, slope)


def blocks_of(rule: t.Rule) -> Iterator[t.Block]:
    """Yield each block once, in order, those inside `repeat` too."""
    pending = list(reversed(rule.blocks))
    while pending:
        block = pending.pop()
        if isinstance(block, t.Repeat):
            pending += reversed(block.body)
        else:
            yield block


def writes_of(rule: t.Rule, name: str) -> Iterator[tuple[t.Block, t.Write]]:
    """Yield every assignment to a state with the block it stands in."""
    for block in blocks_of(rule):
        for write in block.body:
            if write.kind == "state" and write.name == name:
                yield block, write


def written_as(rule: t.Rule, node: t.StateRef | t.Write) -> str:
    """Return a reference to a state as the text has it: `w[i,j,k]`."""
    letters = [letter for letter in node.side.split(",") if letter and letter != "p"]
    state = next((s for s in rule.states if s.name == node.name), None)
    if state is not None and state.sides == "ji":
        letters.reverse()
    items = [*letters, *map(str, node.indices)]
    return f"{node.name}[{','.join(items)}]" if items else node.name
