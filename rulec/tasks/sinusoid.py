"""The family `sinusoid`: curves a sin(x - p) that differ in amplitude and phase; few points of one are given, all must be predicted.

Amplitudes from 0.1 to 5, phases from 0 to pi, x from -5 to 5. Finn et al. 2017, section 5.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rulec.tasks.draws import checked_query, checked_samples, seeded
from rulec.tasks.family import Arguments, Family
from rulec.tasks.task import Episode, Task

SHOTS = 10
NEAR = 0.5


@dataclass(frozen=True, eq=False)
class Sinusoid(Task):
    """Every task is a curve of its own; its points are the same in every update. No curve of one part is in the other."""

    name: str
    samples: int
    input_shape: tuple[int, ...] = (1,)
    outputs: int = 1
    loss: str = "mse"

    def episode(
        self, *, seed: int, steps: int, batch: int, tasks: int = 1, query: int | None = None, held_out: bool = False
    ) -> Episode:
        """Draw a curve for each task, `batch` points to learn from and `query` (default: 100) to be judged by."""
        query = checked_query(steps, checked_samples(self, batch), tasks, 100 if query is None else query)
        generator = seeded("sinusoid", seed, held_out)
        amplitude = 0.1 + 4.9 * torch.rand(tasks, 1, 1, generator=generator)
        phase = math.pi * torch.rand(tasks, 1, 1, generator=generator)
        x = 10 * torch.rand(tasks, query + batch, 1, generator=generator) - 5
        y = amplitude * torch.sin(x - phase)
        support_x, support_y = (value[:, query:].expand(steps, tasks, batch, 1) for value in (x, y))
        return Episode(support_x, support_y, x[:, :query], y[:, :query], (self.name,) * tasks)

    def accuracy(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the fraction of points that are met to within 0.5; what counts is the loss."""
        return ((prediction - target).abs() < NEAR).all(-1).to(prediction.dtype).mean(-1)

    def describe(self) -> dict[str, object]:
        return {
            "name": self.name,
            "family": "sinusoid",
            "shots": self.samples,
            "amplitude": "0.1 to 5",
            "phase": "0 to pi",
            "accuracy": f"points met to within {NEAR}",
        }


def _make(arguments: Arguments) -> Sinusoid:
    return Sinusoid(arguments.name, arguments.count("shots") or SHOTS)


FAMILY = Family("sinusoid", _make, options=("shots",))
