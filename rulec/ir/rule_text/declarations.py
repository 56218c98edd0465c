"""Write what a program declares: indices, what is left of the genome, and states with their beginnings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rulec.ir.graph import Program, walk_blocks, walk_ops
from rulec.ir.rule_text.nodes import NOWHERE, Index, binary, call, index, name, negative, number
from rulec.semantics import typed as t
from rulec.semantics.operators import POINTWISE
from rulec.syntax import ast

_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "^"}
_SECTIONS: dict[str, type[ast.Neuron] | type[ast.Synapse] | type[ast.Broadcast]] = {
    "neuron": ast.Neuron,
    "synapse": ast.Synapse,
    "broadcast": ast.Broadcast,
}


def declarations(program: Program, digits: int | None) -> Iterator[ast.Section]:
    """Yield the sections above a rule's blocks."""
    used = _used(program)
    for extent in dict.fromkeys(program.extents.values()):
        letters = tuple(x for x, own in program.extents.items() if own == extent and x in used)
        if letters:
            size = number(extent) if isinstance(extent, int) else name(extent)
            yield ast.Index(tuple(ast.IndexName(x, span=NOWHERE) for x in letters), size, span=NOWHERE)
    entries = tuple(_entry(e, digits) for e in program.genome)
    shared, own = (tuple(_net(n) for n in program.nets if n.per_layer == layered) for layered in (False, True))
    if entries or shared:
        yield ast.Genome((*entries, *shared), span=NOWHERE)
    if own:  # a net is per layer if its section is
        yield ast.Genome(own, ast.PerLayer(span=NOWHERE), span=NOWHERE)
    for kind, section in _SECTIONS.items():
        states = tuple(_state(s, digits) for s in program.states if s.kind == kind)
        if states:
            yield section(states, span=NOWHERE)


def _used(program: Program) -> set[str]:
    """Return the declared indices that anything in the program has."""
    used = {letter for entry in program.genome for letter in entry.indices}
    used |= {letter for state in program.states for letter in state.indices}
    for block in walk_blocks(program.blocks):
        for op in walk_ops([w.value for w in block.writes]):
            used |= op.axes
            for key, value in op.attributes:
                used |= set(_letters(value)) if key in ("index", "indices", "at", "letters", "row", "column") else set()
    return used


def _letters(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _letters(item)


def _indices(letters: Iterable[Index]) -> tuple[ast.IndexItem, ...]:
    return tuple(map(index, letters))


def _entry(entry: t.GenomeEntry, digits: int | None) -> ast.GenomeEntry:
    domain = None
    if entry.domain.name == "interval":
        assert entry.domain.low is not None and entry.domain.high is not None
        bounds = (number(entry.domain.low), number(entry.domain.high))
        domain = ast.Domain("interval", bounds, span=NOWHERE)
    elif entry.domain.name != "real":
        domain = ast.Domain(entry.domain.name, span=NOWHERE)
    letters = tuple(ast.IndexName(letter, span=NOWHERE) for letter in entry.indices)
    layer = ast.PerLayer(span=NOWHERE) if entry.per_layer else None
    return ast.GenomeEntry(name(entry.name), letters, domain, layer, _initial(entry.initial, digits), span=NOWHERE)


def _net(net: t.Net) -> ast.Net:
    return ast.Net(name(net.name), tuple(number(size) for size in net.sizes), name(net.activation), span=NOWHERE)


def _state(state: t.State, digits: int | None) -> ast.State:
    sides = tuple(state.sides) if state.kind == "synapse" and state.sides != "p" else ()
    initial = _initial(state.initial, digits)
    if (state.kind != "synapse" or state.sides == "p") and state.initial == t.Constant(
        t.NOTHING, state.initial.span, 0.0
    ):
        initial = None
    return ast.State(name(state.name), _indices((*sides, *state.indices)), initial, state.keep, span=NOWHERE)


def _initial(value: t.Expr, digits: int | None) -> ast.Expression | None:
    match value:
        case t.Constant(value=own):
            return number(own, digits)
        case t.Matrix(shape=shape, values=values):
            return _array(shape, list(values), digits)
        case t.Identity():
            return name("eye")
        case t.SizeRef(name=own) | t.StateRef(name=own):
            return name(own)
        case t.Sample(law=law, first=first, second=second):
            return call(law, *_all((first, second), digits))
        case t.Apply(operator="neg", arguments=(argument,)):
            return negative(*_all((argument,), digits))
        case t.Apply(operator=operator, arguments=arguments) if operator in _SIGNS:
            return binary(_SIGNS[operator], *_all(arguments, digits))
        case t.Apply(operator=operator, arguments=arguments) if operator in POINTWISE:
            return call(operator, *_all(arguments, digits))
    raise AssertionError(value)


def _all(values: Iterable[t.Expr], digits: int | None) -> list[ast.Expression]:
    return [written for value in values if (written := _initial(value, digits)) is not None]


def _array(shape: tuple[int, ...], values: list[float], digits: int | None) -> ast.Expression:
    if not shape:
        return number(values[0], digits)
    size = len(values) // shape[0]
    rows = [values[k * size : (k + 1) * size] for k in range(shape[0])]
    return ast.Array(tuple(_array(shape[1:], row, digits) for row in rows), span=NOWHERE)
