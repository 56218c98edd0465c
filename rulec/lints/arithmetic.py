"""Plain numbers: what an operator makes of arguments of which some are known, and what values begin as."""

from __future__ import annotations

from collections.abc import Sequence

from rulec.ir.numbers import apply, is_function
from rulec.semantics import typed as t


def evaluated(name: str, parts: Sequence[float | None]) -> float | None:
    """Return the value of a pointwise operator, or None where the arguments that are known do not settle it."""
    if name == "where" and parts[0] is not None:
        return parts[1] if parts[0] else parts[2]
    if (name == "mul" and 0.0 in parts) or (name == "div" and parts[0] == 0):
        return 0.0
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts) or not is_function(name):
        return None
    try:
        return apply(name, *known)
    except (ArithmeticError, ValueError):
        return None


def initial_number(initial: t.Expr, shape: Sequence[t.Extent], component: Sequence[int]) -> float | None:
    """Return a component of an initial value, or None if it is drawn or depends on the network."""
    match initial:
        case t.Constant(value=value):
            return value
        case t.Apply(operator=name, arguments=arguments):
            return evaluated(name, [initial_number(a, shape, component) for a in arguments])
        case t.Matrix(values=values) if len(component) == len(shape):
            place = 0
            for number, extent in zip(component, shape, strict=True):
                if not isinstance(extent, int):
                    return None
                place = place * extent + number
            return values[place]
        case t.Identity() if len(component) == len(shape):
            return float(component[-1] == component[-2])
    return None
