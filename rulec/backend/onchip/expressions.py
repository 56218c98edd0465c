"""Pointwise operations as a Triton kernel writes them; the functions without a module are those of `helpers`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isinf, isnan
from typing import Any

Write = Callable[..., str]


def number(value: Any) -> str:
    """Return a Python number as a kernel writes it: in the kernel's own type, so that nothing is rounded twice."""
    value = float(value)
    if isnan(value):
        return 'tl.full((), float("nan"), real)'
    if isinf(value):
        return f'tl.full((), {"-" if value < 0 else ""}float("inf"), real)'
    return f"tl.full((), {value!r}, real)"


ONE, ZERO, TWENTY = number(1), number(0), number(20)


def _scaled(sign: str) -> Write:
    return lambda a, b, alpha=ONE: f"({a} {sign} {b})" if alpha == ONE else f"({a} {sign} {alpha} * {b})"


def _power(base: str, exponent: str) -> str:
    fixed = {number(k): "(" + " * ".join([base] * k) + ")" for k in (1, 2, 3)}
    fixed |= {number(0.5): f"root({base})", number(-1): f"({ONE} / {base})"}
    return fixed.get(exponent, f"power({base}, {exponent})")


def _clamped(a: str, low: str = "", high: str = "") -> str:
    above = f"upper({a}, {low})" if low else a
    return f"lower({above}, {high})" if high else above


def _call(name: str) -> Write:
    return lambda *arguments: f"{name}({', '.join(arguments)})"


def _condition(sign: str) -> Write:
    return lambda a, b: f"({a} {sign} {b}).to(real)"


EXPRESSIONS: dict[str, Write] = {
    "add": _scaled("+"),
    "sub": _scaled("-"),
    "rsub": lambda a, b, alpha=ONE: f"({b} - {a})" if alpha == ONE else f"({b} - {alpha} * {a})",
    "mul": lambda a, b: f"({a} * {b})",
    "div": lambda a, b: f"({a} / {b})",
    "neg": lambda a: f"(-{a})",
    "reciprocal": lambda a: f"({ONE} / {a})",
    "square": lambda a: f"({a} * {a})",
    "pow": _power,
    "exp": _call("tl.exp"),
    "log": _call("tl.log"),
    "tanh": _call("hyperbolic_tangent"),
    "sigmoid": _call("logistic"),
    "sqrt": _call("root"),
    "rsqrt": lambda a: f"({ONE} / root({a}))",
    "abs": _call("tl.abs"),
    "sgn": _call("sign"),
    "sign": _call("sign"),
    "sin": _call("tl.sin"),
    "cos": _call("tl.cos"),
    "erf": _call("tl.erf"),
    "relu": lambda a: f"upper({a}, {ZERO})",
    "clamp_min": _clamped,
    "clamp_max": lambda a, high: _clamped(a, "", high),
    "clamp": _clamped,
    "maximum": _call("upper"),
    "minimum": _call("lower"),
    "where": _call("choose"),
    "masked_fill": lambda a, c, value: f"choose({c}, {value}, {a})",
    "gt": _condition(">"),
    "lt": _condition("<"),
    "ge": _condition(">="),
    "le": _condition("<="),
    "eq": _condition("=="),
    "ne": _condition("!="),
    "logical_not": lambda a: f"({a} == {ZERO}).to(real)",
    "logical_and": lambda a, b: f"(({a} != {ZERO}) & ({b} != {ZERO})).to(real)",
    "tanh_backward": lambda g, y: f"({g} * ({ONE} - {y} * {y}))",
    "sigmoid_backward": lambda g, y: f"({g} * ({ONE} - {y}) * {y})",
    "threshold_backward": lambda g, x, limit: f"choose(({x} <= {limit}).to(real), {ZERO}, {g})",
    "softplus": lambda a, beta=ONE, limit=TWENTY: f"softplus({a}, {beta}, {limit})",
    "softplus_backward": lambda g, a, beta, limit: f"({g} * softplus_slope({a}, {beta}, {limit}))",
    "clone": lambda a: a,
    "_to_copy": lambda a: a,
    "lift_fresh_copy": lambda a: a,
    "copy": lambda a, b: b,
}
KEEP_ZEROS = ("add", "sub", "rsub", "mul", "neg", "clone", "_to_copy", "relu", "abs", "square")  # zeros give zero


def written(name: str, arguments: Sequence[str]) -> str:
    return EXPRESSIONS[name](*arguments)
