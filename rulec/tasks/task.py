"""What a task is: batches to learn from, and fresh ones to be judged by."""

from __future__ import annotations

import abc
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Episode:
    """The data of one inner loop, for one or several tasks at once.

    `support_x` has shape (steps, tasks, batch, *input_shape), `support_y` (steps, tasks, batch, outputs);
    `query_x` (tasks, batch, *input_shape), `query_y` (tasks, batch, outputs). Targets are real numbers: one-hot
    for classes, +1 and -1 for yes-or-no functions.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor
    names: tuple[str, ...]  # one per task

    def some_tasks(self, own: slice) -> Episode:
        """Return the same episode of some of the tasks."""
        support = self.support_x[:, own], self.support_y[:, own]
        return Episode(*support, self.query_x[own], self.query_y[own], self.names[own])


class Task(abc.ABC):
    """A family of tasks with a meta-training part and a held-out part that it never mixes with the first."""

    name: str
    input_shape: tuple[int, ...]
    outputs: int
    loss: str  # "mse" | "cross_entropy"
    samples: int | None = None  # of an update, where the task says how many: K-shot problems
    single: bool = False  # whether all episodes are the same task, other draws of one set of data

    @abc.abstractmethod
    def episode(
        self, *, seed: int, steps: int, batch: int, tasks: int = 1, query: int | None = None, held_out: bool = False
    ) -> Episode:
        """Draw an episode; the same arguments give the same bits.

        `query` is the number of query samples (default: `batch`). Raises `RuleError` if the part is too small.
        """

    def some_tasks(
        self,
        own: range,
        *,
        seed: int,
        steps: int,
        batch: int,
        tasks: int,
        query: int | None = None,
        held_out: bool = False,
    ) -> Episode:
        """Return these of the tasks of an episode, to the bit; a family that draws one task after another draws no others."""
        whole = self.episode(seed=seed, steps=steps, batch=batch, tasks=tasks, query=query, held_out=held_out)
        return whole.some_tasks(slice(own.start, own.stop))

    @abc.abstractmethod
    def accuracy(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the fraction of samples answered rightly, over the batch axis: (..., batch, outputs) to (...)."""

    @abc.abstractmethod
    def describe(self) -> dict[str, object]:
        """Return what a run must record to repeat the data: name, sizes, split, provenance."""
