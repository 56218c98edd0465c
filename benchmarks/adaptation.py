"""The problems of the MAML benchmarks, on curves and on characters: initial weights, and tasks to adapt them to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from rulec.tasks.registry import task_from

SIZE, CONVOLUTIONS = 28, 4


@dataclass(frozen=True)
class Maml:
    """Initial weights and biases by name, in the layout of rulec, and tasks: support and query of each, (tasks, samples, ...)."""

    net: str
    loss: str
    weights: dict[str, Tensor]
    x: Tensor
    y: Tensor
    query_x: Tensor
    query_y: Tensor
    steps: int
    lr: float

    @property
    def normalised(self) -> bool:
        return "batchnorm" in self.net

    def to(self, dtype: torch.dtype) -> Maml:
        data = {name: getattr(self, name).to(dtype) for name in ("x", "y", "query_x", "query_y")}
        return replace(self, weights={n: v.to(dtype) for n, v in self.weights.items()}, **data)

    def leaves(self) -> dict[str, Tensor]:
        return {name: value.clone().requires_grad_() for name, value in self.weights.items()}

    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Return weight and bias of each layer."""
        return [
            (self.weights[f"c{k}.weight"], self.weights[f"c{k}.bias"]) for k in range(1, len(self.weights) // 2 + 1)
        ]

    def flat(self, values: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Lay something for each weight out as one vector."""
        return np.concatenate([np.ravel(values[name]) for name in self.weights])


def curves(sizes: tuple[int, ...], tasks: int, shots: int, steps: int) -> Maml:
    """Draw sinusoids for a multilayer network of dense layers, in double precision."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for k, (n, m) in enumerate(pairwise(sizes), 1):
        weights[f"c{k}.weight"] = torch.randn(n, m, generator=generator, dtype=torch.float64) / n**0.5
        weights[f"c{k}.bias"] = 0.1 * torch.randn(m, generator=generator, dtype=torch.float64)
    x = 10 * torch.rand(tasks, 2 * shots, sizes[0], generator=generator, dtype=torch.float64) - 5
    amplitude = 0.1 + 4.9 * torch.rand(tasks, 1, 1, generator=generator, dtype=torch.float64)
    y = amplitude * torch.sin(x[..., :1] - 3 * torch.rand(tasks, 1, 1, generator=generator, dtype=torch.float64))
    net = "-".join(map(str, sizes))
    return Maml(net, "mse", weights, x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:], steps, 0.01)


def characters(filters: int, tasks: int, steps: int, ways: int = 5, size: int = SIZE) -> Maml:
    """Take characters for the convolutional network of Finn et al. 2017, one image to learn from and one to be judged by for each class.

    The rate is the paper's for so many updates: with 0.4, five of them amplify roundings until a relu of some contender turns in single precision.
    """
    generator = torch.Generator().manual_seed(0)
    weights, side, inputs = dict[str, Tensor](), size, 1
    for k in range(1, CONVOLUTIONS + 1):
        spread = (9 * inputs) ** -0.5
        weights[f"c{k}.weight"] = spread * torch.randn(filters, inputs, 3, 3, generator=generator, dtype=torch.float64)
        weights[f"c{k}.bias"] = 0.1 * torch.randn(filters, generator=generator, dtype=torch.float64)
        side, inputs = -(-side // 2), filters
    last, flat = CONVOLUTIONS + 1, filters * side**2
    weights[f"c{last}.weight"] = flat**-0.5 * torch.randn(flat, ways, generator=generator, dtype=torch.float64)
    weights[f"c{last}.bias"] = 0.1 * torch.randn(ways, generator=generator, dtype=torch.float64)
    support, asked = (part.double() for part in (_read(ways, tasks, size) or _strokes(ways, tasks, size, generator)))
    labels = torch.eye(ways, dtype=torch.float64).expand(tasks, ways, ways).contiguous()
    blocks = "-".join([f"conv({filters},stride=2)-batchnorm"] * CONVOLUTIONS)
    net = f"1x{size}x{size}-{blocks}-{ways}"
    return Maml(net, "cross_entropy", weights, support, labels, asked, labels, steps, 0.4 if steps == 1 else 0.1)


def _read(ways: int, tasks: int, size: int) -> tuple[Tensor, Tensor] | None:
    """Draw few-shot tasks from the archives of Omniglot, if there are any."""
    folder = os.environ.get("RULEC_DATA")
    if folder is None or not (Path(folder) / "omniglot").is_dir():
        return None
    task = task_from(f"omniglot(ways={ways}, shots=1, queries=1, size={size})")
    episode = task.episode(seed=0, steps=1, batch=ways, tasks=tasks)
    return episode.support_x[0], episode.query_x


def _strokes(ways: int, tasks: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw as many images of the same size: contours of smooth noise, of which those of one class share most."""

    def noise(*shape: int) -> Tensor:
        coarse = torch.randn(tasks * ways, *shape, generator=generator)
        return interpolate(coarse, (size, size), mode="bicubic").unflatten(0, (tasks, ways))

    shared = noise(1, 5, 5)
    support, asked = ((shared + 0.2 * noise(1, 5, 5)).abs().lt(0.12).float() for _ in range(2))
    return support, asked
