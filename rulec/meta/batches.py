"""Data of an episode, laid out along the leading axes of a compiled rule."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rulec.runtime.compiled import CompiledRule
from rulec.tasks.draws import checked_samples
from rulec.tasks.task import Episode, Task

BATCH = 128


@dataclass(frozen=True)
class Batches:
    """Support `x`, `y` with a first axis of updates, and the query; members and replicas see the same data."""

    x: Tensor
    y: Tensor
    query_x: Tensor
    query_y: Tensor


def batch_for(task: Task, given: int | None) -> int:
    """Return the samples of an update: given, or the task's own, or 128. Raises `RuleError` (`samples-fixed`) if both differ."""
    return checked_samples(task, given if given is not None else task.samples or BATCH)


def laid_out(episode: Episode, step: CompiledRule) -> Batches:
    """Put the task axis in its place among (population, task, replica); the other axes have size one."""

    def moved(data: Tensor) -> Tensor:
        return data.to(step.device, step.dtype)

    return Batches(
        _with_axes(moved(episode.support_x), step, 1),
        _with_axes(moved(episode.support_y), step, 1),
        _with_axes(moved(episode.query_x), step, 0),
        _with_axes(moved(episode.query_y), step, 0),
    )


def _with_axes(data: Tensor, step: CompiledRule, axis: int) -> Tensor:
    """`data` has its task axis at `axis`; axes before it (the updates) stay in front."""
    before, tasks, rest = data.shape[:axis], data.shape[axis], data.shape[axis + 1 :]
    lead = [tasks if label == "T" else 1 for label in step.leading]
    return data.reshape(*before, *lead, *rest)
