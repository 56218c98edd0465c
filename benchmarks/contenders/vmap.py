"""Many networks as `torch.func` writes them: one network, one genome, and `vmap` over replicas and over the population."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.func import grad, vmap

from benchmarks.contender import Answer, Contender, Run, answer
from benchmarks.problems import Blur

Genome = Mapping[str, Tensor]
Synapses = tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Tensor, ...]]  # forward, backward, bias of one network


def forward(genome: Genome, synapses: Synapses, x: Tensor) -> list[Tensor]:
    """Return the layers of one network, each (states, batch, neurons)."""
    mix, gain = genome["forward_mix"], genome["neuron_gain"]
    ones = (gain * mix.sum(0))[:, None, None]
    layers: list[Tensor] = []
    for number, (w, b) in enumerate(zip(synapses[0], synapses[2], strict=True)):
        below = x * (gain * mix[0])[:, None, None] if not number else _mixed(gain * mix.T, layers[-1])
        h = torch.tanh(below @ w + ones * b[:, None])
        layers.append(h if number == len(synapses[0]) - 1 else torch.relu(h))
    return layers


def step(genome: Genome, synapses: Synapses, x: Tensor, y: Tensor) -> Synapses:
    forward_synapses, backward_synapses, biases = synapses
    mix, gain, keep = genome["backward_mix"], genome["neuron_gain"], genome["neuron_keep"]
    pre, post = genome["pre"], genome["post"]
    layers = forward(genome, synapses, x)
    states = len(mix)
    layers[-1] = torch.cat([layers[-1][:1], y[None], y.new_zeros(states - 2, *y.shape)])
    for number in range(len(layers) - 2, -1, -1):
        arriving = _mixed(gain * mix.T, layers[number + 1]) @ backward_synapses[number + 1].mT
        layers[number] = torch.relu(torch.tanh(keep * layers[number] + arriving))
    kept, rate = genome["synapse_keep"], genome["synapse_gain"]
    by_post = [_mixed(rate * post, layer) for layer in layers]
    by_pre = [pre[0][:, None, None] * x, *(_mixed(pre.T, layer) for layer in layers)]
    units = pre.sum(0)[:, None]
    w = tuple(kept * w + a.mT @ h for w, a, h in zip(forward_synapses, by_pre[:-1], by_post, strict=True))
    b = tuple(kept * b + units * h.sum(1) for b, h in zip(biases, by_post, strict=True))
    back = zip(backward_synapses[1:], by_post[:-1], by_pre[2:], strict=True)
    v = (backward_synapses[0], *(kept * v + h.mT @ a for v, h, a in back))
    return w, v, b


def _mixed(matrix: Tensor, layer: Tensor) -> Tensor:
    return torch.einsum("kl,lbn->kbn", matrix, layer)


def predicted(genome: Genome, synapses: Synapses, x: Tensor, y: Tensor, query_x: Tensor) -> Tensor:
    for batch_x, batch_y in zip(x, y, strict=True):
        synapses = step(genome, synapses, batch_x, batch_y)
    return forward(genome, synapses, query_x)[-1][0]


def start(problem: Blur) -> Synapses:
    return problem.forward, problem.backward, problem.bias


def _data(problem: Blur) -> tuple[Tensor, Tensor, Tensor]:
    return problem.x, problem.y, problem.query_x


def prepare_forward(problem: Blur) -> Run:
    shared = (None, None, None)
    members = vmap(vmap(predicted, (None, 0, *shared)), (0, None, *shared))

    def run() -> Answer:
        with torch.no_grad():
            return answer({"prediction": members(dict(problem.genome), start(problem), *_data(problem))})

    return run


def prepare_gradient(problem: Blur, wrap: Callable[[Callable[..., Genome]], Callable[..., Genome]]) -> Run:
    shared = (None, None, None)

    def loss(genome: Genome, synapses: Synapses, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
        predictions = vmap(predicted, (None, 0, *shared))(genome, synapses, x, y, query_x)
        return ((predictions - query_y) ** 2).mean()

    members = wrap(vmap(grad(loss), (0, None, *shared, None)))

    def run() -> Answer:
        return answer(members(dict(problem.genome), start(problem), *_data(problem), problem.query_y))

    return run


FORWARD: Contender[Blur] = Contender("torch.func.vmap, eager", prepare_forward)
GRADIENT: Contender[Blur] = Contender("torch.func.vmap, eager", lambda problem: prepare_gradient(problem, lambda f: f))
COMPILED: Contender[Blur] = Contender(
    "torch.func.vmap, compiled whole",
    lambda problem: prepare_gradient(problem, lambda f: torch.compile(f, dynamic=False, fullgraph=True)),
    limit=240,
    slow_start=True,
)
