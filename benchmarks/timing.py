"""Interleaved timing: every round runs each contender once, so that all meet the same machine."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

Clock = Callable[[], float]


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of some samples."""

    lower: float
    median: float
    upper: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        if not samples:
            raise ValueError("no samples")
        if len(samples) == 1:
            return cls(samples[0], samples[0], samples[0])
        return cls(*quantiles(samples, n=4, method="inclusive"))

    @property
    def relative(self) -> float:
        """The distance between the quartiles as a share of the median."""
        return (self.upper - self.lower) / self.median if self.median else 0.0


@dataclass
class Samples:
    """Seconds of each timed call: by the clock on the wall, and of the processor, over all threads."""

    wall: list[float]
    cpu: list[float]


def interleaved(
    runs: Mapping[str, Callable[[], Any]],
    rounds: int,
    *,
    warmup: int = 1,
    wall: Clock = time.perf_counter,
    cpu: Clock = time.process_time,
) -> dict[str, Samples]:
    """Time every run `rounds` times in turn, after `warmup` rounds that do not count.

    Each round starts with another contender, so that none always follows the same one. No garbage is collected in a timed call.
    """
    samples = {name: Samples([], []) for name in runs}
    names = list(runs)
    for number in range(warmup + rounds):
        gc.collect()
        for name in _turned(names, number):
            measured = _once(runs[name], wall, cpu)
            if number >= warmup:
                samples[name].wall.append(measured[0])
                samples[name].cpu.append(measured[1])
    return samples


def _turned(names: Sequence[str], by: int) -> Iterable[str]:
    at = by % len(names) if names else 0
    return [*names[at:], *names[:at]]


def _once(run: Callable[[], Any], wall: Clock, cpu: Clock) -> tuple[float, float]:
    gc.disable()
    try:
        wall_start, cpu_start = wall(), cpu()
        run()
        return wall() - wall_start, cpu() - cpu_start
    finally:
        gc.enable()
