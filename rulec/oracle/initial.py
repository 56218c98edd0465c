"""Constant initial values in numpy: what neuron and broadcast states start from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rulec.oracle.arrays import POINTWISE
from rulec.semantics import typed as t


def initial_array(expression: t.Expr, shape: Sequence[int]) -> np.ndarray:
    """Evaluate a deterministic initial value to an array of this shape."""
    return np.broadcast_to(_evaluate(expression, shape), tuple(shape)).astype(float)


def _evaluate(expression: t.Expr, shape: Sequence[int]) -> np.ndarray:
    match expression:
        case t.Constant(value=value):
            return np.asarray(value)
        case t.Matrix(shape=own, values=values):
            return np.asarray(values).reshape(own)
        case t.Identity():
            return np.eye(shape[-2], shape[-1])
        case t.Apply(operator=operator, arguments=arguments):
            return POINTWISE[operator](*(_evaluate(a, shape) for a in arguments))
    raise AssertionError(expression)
