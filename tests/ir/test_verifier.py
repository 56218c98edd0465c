"""The verifier passes what the compiler builds, and refuses whatever was bent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rulec.ir.build import build
from rulec.ir.graph import Block, Op, Program, Write, constant, walk_blocks
from rulec.ir.passes import optimise
from rulec.ir.verifier import MalformedProgram, verify
from rulec.semantics.check import load_library, shipped_rules
from rulec.semantics.rules import check_rule
from rulec.source import Diagnostics
from rulec.syntax import read_source


def program(name: str = "backprop") -> Program:
    source, found = read_source(shipped_rules() / f"{name}.rule")
    library = load_library(source, found, shipped_rules())
    rule = check_rule(library.rules[name], Diagnostics(), {}, frozenset(), library.nets)
    assert rule is not None
    return build(rule)


def with_value(value: Op, name: str = "w", side: str = "i,j", kind: str = "update") -> Program:
    whole = program()
    return replace(whole, blocks=(*whole.blocks, Block(kind, (Write(name, side, value),))))


def leaf(letters: str, name: str = "x") -> Op:
    return Op("state", (), (("name", name), ("side", "i"), ("indices", ())), frozenset(letters))


BENT = {
    "unknown op": Op("frobnicate", (), (), frozenset()),
    "unknown axis": leaf("q"),
    "missing attribute": Op("state", (), (("name", "x"),), frozenset("n")),
    "needless attribute": Op("time", (), (("letter", "i"),), frozenset()),
    "too few arguments": Op("add", (constant(1.0),), (), frozenset()),
    "too many arguments": Op("tanh", (constant(1.0), constant(2.0)), (), frozenset()),
    "axes out of nowhere": Op("add", (constant(1.0), constant(2.0)), (), frozenset("i")),
    "axes lost": Op("mul", (leaf("i"), constant(2.0)), (), frozenset()),
    "reduces what is not there": Op("reduce", (leaf("i"),), (("operator", "sum"), ("indices", ("j",)), ("places", False)), frozenset("i")),
    "contraction keeps an index": Op("contract", (leaf("i"),), (("indices", ("i",)), ("means", ()), ("places", False)), frozenset("i")),
    "contraction of what is not there": Op("contract", (leaf("i"),), (("indices", ("j",)), ("means", ()), ("places", False)), frozenset("i")),
}  # fmt: skip


def test_shipped_programs_are_well_formed():
    for path in shipped_rules().glob("*.rule"):
        if path.stem != "outers":
            whole = program(path.stem)
            assert verify(whole) is whole
            assert list(walk_blocks(optimise(whole).blocks))


@pytest.mark.parametrize("what", sorted(BENT))
def test_what_is_bent_is_refused(what: str):
    with pytest.raises(MalformedProgram):
        verify(with_value(BENT[what]))


@pytest.mark.parametrize("what", sorted(BENT))
def test_what_is_bent_is_found_deep_inside(what: str):
    bent = BENT[what]
    with pytest.raises(MalformedProgram):
        verify(with_value(Op("stop", (Op("neg", (bent,), (), bent.axes),), (), bent.axes)))


@pytest.mark.parametrize(
    ("name", "side", "letters"), [("w", "i,j", "nij"), ("b", "j", "ij"), ("b", "j", "n"), ("z", "j", "nij")]
)
def test_a_value_must_fit_what_it_is_written_to(name: str, side: str, letters: str):
    with pytest.raises(MalformedProgram, match=name):
        verify(with_value(leaf(letters), name, side))
    assert verify(with_value(leaf("j"), name, side))


def test_the_message_names_the_op():
    with pytest.raises(MalformedProgram, match="frobnicate"):
        verify(with_value(BENT["unknown op"]))
