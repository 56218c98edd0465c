"""An expert's version of BLUR in ordinary PyTorch: only what is read is stored, and every product is a batched one.

What is left out, against the published layout: the blocks of the square that no sweep reads, the first layer's backward
synapses, all forward synapses of the last layer but those of the state that is its prediction, and states of the input
that are always zero. Mixes of states come before a product where that is the smaller side. Activations are
(states, replicas, batch, neurons). All replicas see the same batch, so the first layer's products have it as a shared factor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from benchmarks.contender import Answer, Contender, Run, answer
from benchmarks.problems import Blur

Genome = Mapping[str, Tensor]


class Rest(NamedTuple):
    """Per connection: `w` (states, replicas, n, m), without states for the last, of all but the first; `b` (states, replicas,
    1, m); `v` (states, replicas, m, n), of all but the first."""

    w: list[Tensor]
    b: list[Tensor]
    v: list[Tensor]


class Synapses(NamedTuple):
    """The first connection's forward synapses (states, inputs, replicas * m), where nearly all the work is; and the rest."""

    first: Tensor
    rest: Rest


def laid_out(problem: Blur) -> Synapses:
    w = [t.transpose(0, 1) for t in problem.forward]
    b = [t.transpose(0, 1)[:, :, None] for t in problem.bias]
    v = [t.permute(1, 0, 3, 2) for t in problem.backward[1:]]
    first = w[0].permute(0, 2, 1, 3).flatten(2)
    w[-1], b[-1] = w[-1][0], b[-1][0]
    rest = Rest([t.contiguous() for t in w[1:]], [t.contiguous() for t in b], [t.contiguous() for t in v])
    return Synapses(first.contiguous(), rest)


def mixed(matrix: Tensor, layer: Tensor) -> Tensor:
    """Sum over states: (out, in) by (in, replicas, batch, neurons)."""
    return (matrix @ layer.flatten(1)).view(-1, *layer.shape[1:])


def column(vector: Tensor) -> Tensor:
    return vector[:, None, None, None]


def by_replica(product: Tensor, replicas: int) -> Tensor:
    """From (states, batch, replicas * m) to (states, replicas, batch, m)."""
    return product.unflatten(2, (replicas, -1)).transpose(1, 2)


def forward(genome: Genome, rest: Rest, arriving: Tensor) -> list[Tensor]:
    """Return the hidden layers, and the prediction (replicas, batch, outputs).

    `arriving` (states, batch, replicas * m) is the input times the first connection.
    """
    mix, gain = genome["forward_mix"], genome["neuron_gain"]
    ones = column(gain * mix.sum(0))
    first = by_replica(arriving, rest.b[0].shape[1]) * column(gain * mix[0]) + rest.b[0] * ones
    layers = [torch.tanh(torch.relu(first))]
    for w, b in zip(rest.w[:-1], rest.b[1:-1], strict=True):
        layers.append(torch.tanh(torch.relu(mixed(gain * mix.T, layers[-1]) @ w + b * ones)))
    signal = mixed(gain * mix[:, :1].T, layers[-1])[0]
    layers.append(torch.tanh(signal @ rest.w[-1] + rest.b[-1] * ones[0]))
    return layers


def swept_back(genome: Genome, rest: Rest, layers: list[Tensor], y: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return the hidden layers after the backward sweep, and the two states of the output that are not zero."""
    mix, gain, keep = genome["backward_mix"], genome["neuron_gain"], genome["neuron_keep"]
    output = torch.stack([layers[-1], y.expand_as(layers[-1])])
    above, rows, hidden = output, mix[:2], list(layers[:-1])
    for number in range(len(hidden) - 1, -1, -1):
        arriving = mixed(gain * rows.T, above) @ rest.v[number]
        hidden[number] = torch.tanh(torch.relu(keep * hidden[number] + arriving))
        above, rows = hidden[number], mix
    return hidden, output


def step_above(genome: Genome, rest: Rest, arriving: Tensor, y: Tensor) -> tuple[Rest, Tensor]:
    """Make one update of all but the first connection; return also the factor that the input meets in that one's update."""
    pre, post = genome["pre"], genome["post"]
    keep, rate = genome["synapse_keep"], genome["synapse_gain"]
    hidden, output = swept_back(genome, rest, forward(genome, rest, arriving), y)
    units = column(pre.sum(0))
    by_post = [*(mixed(rate * post, layer) for layer in hidden), mixed(rate * post[:1, :2], output)]
    by_pre = [*(mixed(pre.T, layer) for layer in hidden), mixed(pre[:2].T, output)]

    w, v = [], []
    b = [keep * rest.b[0] + units * by_post[0].sum(2, keepdim=True)]
    for at, old in enumerate(rest.v):
        final = at == len(rest.v) - 1
        below, above = (by_pre[at][0], by_post[-1][0]) if final else (by_pre[at], by_post[at + 1])
        w.append(keep * rest.w[at] + below.mT @ above)
        b.append(keep * rest.b[at + 1] + (units[0] if final else units) * above.sum(-2, keepdim=True))
        v.append(keep * old + by_pre[at + 1].mT @ by_post[at])
    return Rest(w, b, v), (by_post[0] * column(pre[0])).transpose(1, 2).flatten(2)


def step(genome: Genome, synapses: Synapses, x: Tensor, y: Tensor) -> Synapses:
    """Make one update: forward sweep, feedback, backward sweep, then all synapses that something reads."""
    rest, factor = step_above(genome, synapses.rest, x @ synapses.first, y)
    return Synapses(genome["synapse_keep"] * synapses.first + x.T @ factor, rest)


def gradient(problem: Blur, genome: dict[str, Tensor], rest: Rest, arriving: Tensor) -> Answer:
    """Return the gradient of the query's loss, given what arrives from the query at the first hidden layer."""
    prediction = forward(genome, rest, arriving)[-1]
    loss = ((prediction - problem.query_y) ** 2).mean()
    return answer(dict(zip(genome, torch.autograd.grad(loss, list(genome.values())), strict=True)))


Stepping = Callable[[Genome, Synapses, Tensor, Tensor], Synapses]


def prepare(problem: Blur, wrap: Callable[[Stepping], Stepping], segment: int = 0) -> Run:
    """With `segment`, only every so many synapses are kept, and what lies between is computed again."""
    stepped, start = wrap(step), laid_out(problem)

    def several(genome: Genome, synapses: Synapses, x: Tensor, y: Tensor) -> Synapses:
        for batch_x, batch_y in zip(x, y, strict=True):
            synapses = stepped(genome, synapses, batch_x, batch_y)
        return synapses

    def run() -> Answer:
        genome, synapses = problem.leaves(), start
        if segment:
            for x, y in zip(problem.x.split(segment), problem.y.split(segment), strict=True):
                synapses = checkpoint(several, genome, synapses, x, y, use_reentrant=False, preserve_rng_state=False)
        else:
            synapses = several(genome, synapses, problem.x, problem.y)
        return gradient(problem, genome, synapses.rest, problem.query_x @ synapses.first)

    return run


def compiled(function: Stepping) -> Stepping:
    return torch.compile(function, dynamic=False, fullgraph=True)


def as_it_is(function: Stepping) -> Stepping:
    return function


def root_segments(problem: Blur) -> Run:
    return prepare(problem, as_it_is, segment=max(1, round(problem.steps**0.5)))


EAGER: Contender[Blur] = Contender("by hand, eager", partial(prepare, wrap=as_it_is))
COMPILED: Contender[Blur] = Contender(
    "by hand, step compiled", partial(prepare, wrap=compiled), limit=180, slow_start=True
)
CHECKPOINTED: Contender[Blur] = Contender("by hand, eager, checkpoint every sqrt(T)", root_segments)
