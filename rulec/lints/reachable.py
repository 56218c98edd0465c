"""Reachable values: the range of every state, whenever a block reads it, in any step of any run.

Blocks are run on ranges instead of numbers. A network has three kinds of layers here, the input layer, hidden ones and the
output layer; what persists from step to step is run until nothing new is reached. Layers are taken to be dense: what
padding and residual sums do to a value on its way to the next layer is left out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from rulec.ir.graph import Block, Op, Program, Repeat, Write, walk_blocks, walk_ops
from rulec.ir.signals import clamped_states
from rulec.lints.beginnings import genome_range, initial_range
from rulec.lints.intervals import REALS, ZERO, Interval, hull, widen
from rulec.lints.numbering import Numbering
from rulec.lints.ranges import At, Ranges
from rulec.lints.unread import unread
from rulec.semantics.typed import State

Kind = Literal["input", "hidden", "output", ""]  # of layer; "" for what belongs to no layer
Component = tuple[int, ...]
Place = tuple[str, Kind, Component]  # a state (or "prediction"), where it is, and which of its components
Values = dict[Place, Interval]

_MOST_COMPONENTS = 16  # a state with more has one range for all
_PLAIN_ROUNDS = 3  # before ranges are widened to come to rest
_PREDICTION: Place = ("prediction", "", ())


@dataclass(frozen=True)
class Evaluation:
    """A block at a kind of layer, what is known of the values that it reads there, and what it writes that is read."""

    block: Block
    kind: Kind
    ranges: Ranges
    writes: tuple[Write, ...]


@dataclass(frozen=True)
class _Visit:
    """Where a block is run: at layers of kind `own` as neurons `letter`, with these kinds at the other end.

    What the layer itself holds is read from `before`, all else from `now`.
    """

    letter: str
    own: Kind
    others: tuple[Kind, ...]
    before: Values
    now: Values


def anywhere(program: Program, numbers: Numbering) -> list[Evaluation]:
    """Return the blocks with nothing known of states: what is safe here is safe."""
    genome = {entry.name: genome_range(entry) for entry in program.genome}
    ranges = Ranges(numbers, program.extents, lambda op, at: genome[op["name"]] if op.name == "genome" else REALS)
    return [Evaluation(block, "", ranges, block.writes) for block in walk_blocks(program.blocks)]


def reachable(program: Program, numbers: Numbering) -> list[Evaluation]:
    """Return every block with the ranges of what it reads, once for each kind of layer that it visits."""
    return _Reach(program, numbers).run()


class _Reach:
    def __init__(self, program: Program, numbers: Numbering) -> None:
        self.program, self.numbers = program, numbers
        self.states = {state.name: state for state in program.states}
        self.genome = {entry.name: genome_range(entry) for entry in program.genome}
        self.clamped = clamped_states(program)
        self.components = {state.name: _components(state) for state in program.states}
        self.unread = unread(program)
        self.evaluations: list[Evaluation] = []

    def run(self) -> list[Evaluation]:
        start = self._initial()
        lasting = [place for place in start if self._lasts(place[0])]

        def step(values: Values) -> Values:
            after = self._blocks(self.program.blocks, {**start, **values})
            return {place: after[place] for place in lasting}

        values = _rest({place: start[place] for place in lasting}, step)
        self.evaluations.clear()
        self._blocks(self.program.blocks, {**start, **values})
        return self.evaluations

    def _lasts(self, name: str) -> bool:
        state = self.states.get(name)
        return state is not None and (state.kind == "synapse" or state.keep)

    def _initial(self) -> Values:
        values: Values = {_PREDICTION: REALS}
        for state in self.program.states:
            kinds: tuple[Kind, ...] = ("input", "hidden", "output") if state.kind == "neuron" else ("",)
            for kind, component in itertools.product(kinds, self.components[state.name]):
                values[(state.name, kind, component)] = initial_range(state.initial, self.states, component)
        return values

    # --- Blocks ---

    def _blocks(self, blocks: Iterable[Block | Repeat], values: Values) -> Values:
        for block in blocks:
            if isinstance(block, Repeat):
                values = self._repeat(block, values)
            else:
                values = getattr(self, f"_{block.kind}")(block, values)
        return values

    def _repeat(self, repeat: Repeat, values: Values) -> Values:
        seen = len(self.evaluations)
        values = _rest(values, lambda now: self._blocks(repeat.body, now))
        del self.evaluations[seen:]  # those on the way to rest; the run below has them all
        return self._blocks(repeat.body, values)

    def _input(self, block: Block, values: Values) -> Values:
        return {**values, **self._visit(block, _Visit("i", "input", (), values, values))}

    def _output(self, block: Block, values: Values) -> Values:
        return {**values, **self._visit(block, _Visit("j", "output", (), values, values))}

    def _forward(self, block: Block, values: Values) -> Values:
        return self._sweep(block, values, "j", "input", "output")

    def _backward(self, block: Block, values: Values) -> Values:
        return self._sweep(block, values, "i", "output", "input")

    def _sweep(self, block: Block, values: Values, letter: str, first: Kind, last: Kind) -> Values:
        """Visit hidden layers, the first of which sees only the layer where the sweep begins; then the last layer."""
        seen = len(self.evaluations)
        reached = {**values, **self._visit(block, _Visit(letter, "hidden", (first,), values, values))}
        broadcasts = {place for place in reached if place[1] == ""}  # a network may have no hidden layer
        reached |= {place: hull(values[place], reached[place]) for place in broadcasts}

        def again(now: Values) -> Values:
            return {**now, **self._visit(block, _Visit(letter, "hidden", (first, "hidden"), values, now))}

        reached = _rest(reached, again)
        del self.evaluations[seen:]
        again(reached)
        end = self._visit(block, _Visit(letter, last, (first, "hidden"), values, reached))
        kept = self.clamped if last == "input" else frozenset()
        return {**reached, **{place: value for place, value in end.items() if place[0] not in kept}}

    def _update(self, block: Block, values: Values) -> Values:
        return {**values, **self._visit(block, _Visit("", "", (), values, values))}

    _parameters = _update

    def _visit(self, block: Block, visit: _Visit) -> Values:
        """Return what the block writes at this place."""
        ranges = Ranges(self.numbers, self.program.extents, lambda op, at: self._read(op, at, visit))
        writes = tuple(write for write in block.writes if (write.name, visit.own) not in self.unread)
        self.evaluations.append(Evaluation(block, visit.own, ranges, writes))
        for op in walk_ops([w.value for w in block.writes]):  # arguments first, so that nothing recurs deeply
            ranges.of(op)
        new: Values = {}
        for write in block.writes:
            new |= self._written(write, visit, ranges)
        return new

    def _written(self, write: Write, visit: _Visit, ranges: Ranges) -> Values:
        if write.name == "prediction":
            return {_PREDICTION: ranges.of(write.value)}
        state = self.states.get(write.name)
        if state is None:  # the network's own parameters
            return {}
        kind: Kind = visit.own if state.kind == "neuron" else ""
        return {
            (state.name, kind, component): ranges.of(write.value, at=_fixed(state, component))
            for component in self.components[state.name]
        }

    # --- Reading ---

    def _read(self, op: Op, at: At, visit: _Visit) -> Interval:
        if op.name == "genome":
            return self.genome[op["name"]]
        if op.name == "prediction":
            return visit.now[_PREDICTION]
        state = self.states.get(op["name"])
        if state is None:
            return REALS
        asked = [dict(at).get(i) if isinstance(i, str) else i for i in op["indices"]]
        chosen = [
            c
            for c in self.components[state.name]
            if not c or all(want in (None, have) for want, have in zip(asked, c, strict=True))
        ]
        side = self._side(op["side"])
        parts = [
            values[(state.name, kind, component)]
            for values, kind in self._read_at(state, side, visit)
            for component in chosen
        ]
        if state.kind == "synapse" and side == "i":
            parts.append(ZERO)  # neurons of the input layer have none
        return hull(*parts)

    def _side(self, letter: str) -> str:
        owner = self.program.extents.get(letter)
        return str(owner) if owner in ("i", "j") else letter

    def _read_at(self, state: State, side: str, visit: _Visit) -> list[tuple[Values, Kind]]:
        """Return where a state of this side may be read, and as of when."""
        if state.kind != "neuron":
            return [(visit.now, "")]
        if side == visit.letter:
            return [(visit.before, visit.own)]
        ends: tuple[Kind, ...] = ("input", "hidden") if side == "i" else ("hidden", "output")
        return [(visit.now, kind) for kind in visit.others or ends]


def _fixed(state: State, component: Component) -> At:
    return tuple(sorted(zip(state.indices, component, strict=True))) if component else ()


def _components(state: State) -> list[Component]:
    sizes = [size for size in state.shape if isinstance(size, int)]
    if len(sizes) < len(state.shape) or math.prod(sizes) > _MOST_COMPONENTS:
        return [()]
    return list(itertools.product(*(range(size) for size in sizes)))


def _rest(values: Values, step: Callable[[Values], Values]) -> Values:
    """Return values that a step adds nothing to, reached from these."""
    for rounds in itertools.count():
        after = step(values)
        join = hull if rounds < _PLAIN_ROUNDS else widen
        wider = {place: join(value, after[place]) for place, value in values.items()}
        if wider == values:
            return values
        values = wider
    raise AssertionError
