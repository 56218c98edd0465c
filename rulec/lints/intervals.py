"""Intervals of real numbers with open and closed ends, and arithmetic with them; `functions.py` has the rest.

Every function here returns an interval that holds the value at all points of its arguments at which the value exists:
`sqrt` of [-1, 4] is [0, 2]. Whether a value exists everywhere is asked elsewhere (`hazards.py`), once, at its place.
Ends are exact where they matter (0 and 1); elsewhere they may be off by the rounding of one operation.

Rounding to float32 counts where numbers of moderate size come to it: `tanh` reaches 1, as it does from 10 on, and 0.1 + 0.2
- 0.3 may be 0. That products and exponentials of numbers that are not 0 can be too small, or too large, does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_LARGEST = 1.7976931348623157e308
TINIEST = 2.0**-150  # what is not above it is 0 in float32
ROUNDING = 2.0**-24  # relative, of one float32


@dataclass(frozen=True)
class Interval:
    """The numbers from `low` to `high`; an open end is not reached. `nonzero`: 0 is left out, even from the inside."""

    low: float
    high: float
    low_open: bool
    high_open: bool
    nonzero: bool

    def __str__(self) -> str:
        text = f"{'(' if self.low_open else '['}{self.low:g}, {self.high:g}{')' if self.high_open else ']'}"
        return text + (" without 0" if self.nonzero and self.low < 0 < self.high else "")

    def __contains__(self, value: float) -> bool:
        above = value > self.low or (value == self.low and not self.low_open)
        below = value < self.high or (value == self.high and not self.high_open)
        return above and below and not (value == 0 and self.nonzero)

    @property
    def is_point(self) -> bool:
        return self.low == self.high


def between(low: float, high: float, ends: str = "[]", nonzero: bool = False) -> Interval:
    """Return an interval; `ends` are its brackets, as in `between(0, 1, "[)")`. Infinite ends are always open.

    An end that is 0 in float32 is 0, and what has been rounded to a single number is that number.
    """
    if math.isnan(low) or math.isnan(high):
        return REALS
    low, high = min(float(low), _LARGEST), max(float(high), -_LARGEST)
    if 0 < low <= TINIEST or -TINIEST <= high < 0:
        low, high, ends, nonzero = (0.0, high, "[" + ends[1], False) if low > 0 else (low, 0.0, ends[0] + "]", False)
    if low == high:
        return Interval(low, high, False, False, low != 0)
    low_open = ends[0] == "(" or low == -math.inf or (nonzero and low == 0)
    high_open = ends[1] == ")" or high == math.inf or (nonzero and high == 0)
    outside = low > 0 or high < 0 or (low == 0 and low_open) or (high == 0 and high_open)
    return Interval(low, high, low_open, high_open, nonzero or outside)


def point(value: float) -> Interval:
    return between(value, value)


REALS = Interval(-math.inf, math.inf, True, True, False)
NONZERO = Interval(-math.inf, math.inf, True, True, True)
NON_NEGATIVE = between(0, math.inf)
POSITIVE = between(0, math.inf, "()")
NEGATIVE = between(-math.inf, 0, "()")
NON_POSITIVE = between(-math.inf, 0)
AT_LEAST_ONE = between(1, math.inf)
TRUTH = between(0, 1)  # what comparisons give
ZERO, ONE = point(0.0), point(1.0)


# --- Sets ------------------------------------------------------------------------------------


def hull(*parts: Interval) -> Interval:
    """Return the smallest interval that holds them all."""
    low, high = min(p.low for p in parts), max(p.high for p in parts)
    low_open = all(p.low_open for p in parts if p.low == low)
    high_open = all(p.high_open for p in parts if p.high == high)
    return between(low, high, ends_of(low_open, high_open), all(p.nonzero for p in parts))


def intersect(a: Interval, b: Interval) -> Interval | None:
    """Return what both hold; None if that is nothing."""
    low, high = max(a.low, b.low), min(a.high, b.high)
    low_open = any(x.low_open for x in (a, b) if x.low == low)
    high_open = any(x.high_open for x in (a, b) if x.high == high)
    nonzero = a.nonzero or b.nonzero
    empty = low > high or (low == high and (low_open or high_open or (low == 0 and nonzero)))
    return None if empty else between(low, high, ends_of(low_open, high_open), nonzero)


def precedes(a: Interval, b: Interval, strictly: bool) -> bool:
    """Whether every number of a is below every one of b, or equal to it if not `strictly`, and not by rounding alone."""
    gap = b.low - a.high
    return gap > 2 * ROUNDING * abs(a.high) or (gap == 0 and (not strictly or a.high_open or b.low_open))


def filled(x: Interval) -> Interval:
    """Return the interval without a gap at 0: a mean of -1 and 1 is 0."""
    return between(x.low, x.high, ends_of(x.low_open, x.high_open))


def widen(before: Interval, now: Interval) -> Interval:
    """Return an interval that holds both, its ends moved out to one of few places, so that repetition comes to rest."""
    both = hull(before, now)
    low, low_open = before.low, before.low_open
    if both.low < low or (low_open and not both.low_open):
        low = next(stop for stop in (1.0, 0.0, -1.0, -math.inf) if stop <= both.low)
        low_open = low < both.low or both.low_open
    high, high_open = before.high, before.high_open
    if both.high > high or (high_open and not both.high_open):
        high = next(stop for stop in (-1.0, 0.0, 1.0, math.inf) if stop >= both.high)
        high_open = high > both.high or both.high_open
    return between(low, high, ends_of(low_open, high_open), both.nonzero)


def ends_of(low_open: bool, high_open: bool) -> str:
    """Return the brackets of an interval."""
    return ("(" if low_open else "[") + (")" if high_open else "]")


# --- Arithmetic ------------------------------------------------------------------------------


def negate(x: Interval) -> Interval:
    return between(-x.high, -x.low, ends_of(x.high_open, x.low_open), x.nonzero)


def add(a: Interval, b: Interval) -> Interval:
    low, high = a.low + b.low, a.high + b.high
    low_open, high_open = a.low_open or b.low_open, a.high_open or b.high_open
    if 0 < low <= 2 * ROUNDING * abs(a.low):  # all but cancelled: what is left is rounding
        low, low_open = 0.0, False
    if 0 > high >= -2 * ROUNDING * abs(a.high):
        high, high_open = 0.0, False
    return between(low, high, ends_of(low_open, high_open))


def subtract(a: Interval, b: Interval) -> Interval:
    return add(a, negate(b))


def multiply(a: Interval, b: Interval) -> Interval:
    corners = [
        _corner(x, x_open, y, y_open)
        for x, x_open in ((a.low, a.low_open), (a.high, a.high_open))
        for y, y_open in ((b.low, b.low_open), (b.high, b.high_open))
    ]
    low, high = min(value for value, _ in corners), max(value for value, _ in corners)
    low_open = all(is_open for value, is_open in corners if value == low)
    high_open = all(is_open for value, is_open in corners if value == high)
    product = between(low, high, ends_of(low_open, high_open), a.nonzero and b.nonzero)
    return hull(product, ZERO) if 0 in a or 0 in b else product


def _corner(x: float, x_open: bool, y: float, y_open: bool) -> tuple[float, bool]:
    """Return the product of two ends, and whether it is missed. Zero times infinity is 0: all factors are finite."""
    if x == 0 or y == 0:
        reached = (x == 0 and not x_open) or (y == 0 and not y_open)
        return 0.0, not reached
    return x * y, x_open or y_open


def invert(x: Interval) -> Interval:
    """Return 1 / x where x is not 0."""
    if x.low < 0 < x.high:
        return NONZERO
    if x.low >= 0:
        return x if x == ZERO else between(_inverse(x.high), _inverse(x.low), ends_of(x.high_open, x.low_open), True)
    return negate(invert(negate(x)))


def _inverse(end: float) -> float:
    return math.inf if end == 0 else 1 / end


def divide(a: Interval, b: Interval) -> Interval:
    return REALS if b == ZERO else multiply(a, invert(b))


def absolute(x: Interval) -> Interval:
    if x.low >= 0:
        return x
    if x.high <= 0:
        return negate(x)
    high = max(-x.low, x.high)
    is_open = all(is_open for end, is_open in ((-x.low, x.low_open), (x.high, x.high_open)) if end == high)
    return between(0, high, ends_of(False, is_open), x.nonzero)


def minimum(a: Interval, b: Interval) -> Interval:
    return negate(maximum(negate(a), negate(b)))


def maximum(a: Interval, b: Interval) -> Interval:
    low, high = max(a.low, b.low), max(a.high, b.high)
    low_open = any(x.low_open for x in (a, b) if x.low == low)
    high_open = all(x.high_open for x in (a, b) if x.high == high)
    return between(low, high, ends_of(low_open, high_open), a.nonzero and b.nonzero)
