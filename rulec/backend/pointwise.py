"""Pointwise operations as generated kernels write them, in C or in Triton: one table for both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Write = Callable[..., str]


@dataclass(frozen=True)
class Dialect:
    """How a language writes what differs. The functions `upper`, `lower`, `choose`, `sign`, `square`, `softplus` and `softplus_slope` every kernel brings along."""

    number: Callable[[Any], str]  # a Python number
    condition: Callable[[str], str]  # a truth value as a number: 0 or 1
    both: str  # of two truth values
    calls: Mapping[str, str]  # the names of functions

    @cached_property
    def expressions(self) -> dict[str, Write]:
        """Return for each primitive operation how it is written, from what its arguments are written as."""
        number, condition, calls = self.number, self.condition, self.calls
        one, zero = number(1), number(0)

        def scaled(sign: str) -> Write:
            return lambda a, b, alpha=one: f"({a} {sign} {b})" if alpha == one else f"({a} {sign} {alpha} * {b})"

        def power(base: str, exponent: str) -> str:
            fixed = {number(1): base, number(2): f"square({base})", number(3): f"({base} * square({base}))"}
            fixed |= {number(0.5): f"{calls['sqrt']}({base})", number(-1): f"({one} / {base})"}
            return fixed.get(exponent, f"{calls['pow']}({base}, {exponent})")

        def clamped(a: str, low: str = "", high: str = "") -> str:
            above = f"upper({a}, {low})" if low else a
            return f"lower({above}, {high})" if high else above

        def call(name: str) -> Write:
            return lambda *arguments: f"{calls.get(name, name)}({', '.join(arguments)})"

        def compared(sign: str) -> Write:
            return lambda a, b: condition(f"{a} {sign} {b}")

        return {
            "add": scaled("+"),
            "sub": scaled("-"),
            "rsub": lambda a, b, alpha=one: f"({b} - {a})" if alpha == one else f"({b} - {alpha} * {a})",
            "mul": lambda a, b: f"({a} * {b})",
            "div": lambda a, b: f"({a} / {b})",
            "neg": lambda a: f"(-{a})",
            "reciprocal": lambda a: f"({one} / {a})",
            "square": call("square"),
            "pow": power,
            **{
                name: call(name)
                for name in ("exp", "log", "tanh", "sigmoid", "sqrt", "abs", "sign", "sin", "cos", "erf")
            },
            "sgn": call("sign"),
            "rsqrt": lambda a: f"({one} / {calls['sqrt']}({a}))",
            "relu": lambda a: f"upper({a}, {zero})",
            "clamp_min": clamped,
            "clamp_max": lambda a, high: clamped(a, "", high),
            "clamp": clamped,
            "maximum": call("upper"),
            "minimum": call("lower"),
            "where": call("choose"),
            "masked_fill": lambda a, c, value: f"choose({c}, {value}, {a})",
            "gt": compared(">"),
            "lt": compared("<"),
            "ge": compared(">="),
            "le": compared("<="),
            "eq": compared("=="),
            "ne": compared("!="),
            "logical_not": lambda a: condition(f"{a} == {zero}"),
            "logical_and": lambda a, b: condition(f"({a} != {zero}) {self.both} ({b} != {zero})"),
            "tanh_backward": lambda g, y: f"({g} * ({one} - square({y})))",
            "sigmoid_backward": lambda g, y: f"({g} * ({one} - {y}) * {y})",
            "threshold_backward": lambda g, x, limit: f"choose({condition(f'{x} <= {limit}')}, {zero}, {g})",
            "softplus": lambda a, beta=one, limit=number(20): f"softplus({a}, {beta}, {limit})",  # noqa: B008
            "softplus_backward": lambda g, a, beta, limit: f"({g} * softplus_slope({a}, {beta}, {limit}))",
            **dict.fromkeys(("clone", "_to_copy", "lift_fresh_copy"), lambda a: a),
            "copy": lambda a, b: b,
        }

    def written(self, name: str, arguments: Sequence[str]) -> str:
        return self.expressions[name](*arguments)
