"""Fractions of right answers. An answer that is not a number is wrong."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def sign_agrees(prediction: Tensor, target: Tensor) -> Tensor:
    """Say where both have the same sign, (..., outputs) to (...); zero has none, and so is never right."""
    return (prediction * target > 0).all(-1)


def largest_agrees(prediction: Tensor, target: Tensor) -> Tensor:
    """Say where both are largest in the same output, (..., outputs) to (...)."""
    return (prediction.argmax(-1) == target.argmax(-1)) & ~prediction.isnan().any(-1)


def balanced(right: Tensor, classes: Tensor, count: int) -> Tensor:
    """Return the mean over the classes present of the fraction right within a class, (..., batch) to (...).

    Chance is `1 / count` however unequal the classes are.
    """
    members = functional.one_hot(classes, count).to(torch.get_default_dtype())
    sizes = members.sum(-2)
    recalls = (members * right.unsqueeze(-1)).sum(-2) / sizes.clamp(min=1)
    return recalls.sum(-1) / (sizes > 0).sum(-1)
