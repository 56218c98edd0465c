"""Programs taken apart into components, and genomes put into programs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings

from rulec.ir.build import build
from rulec.ir.graph import Block, Op, Program, array, constant, pointwise, reduce, walk_blocks, walk_ops
from rulec.ir.passes.components import Components
from rulec.ir.passes.specialise import foldable, specialise
from rulec.ir.passes.terms import gather_terms
from rulec.ir.printer import render_program
from rulec.semantics.check import load_library
from rulec.semantics.rules import check_rule
from rulec.source import Diagnostics, Source
from tests.ir.evaluation import aligned, evaluate
from tests.ir.test_passes import GIVEN, STATES, expressions, program_of

MORE = ("norm", "softmax", "var", "max", "min", "mean", "sum")


def program_of_text(text: str) -> Program:
    found = Diagnostics()
    library = load_library(Source("test.rule", text), found)
    (node,) = library.rules.values()
    rule = check_rule(node, found)
    found.raise_errors()
    assert rule is not None
    return build(rule)


def same_components(value: Op) -> None:
    """Compare each component with the value of the whole there."""
    parts = Components(program_of(value))
    letters = "".join(sorted(value.axes))
    with np.errstate(all="ignore"):
        whole = aligned(evaluate(value, GIVEN), letters)  # type: ignore[arg-type]
    if not np.isfinite(whole).all():
        return
    for place in parts.places(letters):
        part = parts.at(value, place)
        assert not part.axes & {"k", "l"}
        rest = "".join(letter for letter in letters if letter not in place)
        expected = whole[tuple(place.get(letter, slice(None)) for letter in letters)]
        found = aligned(evaluate(part, GIVEN), rest)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


@settings(max_examples=120, deadline=None)
@given(expressions)
def test_components_are_those_of_the_whole(value: Op):
    same_components(with_whole_states(value))


def with_whole_states(value: Op) -> Op:
    """Read `c` and `m`, which have declared indices, as arrays are read: their values are numbers here."""
    from rulec.ir.build import substitute

    table = {
        id(STATES["m"]): array("kl", tuple(map(tuple, aligned(GIVEN["m"], "kl").tolist()))),  # type: ignore[arg-type]
        id(STATES["c"]): STATES["a"] * array("k", (0.3, -1.1)) + array("k", (0.0, 1.0)),
    }
    return substitute(value, table)


@pytest.mark.parametrize("operator", MORE)
@pytest.mark.parametrize("indices", ["k", "kl", "ki", "nkl"])
def test_every_reduction_is_written_out(operator: str, indices: str):
    value = STATES["a"] * array("kl", ((1.0, 0.5, -2.0), (0.1, 0.5, 0.7))) + STATES["w"]
    reduced = reduce(operator, indices, value)
    same_components(reduced * array("l", (1.0, 2.0, 3.0)))


def test_insert_take_rename_and_position():
    a = STATES["a"]
    put = Op("insert", (a * array("k", (2.0, 3.0)), a), (("at", (("k", 1),)),), frozenset("nik"))
    same_components(put)
    same_components(Op("take", (put,), (("at", (("k", 0),)),), frozenset("ni")))
    position = Op("position", (), (("index", "l"),), frozenset("l"))
    parts = Components(program_of(position))
    assert [parts.at(position, {"l": n})["value"] for n in range(3)] == [0.0, 1.0, 2.0]


RULE = """rule mixed
index k, l : {states}
genome
  mix[k,l] = eye
  gain = 1
  rate : positive per layer = 0.1
  net f : 2 -> 3 -> 1
neuron
  a[k]
synapse
  w[i,j,k] = normal(0, 1)
input i
  a[i,0] = input[i]
forward i -> j
  a[j,l] = tanh(gain * sum[i,k](w[i,j,l] * mix[k,l] * a[i,k]))
output j
  prediction[j] = a[j,0]
  a[j,1] = target[j]
update i -> j
  w[i,j,l] += rate * mean[n](a[i,l] * f(a[j,0], sum[k](mix[k,l] * a[j,k])))
"""


def ops_in(program: Program, kind: str) -> list[Op]:
    (block,) = (b for b in walk_blocks(program.blocks) if b.kind == kind)
    return list(walk_ops([w.value for w in block.writes]))


def names_in(program: Program, kind: str) -> list[str]:
    return [op.name for op in ops_in(program, kind)]


def test_entries_per_layer_and_nets_stay():
    program = program_of_text(RULE.format(states=2))
    assert foldable(program) == ("mix", "gain")
    special = specialise(program, {"mix": [[1, 0], [0, 1]], "gain": 2, "rate": 3})
    assert [e.name for e in special.genome] == ["rate"]
    assert [n.name for n in special.nets] == ["f"]


def test_what_is_not_given_stays():
    program = specialise(program_of_text(RULE.format(states=2)), {"gain": 0.5})
    assert [e.name for e in program.genome] == ["mix", "rate"]


@pytest.mark.parametrize(
    ("mix", "array_left", "renamed"),
    [
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], False, True),  # each state from its own
        ([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]], True, True),
        ([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], False, False),  # all from the first: a product less
        ([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], True, False),
        ([[1.0, 2.0, 1.0], [0.0, 3.0, 0.0], [0.0, 1.0, 0.0]], True, False),  # nothing vanishes
        ([[0.0, 0.0, 0.0]] * 3, False, False),
    ],
)
def test_structure_of_an_array_removes_sums(mix: list[list[float]], array_left: bool, renamed: bool):
    ops = ops_in(specialise(program_of_text(RULE.format(states=3)), {"mix": mix, "gain": 1.0}), "forward")
    renames = [op["letters"] for op in ops if op.name == "rename"]
    assert (any(op.name == "array" for op in ops), (("k", "l"),) in renames) == (array_left, renamed)
    assert not any(op.name == "genome" for op in ops)


def test_max_pooling_is_decided_by_what_decided_it_before():
    program = program_of_text(RULE.format(states=2))
    special = specialise(program, {"mix": [[0.0, 0.0], [0.0, 0.0]], "gain": 1.0})
    (forward,) = (b for b in walk_blocks(special.blocks) if b.kind == "forward")
    assert forward.signal == "a"
    assert "state" not in names_in(special, "forward")


def test_the_formula_of_a_component_stands_alone():
    program = specialise(
        program_of_text(RULE.format(states=2)), {"mix": [[0.3, 0], [1, 0]], "gain": 1}, components=True
    )
    text = render_program(program).split("  forward\n")[1].split("  output\n")[0]
    assert text.replace("  ", "") == (
        "%3 : [] = constant value=0\n"
        "%4 : [] = constant value=0.3\n"
        "%5 : [i,j] = state name=w side=i,j indices=(0)\n"
        "%6 : [n,i] = state name=a side=i indices=(0)\n"
        "%7 : [n,i,j] = mul %5 %6\n"
        "%8 : [n,j] = reduce operator=sum indices=(i) %7\n"
        "%9 : [n,j] = mul %4 %8\n"
        "%10 : [n,i] = state name=a side=i indices=(1)\n"
        "%11 : [n,i,j] = mul %5 %10\n"
        "%12 : [n,j] = reduce operator=sum indices=(i) %11\n"
        "%13 : [n,j] = add %9 %12\n"
        "%14 : [n,j] = tanh %13\n"
        "%15 : [n,j,k] = insert at=((k,0)) %3 %14\n"
        "%16 : [n,j,k] = insert at=((k,1)) %15 %3\n"
        "write a@j %16\n"
    )


def test_a_component_that_no_block_sets_is_no_write():
    program = specialise(program_of_text(RULE.format(states=3)), {"mix": np.eye(3).tolist()}, components=True)
    (output,) = (b for b in walk_blocks(program.blocks) if b.kind == "output")
    inserts = [op for op in walk_ops([w.value for w in output.writes]) if op.name == "insert"]
    assert [op["at"] for op in inserts] == [(("k", 1),)]


def test_a_linear_system_stays_whole():
    matrix = array("kl", ((2.0, 1.0, 0.0), (0.0, 1.0, 0.5)))
    right = STATES["a"] * array("k", (1.0, 2.0))
    value = Op("solve", (matrix, right), (("row", "k"), ("column", "l")), frozenset("nil"))
    parts = Components(program_of(value))
    taken = [parts.at(value, {"l": n}) for n in range(2)]
    assert [t.name for t in taken] == ["take", "take"] and taken[0].args[0] is taken[1].args[0]


def test_sums_used_twice_keep_their_value():
    a, b = STATES["a"], STATES["w"]
    total = a + b
    value = pointwise("tanh", total) + total + constant(1.0)
    program = gather_terms(program_of(value))
    (block,) = program.blocks
    assert isinstance(block, Block)
    sums = [op for op in walk_ops([block.writes[0].value]) if op.name == "add" and set(op.args) == {a, b}]
    assert len(sums) == 1
    assert len(list(itertools.chain(*(op.args for op in sums)))) == 2
