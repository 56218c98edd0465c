"""Products of labelled values, in whatever order and layout they are made, against `numpy.einsum`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import fx

from rulec.backend.products import contract_labels
from rulec.backend.values import Emitter, Value, component

SIZES = {"P": 2, "R": 3, "k": 2, "l": 4, "n": 5, "i": 6, "j": 3}
ORDER = list(SIZES)


def emitter() -> Emitter:
    sizes = {label: SIZES[label] for label in ("P", "R", "k", "l")}
    return Emitter(["k", "l"], sizes, torch.float64)


def run(emit: Emitter, value: Value, arrays: list[torch.Tensor]) -> torch.Tensor:
    emit.graph.output(value.node)
    return fx.GraphModule(torch.nn.Module(), emit.graph)(*arrays)


def random_arrays(factors: list[str]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = [[SIZES[x] for x in labels] for labels in factors]
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


labels = st.sets(st.sampled_from(ORDER), max_size=4).map(lambda found: "".join(sorted(found, key=ORDER.index)))


@settings(max_examples=300)
@given(st.lists(labels, min_size=1, max_size=5), st.sets(st.sampled_from(ORDER)), st.booleans(), st.data())
def test_any_sum_of_products(factors: list[str], keep: set[str], known: bool, data: st.DataObject):
    emit, arrays = emitter(), random_arrays(factors)
    moving = data.draw(st.lists(st.booleans(), min_size=len(factors), max_size=len(factors)))
    values = [
        emit.placeholder(f"a{k}", tuple(f), moves) for k, (f, moves) in enumerate(zip(factors, moving, strict=True))
    ]
    places = {x: SIZES[x] for x in "ij"} if known else {}
    value = contract_labels(emit, [*values, emit.number(1.5)], tuple(keep), places)
    kept = [x for x in ORDER if x in keep and any(x in f for f in factors)]
    assert list(value.labels) == kept
    expected = 1.5 * np.einsum(",".join(factors) + "->" + "".join(kept), *[a.numpy() for a in arrays])
    np.testing.assert_allclose(run(emit, value, arrays).numpy(), expected, rtol=1e-12, atol=1e-12)


def stacked(emit: Emitter, parts: list[Value]) -> Value:
    shape = (SIZES["n"], SIZES["i"])
    nodes = [emit.expanded(part, ("n", "i"), shape).node for part in parts]
    value = emit.make(("k", "n", "i"), torch.stack, nodes, 0)
    emit.stacks[value.key] = ("k", tuple(parts))
    return value


@pytest.mark.parametrize("read", ["k", "l"])
def test_a_component_that_is_alone_takes_the_place_of_the_sum(read: str):
    emit = emitter()
    x = emit.placeholder("x", ("n", "i"), False)
    mix = emit.placeholder("mix", ("k", "l"), True)
    both = emit.renamed(stacked(emit, [x, emit.number(0.0)]), {"k": read})
    other = emit.renamed(mix, {"k": "l", "l": "k"}) if read == "l" else mix
    value = contract_labels(emit, [other, both], ("k" if read == "l" else "l", "n", "i"))
    names = {node.target for node in emit.graph.nodes if node.op == "call_function"}
    assert torch.bmm not in names and torch.mm not in names
    given_x, given_mix = random_arrays(["ni"])[0], torch.randn(2, 4, dtype=torch.float64)
    if read == "k":
        expected = torch.einsum("l,ni->lni", given_mix[0], given_x)
        torch.testing.assert_close(run(emit, value, [given_x, given_mix]), expected)


def test_components_that_are_all_zero_make_the_sum_zero():
    emit = emitter()
    mix = emit.placeholder("mix", ("k", "l"), True)
    value = contract_labels(emit, [mix, stacked(emit, [emit.number(0.0)] * 2)], ("l", "n", "i"))
    assert value.is_number and value.node == 0


def test_a_component_of_a_stack_is_what_was_stacked():
    emit = emitter()
    x, y = (emit.placeholder(name, ("n", "i"), False) for name in "xy")
    assert component(stacked(emit, [x, y]), "k", 1).node is y.node


def calls(emit: Emitter) -> list[str]:
    return [node.target.__name__ for node in emit.graph.nodes if node.op == "call_function"]


def test_few_states_are_mixed_before_the_large_product():
    emit = emitter()
    w = emit.placeholder("w", ("R", "l", "i", "j"), True)
    mix = emit.placeholder("mix", ("k", "l"), True)
    a = emit.placeholder("a", ("R", "k", "n", "i"), True)
    contract_labels(emit, [w, mix, a], ("R", "l", "n", "j"), {"i": 784, "j": 128})
    products = [node for node in emit.graph.nodes if node.target is torch.bmm]
    assert len(products) == 2
    assert {n.name for n in products[0].all_input_nodes} & {"w"} == set()


def test_a_number_scales_the_smaller_side():
    emit = emitter()
    x = emit.placeholder("x", ("n", "i"), False)
    d = emit.placeholder("d", ("R", "n", "j"), True)
    gain = emit.placeholder("gain", (), True)
    contract_labels(emit, [x, d, gain], ("R", "i", "j"), {"i": 784, "j": 10})
    product = next(node for node in emit.graph.nodes if node.op == "call_function" and "mul" in node.target.__name__)
    assert {n.name for n in product.all_input_nodes} == {"d", "gain"}


def test_data_that_are_the_same_for_all_replicas_are_not_copied():
    emit = emitter()
    x = emit.placeholder("x", ("n", "i"), False)
    w = emit.placeholder("w", ("R", "k", "i", "j"), True)
    contract_labels(emit, [x, w], ("R", "k", "n", "j"), {"i": 784, "j": 128})
    assert "expand" in calls(emit) and "contiguous" not in calls(emit)
