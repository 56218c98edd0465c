"""Benchmark 6: how the cost of a meta-gradient grows with population, width, depth and updates: the exponents."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from benchmarks.contender import Row, Section
from benchmarks.contenders import by_rulec
from benchmarks.problems import Blur, blur
from benchmarks.suite import Effort
from benchmarks.timing import Spread, interleaved


@dataclass(frozen=True)
class Axis:
    """One size that grows while all others stay."""

    name: str
    values: tuple[int, ...]
    problem: Callable[[int], Blur]
    backends: tuple[str, ...] = ("kernel",)  # the others take part where they compile once for all sizes


AXES = (
    Axis("population", (1, 2, 4, 8, 16, 32, 64), lambda n: _problem(population=n)),
    Axis("width", (32, 64, 128, 256, 512), lambda n: _problem(width=n)),
    Axis("depth", (1, 2, 4, 8), lambda n: _problem(depth=n)),
    Axis("updates", (2, 5, 10, 20, 40, 80), lambda n: _problem(steps=n), ("kernel", "fx", "inductor")),
)


def _problem(population: int = 4, width: int = 64, depth: int = 1, steps: int = 10) -> Blur:
    sizes = (64, *[width] * depth, 10)
    return blur(sizes, 2, replicas=2, batch=32, steps=steps, population=population).to(torch.float32)


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Fit `seconds = c * sizes ** p` by least squares of the logarithms over the upper half of the sizes; return p."""
    half = max(2, (len(sizes) + 1) // 2)
    xs, ys = [math.log(s) for s in sizes[-half:]], [math.log(s) for s in seconds[-half:]]
    x, y = sum(xs) / half, sum(ys) / half
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)


def sections(effort: Effort) -> list[Section]:
    return [_section(effort, axis) for axis in AXES]


def _section(effort: Effort, axis: Axis) -> Section:
    values = axis.values[:2] if effort.quick else axis.values
    backends = axis.backends[:1] if effort.quick else axis.backends
    rows, lines = [], {}
    for backend in backends:
        effort.say(f"Scaling, {axis.name}, rulec {backend}")
        runs = {str(n): by_rulec.prepare_gradient(axis.problem(n), backend) for n in values}
        samples = interleaved(runs, effort.sized(7, 2))
        medians = [Spread.of(samples[str(n)].wall).median for n in values]
        row = Row(f"rulec {backend}")
        row.values = {f"{axis.name} {n}, ms": 1e3 * m for n, m in zip(values, medians, strict=True)}
        row.values["exponent"] = exponent(values, medians)
        rows.append(row)
        lines[row.name] = {"x": [float(n) for n in values], "y": [1e3 * m for m in medians]}
    return Section(
        f"Cost against {axis.name}",
        "BLUR meta-gradient; population 4, 64-64-10, 2 states, 2 replicas, batch 32, 10 updates where they do not grow; float32",
        rows,
        notes=["`exponent`: of a power law through the upper half of the sizes."],
        lines=lines,
        axes=(axis.name, "ms"),
    )
