"""The operator table: every function a rule may call, in one place.

A pointwise operator is either primitive (each evaluator knows it: numpy, torch) or *defined* by others. Definitions and
slopes are written over an algebra: `f` holds the functions, and values support `+ - * / **`. So the same line serves the
interpreter, the compiler and sympy. To add an activation, add one entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Pointwise:
    """A function applied to each element.

    `slope(f, *arguments)` gives the partial derivatives, one per argument; None where it is zero almost everywhere.
    """

    name: str
    arity: int
    slope: Formula
    define: Formula | None = None  # None: primitive


def _table(*entries: Pointwise) -> dict[str, Pointwise]:
    return {entry.name: entry for entry in entries}


_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772
_SQRT_HALF = 0.7071067811865476
_INVERSE_SQRT_2PI = 0.3989422804014327

PRIMITIVE = _table(
    Pointwise("exp", 1, lambda f, z: (f.exp(z),)),
    Pointwise("log", 1, lambda f, z: (1 / z,)),
    Pointwise("tanh", 1, lambda f, z: (1 - f.tanh(z) ** 2,)),
    Pointwise("sigmoid", 1, lambda f, z: (f.sigmoid(z) * (1 - f.sigmoid(z)),)),
    Pointwise("relu", 1, lambda f, z: (f.step(z),)),
    Pointwise("softplus", 1, lambda f, z: (f.sigmoid(z),)),
    Pointwise("sqrt", 1, lambda f, z: (0.5 / f.sqrt(z),)),
    Pointwise("abs", 1, lambda f, z: (f.sign(z),)),
    Pointwise("sign", 1, lambda f, z: (None,)),
    Pointwise("step", 1, lambda f, z: (None,)),  # 1 where z > 0, else 0
    Pointwise("sin", 1, lambda f, z: (f.cos(z),)),
    Pointwise("cos", 1, lambda f, z: (-f.sin(z),)),
    Pointwise("erf", 1, lambda f, z: (2.0 * _INVERSE_SQRT_2PI / _SQRT_HALF * f.exp(-(z**2)),)),
    Pointwise("min", 2, lambda f, a, b: (f.where(f.less(a, b), 1.0, 0.0), f.where(f.less(a, b), 0.0, 1.0))),
    Pointwise("max", 2, lambda f, a, b: (f.where(f.less(b, a), 1.0, 0.0), f.where(f.less(b, a), 0.0, 1.0))),
    Pointwise("where", 3, lambda f, c, a, b: (None, f.where(c, 1.0, 0.0), f.where(c, 0.0, 1.0))),
)

DEFINED = _table(
    Pointwise("identity", 1, lambda f, z: (1.0,), lambda f, z: z),
    Pointwise("relu_tanh", 1, lambda f, z: (f.step(z) * (1 - f.tanh(z) ** 2),), lambda f, z: f.relu(f.tanh(z))),
    Pointwise("softsign", 1, lambda f, z: (1 / (1 + f.abs(z)) ** 2,), lambda f, z: z / (1 + f.abs(z))),
    Pointwise(
        "silu",
        1,
        lambda f, z: (f.sigmoid(z) * (1 + z * (1 - f.sigmoid(z))),),
        lambda f, z: z * f.sigmoid(z),
    ),
    Pointwise(
        "gelu",
        1,
        lambda f, z: (0.5 * (1 + f.erf(z * _SQRT_HALF)) + z * _INVERSE_SQRT_2PI * f.exp(-0.5 * z**2),),
        lambda f, z: z * (0.5 * (1 + f.erf(z * _SQRT_HALF))),
    ),
    Pointwise(
        "elu",
        1,
        lambda f, z: (f.step(z) + (1 - f.step(z)) * f.exp(-f.relu(-z)),),
        lambda f, z: f.relu(z) + f.exp(-f.relu(-z)) - 1,
    ),
    Pointwise(
        "selu",
        1,
        lambda f, z: (_SELU_SCALE * (f.step(z) + _SELU_ALPHA * (1 - f.step(z)) * f.exp(-f.relu(-z))),),
        lambda f, z: _SELU_SCALE * (f.relu(z) + _SELU_ALPHA * (f.exp(-f.relu(-z)) - 1)),
    ),
    Pointwise(
        "leaky_relu",
        1,
        lambda f, z: (f.step(z) + 0.01 * (1 - f.step(z)),),
        lambda f, z: f.relu(z) - 0.01 * f.relu(-z),
    ),
    Pointwise("square", 1, lambda f, z: (2 * z,), lambda f, z: z * z),
)

POINTWISE: dict[str, Pointwise] = PRIMITIVE | DEFINED

# Functions of one argument that may stand for a layer's activation, or be an option's value.
ACTIVATIONS: tuple[str, ...] = (
    "identity",
    "relu",
    "tanh",
    "sigmoid",
    "softplus",
    "elu",
    "leaky_relu",
    "gelu",
    "silu",
    "selu",
    "softsign",
    "relu_tanh",
    "sin",
    "square",
)

# Reductions over named indices. `softmax` keeps its indices; the others remove them.
REDUCTIONS: tuple[str, ...] = ("sum", "mean", "max", "min", "var", "norm", "softmax")

# Functions that have a meaning of their own, and how many arguments they take.
SPECIAL: dict[str, tuple[int, ...]] = {
    "act": (1,),
    "diff": (2,),
    "grad": (2,),
    "stop": (1,),
    "concat": tuple(range(1, 65)),
    "solve": (2,),
    "update": (1,),
    "init": (1,),
}

# Functions of initial values.
INITIAL: dict[str, int] = {"normal": 2, "uniform": 2}
INITIAL_NAMES = ("eye", "fan_in", "fan_out")

DOMAINS: dict[str, int] = {"real": 0, "positive": 0, "unit": 0, "interval": 2}

# Names with a meaning of their own in expressions.
BUILTIN_NAMES = ("t", "loss", "noise")
BUILTIN_INDEXED = ("input", "target", "prediction", "noise")
BUILTIN_INDICES = ("i", "j", "n")
