"""The published formulation: per pair of layers one square synapse tensor over (pre, bias, post), updated by one einsum.

Only two of its four blocks are ever read; all are stored and updated, as published (Sandler et al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from benchmarks.contender import Answer, Contender, Run, answer
from benchmarks.problems import Blur

Genome = Mapping[str, Tensor]


def squares(problem: Blur) -> list[Tensor]:
    """Lay the synapses out as (replicas, n + 1 + m, n + 1 + m, states); the blocks that nothing reads start random too."""
    source = torch.Generator().manual_seed(1)
    made = []
    for (n, m), w, v, b in zip(pairwise(problem.sizes), problem.forward, problem.backward, problem.bias, strict=True):
        shape = (problem.replicas, n + 1 + m, n + 1 + m, problem.states)
        square = (2 * torch.rand(shape, generator=source, dtype=torch.float64) - 1).to(problem.dtype)
        square[:, :n, n + 1 :] = w.permute(0, 2, 3, 1)
        square[:, n, n + 1 :] = b.permute(0, 2, 1)
        square[:, n + 1 :, :n] = v.permute(0, 3, 2, 1)
        made.append(square)
    return made


def with_unit(layer: Tensor) -> Tensor:
    """Append the unit of the bias, all of whose states are one, to (replicas, batch, neurons, states)."""
    return torch.cat([layer, torch.ones_like(layer[:, :, :1])], 2)


def clamped(x: Tensor, replicas: int, states: int) -> Tensor:
    layer = x.new_zeros(replicas, *x.shape, states)
    layer[..., 0] = x
    return layer


def forward(genome: Genome, synapses: list[Tensor], x: Tensor, states: int) -> list[Tensor]:
    layers = [clamped(x, synapses[0].shape[0], states)]
    for number, square in enumerate(synapses):
        n = layers[-1].shape[2]
        block = square[:, : n + 1, n + 1 :]
        arriving = torch.einsum("rbik,kl,rijl->rbjl", with_unit(layers[-1]), genome["forward_mix"], block)
        h = torch.tanh(genome["neuron_gain"] * arriving)
        layers.append(h if number == len(synapses) - 1 else torch.relu(h))
    return layers


def fed_back(output: Tensor, y: Tensor) -> Tensor:
    parts = [output[..., :1], y.expand(output.shape[0], *y.shape)[..., None], torch.zeros_like(output[..., 2:])]
    return torch.cat(parts, -1)


def step(genome: Genome, synapses: list[Tensor], x: Tensor, y: Tensor) -> list[Tensor]:
    """Make one update: forward sweep, feedback, backward sweep, then all synapses."""
    layers = forward(genome, synapses, x, synapses[0].shape[-1])
    layers[-1] = fed_back(layers[-1], y)
    for number in range(len(synapses) - 1, 0, -1):
        n = layers[number].shape[2]
        block = synapses[number][:, n + 1 :, :n]
        arriving = torch.einsum("rbjk,kl,rjil->rbil", layers[number + 1], genome["backward_mix"], block)
        kept = genome["neuron_keep"] * layers[number] + genome["neuron_gain"] * arriving
        layers[number] = torch.relu(torch.tanh(kept))
    changed = []
    for square, (below, above) in zip(synapses, pairwise(layers), strict=True):
        both = torch.cat([with_unit(below), above], 2)
        hebb = torch.einsum("rbik,ko,ol,rbjl->rijo", both, genome["pre"], genome["post"], both)
        changed.append(genome["synapse_keep"] * square + genome["synapse_gain"] * hebb)
    return changed


def prepare(problem: Blur, wrap: Callable[[Callable[..., list[Tensor]]], Callable[..., list[Tensor]]]) -> Run:
    stepped, start = wrap(step), squares(problem)

    def run() -> Answer:
        genome, synapses = problem.leaves(), start
        for x, y in zip(problem.x, problem.y, strict=True):
            synapses = stepped(genome, synapses, x, y)
        prediction = forward(genome, synapses, problem.query_x, problem.states)[-1][..., 0]
        loss = ((prediction - problem.query_y) ** 2).mean()
        return answer(dict(zip(genome, torch.autograd.grad(loss, list(genome.values())), strict=True)))

    return run


EAGER: Contender[Blur] = Contender("published, eager", lambda problem: prepare(problem, lambda f: f))
COMPILED: Contender[Blur] = Contender(
    "published, compiled",
    lambda problem: prepare(problem, lambda f: torch.compile(f, dynamic=False, fullgraph=True)),
    limit=180,
    slow_start=True,
)
