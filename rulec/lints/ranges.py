"""Ranges: the interval in which an op's value lies, from those of what it is computed from.

Interval arithmetic forgets that two values are the same one. Where rules rely on it, it is remembered: `x * x` is a
square, `x - x` is 0, and `r * a + (1 - r) * b` lies between `a` and `b`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from rulec.ir.graph import Nested, Op, is_constant
from rulec.ir.passes.pullback import factors_of
from rulec.lints.conditions import Facts
from rulec.lints.functions import UNARY, norm, power, softmax, square, total, variance
from rulec.lints.intervals import (
    AT_LEAST_ONE,
    NON_NEGATIVE,
    ONE,
    REALS,
    TRUTH,
    ZERO,
    Interval,
    add,
    between,
    divide,
    filled,
    hull,
    intersect,
    maximum,
    minimum,
    multiply,
    point,
    precedes,
    subtract,
)
from rulec.lints.numbering import Numbering
from rulec.semantics.typed import Extent

At = tuple[tuple[str, int], ...]  # fixed components: pairs (index, number), sorted
Leaf = Callable[[Op, At], Interval]

_LEAVES = frozenset(("state", "genome", "prediction"))


class Ranges:
    """The ranges of ops in one evaluation of one block. `leaf` says those of states, genome entries and the prediction."""

    def __init__(self, numbers: Numbering, extents: Mapping[str, Extent], leaf: Leaf) -> None:
        self.numbers, self.extents, self.leaf = numbers, extents, leaf
        self.root = Facts()

    def number(self, op: Op) -> int:
        return self.numbers[op]

    def find(self, name: str, *args: Op) -> Op | None:
        return self.numbers.find(name, *args)

    def of(self, op: Op, facts: Facts | None = None, at: At = ()) -> Interval:
        """Return the range of an op where some facts hold; `at`: of these components only."""
        facts = facts or self.root
        at = tuple(pair for pair in at if pair[0] in op.axes) if at else at
        key = (self.numbers[op], at)
        if key not in facts.memo:
            value = self._computed(op, facts, at)
            if self.numbers[op] in facts.known:
                value = intersect(value, facts.known[self.numbers[op]][0]) or value
            facts.memo[key] = value
        return facts.memo[key]

    def count(self, indices: tuple[str, ...]) -> Interval:
        """Return how many values the indices take together."""
        size = ONE
        for index in indices:
            extent = self.extents.get(index)
            size = multiply(size, point(float(extent)) if isinstance(extent, int) else AT_LEAST_ONE)
        return size

    def _computed(self, op: Op, facts: Facts, at: At) -> Interval:
        if op.name in _LEAVES:
            return self.leaf(op, at)
        rule = _RULES.get(op.name)
        if rule is not None:
            return rule(self, op, facts, at)
        if op.name in UNARY:
            return UNARY[op.name](self.of(op.args[0], facts, at))
        return REALS  # data, noise, gradients, nets, and what belongs to the layer

    # --- Ops that remember ---

    def _add(self, op: Op, facts: Facts, at: At) -> Interval:
        a, b = (self.of(x, facts, at) for x in op.args)
        return self._mixture(op, facts, at) or add(a, b)

    def _sub(self, op: Op, facts: Facts, at: At) -> Interval:
        if self.numbers.same(*op.args):
            return ZERO
        a, b = (self.of(x, facts, at) for x in op.args)
        return self._mixture(op, facts, at) or subtract(a, b)

    def _mixture(self, op: Op, facts: Facts, at: At) -> Interval | None:
        """Return the range of a mean of two values with weights between 0 and 1, if the op is one."""
        for share, a, b in _mixtures(op, self.numbers):
            weight = self.of(share, facts, at)
            if intersect(weight, TRUTH) != weight:
                continue
            first, second = self.of(a, facts, at), self.of(b, facts, at)
            parts = add(multiply(weight, first), multiply(subtract(ONE, weight), second))
            return intersect(hull(first, second), parts)
        return None

    def _mul(self, op: Op, facts: Facts, at: At) -> Interval:
        a, b = op.args
        if self.numbers.same(a, b):
            return square(self.of(a, facts, at))
        counts = Counter(self.numbers[f] for f in factors_of(op))
        if max(counts.values()) == 1:
            return multiply(self.of(a, facts, at), self.of(b, facts, at))
        product, seen = ONE, set()
        for factor in factors_of(op):
            number = self.numbers[factor]
            if number not in seen:
                seen.add(number)
                product = multiply(product, power(self.of(factor, facts, at), point(float(counts[number]))))
        return product

    def _div(self, op: Op, facts: Facts, at: At) -> Interval:
        a, b = (self.of(x, facts, at) for x in op.args)
        return ONE if self.numbers.same(*op.args) else divide(a, b)

    def _pow(self, op: Op, facts: Facts, at: At) -> Interval:
        base, exponent = op.args
        return power(self.of(base, facts, at), self.of(exponent, facts, at))

    def _where(self, op: Op, facts: Facts, at: At) -> Interval:
        branches = [
            self.of(op.args[place], inner, at)
            for place, truth in ((1, True), (2, False))
            if (inner := facts.under(op, truth, self)).possible
        ]
        return hull(*branches) if branches else REALS

    # --- Comparisons and choices ---

    def _compare(self, op: Op, facts: Facts, at: At) -> Interval:
        a, b = (self.of(x, facts, at) for x in op.args)
        if op.name in ("greater", "greater_equal"):
            a, b = b, a
        strictly = op.name in ("less", "greater")
        return ONE if precedes(a, b, strictly) else ZERO if precedes(b, a, not strictly) else TRUTH

    def _equal(self, op: Op, facts: Facts, at: At) -> Interval:
        a, b = (self.of(x, facts, at) for x in op.args)
        same = self.numbers.same(*op.args) or (a.is_point and a == b)
        apart = precedes(a, b, True) or precedes(b, a, True) or (ZERO in (a, b) and intersect(a, b) is None)
        yes, no = (ONE, ZERO) if op.name == "equal" else (ZERO, ONE)
        return yes if same else no if apart else TRUTH

    def _not(self, op: Op, facts: Facts, at: At) -> Interval:
        value = self.of(op.args[0], facts, at)
        return ONE if value == ZERO else TRUTH if 0 in value else ZERO

    def _extreme(self, op: Op, facts: Facts, at: At) -> Interval:
        a, b = (self.of(x, facts, at) for x in op.args)
        return minimum(a, b) if op.name == "min" else maximum(a, b)

    # --- Axes ---

    def _reduce(self, op: Op, facts: Facts, at: At) -> Interval:
        indices = op["indices"]
        x = self.of(op.args[0], facts.outside(frozenset(indices)), tuple(p for p in at if p[0] not in indices))
        if op["operator"] in ("max", "min"):
            return x
        if op["operator"] in ("mean", "var"):
            return filled(x) if op["operator"] == "mean" else variance(x)
        count = self.count(indices)
        return (
            softmax(count) if op["operator"] == "softmax" else (norm if op["operator"] == "norm" else total)(x, count)
        )

    def _take(self, op: Op, facts: Facts, at: At) -> Interval:
        fixed = dict(op["at"])
        return self.of(op.args[0], facts.outside(frozenset(fixed)), _sorted({**dict(at), **fixed}))

    def _insert(self, op: Op, facts: Facts, at: At) -> Interval:
        before, value = op.args
        fixed, asked = dict(op["at"]), dict(at)
        inner = facts.outside(frozenset(fixed))
        if any(asked.get(index, number) != number for index, number in fixed.items()):
            return self.of(before, inner, at)
        new = self.of(value, inner, _sorted({i: n for i, n in asked.items() if i not in fixed}))
        return new if fixed.keys() <= asked.keys() else hull(self.of(before, inner, at), new)

    def _rename(self, op: Op, facts: Facts, at: At) -> Interval:
        back = {new: old for old, new in op["letters"]}
        letters = frozenset(back) | frozenset(back.values())
        return self.of(op.args[0], facts.outside(letters), _sorted({back.get(i, i): n for i, n in at}))

    # --- Values without arguments ---

    def _constant(self, op: Op, facts: Facts, at: At) -> Interval:
        return point(op["value"])

    def _array(self, op: Op, facts: Facts, at: At) -> Interval:
        return hull(*(point(value) for value in _numbers(op["values"])))

    def _position(self, op: Op, facts: Facts, at: At) -> Interval:
        if at:
            return point(float(at[0][1]))
        extent = self.extents.get(op["index"])
        return between(0.0, float(extent - 1)) if isinstance(extent, int) else NON_NEGATIVE


def _numbers(values: Nested) -> Iterator[float]:
    if isinstance(values, tuple):
        for part in values:
            yield from _numbers(part)
    else:
        yield values


def is_whole(op: Op) -> bool:
    """Whether a value is a whole number for certain, as the step counter and positions are."""
    if op.name == "constant":
        return float(op["value"]).is_integer()
    if op.name in ("add", "sub", "mul", "neg"):
        return all(is_whole(a) for a in op.args)
    return op.name in ("time", "extent", "position")


def _sorted(fixed: Mapping[str, int]) -> At:
    return tuple(sorted(fixed.items()))


def _mixtures(op: Op, numbers: Numbering) -> list[tuple[Op, Op, Op]]:
    """Return the ways to read an op as `share * a + (1 - share) * b`."""
    left, right = op.args
    found = []
    if op.name == "add":
        for one, other in ((left, right), (right, left)):
            if other.name != "mul":
                continue
            for share, change in (other.args, other.args[::-1]):
                if change.name == "sub" and numbers.same(change.args[1], one):  # b + share * (a - b)
                    found.append((share, change.args[0], one))
                if share.name == "sub" and is_constant(share.args[0], 1.0) and one.name == "mul":
                    rest = [x for x, y in (one.args, one.args[::-1]) if numbers.same(y, share.args[1])]
                    found += [(share.args[1], a, change) for a in rest]
    elif right.name == "mul":
        for share, change in (right.args, right.args[::-1]):
            if change.name == "sub" and numbers.same(change.args[0], left):  # b - share * (b - a)
                found.append((share, change.args[1], left))
    return found


_RULES: dict[str, Callable[[Ranges, Op, Facts, At], Interval]] = {
    "constant": Ranges._constant,
    "array": Ranges._array,
    "time": lambda ranges, op, facts, at: AT_LEAST_ONE,
    "extent": lambda ranges, op, facts, at: ranges.count((op["index"],)),
    "position": Ranges._position,
    "loss": lambda ranges, op, facts, at: NON_NEGATIVE,
    "stop": lambda ranges, op, facts, at: ranges.of(op.args[0], facts, at),
    "add": Ranges._add,
    "sub": Ranges._sub,
    "mul": Ranges._mul,
    "div": Ranges._div,
    "pow": Ranges._pow,
    "where": Ranges._where,
    "less": Ranges._compare,
    "less_equal": Ranges._compare,
    "greater": Ranges._compare,
    "greater_equal": Ranges._compare,
    "equal": Ranges._equal,
    "not_equal": Ranges._equal,
    "not": Ranges._not,
    "min": Ranges._extreme,
    "max": Ranges._extreme,
    "reduce": Ranges._reduce,
    "take": Ranges._take,
    "insert": Ranges._insert,
    "rename": Ranges._rename,
}
