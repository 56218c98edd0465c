"""Derivatives of named activations, as formulas of a free variable."""

from __future__ import annotations

from functools import cache

from rulec.ir.differentiate import differentiate
from rulec.ir.graph import FUNCTIONS, Op, constant
from rulec.semantics.operators import POINTWISE


@cache
def derivative(name: str, order: int) -> tuple[Op, Op]:
    """Return (z, formula in z) for the derivative of this order; the first comes from the operator table."""
    free = Op("state", (), (("name", "z"), ("side", ""), ("indices", ())))
    first = POINTWISE[name].slope(FUNCTIONS, free)[0]
    formula = constant(0.0) if first is None else first if isinstance(first, Op) else constant(first)
    for _ in range(order - 1):
        formula = differentiate(formula, free) or constant(0.0)
    return free, formula
