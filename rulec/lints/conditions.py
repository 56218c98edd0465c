"""What is known of values where a condition holds: inside `where(x > 1, f(x), 0)`, that x is above 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from rulec.ir.graph import Op
from rulec.lints.functions import square
from rulec.lints.intervals import (
    NEGATIVE,
    NON_NEGATIVE,
    NON_POSITIVE,
    NONZERO,
    POSITIVE,
    ZERO,
    Interval,
    add,
    between,
    divide,
    intersect,
    negate,
    subtract,
)
from rulec.semantics.typed import Axes

_DEEPEST = 8  # how far a condition on a value is followed into what the value is computed from


class Facts:
    """What holds where an op is evaluated, beyond what always holds. `memo` keeps the ranges worked out here."""

    def __init__(self, known: dict[int, tuple[Interval, Axes]] | None = None, possible: bool = True) -> None:
        self.known = known or {}
        self.possible = possible  # False: the conditions contradict each other, so nothing is chosen here
        self.parent: Facts | None = None
        self.chooser: Op | None = None  # the `where` whose condition was added to the parent's
        self.truth = True
        self.memo: dict[tuple[int, tuple[tuple[str, int], ...]], Interval] = {}
        self._inner: dict[tuple[object, ...], Facts] = {}

    def under(self, where: Op, truth: bool, ranges: Ranging) -> Facts:
        """Return what is known where a `where` chooses its second argument (or its third, if not `truth`)."""
        key = (id(where), truth)
        if key not in self._inner:
            inner = _assume(where.args[0], truth, self, ranges)
            inner = Facts(inner.known, inner.possible and self.possible)
            inner.parent, inner.chooser, inner.truth = self, where, truth
            self._inner[key] = inner
        return self._inner[key]

    def outside(self, indices: Axes) -> Facts:
        """Return what is known inside a reduction over these indices: nothing of values that vary with them."""
        if not any(axes & indices for _, axes in self.known.values()):
            return self
        key = ("outside", indices)
        if key not in self._inner:
            inner = Facts({n: fact for n, fact in self.known.items() if not fact[1] & indices}, self.possible)
            inner.parent, inner.chooser, inner.truth = self.parent, self.chooser, self.truth
            self._inner[key] = inner
        return self._inner[key]


class Ranging(Protocol):
    """What knows the ranges of ops."""

    def of(self, op: Op, facts: Facts, at: tuple[tuple[str, int], ...] = ()) -> Interval: ...

    def number(self, op: Op) -> int: ...

    def find(self, name: str, *args: Op) -> Op | None: ...


def _assume(condition: Op, truth: bool, facts: Facts, ranges: Ranging) -> Facts:
    """Return the facts with a condition added, or its negation."""
    name, args = condition.name, condition.args
    if name == "not":
        return _assume(args[0], not truth, facts, ranges)
    if _is_conjunction(condition, truth, facts, ranges):
        return _assume(args[1], truth, _assume(args[0], truth, facts, ranges), ranges)
    if name in _NEGATION:
        return _compared(name if truth else _NEGATION[name], args[0], args[1], facts, ranges)
    return _narrow(condition, NONZERO if truth else ZERO, facts, ranges)


def _is_conjunction(condition: Op, truth: bool, facts: Facts, ranges: Ranging) -> bool:
    """Whether a condition holds, or fails, only where both its arguments do. `and` is `min`, `or` is `max`."""
    if condition.name == "mul":
        return truth
    if condition.name != ("min" if truth else "max"):
        return False
    return all(ranges.of(a, facts).low >= 0 for a in condition.args)


_NEGATION = {
    "less": "greater_equal",
    "less_equal": "greater",
    "greater": "less_equal",
    "greater_equal": "less",
    "equal": "not_equal",
    "not_equal": "equal",
}
_MIRRORED = {"less": "greater", "less_equal": "greater_equal", "greater": "less", "greater_equal": "less_equal"}


def _compared(name: str, a: Op, b: Op, facts: Facts, ranges: Ranging) -> Facts:
    """Each side limits the other; their difference, where the rule has it, has a sign."""
    difference = {
        "less": NEGATIVE,
        "less_equal": NON_POSITIVE,
        "greater": POSITIVE,
        "greater_equal": NON_NEGATIVE,
        "equal": ZERO,
        "not_equal": NONZERO,
    }[name]
    for left, right, relation in ((a, b, name), (b, a, _MIRRORED.get(name, name))):
        facts = _narrow(left, _beside(relation, ranges.of(right, facts)), facts, ranges)
    for left, right, signed in ((a, b, difference), (b, a, negate(difference))):
        known = ranges.find("sub", left, right)
        facts = facts if known is None else _narrow(known, signed, facts, ranges)
    return facts


def _beside(relation: str, other: Interval) -> Interval:
    """Return where a value lies that stands in this relation to another one."""
    if relation in ("less", "less_equal"):
        return between(-math.inf, other.high, "(" + (")" if relation == "less" or other.high_open else "]"))
    if relation in ("greater", "greater_equal"):
        return between(other.low, math.inf, ("(" if relation == "greater" or other.low_open else "[") + ")")
    if relation == "equal":
        return other
    return NONZERO if other == ZERO else between(-math.inf, math.inf)


def _narrow(op: Op, bound: Interval, facts: Facts, ranges: Ranging, depth: int = 0) -> Facts:
    """Return the facts with an op known to lie in an interval, and what follows for its arguments."""
    before = ranges.of(op, facts)
    now = intersect(before, bound)
    if now is None:
        return Facts(facts.known, possible=False)
    if now == before or op.name == "constant":
        return facts
    facts = Facts({**facts.known, ranges.number(op): (now, op.axes)}, facts.possible)
    follow = _FOLLOWING.get(op.name)
    return facts if follow is None or depth == _DEEPEST else follow(op, now, facts, ranges, depth + 1)


Following = Callable[[Op, Interval, Facts, Ranging, int], Facts]


def _through(inverse: Callable[[Interval], Interval]) -> Following:
    """The argument lies where the inverse takes the value."""
    return lambda op, now, facts, ranges, depth: _narrow(op.args[0], inverse(now), facts, ranges, depth)


def _of_size(now: Interval) -> Interval:
    """Return where a number lies whose size is known."""
    return between(-now.high, now.high, ("(" if now.high_open else "[") + (")" if now.high_open else "]"), now.nonzero)


def _of_square(now: Interval) -> Interval:
    return NONZERO if now.nonzero else between(-math.inf, math.inf)


def _of_relu(now: Interval) -> Interval:
    return now if now.nonzero else between(-math.inf, now.high, "(" + (")" if now.high_open else "]"))


def _of_power(op: Op, now: Interval, facts: Facts, ranges: Ranging, depth: int) -> Facts:
    positive = ranges.of(op.args[1], facts).low > 0
    return _narrow(op.args[0], NONZERO, facts, ranges, depth) if positive and now.nonzero else facts


def _of_sum(op: Op, now: Interval, facts: Facts, ranges: Ranging, depth: int) -> Facts:
    a, b = op.args
    facts = _narrow(a, subtract(now, ranges.of(b, facts)), facts, ranges, depth)
    return _narrow(b, subtract(now, ranges.of(a, facts)), facts, ranges, depth)


def _of_difference(op: Op, now: Interval, facts: Facts, ranges: Ranging, depth: int) -> Facts:
    a, b = op.args
    facts = _narrow(a, add(now, ranges.of(b, facts)), facts, ranges, depth)
    return _narrow(b, subtract(ranges.of(a, facts), now), facts, ranges, depth)


def _of_product(op: Op, now: Interval, facts: Facts, ranges: Ranging, depth: int) -> Facts:
    for one, other in (op.args, reversed(op.args)):
        if now.nonzero:
            facts = _narrow(one, NONZERO, facts, ranges, depth)
        factor = ranges.of(other, facts)
        if 0 not in factor:
            facts = _narrow(one, divide(now, factor), facts, ranges, depth)
    return facts


_FOLLOWING: dict[str, Following] = {
    "stop": _through(lambda now: now),
    "identity": _through(lambda now: now),
    "neg": _through(negate),
    "abs": _through(_of_size),
    "square": _through(_of_square),
    "sqrt": _through(square),
    "relu": _through(_of_relu),
    "pow": _of_power,
    "add": _of_sum,
    "sub": _of_difference,
    "mul": _of_product,
}
