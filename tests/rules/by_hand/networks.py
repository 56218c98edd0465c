"""Small networks on which every rule is run: dense, convolutional, and traced with a residual addition."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rulec import parse
from rulec.runtime.compiled import CompiledRule
from rulec.runtime.rule import Rule
from rulec.semantics.check import variants
from tests.rules.by_hand.step import Tensors
from tests.shipped import load

RULES = (
    "adam",
    "backprop",
    "bcm",
    "blur",
    "blur_backprop",
    "direct_feedback_alignment",
    "equilibrium_propagation",
    "feedback_alignment",
    "forward_forward",
    "hebb",
    "kolen_pollack",
    "learned_optimizer",
    "momentum",
    "node_perturbation",
    "oja",
    "predictive_coding",
    "sanger",
    "sgd",
    "sign_symmetry",
    "weight_perturbation",
    "weightwise_sgd",
)
NOISY = ("node_perturbation", "weight_perturbation")


class Residual(nn.Module):
    """An identity connection between layers, and a pooled convolution before a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = (
            nn.Conv2d(2, 3, 3, padding=1),
            nn.Conv2d(3, 3, 3, padding=1),
            nn.Linear(12, 2),
        )
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        h = torch.sigmoid(self.second(h) + h)
        return self.last(torch.flatten(self.pool(h), 1))


class DenseResidual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        return self.last(torch.tanh(self.second(h) + h))


@dataclass(frozen=True)
class Net:
    given: str | nn.Module
    shape: tuple[int, ...]
    outputs: int = 2


NETS: dict[str, Net] = {
    "dense": Net("4-5-3 : tanh", (4,), 3),
    "conv": Net("2x5x5-conv(4, stride=2, groups=2)-maxpool(2, stride=1)-2 : tanh", (2, 5, 5)),
    "residual": Net(Residual(), (2, 4, 4)),
    "residual-dense": Net(DenseResidual(), (3,)),
}


def compiled_on(rule: Rule, net: str, **settings: Any) -> CompiledRule:
    return rule.compile(NETS[net].given, input_shape=NETS[net].shape, dtype="float64", **settings)


def few_rounds(name: str, rounds: int = 3) -> Rule:
    """Load a shipped rule; where it settles in many rounds, which all do the same, it takes a few: graphs stay small."""
    rule = load(name)
    fewer = re.sub(r"repeat \d+:", f"repeat {rounds}:", rule.text)
    return rule if fewer == rule.text else parse(fewer)


def choices(rule: Rule) -> list[Mapping[str, Any]]:
    return list(variants(rule.library.rules[rule.name]))


def gentle(genome: Tensors, seed: int = 5) -> Tensors:
    """Move every entry a little, so that ones and zeros do not hide a factor; domains are kept."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: value * (0.9 + 0.05 * torch.rand(value.shape, generator=generator, dtype=value.dtype))
        for name, value in genome.items()
    }
