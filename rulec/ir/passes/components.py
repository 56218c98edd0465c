"""Take a program apart into components: a declared index of known extent becomes the numbers that it runs over.

Before: a program as built, without contractions. After: the same values; reductions over such indices are written out, and
each component of a state has a value of its own, put together by `insert`. What is one value only as a whole (noise, a linear
system) keeps its indices and is read by `take`. Indices over neurons and over the network's outputs stay.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from rulec.ir.graph import Block, Op, Program, Write, change_blocks, constant, pointwise, reduce_any, with_args
from rulec.ir.numbers import known, numbers_of
from rulec.ir.passes.fold import fold

Place = dict[str, int]  # which component: a number for each index


def take_apart(program: Program) -> Program:
    def change(block: Block) -> Block:
        parts = Components(program)
        return replace(block, writes=tuple(parts.write(w) for w in block.writes))

    return change_blocks(program, change)


class Components:
    """The components of the ops of one block, each made once."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.extents = {name: extent for name, extent in program.extents.items() if isinstance(extent, int)}
        self.made: dict[tuple[int, tuple[tuple[str, int], ...]], Op] = {}
        self.kept: list[Op] = []  # keeps the ids of `made` alive

    def places(self, indices: Iterable[str]) -> list[Place]:
        """Return every place of these indices, the last one running fastest."""
        names = [i for i in indices if i in self.extents]
        ranges = [range(self.extents[i]) for i in names]
        return [dict(zip(names, numbers, strict=True)) for numbers in itertools.product(*ranges)]

    # --- Writes ---

    def write(self, write: Write) -> Write:
        state = next((s for s in self.program.states if s.name == write.name), None)
        places = self.places(state.indices) if state is not None else [{}]
        if state is None or places == [{}]:
            return replace(write, value=self.at(write.value, {}))
        whole = _whole_state(write, state.indices, state.kind)
        parts = [(place, self.at(write.value, place)) for place in places]
        changed = [(place, part) for place, part in parts if not _is_unchanged(part, self.at(whole, place))]
        value = whole if len(changed) < len(parts) else constant(0.0, write.span)
        for place, part in changed:
            value = _insert(value, part, place)
        return replace(write, value=value)

    # --- Values ---

    def at(self, op: Op, place: Place) -> Op:
        """Return an op with its indices at a place; those that the place does not name and that it has stay."""
        own = tuple(sorted((index, number) for index, number in place.items() if index in op.axes))
        key = (id(op), own)
        if key not in self.made:
            self.kept.append(op)
            self.made[key] = fold(self._make(op, dict(own)))
        return self.made[key]

    def _make(self, op: Op, place: Place) -> Op:
        special = _SPECIAL.get(op.name)
        if special is not None:
            return special(self, op, place)
        return with_args(op, tuple(self.at(a, place) for a in op.args))

    def array(self, op: Op, place: Place) -> Op:
        data = numbers_of(op)[tuple(place.get(index, slice(None)) for index in op["indices"])]
        return known(tuple(index for index in op["indices"] if index not in place), data, op.span)

    def reference(self, op: Op, place: Place) -> Op:
        """Read a state or an entry of the genome at a place."""
        attributes = dict(op.attributes) | {"indices": tuple(place.get(i, i) for i in op["indices"])}
        return Op(op.name, (), tuple(attributes.items()), op.axes - set(place), op.span)

    def extent(self, op: Op, place: Place) -> Op:
        extent = self.extents.get(op["index"])
        return op if extent is None else constant(extent, op.span)

    def position(self, op: Op, place: Place) -> Op:
        return constant(place[op["index"]], op.span) if op["index"] in place else op

    def noise(self, op: Op, place: Place) -> Op:
        return _take(op, place)

    def take(self, op: Op, place: Place) -> Op:
        ours = {index: number for index, number in op["at"] if index in self.extents}
        rest = {index: number for index, number in op["at"] if index not in self.extents}
        return _take(self.at(op.args[0], place | ours), rest)

    def insert(self, op: Op, place: Place) -> Op:
        ours = [(index, number) for index, number in op["at"] if index in place]
        rest = {index: number for index, number in op["at"] if index not in place}
        before, value = op.args
        if any(place[index] != number for index, number in ours):
            return self.at(before, place)
        return _insert(self.at(before, place), self.at(value, place), rest) if rest else self.at(value, place)

    def rename(self, op: Op, place: Place) -> Op:
        new = {new for _, new in op["letters"]}
        inner = {index: number for index, number in place.items() if index not in new}
        inner |= {old: place[new] for old, new in op["letters"] if new in place}
        argument = self.at(op.args[0], inner)
        pairs = tuple((old, new) for old, new in op["letters"] if old in argument.axes)
        if not pairs:
            return argument
        axes = frozenset(dict(pairs).get(a, a) for a in argument.axes)
        return Op("rename", (argument,), (("letters", pairs),), axes, op.span)

    def net(self, op: Op, place: Place) -> Op:
        args: list[Op] = []
        features: list[str | None] = []
        for index, argument in zip(op["features"], op.args, strict=True):
            apart = index in self.extents
            args += [self.at(argument, place | p) for p in (self.places([index]) if apart else [{}])]
            features += [None if apart else index] * (len(args) - len(features))
        index = place.get(op["index"], op["index"])
        attributes = (("name", op["name"]), ("index", index), ("features", tuple(features)))
        return Op("net", tuple(args), attributes, op.axes - set(place), op.span)

    def solve(self, op: Op, place: Place) -> Op:
        """Solve the system as a whole, put together from its components, and read one of the solution's."""
        row, column = op["row"], op["column"]
        if row not in self.extents:
            return with_args(op, tuple(self.at(a, place) for a in op.args))
        rest = {index: number for index, number in place.items() if index != column}
        key = (id(op), tuple(sorted({**rest, column: -1}.items())))
        if key not in self.made:
            matrix = self._whole(op.args[0], (row, column), rest)
            right = self._whole(op.args[1], (row,), rest)
            axes = (matrix.axes | right.axes | {column}) - {row}
            self.made[key] = Op("solve", (matrix, right), op.attributes, axes, op.span)
        return _take(self.made[key], {index: number for index, number in place.items() if index == column})

    def _whole(self, op: Op, indices: tuple[str, ...], place: Place) -> Op:
        """Put a value along some indices together from its components; all of them known, it is an array."""
        value: Op = constant(0.0, op.span)
        for inner in self.places(indices):
            value = _insert(value, self.at(op, place | inner), inner)
        return value

    # --- Reductions ---

    def reduce(self, op: Op, place: Place) -> Op:
        ours = tuple(i for i in op["indices"] if i in self.extents)
        rest = tuple(i for i in op["indices"] if i not in self.extents)
        (argument,) = op.args
        parts = [self.at(argument, place | p) for p in self.places(ours)]

        def over(operator: str, value: Op, places: bool = op["places"]) -> Op:
            return _reduced(operator, rest, value, places, op)

        if not ours:
            return over(op["operator"], parts[0])
        if op["operator"] == "softmax":
            chosen = parts[self.places(ours).index({index: place[index] for index in ours})]
            return _softmax(chosen, parts, over)
        return _REDUCTIONS[op["operator"]](parts, over)


Over = Callable[..., Op]  # (operator, value) -> the value reduced over the indices that stay


def _mean(parts: Sequence[Op], over: Over) -> Op:
    return _folded("div", _sum([over("mean", p) for p in parts]), len(parts))


def _variance(parts: Sequence[Op], over: Over) -> Op:
    """Average the squares of deviations; a variance over samples is one over places, too."""
    centre = _folded("div", _sum([over("mean", p, True) for p in parts]), len(parts))
    apart = [_folded("sub", p, centre) for p in parts]
    return _folded("div", _sum([over("mean", _folded("mul", d, d), True) for d in apart]), len(parts))


def _softmax(chosen: Op, parts: Sequence[Op], over: Over) -> Op:
    highest = functools.reduce(functools.partial(_folded, "max"), [over("max", p) for p in parts])
    weights = {id(p): _folded("exp", _folded("sub", p, highest)) for p in parts}
    return _folded("div", weights[id(chosen)], _sum([over("sum", weights[id(p)]) for p in parts]))


_REDUCTIONS: dict[str, Callable[[Sequence[Op], Over], Op]] = {
    "sum": lambda parts, over: _sum([over("sum", p) for p in parts]),
    "mean": _mean,
    "max": lambda parts, over: functools.reduce(functools.partial(_folded, "max"), [over("max", p) for p in parts]),
    "min": lambda parts, over: functools.reduce(functools.partial(_folded, "min"), [over("min", p) for p in parts]),
    "norm": lambda parts, over: _folded("sqrt", _sum([over("sum", _folded("mul", p, p)) for p in parts])),
    "var": _variance,
}

_SPECIAL: dict[str, Callable[[Components, Op, Place], Op]] = {
    "array": Components.array,
    "genome": Components.reference,
    "state": Components.reference,
    "extent": Components.extent,
    "position": Components.position,
    "noise": Components.noise,
    "take": Components.take,
    "insert": Components.insert,
    "rename": Components.rename,
    "net": Components.net,
    "solve": Components.solve,
    "reduce": Components.reduce,
}


# --- Making ops ------------------------------------------------------------------------------


def _folded(name: str, *operands: Any) -> Op:
    return fold(pointwise(name, *operands))


def _sum(terms: Sequence[Op]) -> Op:
    return functools.reduce(functools.partial(_folded, "add"), terms)


def _reduced(operator: str, indices: tuple[str, ...], value: Op, places: bool, like: Op) -> Op:
    """Reduce over indices, some of which the value may have lost."""
    if not indices:
        return value
    return fold(reduce_any(operator, indices, value, places, like.span, like.args[0].axes))


def _take(value: Op, place: Place) -> Op:
    at = tuple((index, number) for index, number in place.items() if index in value.axes)
    return Op("take", (value,), (("at", at),), value.axes - set(place), value.span) if at else value


def _insert(before: Op, value: Op, place: Place) -> Op:
    axes = before.axes | value.axes | set(place)
    return Op("insert", (before, value), (("at", tuple(place.items())),), axes, value.span or before.span)


def _whole_state(write: Write, indices: tuple[str, ...], kind: str) -> Op:
    """Return the state as it stands before the block."""
    neurons = frozenset(write.side.split(",")) - {""}
    axes = neurons | frozenset(indices) | (frozenset() if kind == "synapse" else frozenset("n"))
    return Op("state", (), (("name", write.name), ("side", write.side), ("indices", indices)), axes, write.span)


def _is_unchanged(part: Op, before: Op) -> bool:
    return part.name == "state" and part.attributes == before.attributes
