"""Bijections between a genome entry's domain and all real numbers, for methods that search without constraints."""

from __future__ import annotations

import torch
from torch import Tensor

from rulec.semantics.typed import Domain

_EDGE = 1e-6  # a value on the edge of its domain has no finite image; it is moved inside by this much


def to_free(value: Tensor, domain: Domain) -> Tensor:
    """Map a value of the domain to a real number: logarithm for `positive`, logit for `unit` and `interval`."""
    if domain.name == "positive":
        return torch.log(value)
    if domain.name in ("unit", "interval"):
        low, high = bounds(domain)
        return torch.logit((value - low) / (high - low), eps=_EDGE)
    return value


def from_free(free: Tensor, domain: Domain) -> Tensor:
    """The inverse of `to_free`."""
    if domain.name == "positive":
        return torch.exp(free)
    if domain.name in ("unit", "interval"):
        low, high = bounds(domain)
        return low + (high - low) * torch.sigmoid(free)
    return free


def inside(value: Tensor, domain: Domain) -> Tensor:
    """Say for each number whether it lies in the domain; the ends of `unit` and `interval` belong to it."""
    if domain.name == "positive":
        return (value > 0) & value.isfinite()
    if domain.name in ("unit", "interval"):
        low, high = bounds(domain)
        return (value >= low) & (value <= high)
    return value.isfinite()


def bounds(domain: Domain) -> tuple[float, float]:
    if domain.name == "unit":
        return 0.0, 1.0
    assert domain.low is not None and domain.high is not None
    return domain.low, domain.high
