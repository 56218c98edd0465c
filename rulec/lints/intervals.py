"""Intervals of real numbers with open and closed ends, and what functions do to them.

Every function here returns an interval that holds the value at all points of its arguments at which the value exists:
`sqrt` of [-1, 4] is [0, 2]. Whether a value exists everywhere is asked elsewhere (`hazards.py`), once, at its place.
Ends are exact where they matter (0 and 1); elsewhere they may be off by the rounding of one operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_LARGEST = 1.7976931348623157e308


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
    """Return an interval; `ends` are its brackets, as in `between(0, 1, "[)")`. Infinite ends are always open."""
    if math.isnan(low) or math.isnan(high):
        return REALS
    low, high = min(float(low), _LARGEST), max(float(high), -_LARGEST)
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
    return between(low, high, _ends(low_open, high_open), all(p.nonzero for p in parts))


def intersect(a: Interval, b: Interval) -> Interval | None:
    """Return what both hold; None if that is nothing."""
    low, high = max(a.low, b.low), min(a.high, b.high)
    low_open = any(x.low_open for x in (a, b) if x.low == low)
    high_open = any(x.high_open for x in (a, b) if x.high == high)
    common = between(low, high, _ends(low_open, high_open), a.nonzero or b.nonzero)
    empty = common.low > common.high or (common.is_point and (common.low_open or common.high_open))
    return None if empty else common


def filled(x: Interval) -> Interval:
    """Return the interval without a gap at 0: a mean of -1 and 1 is 0."""
    return between(x.low, x.high, _ends(x.low_open, x.high_open))


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
    return between(low, high, _ends(low_open, high_open), both.nonzero)


def _ends(low_open: bool, high_open: bool) -> str:
    return ("(" if low_open else "[") + (")" if high_open else "]")


# --- Arithmetic ------------------------------------------------------------------------------


def negate(x: Interval) -> Interval:
    return between(-x.high, -x.low, _ends(x.high_open, x.low_open), x.nonzero)


def add(a: Interval, b: Interval) -> Interval:
    return between(a.low + b.low, a.high + b.high, _ends(a.low_open or b.low_open, a.high_open or b.high_open))


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
    product = between(low, high, _ends(low_open, high_open), a.nonzero and b.nonzero)
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
        return x if x == ZERO else between(_inverse(x.high), _inverse(x.low), _ends(x.high_open, x.low_open), True)
    return negate(invert(negate(x)))


def _inverse(end: float) -> float:
    return math.inf if end == 0 else 1 / end


def divide(a: Interval, b: Interval) -> Interval:
    return REALS if b == ZERO else multiply(a, invert(b))


def square(x: Interval) -> Interval:
    return increasing(_squared, absolute(x), 0.0, math.inf)


def _squared(value: float) -> float:
    return value * value


def absolute(x: Interval) -> Interval:
    if x.low >= 0:
        return x
    if x.high <= 0:
        return negate(x)
    high = max(-x.low, x.high)
    is_open = all(is_open for end, is_open in ((-x.low, x.low_open), (x.high, x.high_open)) if end == high)
    return between(0, high, _ends(False, is_open), x.nonzero)


def minimum(a: Interval, b: Interval) -> Interval:
    return negate(maximum(negate(a), negate(b)))


def maximum(a: Interval, b: Interval) -> Interval:
    low, high = max(a.low, b.low), max(a.high, b.high)
    low_open = any(x.low_open for x in (a, b) if x.low == low)
    high_open = all(x.high_open for x in (a, b) if x.high == high)
    return between(low, high, _ends(low_open, high_open), a.nonzero and b.nonzero)


def power(base: Interval, exponent: Interval) -> Interval:
    """Return base ^ exponent where it is real: below 0, where the exponent is a whole number."""
    if exponent.is_point and exponent.low.is_integer():
        return _whole_power(base, exponent.low)
    if base.low < 0 and not exponent.is_point:
        size = _positive_power(absolute(base), exponent)
        return hull(size, negate(size))
    return _positive_power(intersect(base, NON_NEGATIVE) or ZERO, exponent)


def _whole_power(base: Interval, exponent: float) -> Interval:
    if exponent < 0:
        return REALS if base == ZERO else invert(_whole_power(base, -exponent))
    if exponent == 0:
        return ONE
    function = _Power(exponent)
    if exponent % 2 == 0 or base.low >= 0:
        return increasing(function, absolute(base), 0.0, math.inf)
    return increasing(function, base, -math.inf, math.inf)


def _positive_power(base: Interval, exponent: Interval) -> Interval:
    """Return the range of exp(exponent * log(base)), and the powers of 0 where there are any."""
    if exponent.is_point and exponent.low != 0:
        size = increasing(_Power(abs(exponent.low)), base, 0.0, math.inf)
        return size if exponent.low > 0 else REALS if size == ZERO else invert(size)
    parts = [] if base == ZERO else [increasing(math.exp, multiply(exponent, logarithm(base)), 0.0, math.inf)]
    if 0 in base:
        parts += ([ZERO] if exponent.high > 0 else []) + ([ONE] if 0 in exponent else [])
    return hull(*parts) if parts else REALS


@dataclass(frozen=True)
class _Power:
    """x to a fixed positive exponent."""

    exponent: float

    def __call__(self, value: float) -> float:
        return float(value**self.exponent)


# --- Functions of one argument ---------------------------------------------------------------


def increasing(function: Callable[[float], float], x: Interval, low: float, high: float) -> Interval:
    """Return the range of an increasing function with these limits at infinity.

    Short of infinity it does not reach them but by rounding, unless an end of x is the limit itself, as 0 is for powers.
    """
    bottom, top = _image(function, x.low, low), _image(function, x.high, high)
    bottom_open = x.low_open or (bottom <= low and x.low != low)
    top_open = x.high_open or (top >= high and x.high != high)
    zero_at_zero = function in _ZERO_AT_ZERO or isinstance(function, _Power)  # and so nowhere else
    return between(bottom, top, _ends(bottom_open, top_open), x.nonzero and zero_at_zero)


def _image(function: Callable[[float], float], end: float, limit: float) -> float:
    if math.isinf(end):
        return limit
    try:
        return function(end)
    except OverflowError:
        return math.copysign(math.inf, end)


def logarithm(x: Interval) -> Interval:
    positive = intersect(x, POSITIVE)
    return REALS if positive is None else increasing(_log, positive, -math.inf, math.inf)


def square_root(x: Interval) -> Interval:
    real = intersect(x, NON_NEGATIVE)
    return NON_NEGATIVE if real is None else increasing(math.sqrt, real, 0.0, math.inf)


def sign(x: Interval) -> Interval:
    low = -1.0 if x.low < 0 else 0.0 if 0 in x else 1.0
    high = 1.0 if x.high > 0 else 0.0 if 0 in x else -1.0
    return between(low, high, nonzero=x.nonzero)


def step(x: Interval) -> Interval:
    return between(0.0 if x.low < 0 or 0 in x else 1.0, 1.0 if x.high > 0 else 0.0)


def relu(x: Interval) -> Interval:
    return maximum(x, ZERO)


def _wave(x: Interval) -> Interval:
    return between(-1.0, 1.0)


def _dipping(function: Callable[[float], float], lowest: float) -> Callable[[Interval], Interval]:
    """Return the range of a function that falls from 0 to its lowest value and rises from there, as `silu` does."""

    def image(x: Interval) -> Interval:
        rising = increasing(function, x, -math.inf, math.inf)
        if x.low >= 0:
            return rising
        high_open = rising.high > 0 and rising.high_open
        return between(lowest, max(rising.high, 0.0), _ends(False, high_open))

    return image


def _log(value: float) -> float:
    return -math.inf if value == 0 else math.log(value)


def _sigmoid(value: float) -> float:
    e = math.exp(-abs(value))
    return 1 / (1 + e) if value >= 0 else e / (1 + e)


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def _softsign(value: float) -> float:
    return value / (1 + abs(value))


def _elu(value: float) -> float:
    return value if value > 0 else math.expm1(value)


def _selu(value: float) -> float:
    return _SELU_SCALE * (value if value > 0 else _SELU_ALPHA * math.expm1(value))


def _leaky_relu(value: float) -> float:
    return value if value > 0 else 0.01 * value


def _silu(value: float) -> float:
    return value * _sigmoid(value)


def _gelu(value: float) -> float:
    return value * 0.5 * (1 + math.erf(value / math.sqrt(2)))


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_ZERO_AT_ZERO: tuple[Callable[[float], float], ...] = (math.tanh, math.erf, _softsign, _elu, _selu, _leaky_relu)


def _rising(function: Callable[[float], float], low: float, high: float) -> Callable[[Interval], Interval]:
    return lambda x: increasing(function, x, low, high)


UNARY: dict[str, Callable[[Interval], Interval]] = {
    "neg": negate,
    "abs": absolute,
    "square": square,
    "sqrt": square_root,
    "log": logarithm,
    "sign": sign,
    "step": step,
    "relu": relu,
    "relu_tanh": lambda x: relu(increasing(math.tanh, x, -1.0, 1.0)),
    "identity": lambda x: x,
    "sin": _wave,
    "cos": _wave,
    "exp": _rising(math.exp, 0.0, math.inf),
    "tanh": _rising(math.tanh, -1.0, 1.0),
    "sigmoid": _rising(_sigmoid, 0.0, 1.0),
    "softplus": _rising(_softplus, 0.0, math.inf),
    "erf": _rising(math.erf, -1.0, 1.0),
    "softsign": _rising(_softsign, -1.0, 1.0),
    "elu": _rising(_elu, -1.0, math.inf),
    "selu": _rising(_selu, -_SELU_SCALE * _SELU_ALPHA, math.inf),
    "leaky_relu": _rising(_leaky_relu, -math.inf, math.inf),
    "silu": _dipping(_silu, -0.2784645427610738),
    "gelu": _dipping(_gelu, -0.16997120747990369),
}


# --- Reductions ------------------------------------------------------------------------------


def total(x: Interval, count: Interval) -> Interval:
    """Return the range of a sum of so many terms."""
    return multiply(filled(x), count)


def variance(x: Interval) -> Interval:
    width = x.high - x.low
    return between(0, width * width / 4)


def norm(x: Interval, count: Interval) -> Interval:
    return square_root(total(square(x), count))


def softmax(count: Interval) -> Interval:
    """Return the range of one of so many shares; the only one is 1."""
    return ONE if count == ONE else between(0, 1, "()" if count.low > 1 else "(]")
