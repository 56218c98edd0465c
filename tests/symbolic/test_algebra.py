"""Exact values mean what floats compute, their derivatives are derivatives, and zero is decided rightly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from rulec.oracle.arrays import POINTWISE, SLOPES
from rulec.semantics.operators import DEFINED, PRIMITIVE
from rulec.symbolic.algebra import Algebra, Unsayable

NAMES = ("x", "y", "z")
SMOOTH = ("tanh", "sigmoid", "exp", "softplus", "sin", "gelu", "silu", "square")
KINKED = ("relu", "abs", "sign", "elu", "leaky_relu", "softsign", "relu_tanh", "selu")
BINARY = ("add", "sub", "mul")

values = st.integers(-12, 12).filter(bool).map(lambda k: k / 8)
leaves = st.one_of(st.sampled_from(NAMES), values)


def squares(inner):
    return st.tuples(st.just("square"), inner)


def trees(unary, divisions=True, leaves_at_most=6):
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(st.sampled_from(BINARY), inner, inner),
            st.tuples(st.sampled_from(unary), inner),
            *(
                [st.tuples(st.just("div"), inner, st.tuples(st.just("add"), st.just(2.0), squares(inner)))]
                if divisions
                else []
            ),
        ),
        max_leaves=leaves_at_most,
    )


def exact(algebra: Algebra, tree):
    if isinstance(tree, str):
        return algebra.symbol(tree)
    if isinstance(tree, float):
        return algebra.number(tree)
    return algebra.apply(tree[0], *(exact(algebra, part) for part in tree[1:]))


def floating(tree, numbers: dict[str, float]) -> float:
    if isinstance(tree, str):
        return numbers[tree]
    if isinstance(tree, float):
        return tree
    with np.errstate(all="ignore"):
        return float(POINTWISE[tree[0]](*(np.float64(floating(part, numbers)) for part in tree[1:])))


def known(function: str, *arguments: float) -> float:
    if function == "inverse":
        return 1 / arguments[0]
    if function == "power":
        return arguments[0] ** arguments[1]
    if function == "is_zero":
        return float(arguments[0] == 0)
    return float(POINTWISE[function](*map(np.float64, arguments)))


def evaluated(algebra: Algebra, value, numbers: dict[str, float]) -> float:
    return algebra.evaluate(value, {algebra.symbol(name): number for name, number in numbers.items()}, known)


points = st.fixed_dictionaries({name: st.floats(-1.5, 1.5).filter(lambda v: abs(v) > 0.01) for name in NAMES})


@settings(max_examples=60)
@given(tree=trees((*SMOOTH, *KINKED)), numbers=points)
def test_exact_values_are_those_of_floats(tree, numbers):
    algebra = Algebra()
    expected = floating(tree, numbers)
    if abs(expected) < 1e6:
        assert evaluated(algebra, exact(algebra, tree), numbers) == pytest.approx(expected, rel=1e-8, abs=1e-8)


@settings(max_examples=40)
@given(tree=trees(SMOOTH), numbers=points)
def test_derivatives_are_those_of_differences(tree, numbers):
    algebra = Algebra()
    slope = evaluated(algebra, algebra.derivative(sympy.sympify(exact(algebra, tree)), algebra.symbol("x")), numbers)
    h = 1e-4
    weights = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))
    around = [floating(tree, {**numbers, "x": numbers["x"] + k * h}) for k, _ in weights]
    difference = sum(w * v for (_, w), v in zip(weights, around, strict=True)) / h
    if max(map(abs, around)) < 1e3 and abs(slope) < 1e3:
        assert slope == pytest.approx(difference, rel=1e-5, abs=1e-5)


@settings(max_examples=40)
@given(tree=trees((*SMOOTH, *KINKED), False, 3), other=trees(SMOOTH, False, 3))
def test_a_sum_less_its_parts_is_zero_and_more_is_not(tree, other):
    algebra = Algebra()
    a, b = exact(algebra, tree), exact(algebra, other)
    assert algebra.is_zero((a + b) ** 2 - a**2 - 2 * a * b - b**2)
    assert not algebra.is_zero(a - a + 1)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("tanh", ("neg", "x")), ("neg", ("tanh", "x"))),
        (("sigmoid", ("neg", "x")), ("sub", 1.0, ("sigmoid", "x"))),
        (("exp", ("add", "x", "y")), ("mul", ("exp", "x"), ("exp", "y"))),
        (("log", ("exp", "x")), "x"),
        (("sqrt", ("square", "x")), ("abs", "x")),
        (("mul", ("abs", "x"), ("sign", "x")), "x"),
        (("sub", ("relu", "x"), ("relu", ("neg", "x"))), "x"),
        (("add", ("max", "x", "y"), ("min", "x", "y")), ("add", "x", "y")),
        (("div", ("mul", "x", ("add", "x", "y")), ("add", "x", "y")), "x"),
        (("where", ("less", "x", "y"), "y", "x"), ("max", "x", "y")),
        (("pow", "x", 3.0), ("mul", "x", ("mul", "x", "x"))),
        (("square", ("sqrt", ("add", 1.0, ("square", "x")))), ("add", 1.0, ("square", "x"))),
    ],
)
def test_what_is_known_of_functions(left, right):
    algebra = Algebra()
    assert algebra.is_zero(exact(algebra, left) - exact(algebra, right))


@pytest.mark.parametrize("name", sorted(DEFINED))
def test_slopes_of_the_operator_table_are_derivatives_of_its_definitions(name):
    """The table's slopes serve the compiler; here each is proved from the definition."""
    algebra = Algebra()
    z = algebra.symbol("z")
    derived = algebra.derivative(sympy.sympify(algebra.apply(name, z)), z)
    (slope,) = algebra.slopes(name, (z,))
    for at in (-1.7, -0.4, 0.3, 2.1):
        expected = float(SLOPES[name](np.float64(at)))
        assert evaluated(algebra, derived, {"z": at}) == pytest.approx(expected, abs=1e-9)
        assert evaluated(algebra, algebra.number(slope), {"z": at}) == pytest.approx(expected, abs=1e-9)


ROUNDED = ("gelu", "selu")  # their constants are decimals: the two sides differ in the last of these


@pytest.mark.parametrize("name", sorted(set(DEFINED) - set(ROUNDED)))
def test_slopes_of_definitions_are_proved(name):
    algebra = Algebra()
    z = algebra.symbol("z")
    (slope,) = algebra.slopes(name, (z,))
    assert algebra.is_zero(algebra.derivative(sympy.sympify(algebra.apply(name, z)), z) - algebra.number(slope))


class Sympy:
    """The primitive functions as sympy knows them."""

    sign, exp, tanh, erf, sin, cos = sympy.sign, sympy.exp, sympy.tanh, sympy.erf, sympy.sin, sympy.cos
    sqrt = staticmethod(sympy.sqrt)
    log, abs = sympy.log, sympy.Abs

    @staticmethod
    def sigmoid(z):
        return 1 / (1 + sympy.exp(-z))

    @staticmethod
    def softplus(z):
        return sympy.log(1 + sympy.exp(z))

    @staticmethod
    def relu(z):
        return sympy.Piecewise((z, z > 0), (0, True))

    @staticmethod
    def step(z):
        return sympy.Piecewise((1, z > 0), (0, True))


@pytest.mark.parametrize(
    "name", ["exp", "log", "tanh", "sigmoid", "relu", "softplus", "sqrt", "abs", "sin", "cos", "erf"]
)
def test_slopes_of_primitive_functions_are_those_that_sympy_derives(name):
    z = sympy.Symbol("z", real=True)
    derived = sympy.diff(getattr(Sympy, name)(z), z)
    (slope,) = PRIMITIVE[name].slope(Sympy(), z)
    for at in (
        sympy.Rational(3, 10),
        sympy.Rational(17, 8),
        *((-sympy.Rational(7, 5),) if name not in ("log", "sqrt") else ()),
    ):
        assert abs(float((derived - slope).subs(z, at).evalf(30))) < 1e-15


def test_decimals_are_exact():
    assert Algebra().number(0.1) == sympy.Rational(1, 10)
    assert Algebra().number(1e-9) == sympy.Rational(1, 10**9)
    with pytest.raises(Unsayable):
        Algebra().number(math.inf)


def test_size_does_not_grow_with_depth():
    algebra = Algebra()
    value = algebra.symbol("x")
    for depth in range(30):
        value = algebra.apply("generic", algebra.symbol(f"w{depth}") * value)
    assert value.is_Symbol
    slope = algebra.derivative(value, algebra.symbol("x"))
    assert len(slope.free_symbols) <= 61
