"""MAML's meta-gradient on curves: initial weights of an MLP, some steps of gradient descent on each task, the query loss of all.

Finn et al. 2017, algorithm 2: rulec beside libraries that make inner loops differentiable, and beside a version written with torch.func or JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

import rulec
from benchmarks.contender import Absent, Answer, Contender, Run, answer, need_jax


@dataclass(frozen=True)
class Maml:
    """Initial weights and biases by name, and tasks: support and query of each, (tasks, samples, 1)."""

    sizes: tuple[int, ...]
    weights: dict[str, Tensor]
    x: Tensor
    y: Tensor
    query_x: Tensor
    query_y: Tensor
    steps: int
    lr: float = 0.01

    @property
    def net(self) -> str:
        return "-".join(map(str, self.sizes))

    def to(self, dtype: torch.dtype) -> Maml:
        data = {name: getattr(self, name).to(dtype) for name in ("x", "y", "query_x", "query_y")}
        return replace(self, weights={n: v.to(dtype) for n, v in self.weights.items()}, **data)

    def leaves(self) -> dict[str, Tensor]:
        return {name: value.clone().requires_grad_() for name, value in self.weights.items()}


def maml(sizes: tuple[int, ...], tasks: int, shots: int, steps: int) -> Maml:
    """Draw a problem in double precision."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for k, (n, m) in enumerate(pairwise(sizes), 1):
        weights[f"c{k}.weight"] = torch.randn(n, m, generator=generator, dtype=torch.float64) / n**0.5
        weights[f"c{k}.bias"] = 0.1 * torch.randn(m, generator=generator, dtype=torch.float64)
    x = 10 * torch.rand(tasks, 2 * shots, sizes[0], generator=generator, dtype=torch.float64) - 5
    amplitude = 0.1 + 4.9 * torch.rand(tasks, 1, 1, generator=generator, dtype=torch.float64)
    y = amplitude * torch.sin(x[..., :1] - 3 * torch.rand(tasks, 1, 1, generator=generator, dtype=torch.float64))
    return Maml(sizes, weights, x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:], steps)


def forward(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    last = len(weights) // 2
    for k in range(1, last + 1):
        x = x @ weights[f"c{k}.weight"] + weights[f"c{k}.bias"]
        x = torch.relu(x) if k < last else x
    return x


def _graded(loss: Tensor, leaves: dict[str, Tensor]) -> Answer:
    return answer(dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True)))


def prepare_rulec(problem: Maml, backend: str = "auto") -> Run:
    compiled = rulec.load("sgd").compile(
        problem.net, tasks=len(problem.x), loss="mse", dtype=problem.x.dtype, backend=backend
    )
    state, genome = compiled.init_state(), {"lr": torch.tensor(problem.lr, dtype=problem.x.dtype)}
    x, y = (value.expand(problem.steps, *value.shape) for value in (problem.x, problem.y))

    def run() -> Answer:
        leaves = problem.leaves()
        begun = {f"w.{name}": leaf.expand(len(problem.x), *leaf.shape) for name, leaf in leaves.items()}
        prediction = compiled.lesson(genome, {**state, **begun}, x, y, problem.query_x)
        return _graded(((prediction - problem.query_y) ** 2).mean(), leaves)

    return run


def query_loss(problem: Maml, weights: dict[str, Tensor], x: Tensor, y: Tensor, qx: Tensor, qy: Tensor) -> Tensor:
    """Return the loss of one task after its updates."""

    def loss(w: dict[str, Tensor]) -> Tensor:
        return ((forward(w, x) - y) ** 2).mean()

    now = weights
    for _ in range(problem.steps):
        slopes = torch.func.grad(loss)(now)
        now = {name: value - problem.lr * slopes[name] for name, value in now.items()}
    return ((forward(now, qx) - qy) ** 2).mean()


def prepare_func(problem: Maml, compiled: bool = False) -> Run:
    def whole(weights: dict[str, Tensor]) -> Tensor:
        each = torch.func.vmap(partial(query_loss, problem), (None, 0, 0, 0, 0))
        return each(weights, problem.x, problem.y, problem.query_x, problem.query_y).mean()

    gradient: Callable[..., Any] = torch.func.grad(whole)
    if compiled:
        gradient = torch.compile(gradient, dynamic=False)

    return lambda: answer(gradient(problem.weights))


def _module(problem: Maml) -> nn.Sequential:
    layers: list[nn.Module] = []
    for k, (n, m) in enumerate(pairwise(problem.sizes), 1):
        layer = nn.Linear(n, m, dtype=problem.x.dtype)
        layer.weight.data = problem.weights[f"c{k}.weight"].T.clone()
        layer.bias.data = problem.weights[f"c{k}.bias"].clone()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _named(module: nn.Module, count: int) -> Answer:
    found = {}
    for k in range(count):
        layer = module[2 * k]  # type: ignore[index]
        found[f"c{k + 1}.weight"], found[f"c{k + 1}.bias"] = layer.weight.grad.T, layer.bias.grad
    return answer(found)


def _need(name: str) -> None:
    if find_spec(name) is None:
        raise Absent(f"{name} is not installed: pip install {name}")


def prepare_higher(problem: Maml) -> Run:
    _need("higher")
    import higher

    module = _module(problem)
    optimiser = torch.optim.SGD(module.parameters(), lr=problem.lr)

    def run() -> Answer:
        module.zero_grad()
        for x, y, qx, qy in zip(problem.x, problem.y, problem.query_x, problem.query_y, strict=True):
            with higher.innerloop_ctx(module, optimiser, copy_initial_weights=False) as (fast, inner):
                for _ in range(problem.steps):
                    inner.step(((fast(x) - y) ** 2).mean())
                (((fast(qx) - qy) ** 2).mean() / len(problem.x)).backward()
        return _named(module, len(problem.sizes) - 1)

    return run


def prepare_torchopt(problem: Maml) -> Run:
    _need("torchopt")
    import torchopt

    module = _module(problem)
    inner = torchopt.MetaSGD(module, lr=problem.lr)

    def run() -> Answer:
        module.zero_grad()
        start, rate = torchopt.extract_state_dict(module), torchopt.extract_state_dict(inner)
        for x, y, qx, qy in zip(problem.x, problem.y, problem.query_x, problem.query_y, strict=True):
            for _ in range(problem.steps):
                inner.step(((module(x) - y) ** 2).mean())
            (((module(qx) - qy) ** 2).mean() / len(problem.x)).backward()
            torchopt.recover_state_dict(module, start)
            torchopt.recover_state_dict(inner, rate)
        return _named(module, len(problem.sizes) - 1)

    return run


def prepare_jax(problem: Maml) -> Run:
    need_jax()
    import jax
    import jax.numpy as jnp
    import numpy as np

    jax.config.update("jax_enable_x64", True)
    weights = {name: jnp.asarray(value.numpy()) for name, value in problem.weights.items()}
    data = [jnp.asarray(v.numpy()) for v in (problem.x, problem.y, problem.query_x, problem.query_y)]
    last = len(weights) // 2

    def made(w: Any, x: Any) -> Any:
        for k in range(1, last + 1):
            x = x @ w[f"c{k}.weight"] + w[f"c{k}.bias"]
            x = jax.nn.relu(x) if k < last else x
        return x

    def error(w: Any, x: Any, y: Any) -> Any:
        return jnp.mean((made(w, x) - y) ** 2)

    def after(w: Any, x: Any, y: Any, qx: Any, qy: Any) -> Any:
        def update(now: Any, _: None) -> Any:
            return jax.tree.map(lambda v, g: v - problem.lr * g, now, jax.grad(error)(now, x, y)), None

        return error(jax.lax.scan(update, w, None, problem.steps)[0], qx, qy)

    gradient = jax.jit(jax.grad(lambda w: jnp.mean(jax.vmap(after, (None, 0, 0, 0, 0))(w, *data))))

    def run() -> Answer:
        found = jax.block_until_ready(gradient(weights))
        return {name: np.asarray(value) for name, value in found.items()}

    return run


RULEC: Contender[Maml] = Contender("rulec auto", prepare_rulec)
RULEC_FX: Contender[Maml] = Contender("rulec fx", partial(prepare_rulec, backend="fx"))
FUNC: Contender[Maml] = Contender("torch.func, eager", prepare_func)
COMPILED: Contender[Maml] = Contender(
    "torch.func, compiled whole", partial(prepare_func, compiled=True), limit=240, slow_start=True, per_length=True
)
HIGHER: Contender[Maml] = Contender("higher", prepare_higher)
TORCHOPT: Contender[Maml] = Contender("TorchOpt", prepare_torchopt)
JAX: Contender[Maml] = Contender("JAX, vmap, scan and jit", prepare_jax, limit=180)

__all__ = ["COMPILED", "FUNC", "HIGHER", "JAX", "RULEC", "RULEC_FX", "TORCHOPT", "Maml", "maml"]
