"""The losses that predictions are judged by: the same two as rules have."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_loss(kind: str, prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean loss over the batch, (..., batch, outputs) to (...)."""
    if kind == "mse":
        return (prediction - target).square().mean((-2, -1))
    return -(torch.log_softmax(prediction, -1) * target).sum(-1).mean(-1)
