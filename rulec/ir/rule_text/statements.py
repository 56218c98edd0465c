"""Write a block as statements: an order in which each reads what it must, and names for what several of them share.

In the IR every write reads the states from before the block; in a rule a statement sees what those above it have set. So a
statement stands below those that read what it sets; where they read from each other, what is read is put by under a name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rulec.ir.graph import Block, Op, Write, is_constant
from rulec.ir.rule_text.expressions import Spelling, Words
from rulec.ir.rule_text.nodes import NOWHERE, Index, indexed, name, unspeakable
from rulec.semantics.operators import ACTIVATIONS, BUILTIN_INDEXED, BUILTIN_NAMES, POINTWISE, REDUCTIONS, SPECIAL
from rulec.syntax import ast

Key = tuple[str, str, tuple[Index, ...]]  # a state, its side, and the component

_LEAVES = ("constant", "state", "genome", "input", "target", "prediction", "time", "position", "grad")
_WORTH_A_NAME = 4  # ops: `tanh(x)` and `0.3 * x` are read faster where they stand
_RESERVED = {*POINTWISE, *ACTIVATIONS, *SPECIAL, *REDUCTIONS, *BUILTIN_NAMES, *BUILTIN_INDEXED}


@dataclass(frozen=True, eq=False)
class _Unit:
    """One assignment: where to, and the value."""

    key: Key
    value: Op


def statements(block: Block, spelling: Spelling) -> tuple[ast.Assign, ...]:
    """Return the statements of a block; none if it changes nothing, unless it is an update."""
    units = [unit for write in block.writes for unit in _units(write, spelling)]
    written = _Statements(units, Words(spelling, block.kind)).write()
    if not written and block.kind in ("update", "parameters"):  # a rule must have an update
        first = block.writes[0]
        state = next((s for s in spelling.program.states if s.name == first.name), None)
        target = spelling.state(first.name, first.side, () if state is None else state.indices)
        written = [_assignment(target, target)]
    return tuple(written)


def _units(write: Write, spelling: Spelling) -> Iterator[_Unit]:
    """Take a write apart: a component that is inserted is an assignment of its own; the rest stays as it is."""
    state = next((s for s in spelling.program.states if s.name == write.name), None)
    own: tuple[Index, ...] = state.indices if state is not None else ()
    value, parts = write.value, []
    while value.name == "insert" and {i for i, _ in value["at"]} <= set(own):
        at = dict(value["at"])
        parts.append((tuple(at.get(str(i), i) for i in own), value.args[1]))
        value = value.args[0]
    complete = len({place for place, _ in parts}) == _count(own, spelling)
    if not _reads_itself(value, write) and not (parts and complete):
        parts.append((own, value))
    for place, part in reversed(parts):
        back = {}
        if part.name == "rename":  # a value along an index of the state is one along another letter of the block
            back = {new: old for old, new in part["letters"] if new in place}
            part = part.args[0] if len(back) == len(part["letters"]) else part
            back = back if part is not value or back else {}
        yield _Unit((write.name, write.side, tuple(back.get(str(i), i) for i in place)), part)


def _count(own: tuple[Index, ...], spelling: Spelling) -> int:
    """Return how many components a state has; none if that depends on the network."""
    total = 1
    for letter in own:
        extent = spelling.program.extents[str(letter)]
        total *= extent if isinstance(extent, int) else 0
    return total


def _reads_itself(value: Op, write: Write) -> bool:
    if value.name != "state" or (value["name"], value["side"]) != (write.name, write.side):
        return False
    return all(isinstance(i, str) for i in value["indices"])


class _Statements:
    """The assignments of one block, in the making."""

    def __init__(self, units: list[_Unit], words: Words) -> None:
        self.units, self.words = units, words
        self.spelling = spelling = words.spelling
        words.slope = self._slope
        self.prediction = next((u for u in units if u.key[0] == "prediction"), None)
        self.roots = {id(u.value) for u in units}  # what is read where it was set
        self.slopes: set[int] = set()  # what holds a derivative of the loss, which no local value may: see `Words`
        self.worthy = self._worthy()
        self.made: list[ast.Assign] = []
        self.taken = {
            *_RESERVED,
            *spelling.program.extents,
            *("i", "j", "n", "w"),
            *(state.name for state in spelling.program.states),
            *(entry.name for entry in spelling.program.genome),
            *(net.name for net in spelling.program.nets),
        }
        self.stems = Counter(stem for op in self.worthy.values() if (stem := self._stem(op)))

    def write(self) -> list[ast.Assign]:
        left = list(self.units)
        while left:
            free = [u for u in left if not self._blocked(u, left)]
            free.sort(key=lambda u: u is not self.prediction)
            unit = next((u for u in free if not self._uses_another(u, free)), None)
            if unit is None:
                unit = next(u for u in left if not self._waits(u, left))
                self._put_by(unit, left)
            left.remove(unit)
            self._assign(unit)
        return self.made

    # --- Order ---

    def _blocked(self, unit: _Unit, left: list[_Unit]) -> bool:
        return self._waits(unit, left) or any(True for _ in self._readers(unit, left))

    def _overwrites(self, unit: _Unit, left: list[_Unit]) -> bool:
        """Whether a unit sets a component of what a unit above it sets as a whole."""
        above = self.units[: self.units.index(unit)]
        return any(u in left and u.key[:2] == unit.key[:2] and _meet(u.key[2], unit.key[2]) for u in above)

    def _uses_another(self, unit: _Unit, free: list[_Unit]) -> bool:
        """Whether another unit sets a state to a part of this one's value, which can then read that state."""
        if unit is self.prediction:
            return False
        parts = {id(op) for op in self._printed([unit.value])} & set(self.worthy)
        return any(id(u.value) in parts and u.value is not unit.value for u in free)

    def _waits(self, unit: _Unit, left: list[_Unit]) -> bool:
        """Whether a unit needs the prediction, or the whole of its state, that this block has yet to set."""
        if self._overwrites(unit, left):
            return True
        if self.prediction not in left or unit is self.prediction:
            return False
        return any(op.name == "loss_slope" or (op.name == "loss" and op.args) for op in self._printed([unit.value]))

    def _readers(self, unit: _Unit, left: list[_Unit]) -> Iterator[Op]:
        """Yield what other units read, and this one sets."""
        named = {id(op) for op in self._printed([unit.value]) if id(op) in self.worthy}
        others = [u.value for u in left if u is not unit]
        for op in self._printed(others, named):
            if id(op) not in named and self._reads(op, unit.key):
                yield op

    def _reads(self, op: Op, key: Key) -> bool:
        if key[0] == "prediction":
            return op.name == "prediction" or (op.name == "loss" and not op.args)
        if op.name == "loss_slope" and self.prediction is not None:
            op = self.prediction.value
        if op.name != "state" or op["name"] != key[0]:
            return False
        side = ",".join(map(self.spelling.side, op["side"].split(",")))
        return side == key[1] and _meet(op["indices"], key[2])

    def _put_by(self, unit: _Unit, left: list[_Unit]) -> None:
        """Name what others still read of what a unit sets."""
        for op in list(self._readers(unit, left)):
            if op.name == "loss_slope":
                raise unspeakable(op, "the prediction's own state changes before its loss is differentiated")
            if id(op) not in self.words.names:
                self._name(op, f"{op.name if op.name in ('loss', 'prediction') else op['name']}_before")

    # --- Names ---

    def _worthy(self) -> dict[int, Op]:
        """Return what is to have a name: shared by several, and not short."""
        order = list(_walk([u.value for u in self.units], through_renames=False))
        uses = Counter(id(a) for op in order for a in _children(op, through_renames=False))
        uses.update(id(u.value) for u in self.units)
        sizes: dict[int, int] = {}
        noisy: set[int] = set()
        slopes = self.slopes
        for op in order:
            children = _children(op, through_renames=False)
            sizes[id(op)] = 1 + sum(sizes[id(a)] for a in children)
            noisy |= {id(op)} if op.name == "noise" or any(id(a) in noisy for a in children) else set()
            slopes |= {id(op)} if op.name == "loss_slope" or any(id(a) in slopes for a in children) else set()
        worthy = {
            id(op): op
            for op in order
            if op.name not in _LEAVES
            and uses[id(op)] > 1
            and (id(op) in self.roots or (id(op) not in slopes and (sizes[id(op)] >= _WORTH_A_NAME or id(op) in noisy)))
        }
        for op in [op for op in worthy.values() if id(op) not in self.roots and _is_scaled(op)]:
            worthy.setdefault(id(op.args[-1]), op.args[-1])  # a number times what has a name is short enough
            del worthy[id(op)]
        if slopes and self.prediction is not None and self.prediction.value.name != "state":
            worthy[id(self.prediction.value)] = self.prediction.value
            self.roots -= {id(self.prediction.value)}  # `diff` takes the local value
        return worthy

    def _stem(self, op: Op) -> str:
        span = op.span
        return "" if span is None else self.spelling.local_names.get((span.start, span.end), "")

    def _name(self, op: Op, stem: str = "") -> None:
        """Assign a value to a new name."""
        own = self._stem(op)
        numbered = not stem and (not own or self.stems[own] > 1)
        stem = stem or own or "part"
        spelled, count = (f"{stem}0", 0) if numbered else (stem, -1)
        while spelled in self.taken:
            count += 1
            spelled = f"{stem}{count}"
        self.taken.add(spelled)
        self.words.target = frozenset()
        self.made.append(ast.Assign(name(spelled), "=", self.words.write(op), span=NOWHERE))
        self.words.names[id(op)] = name(spelled)

    # --- Statements ---

    def _assign(self, unit: _Unit) -> None:
        for op in _walk([unit.value], stop=self.words.names, through_renames=False):
            itself = op is unit.value and id(op) in self.roots
            if id(op) in self.worthy and id(op) not in (*self.words.names, *self.slopes) and not itself:
                self._name(op)
        self._check_losses(unit)
        self.words.target = unit.value.axes
        own, side, place = unit.key
        target = indexed("prediction", ("j",)) if own == "prediction" else self.spelling.state(own, side, place)
        value = self.words.write(unit.value)
        self.made.append(_assignment(target, value))
        if id(unit.value) in self.worthy and id(unit.value) in self.roots:
            self.words.names.setdefault(id(unit.value), target)

    def _check_losses(self, unit: _Unit) -> None:
        for op in self._printed([unit.value]):
            if op.name == "loss" and op.args and not self._is_prediction(op.args[0]):
                raise unspeakable(op, "it belongs to another prediction than the one that is set")

    def _slope(self, op: Op) -> ast.Expression:
        """Return the variable by which the loss is differentiated: what the prediction is set to."""
        if not op.args or not self._is_prediction(op.args[0]):
            raise unspeakable(op, "it belongs to another prediction than the one that is set")
        assert self.prediction is not None
        return self.words.write(self.prediction.value)

    def _is_prediction(self, op: Op) -> bool:
        return self.prediction is not None and op is self.prediction.value

    def _printed(self, roots: Iterable[Op], stop: Iterable[int] = ()) -> Iterator[Op]:
        return _walk(roots, {*stop, *self.words.names})


def _is_scaled(op: Op) -> bool:
    """Whether a value is a number, or a sign, times a value that could have a name."""
    if op.name != "neg" and not (op.name == "mul" and is_constant(op.args[0])):
        return False
    return op.args[-1].name not in _LEAVES


def _meet(one: tuple[Index, ...], other: tuple[Index, ...]) -> bool:
    """Whether two places of a state have a component in common."""
    return all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in zip(one, other, strict=True))


def _assignment(target: ast.Name | ast.Indexed, value: ast.Expression) -> ast.Assign:
    """Write `x = x + y` as `x += y`."""
    if isinstance(value, ast.Binary) and value.operator in ("+", "-") and value.left == target:
        return ast.Assign(target, f"{value.operator}=", value.right, span=NOWHERE)
    return ast.Assign(target, "=", value, span=NOWHERE)


def _children(op: Op, through_renames: bool = True) -> tuple[Op, ...]:
    """Return the arguments that are written with an op."""
    if op.name in ("loss", "loss_slope") or (op.name == "rename" and not through_renames):
        return ()
    if op.name == "insert" and is_constant(op.args[0], 0.0):
        return op.args[1:]
    return op.args


def _walk(roots: Iterable[Op], stop: Iterable[int] = (), through_renames: bool = True) -> Iterator[Op]:
    """Yield every op that is written, arguments before users; look no further than the ids in `stop`."""
    ends = set(stop)
    seen: set[int] = set()

    def visit(op: Op) -> Iterator[Op]:
        if id(op) in seen:
            return
        seen.add(id(op))
        if id(op) not in ends:
            for argument in _children(op, through_renames):
                yield from visit(argument)
        yield op

    for root in roots:
        yield from visit(root)
