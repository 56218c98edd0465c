"""Training a network on its loss: shipped optimiser rules beside PyTorch's autograd with its own optimisers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import rulec
from benchmarks.contender import Contender, Later, Run, answer

# A rule's genome, and the same optimiser in PyTorch. Adam's rate is small and its guard large enough for weights to be comparable.
RATES: dict[str, dict[str, float]] = {
    "sgd": {"lr": 0.05},
    "momentum": {"lr": 0.02, "momentum": 0.9},
    "adam": {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-4},
}


@dataclass(frozen=True)
class Training:
    """Weights to begin with, and a batch per update; the answer is the weights after the last one."""

    module: nn.Module
    rule: str
    x: Tensor  # (steps, batch, ...)
    y: Tensor  # (steps, batch), classes

    def to(self, dtype: torch.dtype) -> Training:
        return Training(copy.deepcopy(self.module).to(dtype), self.rule, self.x.to(dtype), self.y)


def mlp(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n, m in pairwise(sizes):
        layers += [nn.Linear(n, m), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn(channels: int = 16, side: int = 28) -> nn.Sequential:
    final = 2 * channels * ((side + 3) // 4) ** 2
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(final, 10),
    )


def training(module: Callable[[], nn.Module], rule: str, shape: tuple[int, ...], steps: int, batch: int) -> Training:
    """Draw a problem in double precision."""
    torch.manual_seed(0)
    x = torch.randn(steps, batch, *shape, dtype=torch.float64)
    return Training(module().double(), rule, x, torch.randint(10, (steps, batch)))


def prepare_rulec(problem: Training, backend: str) -> Run:
    compiled = rulec.load(problem.rule).compile(
        problem.module, input_shape=tuple(problem.x.shape[2:]), dtype=problem.x.dtype, backend=backend
    )
    start = compiled.from_module(problem.module)
    rates = {name: torch.tensor(value, dtype=problem.x.dtype) for name, value in RATES[problem.rule].items()}
    genome = compiled.init_genome() | rates
    shell = copy.deepcopy(problem.module)

    def run() -> Later:
        state = dict(start)
        with torch.no_grad():
            for x, y in zip(problem.x, problem.y, strict=True):
                state = compiled(genome, state, x, y)[0]
        return lambda: answer(dict(compiled.to_module(state, shell).named_parameters()))

    return run


def prepare_unroll(problem: Training, backend: str) -> Run:
    """The same updates in one call, which plans memory once for all of them."""
    compiled = rulec.load(problem.rule).compile(
        problem.module, input_shape=tuple(problem.x.shape[2:]), dtype=problem.x.dtype, backend=backend
    )
    start = compiled.from_module(problem.module)
    rates = {name: torch.tensor(value, dtype=problem.x.dtype) for name, value in RATES[problem.rule].items()}
    genome, shell = compiled.init_genome() | rates, copy.deepcopy(problem.module)

    def run() -> Later:
        with torch.no_grad():
            state = compiled.unroll(genome, dict(start), problem.x, problem.y)
        return lambda: answer(dict(compiled.to_module(state, shell).named_parameters()))

    return run


def optimiser(rule: str, module: nn.Module, fused: bool = False) -> torch.optim.Optimizer:
    rates, weights = RATES[rule], module.parameters()
    if rule == "adam":
        betas = (rates["beta1"], rates["beta2"])
        return torch.optim.Adam(weights, lr=rates["lr"], betas=betas, eps=rates["eps"], fused=fused)
    return torch.optim.SGD(weights, lr=rates["lr"], momentum=rates.get("momentum", 0.0), fused=fused)


def prepare_torch(problem: Training, compiled: bool, fused: bool = False) -> Run:
    """Every run goes on from the weights that the last one left: only the first one's can be compared."""
    module = copy.deepcopy(problem.module)
    optim = optimiser(problem.rule, module, fused)

    def update(x: Tensor, y: Tensor) -> None:
        optim.zero_grad(set_to_none=True)
        cross_entropy(module(x), y).backward()
        optim.step()

    # The whole update, its backward pass and its optimiser are compiled together where PyTorch can.
    step: Any = torch.compile(update, dynamic=False) if compiled else update

    def run() -> Later:
        for x, y in zip(problem.x, problem.y, strict=True):
            step(x, y)
        return lambda: answer({name: value.clone() for name, value in module.named_parameters()})

    return run


def by_rulec(backend: str) -> Contender[Training]:
    limit = None if backend == "fx" else 300
    return Contender(
        f"rulec {backend}", partial(prepare_rulec, backend=backend), limit=limit, slow_start=backend == "inductor"
    )


UNROLL: Contender[Training] = Contender("rulec auto, one call", partial(prepare_unroll, backend="auto"))
EAGER: Contender[Training] = Contender("autograd and optimiser, eager", partial(prepare_torch, compiled=False))
FUSED: Contender[Training] = Contender(
    "autograd and fused optimiser, eager", partial(prepare_torch, compiled=False, fused=True)
)
COMPILED: Contender[Training] = Contender(
    "autograd and optimiser, compiled", partial(prepare_torch, compiled=True), limit=180, slow_start=True
)
