"""Pointwise operations as a Triton kernel writes them; the functions without a module are those of `helpers`."""

from __future__ import annotations

from math import isinf, isnan
from typing import Any

from rulec.backend.pointwise import Dialect


def number(value: Any) -> str:
    """Return a Python number as a kernel writes it: in the kernel's own type, so that nothing is rounded twice."""
    value = float(value)
    if isnan(value):
        return 'tl.full((), float("nan"), real)'
    if isinf(value):
        return f'tl.full((), {"-" if value < 0 else ""}float("inf"), real)'
    return f"tl.full((), {value!r}, real)"


TRITON = Dialect(
    number,
    lambda test: f"({test}).to(real)",
    "&",
    {
        "sqrt": "root",
        "pow": "power",
        "tanh": "hyperbolic_tangent",
        "sigmoid": "logistic",
        **{name: f"tl.{name}" for name in ("exp", "log", "abs", "sin", "cos", "erf")},
    },
)
ZERO = number(0)
EXPRESSIONS = TRITON.expressions
written = TRITON.written
KEEP_ZEROS = ("add", "sub", "rsub", "mul", "neg", "clone", "_to_copy", "relu", "abs", "square")  # zeros give zero
