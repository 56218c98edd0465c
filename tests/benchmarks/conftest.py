"""The benchmarks' problems, small enough to compare every contender in double precision."""

import pytest

from benchmarks.problems import Blur, blur


@pytest.fixture(params=[2, 4], ids=["2 states", "4 states"])
def small(request: pytest.FixtureRequest) -> Blur:
    return blur((6, 5, 3), request.param, replicas=2, batch=7, steps=3)


@pytest.fixture(params=[2, 4], ids=["2 states", "4 states"])
def population(request: pytest.FixtureRequest) -> Blur:
    return blur((2, 5, 1), request.param, replicas=2, batch=7, steps=3, population=3)
