"""The roofline: how long a graph takes at least, on a machine that is measured right then.

No graph computes faster than the fastest matrix product, nor takes its arguments and gives its results faster than memory is
copied. Williams et al. 2009.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from rulec.backend.counting import Cost

_SIZES = (256, 512, 1024)  # of the matrices; large ones alone would feel other programs in the caches
_SECONDS = 0.1  # to try each for
_COPIES = (1 << 20, 1 << 28)  # smallest and largest number of bytes to copy


@dataclass(frozen=True)
class Machine:
    operations: float  # floating-point operations a second
    bandwidth: float  # bytes read and written a second
    copied: int  # how many bytes were copied to see
    threads: int


def measured(dtype: torch.dtype, size: int) -> Machine:
    """Measure with as many threads as torch uses; memory by copies as large as `size` bytes, since caches are faster."""
    operations = max(_product_rate(n, dtype) for n in _SIZES)
    copied = min(max(size, _COPIES[0]), _COPIES[1])
    source = torch.zeros(copied // 2, dtype=torch.uint8)  # half is read, half is written
    target = torch.empty_like(source)
    return Machine(operations, copied / fastest(lambda: target.copy_(source)), copied, torch.get_num_threads())


def bound(cost: Cost, machine: Machine) -> float:
    """Return the seconds that a graph takes at least, however it is run."""
    return max(cost.operations / machine.operations, cost.compulsory / machine.bandwidth)


def unfused_bound(cost: Cost, machine: Machine) -> float:
    """Return the seconds that it takes at least if every operation reads its arguments and writes its results."""
    return sum(max(c.operations / machine.operations, c.traffic / machine.bandwidth) for c in cost.calls)


def _product_rate(size: int, dtype: torch.dtype) -> float:
    a, b, out = (torch.ones(size, size, dtype=dtype) for _ in range(3))
    return float(2 * size**3 / fastest(lambda: torch.mm(a, b, out=out)))


def fastest(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest of several runs, at least three."""
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < _SECONDS:
        before = time.perf_counter()
        work()
        times.append(time.perf_counter() - before)
    return min(times)
