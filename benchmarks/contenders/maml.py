"""MAML's meta-gradient: rulec beside libraries that make inner loops differentiable, and beside versions written with torch.func or JAX.

Finn et al. 2017, algorithm 2. The network is multilayer, of dense layers with relu between them, or of convolutions of stride 2,
each with batch normalisation and relu, and a dense layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, cross_entropy, mse_loss

import rulec
from benchmarks.adaptation import Maml
from benchmarks.contender import Absent, Answer, Contender, Run, answer, need_jax
from rulec.meta.hypergradients.descent import GradientDescent
from rulec.meta.plan import plan
from rulec.tasks.task import Episode, Task

EPS = 1e-5  # of batch normalisation
LOSSES: dict[str, Callable[..., Tensor]] = {"mse": mse_loss, "cross_entropy": cross_entropy}


def forward(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    last = len(weights) // 2
    for k in range(1, last + 1):
        weight, bias = weights[f"c{k}.weight"], weights[f"c{k}.bias"]
        if weight.ndim > 2:
            x = batch_norm(conv2d(x, weight, bias, stride=2, padding=1), None, None, training=True, eps=EPS)
        else:
            x = x.flatten(1) @ weight + bias
        x = torch.relu(x) if k < last else x
    return x


def _answered(problem: Maml, gradients: dict[str, Any]) -> Answer:
    """Return the gradients by name; as one vector where some are but rounding: what is normalised does not depend on its bias."""
    named = answer(gradients)
    return {"gradient": problem.flat(named)} if problem.normalised else named


# --- rulec -----------------------------------------------------------------------------------


OUTER = """
outer given "Initial weights for these tasks"
  option updates = 5
  inner sgd for updates steps on support
  meta init(w)
  minimize loss on query
  through {through}
  by adam(lr = 0.001)
"""


@dataclass(frozen=True)
class Given(Task):
    """The tasks of a problem, in every episode."""

    problem: Maml

    name = "given"

    @property
    def loss(self) -> str:  # type: ignore[override]
        return self.problem.loss

    @property
    def input_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(self.problem.x.shape[2:])

    @property
    def outputs(self) -> int:  # type: ignore[override]
        return self.problem.y.shape[-1]

    def episode(
        self, *, seed: int, steps: int, batch: int, tasks: int = 1, query: int | None = None, held_out: bool = False
    ) -> Episode:
        x, y = (value[:tasks].expand(steps, *value[:tasks].shape) for value in (self.problem.x, self.problem.y))
        return Episode(x, y, self.problem.query_x[:tasks], self.problem.query_y[:tasks], (self.name,) * tasks)

    def accuracy(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction.argmax(-1) == target.argmax(-1)).to(prediction.dtype).mean(-1)

    def describe(self) -> dict[str, object]:
        return {"name": self.name}


def prepare_rulec(problem: Maml, backend: str = "auto", straight: bool = False, checkpoint: bool = False) -> Run:
    """Prepare the gradient that `rulec train` follows."""
    through = "first_order" if straight else "unroll with checkpoint" if checkpoint else "unroll"
    rule = rulec.parse(rulec.load("sgd").text + OUTER.format(through=through))
    dtype = problem.x.dtype
    compiled = rule.compile(problem.net, tasks=len(problem.x), loss=problem.loss, dtype=dtype, backend=backend)
    made = plan(
        compiled,
        Given(problem),
        rule.outer("given", {"updates": problem.steps}),
        None,
        {"lr": torch.tensor(problem.lr, dtype=dtype)},
        steps=None,
        seed=0,
        batch=problem.x.shape[1],
        query=None,
        inner_steps=None,
        lr=None,
        clip=None,
        memory=None,
        patience=1,
    )
    method = made.method
    assert isinstance(method, GradientDescent)
    free = {f"init(w.{name})": value.unsqueeze(0) for name, value in problem.weights.items()}

    def run() -> Answer:
        _, gradient = method.found(made.problem, free, 0)
        return _answered(problem, {name: gradient[f"init(w.{name})"][0] for name in problem.weights})

    return run


# --- torch.func ------------------------------------------------------------------------------


def query_loss(
    problem: Maml, straight: bool, weights: dict[str, Tensor], x: Tensor, y: Tensor, qx: Tensor, qy: Tensor
) -> Tensor:
    """Return the loss of one task after its updates; `straight` takes their gradients as given, which is the first-order approximation."""
    judged = LOSSES[problem.loss]

    def loss(w: dict[str, Tensor]) -> Tensor:
        return judged(forward(w, x), y)

    now = weights
    for _ in range(problem.steps):
        slopes = torch.func.grad(loss)(now)
        slopes = {name: value.detach() for name, value in slopes.items()} if straight else slopes
        now = {name: value - problem.lr * slopes[name] for name, value in now.items()}
    return judged(forward(now, qx), qy)


def prepare_func(problem: Maml, compiled: bool = False, side_by_side: bool = True, straight: bool = False) -> Run:
    data = (problem.x, problem.y, problem.query_x, problem.query_y)
    each = partial(query_loss, problem, straight)

    def whole(weights: dict[str, Tensor]) -> Tensor:
        if side_by_side:
            return torch.func.vmap(each, (None, 0, 0, 0, 0))(weights, *data).mean()
        return torch.stack([each(weights, *task) for task in zip(*data, strict=True)]).mean()

    gradient: Callable[..., Any] = torch.func.grad(whole)
    if compiled:
        gradient = torch.compile(gradient, dynamic=False)

    return lambda: _answered(problem, gradient(problem.weights))


# --- Libraries -------------------------------------------------------------------------------


def _module(problem: Maml) -> nn.Sequential:
    layers: list[nn.Module] = []
    dtype = problem.x.dtype
    for weight, bias in problem.pairs():
        layer: nn.Conv2d | nn.Linear
        if weight.ndim > 2:
            layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], stride=2, padding=1, dtype=dtype)
            layer.weight.data = weight.clone()
            layers += [layer, nn.BatchNorm2d(weight.shape[0], EPS, affine=False, track_running_stats=False), nn.ReLU()]
        else:
            layer = nn.Linear(weight.shape[0], weight.shape[1], dtype=dtype)
            layer.weight.data = weight.T.clone()
            layers += [*([nn.Flatten()] if layers and problem.normalised else []), layer, nn.ReLU()]
        layer.bias = nn.Parameter(bias.clone())
    return nn.Sequential(*layers[:-1])


def _named(problem: Maml, module: nn.Module) -> Answer:
    found: dict[str, Any] = {}
    layers = [layer for layer in module if isinstance(layer, (nn.Conv2d, nn.Linear))]  # type: ignore[attr-defined]
    for k, layer in enumerate(layers, 1):
        assert layer.weight.grad is not None and layer.bias is not None
        found[f"c{k}.weight"] = layer.weight.grad if isinstance(layer, nn.Conv2d) else layer.weight.grad.T
        found[f"c{k}.bias"] = layer.bias.grad
    return _answered(problem, found)


def _need(name: str) -> None:
    if find_spec(name) is None:
        raise Absent(f"{name} is not installed: pip install {name}")


def prepare_higher(problem: Maml) -> Run:
    _need("higher")
    import higher

    module, judged = _module(problem), LOSSES[problem.loss]
    optimiser = torch.optim.SGD(module.parameters(), lr=problem.lr)

    def run() -> Answer:
        module.zero_grad()
        for x, y, qx, qy in zip(problem.x, problem.y, problem.query_x, problem.query_y, strict=True):
            with higher.innerloop_ctx(module, optimiser, copy_initial_weights=False) as (fast, inner):
                for _ in range(problem.steps):
                    inner.step(judged(fast(x), y))
                (judged(fast(qx), qy) / len(problem.x)).backward()
        return _named(problem, module)

    return run


def prepare_torchopt(problem: Maml) -> Run:
    _need("torchopt")
    import torchopt

    module, judged = _module(problem), LOSSES[problem.loss]
    inner = torchopt.MetaSGD(module, lr=problem.lr)

    def run() -> Answer:
        module.zero_grad()
        start, rate = torchopt.extract_state_dict(module), torchopt.extract_state_dict(inner)
        for x, y, qx, qy in zip(problem.x, problem.y, problem.query_x, problem.query_y, strict=True):
            for _ in range(problem.steps):
                inner.step(judged(module(x), y))
            (judged(module(qx), qy) / len(problem.x)).backward()
            torchopt.recover_state_dict(module, start)
            torchopt.recover_state_dict(inner, rate)
        return _named(problem, module)

    return run


# --- JAX -------------------------------------------------------------------------------------


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
            weight, bias = w[f"c{k}.weight"], w[f"c{k}.bias"]
            if weight.ndim > 2:
                x = jax.lax.conv_general_dilated(x, weight, (2, 2), [(1, 1), (1, 1)]) + bias[:, None, None]
                x = (x - x.mean((0, 2, 3), keepdims=True)) / jnp.sqrt(x.var((0, 2, 3), keepdims=True) + EPS)
            else:
                x = x.reshape(len(x), -1) @ weight + bias
            x = jax.nn.relu(x) if k < last else x
        return x

    def error(w: Any, x: Any, y: Any) -> Any:
        prediction = made(w, x)
        if problem.loss == "mse":
            return jnp.mean((prediction - y) ** 2)
        return -jnp.mean(jnp.sum(jax.nn.log_softmax(prediction) * y, -1))

    def after(w: Any, x: Any, y: Any, qx: Any, qy: Any) -> Any:
        def update(now: Any, _: None) -> Any:
            return jax.tree.map(lambda v, g: v - problem.lr * g, now, jax.grad(error)(now, x, y)), None

        return error(jax.lax.scan(update, w, None, problem.steps)[0], qx, qy)

    gradient = jax.jit(jax.grad(lambda w: jnp.mean(jax.vmap(after, (None, 0, 0, 0, 0))(w, *data))))

    def run() -> Answer:
        found = jax.block_until_ready(gradient(weights))
        return _answered(problem, {name: np.asarray(value) for name, value in found.items()})

    return run


RULEC: Contender[Maml] = Contender("rulec auto", prepare_rulec)
RULEC_LEAST: Contender[Maml] = Contender("rulec auto, least memory", partial(prepare_rulec, checkpoint=True))
RULEC_FX: Contender[Maml] = Contender("rulec fx", partial(prepare_rulec, backend="fx"))
RULEC_INDUCTOR: Contender[Maml] = Contender(
    "rulec inductor", partial(prepare_rulec, backend="inductor"), limit=400, slow_start=True
)
FUNC: Contender[Maml] = Contender("torch.func, eager", prepare_func)
FUNC_EACH: Contender[Maml] = Contender("torch.func, eager, task by task", partial(prepare_func, side_by_side=False))
COMPILED: Contender[Maml] = Contender(
    "torch.func, compiled whole", partial(prepare_func, compiled=True), limit=400, slow_start=True, per_length=True
)
HIGHER: Contender[Maml] = Contender("higher", prepare_higher)
TORCHOPT: Contender[Maml] = Contender("TorchOpt", prepare_torchopt)
JAX: Contender[Maml] = Contender("JAX, vmap, scan and jit", prepare_jax, limit=180, per_length=True)

FIRST_ORDER: list[Contender[Maml]] = [
    replace(contender, prepare=prepare)
    for contender, prepare in (
        (RULEC, partial(prepare_rulec, straight=True)),
        (FUNC, partial(prepare_func, straight=True)),
        (FUNC_EACH, partial(prepare_func, side_by_side=False, straight=True)),
        (COMPILED, partial(prepare_func, compiled=True, straight=True)),
    )
]
