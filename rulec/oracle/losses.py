"""The task's loss, one number per sample, and its derivative with respect to the prediction."""

from __future__ import annotations

import numpy as np

from rulec.oracle.arrays import Array, combine, reduce_axes


def sample_loss(prediction: Array, target: Array, loss: str) -> Array:
    """Mean-squared error over the outputs, or cross-entropy of the softmax of the prediction."""
    if loss == "mse":
        return reduce_axes("mean", combine(lambda p, q: (p - q) ** 2, prediction, target), ("j",))
    highest = reduce_axes("max", prediction, ("j",))
    shifted = combine(np.subtract, prediction, highest)
    logs = combine(lambda p, s: p - np.log(s), shifted, reduce_axes("sum", combine(np.exp, shifted), ("j",)))
    return combine(np.negative, reduce_axes("sum", combine(np.multiply, logs, target), ("j",)))


def loss_slope(prediction: Array, target: Array, loss: str) -> Array:
    """Return the derivative of each sample's loss with respect to the prediction."""
    if loss == "mse":
        return combine(lambda p, q: 2 * (p - q) / target.size("j"), prediction, target)
    mass = reduce_axes("sum", target, ("j",))
    return combine(lambda s, m, q: s * m - q, reduce_axes("softmax", prediction, ("j",)), mass, target)
