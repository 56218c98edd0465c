"""Emit the task's loss, one number per sample, and its derivative with respect to the prediction."""

from __future__ import annotations

import torch

from rulec.backend.values import Emitter, Value


def sample_loss(emit: Emitter, prediction: Value, target: Value, loss: str) -> Value:
    """Mean-squared error over the outputs, or cross-entropy of the softmax of the prediction."""
    if loss == "mse":
        error = prediction - target
        return emit.reduce("mean", error * error, ("j",))
    logs = emit.make(prediction.labels, torch.log_softmax, prediction.node, prediction.labels.index("j"))
    return -emit.reduce("sum", logs * target, ("j",))


def loss_slope(emit: Emitter, prediction: Value, target: Value, loss: str, outputs: int) -> Value:
    """Return the derivative of each sample's loss with respect to the prediction."""
    if loss == "mse":
        return (prediction - target) * (2.0 / outputs)
    chance = emit.reduce("softmax", prediction, ("j",))
    return chance * emit.reduce("sum", target, ("j",)) - target
