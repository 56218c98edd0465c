"""Each pass keeps every value: random expressions, evaluated before and after."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rulec.ir.graph import (
    Block,
    Op,
    Program,
    Write,
    array,
    constant,
    contract,
    is_constant,
    pointwise,
    reduce,
    rewrite_down,
    uses_of,
    walk_ops,
)
from rulec.ir.passes import PASSES
from rulec.ir.passes.absorb import absorb_factors
from rulec.ir.passes.contractions import form_contractions
from rulec.ir.passes.fold import fold_constants
from rulec.ir.passes.multiples import _base, _terms, collect_multiples
from rulec.ir.passes.share import share_subexpressions
from rulec.ir.passes.terms import gather_terms
from tests.ir.evaluation import SIZES, aligned, evaluate, random_array, state

LEAVES = {"a": "ni", "b": "nj", "w": "ij", "c": "nik", "m": "kl", "s": "", "p": "j"}
STATES = {name: state(name, letters) for name, letters in LEAVES.items()}


def inputs() -> dict[str, object]:
    generator = np.random.default_rng(3)
    return {name: random_array(letters, generator) for name, letters in LEAVES.items()}


GIVEN = inputs()
ARRAYS = [
    array("k", (0.0, 1.5)),
    array("k", (1.0, 1.0)),
    array("kl", ((1.0, 0.0, -2.0), (0.0, 0.5, 0.0))),
]
leaves = st.one_of(
    st.sampled_from([*STATES.values()]),
    st.sampled_from([0.0, 1.0, -1.0, 2.0, 0.5]).map(constant),
    st.sampled_from(ARRAYS),
)


@st.composite
def combined(draw: st.DrawFn, inner: st.SearchStrategy[Op]) -> Op:
    left, right = draw(inner), draw(inner)
    match draw(st.sampled_from(("add", "sub", "mul", "mul", "div", "square", "neg", "tanh", "same"))):
        case "div":
            return left / (2.0 + pointwise("abs", right))
        case "square":
            return left**2.0
        case "neg":
            return -left
        case "tanh":
            return pointwise("tanh", left)
        case "same":
            return left * left + right
        case name:
            return pointwise(name, left, right)


@st.composite
def reduced(draw: st.DrawFn, inner: st.SearchStrategy[Op]) -> Op:
    argument = draw(inner)
    operator = draw(st.sampled_from(("sum", "sum", "mean", "mean", "max", "var", "norm", "softmax")))
    if operator in ("norm", "softmax"):  # what has lost all of their indices: see below
        argument = argument + STATES["c"]
    letters = draw(st.permutations(sorted(argument.axes if operator not in ("norm", "softmax") else "nik")))
    count = draw(st.integers(0, len(letters)))
    return reduce(operator, letters[:count], argument)


expressions = st.recursive(leaves, lambda inner: st.one_of(combined(inner), reduced(inner)), max_leaves=10)


def program_of(*values: Op) -> Program:
    block = Block("update", tuple(Write(f"y{k}", "", value) for k, value in enumerate(values)))
    return Program("test", {}, {"k": SIZES["k"], "l": SIZES["l"]}, (), (), (), (block,))


def writes_of(program: Program) -> tuple[Write, ...]:
    (block,) = program.blocks
    assert isinstance(block, Block)
    return block.writes


def same(before: Op, after: Op) -> None:
    letters = "".join(sorted(before.axes | after.axes))
    with np.errstate(all="ignore"):
        left, right = (aligned(evaluate(op, GIVEN), letters) for op in (before, after))  # type: ignore[arg-type]
    if np.isfinite(left).all():
        np.testing.assert_allclose(right, left, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "change",
    [fold_constants, form_contractions, share_subexpressions, collect_multiples, gather_terms],
    ids=lambda change: change.__name__,
)
@settings(max_examples=120, deadline=None)
@given(value=expressions)
def test_one_pass_keeps_every_value(change, value: Op):
    (write,) = writes_of(change(program_of(value)))
    same(value, write.value)


def scaled_sums(inner: st.SearchStrategy[Op]) -> st.SearchStrategy[Op]:
    """Sums of products, multiplied and divided by this and that, once or twice in one expression."""
    sums = st.tuples(st.sampled_from(["ac", "wa", "wb", "abc"]), st.sampled_from(["n", "i", "ni", "nik"])).map(
        lambda pair: reduce("sum", pair[1], functools.reduce(operator.mul, (STATES[name] for name in pair[0])))
    )
    scaled = st.tuples(sums, inner, st.sampled_from([operator.mul, operator.truediv])).map(
        lambda three: -three[2](three[0], 2.0 + pointwise("abs", three[1])) * 0.5
    )
    return st.tuples(scaled, scaled, st.booleans()).map(
        lambda three: three[0] * three[1] if three[2] else three[0] + three[1] * three[0]
    )


@settings(max_examples=120, deadline=None)
@given(scaled_sums(expressions))
def test_factors_of_a_sum_can_be_taken_into_it(value: Op):
    before = share_subexpressions(form_contractions(program_of(value)))
    same(writes_of(before)[0].value, writes_of(absorb_factors(before))[0].value)


def test_ops_made_on_the_way_are_told_apart():
    # A new op at the place in memory of one that is gone must not be taken for it.
    def change(op: Op, visit: Callable[[Op], Op]) -> Op:
        if op.name == "constant":
            return constant(op["value"] + 0.5)
        return functools.reduce(operator.add, (visit(constant(float(k))) for k in range(100)))

    (write,) = rewrite_down(Block("update", (Write("y", "", STATES["a"]),)), change).writes
    assert [op["value"] for op in walk_ops([write.value]) if op.name == "constant"] == [k + 0.5 for k in range(100)]


@st.composite
def multiples(draw: st.DrawFn) -> Op:
    """A sum of multiples of two synapse states, in any nesting."""
    total: Op = draw(leaves)
    for _ in range(draw(st.integers(1, 6))):
        base, times = STATES[draw(st.sampled_from("wp"))], draw(st.lists(leaves, max_size=2))
        term = functools.reduce(operator.mul, times, base)
        total = draw(st.sampled_from([total + term, term - total, total - term, -total + term]))
    return total


@settings(max_examples=120, deadline=None)
@given(multiples())
def test_multiples_are_added_up(value: Op):
    before = share_subexpressions(program_of(value))
    after = writes_of(collect_multiples(before))[0].value
    same(value, after)
    assert_each_once(after)


def assert_each_once(value: Op) -> None:
    """In a sum, through sums that nothing else uses, no synapse state stands in two terms that are multiples of it alone."""
    block = Block("update", (Write("y", "", value),))
    uses = uses_of(block)
    for root in walk_ops([value]):
        if root.name in ("add", "sub"):
            terms = _terms(root, lambda inner: uses[id(inner)] == 1)
            bases = [id(base) for _, term in terms if (base := _base(term)) is not None]
            assert len(set(bases)) == len(bases)


@pytest.mark.parametrize("operator", ["norm", "softmax"])
def test_a_reduction_of_what_has_become_constant(operator: str):
    value = reduce(operator, ["i"], STATES["a"] * 0.0 - STATES["s"])
    same(value, writes_of(fold_constants(program_of(value)))[0].value)


@settings(max_examples=120, deadline=None)
@given(expressions, expressions)
def test_all_passes_in_order_keep_every_value(first: Op, second: Op):
    program = program_of(first, second * first)
    for change in PASSES:
        program = change(program)
    one, other = writes_of(program)
    same(first, one.value)
    same(second * first, other.value)


def test_no_arithmetic_with_zero_and_one_is_left():
    a, b = STATES["a"], STATES["b"]
    zero, one = constant(0.0), constant(1.0)
    values = [
        a * one + zero,
        (a - zero) / one,
        zero * b + a,
        pointwise("neg", -a),
        a**one,
        pointwise("where", one, a, b),
        constant(2.0) * 3.0 - 6.0 + a,
    ]
    assert all(write.value is a for write in writes_of(fold_constants(program_of(*values))))


def test_a_sum_of_products_is_one_contraction():
    value = reduce("sum", ["i"], STATES["w"] * STATES["a"])
    (write,) = writes_of(form_contractions(program_of(value)))
    assert write.value.name == "contract"
    assert set(write.value.args) == {STATES["w"], STATES["a"]}


def test_a_mean_of_an_outer_product_stays_one_contraction():
    value = STATES["s"] * reduce("mean", ["n"], STATES["a"] * STATES["b"] * STATES["s"])
    (write,) = writes_of(form_contractions(program_of(value)))
    (inner,) = [op for op in walk_ops([write.value]) if op.name == "contract"]
    assert set(inner.args) == {STATES["a"], STATES["b"]}
    assert inner["means"] == ("n",)


def test_what_mixes_neurons_and_synapses_is_multiplied_out():
    a, b, w = STATES["a"], STATES["b"], STATES["w"]
    value = reduce("mean", ["n"], b * (a - b * w))
    (write,) = writes_of(form_contractions(program_of(value)))
    contractions = [op for op in walk_ops([write.value]) if op.name == "contract"]
    assert len(contractions) == 2
    assert not any({"n", "i", "j"} <= op.axes for op in walk_ops([write.value]))


def test_equal_values_are_shared_and_noise_is_not():
    a = STATES["a"]
    noise = [Op("noise", (), (("site", site),), frozenset("n")) for site in (0, 1)]
    value = pointwise("tanh", a * 2.0) + pointwise("tanh", a * 2.0) + noise[0] * noise[1]
    (write,) = writes_of(share_subexpressions(program_of(value)))
    names = [op.name for op in walk_ops([write.value])]
    assert (names.count("tanh"), names.count("constant"), names.count("noise")) == (1, 1, 2)


def test_contractions_account_for_an_index_that_vanished():
    value = contract([STATES["p"]], ["j", "k"])
    same(reduce("sum", ["j"], STATES["p"]) * 2.0, value)
    assert not is_constant(value)


def test_functions_of_numbers_are_numbers():
    value = pointwise("tanh", constant(0.5)) * pointwise("sign", constant(-3.0)) + pointwise("gelu", constant(0.2))
    (write,) = writes_of(fold_constants(program_of(value)))
    assert is_constant(write.value)
    same(value, write.value)
    infinite = pointwise("log", constant(0.0))
    assert writes_of(fold_constants(program_of(infinite)))[0].value is infinite


def test_arithmetic_on_arrays_is_an_array_and_equal_numbers_are_one():
    value = reduce("sum", ["k"], array("kl", ((1.0, 2.0, 3.0), (1.0, 0.0, -1.0)))) * 3.0
    (write,) = writes_of(fold_constants(program_of(value)))
    assert is_constant(write.value, 6.0)
    value = array("k", (1.0, 2.0)) * array("l", (1.0, 0.0, -1.0))
    (write,) = writes_of(fold_constants(program_of(value)))
    assert write.value.name == "array"
    same(value, write.value)


def test_a_component_is_read_where_it_was_put():
    put = Op("insert", (STATES["c"], STATES["a"]), (("at", (("k", 1),)),), frozenset("nik"))
    read = [Op("take", (put,), (("at", (("k", number),)),), frozenset("ni")) for number in (0, 1)]
    first, second = writes_of(fold_constants(program_of(*read)))
    assert second.value is STATES["a"]
    assert first.value.name == "take" and first.value.args == (STATES["c"],)


def test_numbers_stand_in_front():
    a, w = STATES["a"], STATES["w"]
    value = reduce("sum", ["i"], 2.0 * (w * -a) * 0.5) + w * 0.0
    (write,) = writes_of(gather_terms(program_of(value)))
    assert write.value.name == "neg" and write.value.args[0].name == "reduce"
    (write,) = writes_of(gather_terms(program_of(3.0 * a - a * 2.0 - a)))
    assert is_constant(write.value, 0.0)
