"""The way of each meta-parameter to the objective, or what is in the way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rulec.ir.build import build
from rulec.lints.gradients import entries_of
from rulec.lints.lint import Variant
from rulec.lints.routes import Route, Stop, routes
from rulec.runtime.rule import load
from rulec.semantics.check import shipped_rules

BAD = Path(__file__).parent / "bad" / "flow"
SHIPPED = [path for path in sorted(shipped_rules().glob("*.rule")) if path.stem != "outers"]


def variant_of(path: Path | str) -> Variant:
    rule = load(path).typed()
    return Variant(rule, build(rule))


def found(path: Path | str) -> dict[str, Route]:
    return {route.name: route for route in routes(variant_of(path))}


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_every_stop_is_set_where_it_says(path: Path):
    text = path.read_text().splitlines()
    for route in found(path).values():
        assert bool(route.stops) != bool(route.why)
        assert not route.stops or route.stops[-1].name == "prediction"
        for stop in route.stops:
            assert stop.line is None or re.match(rf"\s+{stop.name}\b.*=", text[stop.line - 1])
            assert stop.line is not None or stop.name == "prediction"  # that of the network itself


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_there_is_a_way_where_a_derivative_comes_back(path: Path):
    variant = variant_of(path)
    live = {name for name, _ in variant.components.live}
    for name, route in found(path).items():
        if name in entries_of(variant):
            reached = bool({*variant.paths.named(name)} & variant.paths.exact)
            assert bool(route.stops) == (name in live and reached)


def test_what_acts_in_the_same_step_comes_before_what_acts_in_the_next():
    blur = found("blur")
    assert [stop.name for stop in blur["forward_mix"].stops] == ["s", "prediction"]
    assert [(stop.name, stop.later) for stop in blur["synapse_gain"].stops] == [
        ("w", True),
        ("s", False),
        ("prediction", False),
    ]
    assert blur["saturation"].why == "no prediction depends on it"


@pytest.mark.parametrize(
    ("file", "name", "why"),
    [
        ("gradient-cut", "threshold", "cut by a comparison, line 30"),
        ("gradient-cut-genome", "gain", "cut by `sign`, line 7"),
        ("gradient-cut-dead", "idle", "no prediction depends on it"),
    ],
)
def test_what_is_in_the_way_is_named(file: str, name: str, why: str):
    assert found(BAD / f"{file}.rule")[name].why == why


def test_what_a_first_order_gradient_does_not_reach():
    delayed = found(BAD / "gradient-cut-first-order.rule")
    assert delayed["rate"].stops == (Stop("m", 11, True), Stop("w", 10, True), Stop("prediction", None))
    assert {name: route.first_order for name, route in delayed.items()} == {
        "rate": False,
        "init(w)": True,
        "init(m)": False,
    }
