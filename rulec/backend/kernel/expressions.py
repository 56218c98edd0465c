"""Pointwise operations as C writes them. `real` is the number type; the functions are those of `prelude.h`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan
from typing import Any

Write = Callable[..., str]


def number(value: Any) -> str:
    """Return a Python number as C writes it."""
    value = float(value)
    if isnan(value):
        return "real(NAN)"
    if value in (float("inf"), float("-inf")):
        return f"real({'-' if value < 0 else ''}INFINITY)"
    return f"real({value!r})"


def _scaled(sign: str) -> Write:
    return lambda a, b, alpha="1": f"({a} {sign} {b})" if alpha == "1" else f"({a} {sign} {alpha} * {b})"


def _power(base: str, exponent: str) -> str:
    fixed = {"real(2.0)": f"square({base})", "real(0.5)": f"std::sqrt({base})", "real(3.0)": f"cube({base})"}
    fixed |= {"real(1.0)": base, "real(-1.0)": f"(real(1) / {base})"}
    return fixed.get(exponent, f"std::pow({base}, {exponent})")


def _clamped(a: str, low: str = "", high: str = "") -> str:
    above = f"upper({a}, {low})" if low else a
    return f"lower({above}, {high})" if high else above


def _call(name: str) -> Write:
    return lambda *arguments: f"{name}({', '.join(arguments)})"


def _compared(sign: str) -> Write:
    return lambda a, b: f"real({a} {sign} {b})"


EXPRESSIONS: dict[str, Write] = {
    "add": _scaled("+"),
    "sub": _scaled("-"),
    "rsub": lambda a, b, alpha="1": f"({b} - {a})" if alpha == "1" else f"({b} - {alpha} * {a})",
    "mul": lambda a, b: f"({a} * {b})",
    "div": lambda a, b: f"({a} / {b})",
    "neg": lambda a: f"(-{a})",
    "reciprocal": lambda a: f"(real(1) / {a})",
    "square": _call("square"),
    "pow": _power,
    "exp": _call("exponential"),
    "log": _call("std::log"),
    "tanh": _call("hyperbolic_tangent"),
    "sigmoid": _call("logistic"),
    "sqrt": _call("std::sqrt"),
    "rsqrt": lambda a: f"(real(1) / std::sqrt({a}))",
    "abs": _call("std::abs"),
    "sgn": _call("sign"),
    "sign": _call("sign"),
    "sin": _call("std::sin"),
    "cos": _call("std::cos"),
    "erf": _call("std::erf"),
    "relu": lambda a: f"upper({a}, real(0))",
    "clamp_min": _clamped,
    "clamp_max": lambda a, high: _clamped(a, "", high),
    "clamp": _clamped,
    "maximum": _call("upper"),
    "minimum": _call("lower"),
    "where": _call("choose"),
    "masked_fill": lambda a, c, value: f"choose({c}, {value}, {a})",
    "gt": _compared(">"),
    "lt": _compared("<"),
    "ge": _compared(">="),
    "le": _compared("<="),
    "eq": _compared("=="),
    "ne": _compared("!="),
    "logical_not": lambda a: f"real({a} == real(0))",
    "logical_and": lambda a, b: f"real({a} != real(0) && {b} != real(0))",
    "tanh_backward": lambda g, y: f"({g} * (real(1) - square({y})))",
    "sigmoid_backward": lambda g, y: f"({g} * (real(1) - {y}) * {y})",
    "threshold_backward": lambda g, x, limit: f"choose(real({x} <= {limit}), real(0), {g})",
    "softplus": lambda a, beta="real(1.0)", limit="real(20.0)": f"softplus({a}, {beta}, {limit})",
    "softplus_backward": lambda g, a, beta, limit: f"({g} * softplus_slope({a}, {beta}, {limit}))",
    "clone": lambda a: a,
    "_to_copy": lambda a: a,
    "lift_fresh_copy": lambda a: a,
    "copy": lambda a, b: b,
}


def written(name: str, arguments: Sequence[str]) -> str:
    return EXPRESSIONS[name](*arguments)
