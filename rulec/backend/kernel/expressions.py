"""Pointwise operations as C writes them. `real` is the number type; the functions are those of `prelude.h`."""

from __future__ import annotations

from math import isnan
from typing import Any

from rulec.backend.pointwise import Dialect


def number(value: Any) -> str:
    """Return a Python number as C writes it."""
    value = float(value)
    if isnan(value):
        return "real(NAN)"
    if value in (float("inf"), float("-inf")):
        return f"real({'-' if value < 0 else ''}INFINITY)"
    return f"real({value!r})"


C = Dialect(
    number,
    lambda test: f"real({test})",
    "&&",
    {
        "exp": "exponential",
        "tanh": "hyperbolic_tangent",
        "sigmoid": "logistic",
        **{name: f"std::{name}" for name in ("log", "sqrt", "abs", "sin", "cos", "erf", "pow")},
    },
)
EXPRESSIONS = C.expressions
written = C.written
