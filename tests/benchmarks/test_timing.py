"""Timing on clocks made of numbers."""

from collections.abc import Callable

import pytest

from benchmarks.timing import Spread, interleaved


class Clock:
    """Stands still but for what contenders take."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def taking(self, *seconds: float) -> Callable[[], None]:
        times = list(seconds)

        def run() -> None:
            self.now += times.pop(0) if len(times) > 1 else times[0]

        return run


def test_rounds_are_counted_after_the_warm_up() -> None:
    clock = Clock()
    runs = {"slow at first": clock.taking(100.0, 1.0, 2.0, 3.0), "steady": clock.taking(5.0)}
    samples = interleaved(runs, 3, wall=clock, cpu=lambda: 2 * clock.now)
    assert samples["slow at first"].wall == [1.0, 2.0, 3.0]
    assert samples["steady"].cpu == [10.0, 10.0, 10.0]


def test_each_round_starts_with_another_contender() -> None:
    order: list[str] = []
    runs = {name: (lambda name=name: order.append(name)) for name in "abc"}
    interleaved(runs, 2, warmup=1)
    assert "".join(order) == "abcbcacab"


def test_no_contenders() -> None:
    assert interleaved({}, 3) == {}


def test_spread() -> None:
    spread = Spread.of([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (spread.lower, spread.median, spread.upper) == (2.0, 3.0, 4.0)
    assert spread.relative == pytest.approx(2 / 3)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)
    with pytest.raises(ValueError, match="no samples"):
        Spread.of([])
