"""Arrays whose axes have names: the values of the interpreter. Axes that one operand lacks are broadcast.

Besides index letters there is `@`, the places (height times width, flattened) of a convolutional layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Array:
    axes: tuple[str, ...]
    data: np.ndarray

    def __post_init__(self) -> None:
        assert len(self.axes) == self.data.ndim, (self.axes, self.data.shape)

    def size(self, axis: str) -> int:
        return self.data.shape[self.axes.index(axis)]

    def spread(self, axes: tuple[str, ...]) -> np.ndarray:
        """Return the data with exactly these axes, in this order; missing ones have length one."""
        present = [a for a in axes if a in self.axes]
        data = np.transpose(self.data, [self.axes.index(a) for a in present])
        shape = [self.size(a) if a in self.axes else 1 for a in axes]
        return data.reshape(shape)

    def component(self, axis: str, number: int) -> Array:
        """Read one component along an axis; an array without the axis is the same everywhere along it."""
        if axis not in self.axes:
            return self
        rest = tuple(a for a in self.axes if a != axis)
        return Array(rest, np.take(self.data, number, self.axes.index(axis)))

    def renamed(self, table: dict[str, str]) -> Array:
        return Array(tuple(table.get(a, a) for a in self.axes), self.data)


def scalar(value: float) -> Array:
    return Array((), np.asarray(float(value)))


def union(*arrays: Array) -> tuple[str, ...]:
    axes: list[str] = []
    for array in arrays:
        axes += [a for a in array.axes if a not in axes]
    return tuple(axes)


def combine(function: Callable[..., np.ndarray], *arrays: Array) -> Array:
    axes = union(*arrays)
    data = function(*(a.spread(axes) for a in arrays))
    return Array(axes, np.asarray(data))


def reduce_axes(operator: str, array: Array, axes: tuple[str, ...]) -> Array:
    """Reduce over axes that the array has; `softmax` keeps them."""
    where = tuple(array.axes.index(a) for a in axes)
    rest = tuple(a for a in array.axes if a not in axes)
    data = array.data
    if operator == "softmax":
        shifted = np.exp(data - data.max(axis=where, keepdims=True))
        return Array(array.axes, shifted / shifted.sum(axis=where, keepdims=True))
    functions: dict[str, Callable[[], np.ndarray]] = {
        "sum": lambda: data.sum(axis=where),
        "mean": lambda: data.mean(axis=where),
        "max": lambda: data.max(axis=where),
        "min": lambda: data.min(axis=where),
        "var": lambda: data.var(axis=where),
        "norm": lambda: np.sqrt((data**2).sum(axis=where)),
    }
    return Array(rest, functions[operator]())


_erf = np.vectorize(math.erf, otypes=[float])


def _where(condition: np.ndarray, then: np.ndarray | float, otherwise: np.ndarray | float) -> np.ndarray:
    return np.asarray(np.where(condition, then, otherwise))


def _sigmoid(z: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(z))
    return _where(z >= 0, 1 / (1 + e), e / (1 + e))


POINTWISE: dict[str, Callable[..., np.ndarray]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
    "neg": np.negative,
    "not": lambda a: (a == 0) * 1.0,
    "less": lambda a, b: (a < b) * 1.0,
    "less_equal": lambda a, b: (a <= b) * 1.0,
    "greater": lambda a, b: (a > b) * 1.0,
    "greater_equal": lambda a, b: (a >= b) * 1.0,
    "equal": lambda a, b: (a == b) * 1.0,
    "not_equal": lambda a, b: (a != b) * 1.0,
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "relu": lambda z: np.maximum(z, 0.0),
    "softplus": lambda z: np.logaddexp(z, 0.0),
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sign": np.sign,
    "step": lambda z: (z > 0) * 1.0,
    "sin": np.sin,
    "cos": np.cos,
    "erf": _erf,
    "min": np.minimum,
    "max": np.maximum,
    "where": lambda c, a, b: _where(c != 0, a, b),
    "identity": lambda z: z,
    "relu_tanh": lambda z: np.maximum(np.tanh(z), 0.0),
    "softsign": lambda z: z / (1 + np.abs(z)),
    "silu": lambda z: z * _sigmoid(z),
    "gelu": lambda z: z * 0.5 * (1 + _erf(z / math.sqrt(2))),
    "elu": lambda z: _where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "selu": lambda z: 1.0507009873554805 * _where(z > 0, z, 1.6732632423543772 * np.expm1(np.minimum(z, 0))),
    "leaky_relu": lambda z: _where(z > 0, z, 0.01 * z),
    "square": lambda z: z**2,
}

_pdf = lambda z: np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)  # noqa: E731

# First derivatives of the activations, written from calculus and not taken from the operator table.
SLOPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": np.ones_like,
    "relu": lambda z: (z > 0) * 1.0,
    "tanh": lambda z: 1 / np.cosh(z) ** 2,
    "sigmoid": lambda z: _sigmoid(z) * _sigmoid(-z),
    "softplus": _sigmoid,
    "elu": lambda z: _where(z > 0, 1.0, np.exp(np.minimum(z, 0))),
    "leaky_relu": lambda z: _where(z > 0, 1.0, 0.01),
    "gelu": lambda z: 0.5 * (1 + _erf(z / math.sqrt(2))) + z * _pdf(z),
    "silu": lambda z: _sigmoid(z) + z * _sigmoid(z) * _sigmoid(-z),
    "selu": lambda z: 1.0507009873554805 * _where(z > 0, 1.0, 1.6732632423543772 * np.exp(np.minimum(z, 0))),
    "softsign": lambda z: 1 / (1 + np.abs(z)) ** 2,
    "relu_tanh": lambda z: _where(z > 0, 1 / np.cosh(z) ** 2, 0.0),
    "sin": np.cos,
    "square": lambda z: 2 * z,
}

# Second derivatives, for rules that use `act''`.
CURVATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": np.zeros_like,
    "relu": np.zeros_like,
    "leaky_relu": np.zeros_like,
    "tanh": lambda z: -2 * np.tanh(z) / np.cosh(z) ** 2,
    "sigmoid": lambda z: _sigmoid(z) * _sigmoid(-z) * (1 - 2 * _sigmoid(z)),
    "softplus": lambda z: _sigmoid(z) * _sigmoid(-z),
    "sin": lambda z: -np.sin(z),
    "square": lambda z: np.full_like(z, 2.0),
    "elu": lambda z: _where(z > 0, 0.0, np.exp(np.minimum(z, 0))),
    "selu": lambda z: _where(z > 0, 0.0, 1.0507009873554805 * 1.6732632423543772 * np.exp(np.minimum(z, 0))),
    "silu": lambda z: _sigmoid(z) * _sigmoid(-z) * (2 + z * (1 - 2 * _sigmoid(z))),
    "gelu": lambda z: _pdf(z) * (2 - z**2),
    "softsign": lambda z: -2 * np.sign(z) / (1 + np.abs(z)) ** 3,
    "relu_tanh": lambda z: _where(z > 0, -2 * np.tanh(z) / np.cosh(z) ** 2, 0.0),
}
