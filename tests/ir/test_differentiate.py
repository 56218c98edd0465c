"""Derivatives of index expressions against differences, and the table's slopes against sympy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sympy

from rulec.ir.activations import derivative
from rulec.ir.differentiate import differentiate
from rulec.ir.graph import FUNCTIONS, Op, constant, pointwise, reduce
from rulec.oracle.arrays import Array, scalar
from rulec.semantics.operators import ACTIVATIONS, POINTWISE
from tests.ir.evaluation import aligned, evaluate, random_array, state

STEP = 1e-6


def slope_by_differences(value: Op, name: str, given: dict[str, Array]) -> np.ndarray:
    """Differentiate the sum of all elements of `value` by each element of one input."""
    middle = given[name]
    slopes = np.zeros_like(middle.data)
    for place in np.ndindex(middle.data.shape):
        sums = []
        for shift in (STEP, -STEP):
            moved = middle.data.copy()
            moved[place] += shift
            sums.append(total(value, {**given, name: Array(middle.axes, moved)}))
        slopes[place] = (sums[0] - sums[1]) / (2 * STEP)
    return slopes


def total(value: Op, given: dict[str, Array]) -> float:
    return float(aligned(evaluate(value, given), "".join(sorted(value.axes))).sum())


def agree(value: Op, variable: Op, name: str, given: dict[str, Array]) -> None:
    """Compare the derivative of a random linear function of the value: every element of it counts differently."""
    letters = "".join(sorted(value.axes))
    given = {**given, "v": random_array(letters, np.random.default_rng(9))}
    value = value * state("v", letters)
    slope = differentiate(value, variable)
    expected = slope_by_differences(value, name, given)
    found = np.zeros_like(expected) if slope is None else aligned(evaluate(slope, given), "".join(given[name].axes))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


def inputs(seed: int = 0) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    return {"a": random_array("nk", generator), "b": random_array("kl", generator), "c": random_array("n", generator)}


A, B, C = state("a", "nk"), state("b", "kl"), state("c", "n")


@pytest.mark.parametrize("name", sorted(POINTWISE))
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_every_operator_of_the_table(name: str, sign: float):
    given = {
        key: Array(value.axes, sign * value.data if name not in ("log", "sqrt") else value.data)
        for key, value in inputs().items()
    }
    operands = [A, B, C][: POINTWISE[name].arity]
    if name == "where":
        operands = [pointwise("less", A, B), B, C]
    value = pointwise(name, *operands)
    for variable, key in ((A, "a"), (B, "b"), (C, "c")):
        agree(value, variable, key, given)


ARITHMETIC: dict[str, Callable[[Any, Any], Op]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b, "neg": lambda a, b: -a * b, "square": lambda a, b: (a + b) ** 2, "less": lambda a, b: pointwise("less", a, b) * a,
    "not": lambda a, b: pointwise("not", a) + b,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(ARITHMETIC))
def test_arithmetic(name: str):
    value = ARITHMETIC[name](A, B)
    for variable, key in ((A, "a"), (B, "b"), (C, "c")):
        agree(value, variable, key, inputs())


@pytest.mark.parametrize("operator", ["sum", "mean", "max", "min", "var", "norm", "softmax"])
@pytest.mark.parametrize("indices", [("n",), ("k",), ("k", "n"), ("k", "l")])
def test_reductions(operator: str, indices: tuple[str, ...]):
    inner = A * B + A * B * C * C
    value = reduce(operator, indices, inner) * pointwise("tanh", A) + reduce(operator, indices, inner)
    for variable, key in ((A, "a"), (B, "b"), (C, "c")):
        agree(value, variable, key, inputs())


def test_reading_and_replacing_components():
    taken = Op("take", (B,), (("at", (("l", 1),)),), frozenset("k"))
    renamed = Op("rename", (taken,), (("letters", (("k", "n"),)),), frozenset("n"))
    generator = np.random.default_rng(0)
    given = {"b": random_array("kl", generator), "c": random_array("k", generator)}
    part = state("c", "k")
    inserted = Op("insert", (B, part * taken), (("at", (("l", 2),)),), frozenset("kl"))
    for value in (taken * part, inserted * inserted, reduce("sum", ["n"], renamed * renamed) * part):
        agree(value, B, "b", given)
        agree(value, part, "c", given)


@pytest.mark.parametrize(
    "value", [A + B, A * C - B, reduce("sum", ["k"], A * A + C)], ids=["sum", "difference", "inside"]
)
def test_a_term_counts_once_for_every_element_it_is_added_to(value: Op):
    for variable, key in ((A, "a"), (B, "b"), (C, "c")):
        slope = differentiate(value, variable)
        given = inputs()
        found = 0.0 if slope is None else aligned(evaluate(slope, given), "".join(given[key].axes))
        np.testing.assert_allclose(
            found + np.zeros_like(given[key].data), slope_by_differences(value, key, given), rtol=2e-5
        )


def test_what_is_stopped_and_what_does_not_depend_have_no_derivative():
    assert differentiate(Op("stop", (A,), (), A.axes) * B, A) is None
    assert differentiate(B * C, A) is None
    mixed = Op("stop", (A,), (), A.axes) * A
    slope = differentiate(mixed, A)
    assert slope is not None
    given = inputs()
    np.testing.assert_allclose(aligned(evaluate(slope, given), "nk"), given["a"].data)


def test_derivatives_can_be_differentiated_again():
    value = pointwise("tanh", A * B) * C
    first = differentiate(value, A)
    assert first is not None
    for variable, key in ((A, "a"), (B, "b"), (C, "c")):
        agree(first, variable, key, inputs())


# --- The table against sympy -----------------------------------------------------------------

Z = sympy.Symbol("z", real=True)
HALF = sympy.Rational(1, 2)
SELU = (sympy.Float("1.0507009873554805", 20), sympy.Float("1.6732632423543772", 20))
FORMULAS = {
    "identity": Z, "relu": sympy.Piecewise((Z, Z > 0), (0, True)), "tanh": sympy.tanh(Z), "sigmoid": 1 / (1 + sympy.exp(-Z)),
    "softplus": sympy.log(1 + sympy.exp(Z)), "elu": sympy.Piecewise((Z, Z > 0), (sympy.exp(Z) - 1, True)),
    "leaky_relu": sympy.Piecewise((Z, Z > 0), (Z / 100, True)), "gelu": Z * HALF * (1 + sympy.erf(Z / sympy.sqrt(2))),
    "silu": Z / (1 + sympy.exp(-Z)), "selu": sympy.Piecewise((SELU[0] * Z, Z > 0), (SELU[0] * SELU[1] * (sympy.exp(Z) - 1), True)),
    "softsign": Z / (1 + sympy.Abs(Z)), "relu_tanh": sympy.Piecewise((sympy.tanh(Z), Z > 0), (0, True)), "sin": sympy.sin(Z),
    "square": Z**2,
}  # fmt: skip
POINTS = (-2.3, -0.7, -0.01, 0.02, 0.6, 1.9)


def at(expression: sympy.Expr, point: float) -> float:
    return float(expression.subs(Z, sympy.Float(point, 30)).doit().evalf(20))


def test_every_activation_is_compared():
    assert set(FORMULAS) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_slopes_and_curvatures_are_those_of_calculus(name: str):
    for point in POINTS:
        formula = FORMULAS[name]
        value = evaluate(pointwise(name, constant(point)), {})
        assert float(value.data) == pytest.approx(at(formula, point), rel=1e-9, abs=1e-12)
        for order in (1, 2):
            formula = sympy.diff(formula, Z)
            free, slope = derivative(name, order)
            found = evaluate(slope, {free["name"]: scalar(point)})
            assert float(found.data) == pytest.approx(at(formula, point), rel=1e-8, abs=1e-10), (order, point)


@pytest.mark.parametrize("name", sorted(n for n, entry in POINTWISE.items() if entry.define is not None))
def test_definitions_are_the_functions(name: str):
    for point in POINTS:
        free = state("z", "")
        assert POINTWISE[name].define is not None
        defined = POINTWISE[name].define(FUNCTIONS, free)  # type: ignore[misc]
        value = float(evaluate(defined, {"z": scalar(point)}).data)
        assert math.isclose(value, at(FORMULAS[name], point), rel_tol=1e-9, abs_tol=1e-12)
