"""The functions of the operator table on plain numbers, and arithmetic on ops whose values are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from rulec.ir.graph import Nested, Op, array
from rulec.semantics.operators import POINTWISE
from rulec.source import Span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

_FUNCTIONS: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "neg": lambda a: -a,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
    "less": lambda a, b: float(a < b),
    "less_equal": lambda a, b: float(a <= b),
    "greater": lambda a, b: float(a > b),
    "greater_equal": lambda a, b: float(a >= b),
    "equal": lambda a, b: float(a == b),
    "not_equal": lambda a, b: float(a != b),
    "not": lambda a: float(a == 0),
    "exp": math.exp,
    "log": math.log,
    "tanh": math.tanh,
    "sigmoid": lambda z: 0.5 * (1 + math.tanh(0.5 * z)),
    "relu": lambda z: max(z, 0.0),
    "softplus": lambda z: max(z, 0.0) + math.log1p(math.exp(-abs(z))),
    "sqrt": math.sqrt,
    "abs": abs,
    "sign": lambda z: float((z > 0) - (z < 0)),
    "step": lambda z: float(z > 0),
    "sin": math.sin,
    "cos": math.cos,
    "erf": math.erf,
    "min": min,
    "max": max,
    "where": lambda c, a, b: a if c else b,
}


class _Algebra:
    """The functions of an algebra over numbers, for the formulas of the operator table."""

    def __getattr__(self, name: str) -> Callable[..., float]:
        return lambda *arguments: apply(name, *arguments)


def is_function(name: str) -> bool:
    return name in _FUNCTIONS or name in POINTWISE


def apply(name: str, *arguments: float) -> float:
    """Return a pointwise operator of numbers. Raises `ArithmeticError` or `ValueError` where it has no finite real value."""
    if name in _FUNCTIONS:
        value = _FUNCTIONS[name](*arguments)
    else:
        define = POINTWISE[name].define
        assert define is not None
        value = define(_Algebra(), *arguments)
    if isinstance(value, complex) or not math.isfinite(value):
        raise ArithmeticError(name)
    return float(value)


def is_known(op: Op) -> bool:
    return op.name in ("constant", "array")


def pointwise_known(name: str, operands: tuple[Op, ...], span: Span | None) -> Op:
    """Return a pointwise operator of known operands as a known op. Raises what `apply` raises."""
    letters = tuple(sorted(frozenset().union(*(a.axes for a in operands))))
    if not letters:
        return array((), apply(name, *(a["value"] for a in operands)), span)
    import numpy as np

    values = np.vectorize(lambda *numbers: apply(name, *map(float, numbers)), otypes=[float])
    return known(letters, values(*(_aligned(a, letters) for a in operands)), span)


def reduce_known(operator: str, indices: tuple[str, ...], operand: Op, span: Span | None) -> Op | None:
    """Return the sum or mean of an array as a known op; None for other reductions."""
    if operator not in ("sum", "mean"):
        return None
    own = operand["indices"]
    axis = tuple(own.index(index) for index in indices)
    data = numbers_of(operand)
    total = data.sum(axis) if operator == "sum" else data.mean(axis)
    return known(tuple(index for index in own if index not in indices), total, span)


def numbers_of(op: Op) -> Numbers:
    import numpy as np

    return np.asarray(op["value"] if op.name == "constant" else op["values"], dtype=float)


def known(indices: tuple[str, ...], data: Numbers, span: Span | None = None) -> Op:
    """Return numbers as an op: a constant if they are all the same."""
    if not indices or (data.size and (data == data.flat[0]).all()):
        return array((), float(data.flat[0]), span)
    return array(indices, _nested(data.tolist()), span)


def _aligned(op: Op, letters: tuple[str, ...]) -> Numbers:
    """Return the numbers with an axis for each letter, of length one where they do not vary."""
    import numpy as np

    data = numbers_of(op)
    if op.name == "constant":
        return data.reshape((1,) * len(letters))
    own = op["indices"]
    data = np.transpose(data, [own.index(letter) for letter in letters if letter in own])
    sizes = iter(data.shape)
    return data.reshape([next(sizes) if letter in own else 1 for letter in letters])


def _nested(values: object) -> Nested:
    if isinstance(values, (list, tuple)):
        return tuple(_nested(v) for v in values)
    assert isinstance(values, (float, int))
    return float(values)
