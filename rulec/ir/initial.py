"""Known initial values as arrays: what neuron and broadcast states begin with, for every evaluator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rulec.semantics import typed as t

Numbers = NDArray[np.float64]

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
    "neg": np.negative,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "abs": np.abs,
    "tanh": np.tanh,
    "sign": np.sign,
    "sin": np.sin,
    "cos": np.cos,
    "min": np.minimum,
    "max": np.maximum,
    "square": np.square,
    "relu": lambda z: np.maximum(z, 0.0),
}


def initial_array(expression: t.Expr, shape: Sequence[int]) -> Numbers:
    """Evaluate an initial value that is neither drawn nor copied to an array of this shape."""
    return np.broadcast_to(_evaluate(expression, shape), tuple(shape)).astype(float)


def _evaluate(expression: t.Expr, shape: Sequence[int]) -> Numbers:
    match expression:
        case t.Constant(value=value):
            return np.asarray(value)
        case t.Matrix(shape=own, values=values):
            return np.asarray(values).reshape(own)
        case t.Identity():
            return np.eye(shape[-2], shape[-1])
        case t.Apply(operator=operator, arguments=arguments):
            return np.asarray(_FUNCTIONS[operator](*(_evaluate(a, shape) for a in arguments)))
    raise AssertionError(expression)
