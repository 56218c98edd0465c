"""What functions do to intervals: powers, functions of one argument, reductions.

As in `intervals.py`, the result holds the value at all points at which it exists.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rulec.lints.intervals import (
    NON_NEGATIVE,
    ONE,
    POSITIVE,
    REALS,
    ROUNDING,
    ZERO,
    Interval,
    absolute,
    between,
    ends_of,
    filled,
    hull,
    intersect,
    invert,
    maximum,
    multiply,
    negate,
)

# --- Powers ----------------------------------------------------------------------------------


def square(x: Interval) -> Interval:
    return increasing(_squared, absolute(x), 0.0, math.inf)


def _squared(value: float) -> float:
    return value * value


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

    Limits like 1 are reached by rounding. Limits like 0 and infinity are not, unless an end of x is the limit itself, as 0 is
    for powers.
    """
    bottom, top = _image(function, x.low, low), _image(function, x.high, high)
    bottom_open = (x.low_open or (bottom <= low and x.low != low)) and not _rounds_to(bottom, low)
    top_open = (x.high_open or (top >= high and x.high != high)) and not _rounds_to(top, high)
    bottom, top = (low if _rounds_to(bottom, low) else bottom), (high if _rounds_to(top, high) else top)
    zero_at_zero = function in _ZERO_AT_ZERO or isinstance(function, _Power)  # and so nowhere else
    return between(bottom, top, ends_of(bottom_open, top_open), x.nonzero and zero_at_zero)


def _rounds_to(value: float, limit: float) -> bool:
    return math.isfinite(limit) and limit != 0 and abs(value - limit) <= ROUNDING * abs(limit)


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
        return between(lowest, max(rising.high, 0.0), ends_of(False, high_open))

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
    """Return the range of one of so many shares; the only one is 1, and a large one is rounded to 1."""
    return ONE if count == ONE else between(0, 1, "(]")
