"""A contender that is wrong, absent, failing or too slow is a row that says so, and is not timed."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.agreement import difference
from benchmarks.contender import Absent, Answer, Contender, Run
from benchmarks.match import match
from benchmarks.scaling import exponent

EXPECTED = {"g": np.array([1.0, 2.0])}


def _giving(answer: Answer) -> Callable[[float], Run]:
    return lambda problem: lambda: {name: problem * value for name, value in answer.items()}


def _absent(problem: float) -> Run:
    raise Absent("not installed: pip install it")


def _failing(problem: float) -> Run:
    raise RuntimeError("no\nway")


def _slow(problem: float) -> Run:
    def run() -> Answer:
        time.sleep(5)
        return EXPECTED

    return run


def test_rows() -> None:
    contenders = [
        Contender("right", _giving(EXPECTED)),
        Contender("wrong", _giving({"g": np.array([1.0, 2.1])})),
        Contender("wrong in double", _giving({"g": EXPECTED["g"] * (1 + 1e-5)})),
        Contender("absent", _absent),
        Contender("failing", _failing),
        Contender("slow", _slow, limit=0.05, slow_start=True),
        Contender("a bound", _giving({}), bound=True),
    ]
    doubled = {"g": 2 * EXPECTED["g"]}
    rows = {row.name: row for row in match(contenders, 1.0, EXPECTED, rounds=3, small=(2.0, doubled))}
    assert {name: row.status for name, row in rows.items()} == {
        "right": "ok",
        "wrong": "WRONG",
        "wrong in double": "WRONG",
        "absent": "absent",
        "failing": "failed",
        "slow": "failed",
        "a bound": "ok",
    }
    assert {name: len(row.wall) for name, row in rows.items() if row.wall} == {"right": 3, "a bound": 3}
    assert "differs by 5.0e-02" in rows["wrong"].note
    assert rows["absent"].note == "not installed: pip install it"
    assert rows["failing"].note == "RuntimeError: no way"
    assert "stopped after 0.05 s" in rows["slow"].note


@pytest.mark.parametrize(
    ("found", "expected", "gap"),
    [
        ({"g": np.array([1.0, 2.0])}, {"g": np.array([1.0, 2.0])}, 0.0),
        ({"g": np.array([1.0, 2.2])}, {"g": np.array([1.0, 2.0])}, 0.1),
        ({"g": np.array([1.0])}, {"g": np.array([1.0, 2.0])}, np.inf),
        ({"g": np.array([np.nan])}, {"g": np.array([1.0])}, np.inf),
        ({"g": np.array([1e-3])}, {"g": np.array([0.0])}, 1e-3),
        ({}, {"g": np.array([1.0])}, np.inf),
    ],
)
def test_difference(found: Answer, expected: Answer, gap: float) -> None:
    assert difference(found, expected) == pytest.approx(gap)


def test_exponent() -> None:
    sizes = [1.0, 2.0, 4.0, 8.0]
    assert exponent(sizes, [7.0, 7.0, 3 * 4.0**1.5, 3 * 8.0**1.5]) == pytest.approx(1.5)
