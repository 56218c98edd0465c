"""Which components of a program's values reach a prediction: declared indices are unrolled, and zeros are followed.

`index k : 2` makes two components of a value that varies with `k`, and four of a genome entry `mix[k,l]`. Genome values,
synapses and data are numbers that nobody knows; constants, positions and what is computed from them are known, and so is
a neuron state that nothing has set yet. What is multiplied by a zero reaches nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from rulec.ir.graph import Op
from rulec.lints.arithmetic import evaluated, initial_number
from rulec.lints.flow import INITIAL, Flow, Source

_MOST = 256  # with more components than this in all, the indices with most values are left as they are

Numbers = tuple[int, ...]
Cell = tuple[str, Numbers]  # a genome entry, a net or a state, and which component of it
Fixed = Mapping[str, int]  # letters and the numbers they stand for


@dataclass(frozen=True)
class Node:
    """A component of an op in a block: a number for each of its unrolled letters."""

    block: int
    op: Op
    numbers: Numbers

    @property
    def key(self) -> tuple[int, int, Numbers]:
        return self.block, id(self.op), self.numbers


class Components:
    """The components of one program. `live`: those of genome entries, nets and states that some step's prediction depends on."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.sizes = _unrolled(flow.program.extents)
        entries = {e.name: e.indices for e in flow.program.genome}
        self.states = {s.name: s for s in flow.program.states}
        self.declared = entries | {s.name: s.indices for s in flow.program.states}
        self._letters: dict[int, tuple[str, ...]] = {}
        self._known: dict[tuple[int, int, Numbers], float] = {}
        self._assigning: dict[tuple[int, int], list[int]] = {}
        for number, site in enumerate(flow.writes):
            self._assigning.setdefault((site.block, id(site.write.value)), []).append(number)
        self.live: set[Cell] = set()
        self._fold()
        self._follow()

    def cells(self, name: str) -> list[Cell]:
        """Return all components of what is declared under a name."""
        return [(name, numbers) for numbers in self._all(self._own(name), {})]

    # --- Letters and numbers ---

    def _own(self, name: str) -> tuple[str, ...]:
        """Return the unrolled ones among the indices that a name is declared with."""
        return tuple(i for i in self.declared.get(name, ()) if i in self.sizes)

    def letters_of(self, op: Op) -> tuple[str, ...]:
        found = self._letters.get(id(op))
        if found is None:
            found = self._letters[id(op)] = tuple(sorted(x for x in op.axes if x in self.sizes))
        return found

    def _all(self, letters: Iterable[str], fixed: Fixed) -> Iterator[Numbers]:
        return itertools.product(*(((fixed[x],) if x in fixed else range(self.sizes[x])) for x in letters))

    def nodes(self, block: int, op: Op, fixed: Fixed) -> Iterator[Node]:
        """Yield the components of an op that agree with the letters that are fixed."""
        return (Node(block, op, numbers) for numbers in self._all(self.letters_of(op), fixed))

    def _fixed(self, node: Node) -> dict[str, int]:
        return dict(zip(self.letters_of(node.op), node.numbers, strict=True))

    # --- What depends on what ---

    def arguments(self, node: Node) -> Iterator[Node]:
        """Yield the components of its arguments that a component of an op is computed from."""
        op, fixed = node.op, self._fixed(node)
        chosen = list(enumerate(op.args))
        if op.name == "insert":
            inside = [fixed[i] == number for i, number in op["at"] if i in fixed]
            chosen = chosen if not inside else chosen[1:] if all(inside) else chosen[:1]
        for place, argument in chosen:
            yield from self.nodes(node.block, argument, _inside(op, place, fixed))

    def seen_by(self, node: Node) -> Cell:
        """Return the component that a read of a state or of a genome entry sees."""
        name, fixed = str(node.op["name"]), self._fixed(node)
        pairs = zip(self.declared.get(name, ()), node.op["indices"], strict=True)
        return name, tuple(i if isinstance(i, int) else fixed[i] for own, i in pairs if own in self.sizes)

    def assigned(self, source: Source, cell: Cell) -> Iterator[Node]:
        """Yield the components of an assigned value that a component of the state takes."""
        site = self.flow.writes[source.write]
        return self.nodes(site.block, site.write.value, dict(zip(self._own(cell[0]), cell[1], strict=True)))

    # --- What is known ---

    def number(self, node: Node) -> float | None:
        """Return the number that a component of an op is in every step, where there is one."""
        return self._known.get(node.key)

    def _fold(self) -> None:
        """Work out the components that are known numbers, in one pass: what a later block sets, an earlier one does not know."""
        for block, ops in enumerate(self.flow.ops):
            for op in ops:
                for node in self.nodes(block, op, {}):
                    value = self._value(node)
                    if value is not None and math.isfinite(value):
                        self._known[node.key] = value

    def _value(self, node: Node) -> float | None:
        op = node.op
        match op.name:
            case "constant":
                return float(op["value"])
            case "position":
                return float(node.numbers[0]) if node.numbers else None
            case "extent":
                size = self.flow.program.extents.get(op["index"])
                return float(size) if isinstance(size, int) else None
            case "state":
                return self._state(node)
            case "grad" | "network" | "net" | "solve" | "act" | "slope" | "pullback" | "loss" | "loss_slope":
                return None
        parts = [self._known.get(argument.key) for argument in self.arguments(node)]
        if op.name == "reduce":  # how many neurons and samples there are is not known, but zeros add up to zero
            zeros = op["operator"] in ("sum", "mean", "var", "norm") and all(part == 0 for part in parts)
            return 0.0 if zeros else None
        if op.name in ("take", "rename", "insert", "stop"):  # several parts where the index is not unrolled
            return parts[0] if len(set(parts)) == 1 else None
        return evaluated(op.name, parts)

    def _state(self, node: Node) -> float | None:
        if node.op["name"] not in self.states:
            return None
        cell = self.seen_by(node)
        values = {value for s in self.flow.sources(node.block, node.op) for value in self._given(s, cell)}
        return values.pop() if len(values) == 1 else None

    def _given(self, source: Source, cell: Cell) -> list[float | None]:
        """Return what a source gives to a component; a synapse begins with a number that nobody knows."""
        if source != INITIAL:
            return [self._known.get(node.key) for node in self.assigned(source, cell)]
        state = self.states[cell[0]]
        return [None if state.kind == "synapse" else initial_number(state.initial, state.shape, cell[1])]

    # --- What is live ---

    def _follow(self) -> None:
        """Walk back from the predictions."""
        seen: set[tuple[int, int, Numbers]] = set()
        pending = [node for source in self.flow.final for node in self._through(source, ("prediction", ()))]
        while pending:
            node = pending.pop()
            if node.key not in seen and node.key not in self._known:
                seen.add(node.key)
                pending += self._before(node)

    def _before(self, node: Node) -> Iterator[Node]:
        """Yield what a live component is computed from; note the names that it reads."""
        op = node.op
        if op.name == "genome":
            self.live.add(self.seen_by(node))
        elif op.name == "net":
            self.live.add((str(op["name"]), ()))
        cell = self.read_by(node)
        if cell is not None:
            self.live.add(cell)
            for source in self.flow.sources(node.block, op):
                yield from self._through(source, cell)
        for argument in self.used_by(node):
            self._pass_on(argument, len(self.flow.writes))
            yield argument

    def used_by(self, node: Node) -> Iterator[Node]:
        """Yield the components of its arguments that a component of an op depends on; of what is known, none."""
        if node.key not in self._known:
            yield from (argument for argument in self.arguments(node) if self._matters(node, argument))

    def read_by(self, node: Node) -> Cell | None:
        """Return the component of a state or of the prediction that an op reads."""
        op = node.op
        if op.name == "state" and op["name"] in self.declared:
            return self.seen_by(node)
        if op.name in ("state", "grad", "network"):
            return str(op["name"]), ()
        return ("prediction", ()) if op.name in ("prediction", "loss", "loss_slope") and not op.args else None

    def _through(self, source: Source, cell: Cell) -> Iterator[Node]:
        if source == INITIAL:
            return
        for node in self.assigned(source, cell):
            self._pass_on(node, source.write)
            yield node

    def _pass_on(self, node: Node, before: int) -> None:
        """Note a state whose value is read later in its own block: there the value stands for it."""
        for number in self._assigning.get((node.block, id(node.op)), ()):
            name = self.flow.writes[number].write.name
            if number < before:
                self.live |= {(name, cell) for cell in self._all(self._own(name), self._fixed(node))}

    def _matters(self, node: Node, argument: Node) -> bool:
        """Whether an argument counts: of `where`, only the branch that a known condition takes."""
        if node.op.name != "where":
            return True
        condition, then, otherwise = node.op.args
        known = {self._known.get(n.key) for n in self.nodes(node.block, condition, self._fixed(node))}
        if len(known) != 1 or None in known:
            return True
        return argument.op is (then if known.pop() else otherwise)


def _inside(op: Op, place: int, fixed: dict[str, int]) -> Fixed:
    """Return which letters of an argument are fixed, given those of the op."""
    if op.name == "take":
        return fixed | dict(op["at"])
    if op.name == "rename":
        old = {new: old for old, new in op["letters"]}
        return {old.get(letter, letter): number for letter, number in fixed.items()}
    if op.name in ("reduce", "contract"):
        bound = op["indices"]
    elif op.name == "net":
        bound = (op["index"], op["features"][place])
    elif op.name == "solve":
        bound = (op["row"], op["column"])
    else:
        return fixed
    return {letter: number for letter, number in fixed.items() if letter not in bound}


def _unrolled(extents: Mapping[str, int | str]) -> dict[str, int]:
    """Return the indices to unroll. Those with as many values stand for each other, so they are unrolled together."""
    chosen = {name: size for name, size in extents.items() if isinstance(size, int)}
    while math.prod(chosen.values()) > _MOST:
        largest = max(chosen.values())
        chosen = {name: size for name, size in chosen.items() if size < largest}
    return chosen
