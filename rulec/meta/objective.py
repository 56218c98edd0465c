"""What an outer step minimises: the loss and the error of the predictions on the query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rulec.tasks.task import Task


@dataclass(frozen=True)
class Scored:
    """Loss, accuracy and the weighted objective of each member, averaged over tasks and replicas: (members,)."""

    loss: Tensor
    accuracy: Tensor
    objective: Tensor


def query_loss(kind: str, prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean loss over the batch, (..., batch, outputs) to (...): the same two losses as rules have."""
    if kind == "mse":
        return (prediction - target).square().mean((-2, -1))
    return -(torch.log_softmax(prediction, -1) * target).sum(-1).mean(-1)


def scored(task: Task, objectives: Sequence[tuple[float, str]], prediction: Tensor, target: Tensor) -> Scored:
    """Judge predictions (members, ..., batch, outputs)."""
    loss = _per_member(query_loss(task.loss, prediction, target))
    accuracy = _per_member(task.accuracy(prediction.detach(), target))
    return Scored(loss, accuracy, weighted(objectives, loss, accuracy))


def weighted(objectives: Sequence[tuple[float, str]], loss: Tensor, accuracy: Tensor) -> Tensor:
    """Add up the objectives, each a weight and `loss` or `error`; lower is better, and NaN where the loss is not finite."""
    terms = [weight * (loss if name == "loss" else 1 - accuracy) for weight, name in objectives]
    return torch.where(loss.isfinite(), torch.stack(terms).sum(0), torch.nan)


def _per_member(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1) if values.ndim > 1 else values
