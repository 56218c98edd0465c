"""What ordinary optimisers reach on the same network and data, with a learning rate tuned for each number of updates.

The rate is chosen on meta-training data and used on held-out data. It may differ from one number of updates to the next, which
is more than an optimiser gets in practice: a strong baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from rulec.meta.batches import batch_for
from rulec.meta.evaluate import UPDATES, Curve, Measured, Setting, curve_of, measure
from rulec.network.graph import Network
from rulec.runtime.compiled import CompiledRule
from rulec.runtime.rule import load
from rulec.tasks.registry import task_from
from rulec.tasks.task import Task

RATES = tuple(float(f"{10 ** (k / 4):.2g}") for k in range(-12, 3))  # 0.001 to 3.2, four to a factor of ten
OPTIMISERS = ("sgd", "momentum", "adam")


@dataclass(frozen=True)
class Baseline:
    """An optimiser on held-out data: at each number of updates with the rate that did best on meta-training data."""

    name: str
    rates: tuple[float, ...]  # chosen, a place per number of updates
    grid: tuple[float, ...]
    curve: Curve


def baselines(
    task: str | Task,
    net: str | Network | nn.Module,
    optimisers: Sequence[str] = OPTIMISERS,
    *,
    rates: Sequence[float] = RATES,
    updates: Sequence[int] = UPDATES,
    episodes: int = 16,
    batch: int | None = None,
    query: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> list[Baseline]:
    """Run the rules of these names (shipped ones, or files) over a grid of `lr`, the grid being the population.

    Data and initial weights are those that `evaluate` uses with the same numbers. Raises `RuleError`.
    """
    task = task_from(task)
    setting = Setting(tuple(updates), episodes, batch_for(task, batch), query, seed)
    grid = tuple(float(rate) for rate in rates)
    return [_baseline(name, task, net, grid, setting, device) for name in optimisers]


def _baseline(
    name: str, task: Task, net: str | Network | nn.Module, grid: tuple[float, ...], setting: Setting, device: str
) -> Baseline:
    compiled = load(name).compile(
        net, population=len(grid), loss=task.loss, device=device, input_shape=task.input_shape, outputs=task.outputs
    )
    genome = compiled.init_genome(setting.seed) | {
        "lr": torch.tensor(grid, device=compiled.device, dtype=compiled.dtype)
    }
    chosen = _best_members(measure(compiled, genome, task, replace(setting, held_out=False)))
    held_out = measure(compiled, genome, task, setting)
    return Baseline(
        compiled.program.name, tuple(grid[k] for k in chosen), grid, _mixed(held_out, chosen, task, compiled)
    )


def _best_members(measured: Measured) -> list[int]:
    """Choose for each number of updates the member with the highest accuracy, and among equals the lowest loss."""
    accuracy, loss = measured.accuracy.mean(2), measured.loss.mean(2).nan_to_num(nan=torch.inf)
    order = [
        sorted(range(accuracy.shape[1]), key=lambda k: (-float(a[k]), float(b[k])))
        for a, b in zip(accuracy, loss, strict=True)
    ]
    return [members[0] for members in order]


def _mixed(measured: Measured, chosen: list[int], task: Task, compiled: CompiledRule) -> Curve:
    rows = range(len(chosen))
    picked = Measured(
        measured.updates,
        measured.accuracy[rows, chosen].unsqueeze(1),
        measured.loss[rows, chosen].unsqueeze(1),
        measured.names,
    )
    return curve_of(picked, 0, task, compiled.network.spec)
