"""Functions that generated Triton kernels call. Imported with Triton alone."""

# ruff: noqa: PLR0124 (a number that differs from itself is none)

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def square(a):
    return a * a


@triton.jit
def upper(a, b):
    return tl.where(a != a, a, tl.where(b != b, b, tl.where(a > b, a, b)))


@triton.jit
def lower(a, b):
    return tl.where(a != a, a, tl.where(b != b, b, tl.where(a < b, a, b)))


@triton.jit
def choose(condition, a, b):
    return tl.where(condition != 0, a, b)


@triton.jit
def sign(a):
    return tl.where(a > 0, 1.0, tl.where(a < 0, -1.0, a)).to(a.dtype)


@triton.jit
def root(a):
    if a.dtype == tl.float32:
        return tl.sqrt_rn(a)
    else:
        return tl.sqrt(a)


@triton.jit
def logistic(a):
    return 1.0 / (1.0 + tl.exp(-a))


@triton.jit
def hyperbolic_tangent(a):
    """Near zero, where the difference would lose digits, by its series."""
    e = tl.exp(-2.0 * tl.abs(a))
    far = (1.0 - e) / (1.0 + e)
    s = a * a
    near = a * (1.0 - s * (1.0 / 3 - s * (2.0 / 15 - s * (17.0 / 315 - s * (62.0 / 2835)))))
    bound = 0.1 if a.dtype == tl.float32 else 0.005
    return tl.where(tl.abs(a) < bound, near, tl.where(a < 0, -far, far))


@triton.jit
def logarithm_of_one_and(e):
    """Return log(1 + e) for e above 0, exact in what rounding 1 + e would lose."""
    u = 1.0 + e
    return tl.where(u == 1.0, e, tl.log(u) * e / (u - 1.0))


@triton.jit
def softplus(a, beta, limit):
    return tl.where(a * beta > limit, a, logarithm_of_one_and(tl.exp(a * beta)) / beta)


@triton.jit
def softplus_slope(a, beta, limit):
    return tl.where(a * beta > limit, 1.0, logistic(a * beta)).to(a.dtype)


@triton.jit
def power(a, b):
    """Return a to the power of b; of negative numbers, whole powers alone are numbers."""
    size = tl.exp(b * tl.log(tl.abs(a)))
    whole = tl.floor(b) == b
    odd = whole & (tl.floor(b * 0.5) * 2.0 != b)
    signed = tl.where(a < 0, tl.where(odd, -size, tl.where(whole, size, float("nan"))), size)
    return tl.where(b == 0, 1.0, signed).to(a.dtype)
