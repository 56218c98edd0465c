"""Intervals hold what they say: of single functions, of random expressions, and of whole rules that run on the oracle."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from rulec.ir.graph import Block, Op, walk_blocks
from rulec.lints.functions import UNARY, norm, power, softmax, square, total
from rulec.lints.intervals import (
    NON_NEGATIVE,
    NONZERO,
    POSITIVE,
    REALS,
    Interval,
    add,
    between,
    divide,
    hull,
    intersect,
    maximum,
    multiply,
    negate,
    point,
    subtract,
    widen,
)
from rulec.lints.numbering import Numbering
from rulec.lints.ranges import Ranges
from rulec.lints.reachable import reachable
from rulec.network.graph import Layer
from rulec.oracle import blocks
from rulec.oracle.arrays import POINTWISE, Array
from rulec.oracle.frame import Frame, View
from rulec.oracle.nets import NETS
from rulec.oracle.ops import OPS
from rulec.oracle.reductions import REDUCTIONS
from rulec.runtime.compiled import CompiledRule
from rulec.semantics.check import load_library, shipped_rules, variants
from rulec.source import Diagnostics, Source
from tests.lints.expressions import Leaves, expressions, intervals_with_points
from tests.shipped import load

UNIT, CLOSED = between(0, 1, "()"), between(0, 1)


def choices_of(path: Path) -> list[dict[str, Any]]:
    """Return every choice of a rule's options, one at a time; nothing for a file without a rule."""
    library = load_library(Source(path.name, path.read_text(encoding="utf-8")), Diagnostics(), path.parent)
    return [dict(options) for name in library.own if name in library.rules for options in variants(library.rules[name])]


# --- Single functions ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (add(CLOSED, UNIT), "(0, 2)"),
        (subtract(point(1), UNIT), "(0, 1)"),
        (multiply(UNIT, between(2, 3, "[)")), "(0, 3)"),
        (add(between(0.1, 1), point(0.2 - 0.3)), "[0, 0.9]"),
        (subtract(point(1), between(0.999, 1, "[)")), "(0, 0.001]"),
        (multiply(point(1e-30), between(1e-30, 1)), "[0, 1e-30]"),
        (multiply(CLOSED, POSITIVE), "[0, inf)"),
        (multiply(POSITIVE, POSITIVE), "(0, inf)"),
        (multiply(NONZERO, NONZERO), "(-inf, inf) without 0"),
        (divide(point(1), between(0, 2, "(]")), "[0.5, inf)"),
        (divide(point(1), between(-1, 2)), "(-inf, inf) without 0"),
        (square(between(-2, 1)), "[0, 4]"),
        (square(NONZERO), "(0, inf)"),
        (power(UNIT, between(1, math.inf)), "(0, 1)"),
        (power(UNIT, between(0, math.inf)), "(0, 1]"),
        (power(between(-2, 1), point(3)), "[-8, 1]"),
        (power(NON_NEGATIVE, UNIT), "[0, inf)"),
        (power(POSITIVE, REALS), "(0, inf)"),
        (power(NONZERO, point(-2)), "(0, inf)"),
        (power(REALS, between(1, math.inf)), "(-inf, inf)"),
        (UNARY["exp"](REALS), "(0, inf)"),
        (UNARY["tanh"](REALS), "[-1, 1]"),
        (UNARY["tanh"](between(-50, 50)), "[-1, 1]"),
        (UNARY["tanh"](between(-0.5, 5, "()")), "(-0.462117, 0.999909)"),
        (UNARY["erf"](point(-8)), "[-1, -1]"),
        (UNARY["exp"](point(-1000)), "[0, 0]"),
        (subtract(point(1), square(UNARY["tanh"](REALS))), "[0, 1]"),
        (UNARY["sigmoid"](REALS), "(0, 1]"),
        (UNARY["sigmoid"](NON_NEGATIVE), "[0.5, 1]"),
        (UNARY["softplus"](REALS), "(0, inf)"),
        (UNARY["relu"](REALS), "[0, inf)"),
        (UNARY["relu_tanh"](REALS), "[0, 1]"),
        (UNARY["abs"](NONZERO), "(0, inf)"),
        (UNARY["sqrt"](between(-1, 4)), "[0, 2]"),
        (UNARY["log"](between(0, 1)), "(-inf, 0]"),
        (UNARY["step"](NON_NEGATIVE), "[0, 1]"),
        (UNARY["step"](POSITIVE), "[1, 1]"),
        (UNARY["silu"](REALS), "[-0.278465, inf)"),
        (maximum(REALS, point(0.5)), "[0.5, inf)"),
        (total(between(-1, 2), between(1, math.inf)), "(-inf, inf)"),
        (total(between(1, 2, "(]"), point(3)), "(3, 6]"),
        (norm(REALS, point(2)), "[0, inf)"),
        (norm(between(1, 2), between(1, math.inf)), "[1, inf)"),
        (softmax(point(3)), "(0, 1]"),
        (softmax(between(1, math.inf)), "(0, 1]"),
        (hull(point(0), UNIT), "[0, 1)"),
        (hull(negate(POSITIVE), POSITIVE), "(-inf, inf) without 0"),
        (widen(point(0), between(0, 0.3, "[)")), "[0, 1)"),
        (widen(point(0.5), between(0.2, 7)), "(0, inf)"),
    ],
)
def test_functions(found: Interval, wanted: str):
    assert str(found) == wanted


def test_nothing_in_common():
    assert intersect(UNIT, between(1, 2)) is None
    assert intersect(CLOSED, between(1, 2)) == point(1)
    assert intersect(point(0), NONZERO) is None


# --- Random expressions ----------------------------------------------------------------------


class Undefined(Exception):
    """A value that is looked at does not exist, or is no finite number."""


def value_of(op: Op, given: Leaves) -> float:
    """Evaluate at a point; of `where` only what is chosen."""
    if op.name == "constant":
        return op["value"]
    if op.name == "state":
        return given[op["name"]][1]
    if op.name == "where":
        return value_of(op.args[1 if value_of(op.args[0], given) != 0 else 2], given)
    with np.errstate(all="ignore"):
        value = float(POINTWISE[op.name](*(np.asarray(value_of(a, given)) for a in op.args)))
    if not abs(value) < 1e100:
        raise Undefined
    return value


def holds(interval: Interval, value: float) -> bool:
    """Whether a value lies in an interval, but for rounding."""
    slack = 1e-9 * max(1.0, abs(value))
    return interval.low - slack <= value <= interval.high + slack


def check(case: tuple[Op, Leaves]) -> None:
    """Hold the value of an expression, where it has one, against the range."""
    root, leaves = case
    numbers = Numbering()
    numbers.enter([root])
    ranges = Ranges(numbers, {}, lambda op, at: leaves[op["name"]][0])
    try:
        value = value_of(root, leaves)
    except Undefined:
        return
    assert holds(ranges.of(root), value)


@settings(max_examples=500)
@given(expressions())
def test_values_lie_in_their_ranges(case: tuple[Op, Leaves]):
    check(case)


@pytest.mark.experiment
@settings(max_examples=10_000)
@given(expressions())
def test_many_more_values_lie_in_their_ranges(case: tuple[Op, Leaves]):
    check(case)


@settings(max_examples=500)
@given(intervals_with_points(), intervals_with_points())
def test_exact_zeros_are_never_left_out(first: tuple[Interval, float], second: tuple[Interval, float]):
    """Where arithmetic without rounding gives 0, the range holds 0: no slack here."""
    (a, x), (b, y) = first, second
    for found, value in (
        (add(a, b), x + y),
        (subtract(a, b), x - y),
        (multiply(a, b), x * y),
        (maximum(a, b), max(x, y)),
    ):
        assert value != 0 or 0 in found
    for name in ("relu", "abs", "square", "tanh", "sign", "step", "softsign", "erf", "elu", "identity", "neg"):
        if x == 0:
            assert 0 in UNARY[name](a)


# --- Whole rules -----------------------------------------------------------------------------


class Recorder(Frame):
    """The oracle, which looks up the range of everything that it computes."""

    known: dict[tuple[int, str], Ranges]
    now: Ranges
    misses: list[str]

    def at(self, block: Block, kind: str) -> None:
        self.now = self.known[(id(block), kind)]

    def value(self, op: Op, view: View) -> Array:
        seen = id(op) in view.made
        with np.errstate(all="ignore"):
            array = super().value(op, view)
        finite = array.data[np.abs(array.data) < 1e100]  # what `where` does not choose may be anything
        if not seen and finite.size:
            low, high = float(finite.min()), float(finite.max())
            if not (holds(self.now.of(op), low) and holds(self.now.of(op), high)):
                self.misses.append(f"{op.name} {op.span}: {low:g} to {high:g}, not in {self.now.of(op)}")
        return array


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell a recorder which block it is in, and at which kind of layer."""
    visit = blocks._visit

    def visited(frame: Recorder, block: Block, layer: Layer, side: str) -> None:
        ends = {frame.network.input.name: "input", frame.network.output.name: "output"}
        frame.at(block, ends.get(layer.name, "hidden"))
        visit(frame, block, layer, side)

    monkeypatch.setattr(blocks, "_visit", visited)
    for kind in ("update", "parameters"):
        run_block = blocks._BLOCKS[kind]

        def run_here(frame: Recorder, block: Block, run_block=run_block) -> None:
            frame.at(block, "")
            run_block(frame, block)

        monkeypatch.setitem(blocks._BLOCKS, kind, run_here)


def misses(step: CompiledRule, steps: int = 4) -> list[str]:
    """Run a rule on the oracle, and return what lies outside of its range."""
    program, numbers, generator = step.program, Numbering(), np.random.default_rng(0)
    numbers.enter([write.value for block in walk_blocks(program.blocks) for write in block.writes])
    known = {(id(one.block), one.kind): one.ranges for one in reachable(program, numbers)}
    genome = {name: value.numpy() for name, value in step.init_genome(0).items()}
    state = {k: v.numpy() for k, v in step.init_state(0, batch=6).items() if k not in ("t", "seed")}
    found: list[str] = []
    for number in range(1, steps + 1):
        x, y = generator.normal(size=(6, 4)), np.eye(2)[generator.integers(0, 2, 6)]
        noise = lambda name, shape: generator.normal(size=shape)  # noqa: E731
        table = OPS | REDUCTIONS | NETS
        frame = Recorder(program, step.network, step.loss, genome, dict(state), x, y, number, noise, table)
        frame.known, frame.misses = known, found
        blocks.run_program(frame)
        state = frame.state
    return found


SHIPPED = [(path, options) for path in sorted(shipped_rules().glob("*.rule")) for options in choices_of(path)]
GOOD = sorted((Path(__file__).parent / "good" / "numeric").glob("*.rule"))


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(("path", "options"), SHIPPED, ids=lambda part: part.stem if isinstance(part, Path) else None)
def test_what_shipped_rules_compute_lies_in_its_range(path: Path, options: dict[str, Any]):
    rule = load(path)
    for loss in ("mse", "cross_entropy") if "loss" in rule.text else ("mse",):  # it never reads the other
        step = rule.compile("4-5-3-2", loss=loss, dtype="float64", options=options)
        assert misses(step) == []


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("path", GOOD, ids=[path.stem for path in GOOD])
def test_what_good_rules_compute_lies_in_its_range(path: Path):
    step = load(path).compile("4-5-3-2", dtype="float64")
    assert misses(step) == []


@pytest.mark.usefixtures("recorded")
def test_a_wrong_range_is_noticed():
    step = load(shipped_rules() / "adam.rule").compile("4-5-3-2", dtype="float64")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(UNARY, "sqrt", lambda x: between(-2, -1))
        assert "sqrt" in misses(step)[0]
