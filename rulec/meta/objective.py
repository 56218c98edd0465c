"""What an outer step minimises: losses and errors on query and support, and norms of what it learns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rulec.meta.parameters import Free
from rulec.runtime.losses import mean_loss
from rulec.semantics.typed import Objective
from rulec.tasks.task import Task


@dataclass(frozen=True)
class Scored:
    """Loss, accuracy and the weighted objective of each member, averaged over tasks and replicas: (members,)."""

    loss: Tensor
    accuracy: Tensor
    objective: Tensor


@dataclass(frozen=True)
class Judged:
    """Loss and accuracy of predictions, per member: (members,)."""

    loss: Tensor
    accuracy: Tensor


def judged(task: Task, prediction: Tensor, target: Tensor) -> Judged:
    """Judge predictions (members, ..., batch, outputs)."""
    loss = per_member(mean_loss(task.loss, prediction, target))
    return Judged(loss, per_member(task.accuracy(prediction.detach(), target)))


def scored(objectives: Iterable[Objective], on: Mapping[str, Judged], learned: Free | None = None) -> Scored:
    """Add up the objectives; lower is better, and NaN where the loss is not finite.

    `on` has what was found on the `query`, and on the `support` if that is asked for. Norms are of what is `learned`, in its own domains;
    without it, they are left out.
    """
    query = on["query"]
    total = torch.zeros_like(query.loss)
    for objective in objectives:
        if objective.quantity == "norm":
            total = total + (0 if learned is None else objective.weight * squared_norm(learned, objective.on))
        else:
            found = on[objective.on]
            total = total + objective.weight * (found.loss if objective.quantity == "loss" else 1 - found.accuracy)
    return Scored(query.loss, query.accuracy, torch.where(query.loss.isfinite(), total, torch.nan))


def squared_norm(learned: Free, name: str) -> Tensor | float:
    """Return the squared norm of an entry, of all weights of a net, or of all learned initial values: (members,)."""
    initial = name.startswith("init")
    parts = [
        value
        for own, value in learned.items()
        if (own.startswith("init(") if initial else own == name or own.startswith(f"{name}."))
    ]
    return torch.stack([p.reshape(len(p), -1).square().sum(1) for p in parts]).sum(0) if parts else 0.0


def per_member(values: Tensor) -> Tensor:
    """Average over tasks and replicas: (members, ...) to (members,)."""
    return values.flatten(1).mean(1) if values.ndim > 1 else values
