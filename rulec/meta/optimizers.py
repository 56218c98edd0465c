"""The outer step's own optimisers, written as functions over members: every tensor has a first axis of members."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import final

import torch
from torch import Tensor

from rulec.meta import messages
from rulec.meta.parameters import Free
from rulec.semantics.outer_messages import unknown_setting
from rulec.semantics.typed import Outer
from rulec.source import RuleError


class Optimizer(abc.ABC):
    """From a gradient to the next meta-parameters. What it remembers is kept per member, so that one can be held back."""

    @abc.abstractmethod
    def begin(self, free: Free) -> dict[str, Tensor]:
        """Return the memory at the start."""

    @abc.abstractmethod
    def step(self, free: Free, gradient: Free, memory: dict[str, Tensor]) -> tuple[Free, dict[str, Tensor]]:
        """Return the next meta-parameters and the next memory (only what this optimiser remembers)."""


@final
@dataclass(frozen=True)
class Sgd(Optimizer):
    """Plain gradient descent."""

    lr: float = 0.01

    def begin(self, free: Free) -> dict[str, Tensor]:
        return {}

    def step(self, free: Free, gradient: Free, memory: dict[str, Tensor]) -> tuple[Free, dict[str, Tensor]]:
        return {name: value - self.lr * gradient[name] for name, value in free.items()}, {}


@final
@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam with bias correction; Kingma and Ba 2015, algorithm 1. Each member counts its own steps."""

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def begin(self, free: Free) -> dict[str, Tensor]:
        first = next(iter(free.values()))
        memory = {"count": torch.zeros(len(first), dtype=torch.int64, device=first.device)}
        for name, value in free.items():
            memory |= {f"mean {name}": torch.zeros_like(value), f"square {name}": torch.zeros_like(value)}
        return memory

    def step(self, free: Free, gradient: Free, memory: dict[str, Tensor]) -> tuple[Free, dict[str, Tensor]]:
        count = memory["count"] + 1
        new, kept = {}, {"count": count}
        for name, value in free.items():
            g = gradient[name]
            mean = self.beta1 * memory[f"mean {name}"] + (1 - self.beta1) * g
            square = self.beta2 * memory[f"square {name}"] + (1 - self.beta2) * g * g
            t = count.to(value.dtype).reshape(-1, *[1] * (value.ndim - 1))
            size = (square / (1 - self.beta2**t)).sqrt() + self.eps
            new[name] = value - self.lr * (mean / (1 - self.beta1**t)) / size
            kept |= {f"mean {name}": mean, f"square {name}": square}
        return new, kept


OPTIMIZERS: dict[str, Callable[..., Sgd | Adam]] = {"adam": Adam, "sgd": Sgd}


def optimizer_of(outer: Outer) -> Optimizer:
    """Read `by adam(lr = 0.001)`. Raises `RuleError` for unknown optimisers and settings, and for a rate that is none."""
    call = outer.optimizer
    if call.name not in OPTIMIZERS:
        raise RuleError([messages.unknown_optimizer(call.span, call.name, tuple(OPTIMIZERS), outer.through.name)])
    if call.arguments:
        raise RuleError([messages.unexpected_argument(call.span, call.name)])
    known = [f.name for f in fields(OPTIMIZERS[call.name])]  # type: ignore[arg-type]
    for name, value in call.settings.items():
        if name not in known:
            raise RuleError([unknown_setting(call.span, name, known)])
        if isinstance(value, (str, bool)) or not (math.isfinite(value) and value > 0):
            raise RuleError([messages.not_positive(call.span, name, value)])
        if name.startswith("beta") and value >= 1:
            raise RuleError([messages.not_below_one(call.span, name, value)])
    return OPTIMIZERS[call.name](**call.settings)
