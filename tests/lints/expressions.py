"""Random expressions over a few leaves, with the intervals of these and a point inside of each."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from rulec.ir.graph import Op, constant, pointwise
from rulec.lints.functions import UNARY
from rulec.lints.intervals import Interval, between, point

Leaves = dict[str, tuple[Interval, float]]

COMPARISONS = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
BINARY = ("add", "sub", "mul", "div", "pow", "min", "max", *COMPARISONS)
FUNCTIONS = sorted(UNARY)
NUMBERS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)


@st.composite
def intervals_with_points(draw: st.DrawFn) -> tuple[Interval, float]:
    """An interval, and a point inside of it."""
    kind = draw(st.sampled_from(("finite", "above", "below", "all", "point")))
    low = draw(st.sampled_from(NUMBERS))
    if kind == "point":
        return point(low), low
    high = draw(st.sampled_from([n for n in (*NUMBERS, 5.0) if n > low]))
    ends = draw(st.sampled_from(("[]", "()", "[)", "(]")))
    low, high = {"finite": (low, high), "above": (low, math.inf), "below": (-math.inf, high)}.get(
        kind, (-math.inf, math.inf)
    )
    interval = between(low, high, ends, nonzero=draw(st.booleans()))
    bottom, top = max(low, -100.0), min(high, 100.0)
    tried = [*NUMBERS, 1e-3, -1e-3, 0.999, low, high, bottom + (top - bottom) / 3, draw(st.floats(bottom, top))]
    inside = [n for n in tried if math.isfinite(n) and n in interval and (n == 0 or abs(n) > 1e-6)]
    return interval, 0.0 if 0 in inside and draw(st.booleans()) else draw(st.sampled_from(inside))


def leaf(name: str) -> Op:
    return Op("state", (), (("name", name), ("side", ""), ("indices", ())))


@st.composite
def expressions(draw: st.DrawFn) -> tuple[Op, Leaves]:
    """An expression over a few leaves, built from the bottom; later parts use earlier ones, more than once."""
    given = {f"x{k}": draw(intervals_with_points()) for k in range(draw(st.integers(1, 3)))}
    parts = [constant(draw(st.sampled_from(NUMBERS))), *(leaf(name) for name in given)]
    for _ in range(draw(st.integers(1, 7))):
        parts.append(_next(draw, st.one_of(st.just(parts[-1]), st.sampled_from(parts))))
    return parts[-1], given


def _next(draw: st.DrawFn, part: st.SearchStrategy[Op]) -> Op:
    """Return another part, of those that are there. What may fail, and conditions to guard it, come up often."""
    number = constant(draw(st.sampled_from((-2.0, -1.0, 0.5, 1.5, 2.0, 3.0))))
    match draw(st.sampled_from(("function", "hazard", "power", "binary", "binary", "where", "guard"))):
        case "function":
            return pointwise(draw(st.sampled_from((*FUNCTIONS, "not"))), draw(part))
        case "hazard":
            return pointwise(draw(st.sampled_from(("sqrt", "log"))), draw(part))
        case "power":
            return pointwise("pow", draw(part), number)
        case "binary":
            return pointwise(draw(st.sampled_from(BINARY)), draw(part), draw(part))
        case "where":
            return pointwise("where", draw(part), draw(part), draw(part))
    condition = pointwise(draw(st.sampled_from(COMPARISONS)), draw(part), draw(st.one_of(part, st.just(constant(0.0)))))
    return pointwise("where", condition, *draw(st.permutations((draw(part), draw(st.one_of(part, st.just(number)))))))
