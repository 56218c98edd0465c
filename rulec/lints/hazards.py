"""Hazards: where a value or a derivative of one op does not exist, from the ranges of its arguments alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from rulec.ir.graph import Op, is_constant
from rulec.lints.conditions import Facts
from rulec.lints.derivatives import Derivatives
from rulec.lints.intervals import NEGATIVE, TINIEST, Interval, between, intersect
from rulec.lints.ranges import Ranges, is_whole

Kind = Literal["division-by-zero", "outside-its-domain", "infinite-derivative"]
Bad = Literal["zero", "negative"]


@dataclass(frozen=True)
class Hazard:
    """An op that fails where one of its arguments is bad. `order`: of the derivative that fails, 0 for the value."""

    kind: Kind
    op: Op
    place: int  # of the argument
    bad: Bad
    order: int = 0

    @property
    def argument(self) -> Op:
        return self.op.args[self.place]


@dataclass(frozen=True)
class Evaluated:
    """What is known where an op is evaluated; `wanted`: a derivative flows back to it."""

    ranges: Ranges
    facts: Facts
    derivatives: Derivatives
    wanted: bool

    def range(self, op: Op) -> Interval:
        return self.ranges.of(op, self.facts)

    def differentiated(self, op: Op) -> bool:
        return self.wanted and self.derivatives.carried_by(op)


def hazards(op: Op, seen: Evaluated) -> Iterator[Hazard]:
    """Yield what may go wrong at one op: the worst of it, once for each argument."""
    rule = _RULES.get(op.name)
    if rule is not None:
        yield from rule(op, seen)


def _division(op: Op, seen: Evaluated) -> Iterator[Hazard]:
    if 0 in seen.range(op.args[1]):
        yield Hazard("division-by-zero", op, 1, "zero")


def _logarithm(op: Op, seen: Evaluated) -> Iterator[Hazard]:
    bad = _bad(seen.range(op.args[0]))
    if bad is not None:
        yield Hazard("outside-its-domain", op, 0, bad)


def _root(op: Op, seen: Evaluated) -> Iterator[Hazard]:
    bad = _bad(seen.range(op.args[0]))
    if bad == "negative":
        yield Hazard("outside-its-domain", op, 0, bad)
    elif bad == "zero" and seen.differentiated(op.args[0]):
        yield Hazard("infinite-derivative", op, 0, "zero", 1)


def _reduction(op: Op, seen: Evaluated) -> Iterator[Hazard]:
    if op["operator"] == "norm" and 0 in seen.range(op) and seen.differentiated(op.args[0]):
        yield Hazard("infinite-derivative", op, 0, "zero", 1)


def _power(op: Op, seen: Evaluated) -> Iterator[Hazard]:
    base, exponent = seen.range(op.args[0]), seen.range(op.args[1])
    if not is_whole(op.args[1]) and _bad(base) == "negative":
        yield Hazard("outside-its-domain", op, 0, "negative")
    elif 0 in base and exponent.low < 0:
        yield Hazard("division-by-zero", op, 0, "zero")
    elif 0 in base:
        order = _failing_order(op, exponent, seen)
        if order is not None:
            yield Hazard("infinite-derivative", op, 0, "zero", order)


def _failing_order(op: Op, exponent: Interval, seen: Evaluated) -> int | None:
    """Return the first derivative that fails at base 0, up to the second.

    With respect to the base, the first is infinite below exponent 1, the second below 2. Torch puts 0 for what it multiplies
    by an exponent of 0, and for 0^y * log(0), the derivative with respect to the exponent; but it does so only once, and the
    second derivatives are NaN. An exponent that is a number in the text is spared that.
    """
    if is_constant(op.args[1]) and is_whole(op.args[1]):
        return None
    if seen.differentiated(op.args[0]):
        for order in () if is_whole(op.args[1]) else (1, 2):
            if intersect(exponent, between(order - 1.0, float(order), "()")) is not None:
                return order
        if 0 in exponent:
            return 2
    return 2 if seen.differentiated(op.args[1]) and not is_constant(op.args[1]) else None


def _bad(x: Interval) -> Bad | None:
    return "negative" if intersect(x, NEGATIVE) is not None else "zero" if 0 in x else None


_RULES: dict[str, Callable[[Op, Evaluated], Iterator[Hazard]]] = {
    "div": _division,
    "log": _logarithm,
    "sqrt": _root,
    "pow": _power,
    "reduce": _reduction,
}

HAZARDOUS = frozenset(_RULES)


def never(op: Op) -> bool:
    """Whether an op is harmless whatever its arguments are: a quick look, to spare the ranges."""
    if op.name == "pow":
        return is_constant(op.args[1]) and op.args[1]["value"] >= 0 and float(op.args[1]["value"]).is_integer()
    if op.name == "div":
        return is_constant(op.args[1]) and abs(op.args[1]["value"]) > TINIEST
    return (op.name == "reduce" and op["operator"] != "norm") or op.name not in HAZARDOUS
