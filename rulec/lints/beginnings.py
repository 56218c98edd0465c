"""Ranges of what is there before a rule runs: initial values of states, and genome entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rulec.lints.functions import UNARY, power
from rulec.lints.intervals import (
    AT_LEAST_ONE,
    POSITIVE,
    REALS,
    TRUTH,
    ZERO,
    Interval,
    add,
    between,
    divide,
    hull,
    maximum,
    minimum,
    multiply,
    point,
    subtract,
)
from rulec.semantics import typed as t

_BINARY: dict[str, Callable[[Interval, Interval], Interval]] = {
    "add": add,
    "sub": subtract,
    "mul": multiply,
    "div": divide,
    "pow": power,
    "min": minimum,
    "max": maximum,
}


def initial_range(initial: t.Expr, states: Mapping[str, t.State], component: tuple[int, ...] = ()) -> Interval:
    """Return where an initial value lies; `component`: which of the declared indices' components is meant."""
    match initial:
        case t.Constant(value=value):
            return point(value)
        case t.Matrix(shape=shape, values=values):
            return point(values[_flat(shape, component)]) if component else hull(*map(point, values))
        case t.Identity():
            return TRUTH
        case t.SizeRef():
            return AT_LEAST_ONE
        case t.StateRef(name=name):
            return initial_range(states[name].initial, states, component)
        case t.Sample(law="uniform"):
            low, high = (initial_range(e, states) for e in (initial.first, initial.second))
            return hull(low, high)
        case t.Sample():
            mean, deviation = (initial_range(e, states) for e in (initial.first, initial.second))
            return mean if deviation == ZERO else REALS
        case t.Apply(operator=operator, arguments=arguments):
            parts = [initial_range(a, states, component) for a in arguments]
            return UNARY[operator](*parts) if operator in UNARY else _BINARY[operator](*parts)
    raise AssertionError(initial)


def _flat(shape: tuple[int, ...], component: tuple[int, ...]) -> int:
    place = 0
    for size, number in zip(shape, component, strict=True):
        place = place * size + number
    return place


def is_drawn(initial: t.Expr) -> bool:
    """Whether an initial value is random, so that outer steps may want to learn it."""
    if isinstance(initial, t.Apply):
        return any(is_drawn(a) for a in initial.arguments)
    return isinstance(initial, (t.Sample, t.StateRef))


def genome_range(entry: t.GenomeEntry) -> Interval:
    """Return what a genome entry may be.

    What meta-learning finds lies inside the domain. A value on its edge can only be the one that the entry begins with.
    """
    domain = entry.domain
    if domain.name == "positive":
        return POSITIVE
    if domain.name == "real":
        return REALS
    low, high = (0.0, 1.0) if domain.low is None or domain.high is None else (domain.low, domain.high)
    begins = initial_range(entry.initial, {})
    return between(low, high, ("[" if low in begins else "(") + ("]" if high in begins else ")"))
