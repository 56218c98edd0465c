"""What a step is computed over: exact values, or floating-point numbers. Both know the same operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import sympy

from rulec.oracle.arrays import CURVATURES, POINTWISE, SLOPES
from rulec.symbolic.algebra import GENERIC, Algebra, Unsayable

Number = Any  # an exact value or a float
Numbers = np.ndarray  # of Number, dtype object


class Field(Protocol):
    """Elementwise functions on arrays of numbers, and derivatives of a computed number."""

    def number(self, value: float) -> Number: ...

    def apply(self, function: str, *arguments: Numbers) -> Numbers: ...

    def slope(self, activation: str, order: int, z: Numbers) -> Numbers:
        """Return the derivative of an activation of this order."""
        ...

    def loss(self, kind: str, prediction: Numbers, target: Numbers) -> Numbers:
        """Return the loss of each sample, (batch,), of (batch, outputs)."""
        ...

    def loss_slope(self, kind: str, prediction: Numbers, target: Numbers) -> Numbers:
        """Return its derivatives with respect to the prediction, (batch, outputs)."""
        ...

    def gradient(self, value: Number, again: Callable[[Numbers], Number], at: Numbers) -> Numbers:
        """Differentiate `value` with respect to the numbers `at`; `again` computes it anew for others."""
        ...

    def solve(self, matrix: Numbers, right: Numbers) -> Numbers:
        """Solve a linear system, (..., m, m) and (..., m)."""
        ...


def elementwise(function: Callable[..., Number], *arguments: Any) -> Numbers:
    """Apply a function of numbers to arrays of them, with broadcasting."""
    return np.asarray(np.frompyfunc(function, len(arguments), 1)(*arguments), dtype=object)


def _softmax(field: Field, z: Numbers) -> Numbers:
    powers = field.apply("exp", z)
    return field.apply("div", powers, powers.sum(axis=1, keepdims=True))


def _mse(prediction: Numbers, target: Numbers) -> Numbers:
    error = prediction - target
    return (error * error).sum(axis=1) / prediction.shape[1]


def _mse_slope(prediction: Numbers, target: Numbers) -> Numbers:
    return 2 * (prediction - target) / prediction.shape[1]


def _cross_entropy(field: Field, prediction: Numbers, target: Numbers) -> Numbers:
    whole = field.apply("log", field.apply("exp", prediction).sum(axis=1))
    return (target * (whole[:, None] - prediction)).sum(axis=1)


def _cross_entropy_slope(field: Field, prediction: Numbers, target: Numbers) -> Numbers:
    return _softmax(field, prediction) * target.sum(axis=1, keepdims=True) - target


class Exact:
    """Values of an `Algebra`."""

    def __init__(self, algebra: Algebra | None = None) -> None:
        self.algebra = algebra or Algebra()

    def number(self, value: float) -> Number:
        return self.algebra.number(value)

    def apply(self, function: str, *arguments: Numbers) -> Numbers:
        return elementwise(lambda *a: self.algebra.apply(function, *a), *arguments)

    def slope(self, activation: str, order: int, z: Numbers) -> Numbers:
        if activation.startswith(GENERIC):
            return self.apply(activation + "'" * order, z)
        if order > 1:
            raise Unsayable(f"the derivative of order {order} of {activation}")
        return elementwise(lambda v: self._first_slope(activation, v), z)

    def _first_slope(self, activation: str, z: Number) -> Number:
        (slope,) = self.algebra.slopes(activation, (sympy.expand(z),))
        return sympy.S.Zero if slope is None else self.algebra.number(slope)

    def loss(self, kind: str, prediction: Numbers, target: Numbers) -> Numbers:
        if kind == "mse":
            return _mse(prediction, target)
        if kind == "cross_entropy":
            return _cross_entropy(self, prediction, target)
        return np.array([self.algebra.apply("loss", *p, *q) for p, q in zip(prediction, target, strict=True)], object)

    def loss_slope(self, kind: str, prediction: Numbers, target: Numbers) -> Numbers:
        if kind == "mse":
            return _mse_slope(prediction, target)
        if kind == "cross_entropy":
            return _cross_entropy_slope(self, prediction, target)
        rows = [
            [self.algebra.apply(f"loss_{k}", *p, *q) for k in range(len(p))]
            for p, q in zip(prediction, target, strict=True)
        ]
        return np.array(rows, object)

    def gradient(self, value: Number, again: Callable[[Numbers], Number], at: Numbers) -> Numbers:
        return elementwise(lambda symbol: self.algebra.derivative(value, symbol), at)

    def solve(self, matrix: Numbers, right: Numbers) -> Numbers:
        raise Unsayable("a linear system")


class Floats:
    """Python floats, with the functions of the oracle. Derivatives are central differences of eighth order."""

    STEP = 0.01  # the error is then about 1e-12 for functions that vary over lengths of order one
    _WEIGHTS = (4 / 5, -1 / 5, 4 / 105, -1 / 280)

    def __init__(self, generic: str = "tanh") -> None:
        self.generic = generic

    def number(self, value: float) -> Number:
        return float(value)

    def _named(self, activation: str) -> str:
        return self.generic if activation.startswith(GENERIC) else activation

    def apply(self, function: str, *arguments: Numbers) -> Numbers:
        known = POINTWISE[self._named(function)]
        with np.errstate(all="ignore"):
            return elementwise(lambda *a: float(known(*map(np.float64, a))), *arguments)

    def slope(self, activation: str, order: int, z: Numbers) -> Numbers:
        known = (SLOPES, CURVATURES)[order - 1][self._named(activation)]
        return elementwise(lambda v: float(known(np.asarray(v, float))), z)

    def loss(self, kind: str, prediction: Numbers, target: Numbers) -> Numbers:
        return _mse(prediction, target) if kind == "mse" else _cross_entropy(self, prediction, target)

    def loss_slope(self, kind: str, prediction: Numbers, target: Numbers) -> Numbers:
        return _mse_slope(prediction, target) if kind == "mse" else _cross_entropy_slope(self, prediction, target)

    def gradient(self, value: Number, again: Callable[[Numbers], Number], at: Numbers) -> Numbers:
        found = np.empty(at.shape, object)
        for place in np.ndindex(at.shape):

            def moved(by: float, place: tuple[int, ...] = place) -> Number:
                other = at.copy()
                other[place] += by * self.STEP
                return again(other)

            found[place] = sum(c * (moved(k) - moved(-k)) for k, c in enumerate(self._WEIGHTS, 1)) / self.STEP
        return found

    def solve(self, matrix: Numbers, right: Numbers) -> Numbers:
        return np.linalg.solve(matrix.astype(float), right.astype(float)[..., None])[..., 0].astype(object)
