"""BLUR as published: square synapse tensors over (pre, bias, post), and the einsums of the reference code.

Axes: s species (each with its own genome), r replicas, b batch, i and j neurons, k, l, o states. Nothing here is shared
with the compiler; genomes are differentiable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Choices:
    """Options of the rule. The bias is a row of the synapses; only normalisation of synapses leaves it alone."""

    up: Map = lambda s: torch.relu(torch.tanh(s))
    down: Map = lambda s: torch.relu(torch.tanh(s))
    out: Map = torch.tanh
    feedback: str = "additive"
    oja: str = "none"
    labels: str = "plain"
    symmetric: bool = False
    single: bool = False
    bias: bool = True
    saturate: bool = False
    norm_neuron: bool = False
    norm_synapse: bool = False
    average: bool = False


@dataclass(frozen=True)
class Square:
    """One layer pair: `n` neurons before, `m` after; the tensor is (s, r, n + 1 + m, n + 1 + m, k)."""

    n: int
    m: int
    values: Tensor

    @property
    def forward(self) -> Tensor:
        return self.values[:, :, : self.n, self.n + 1 :]

    @property
    def bias(self) -> Tensor:
        return self.values[:, :, self.n, self.n + 1 :]

    @property
    def backward(self) -> Tensor:
        return self.values[:, :, self.n + 1 :, : self.n]


def square(w: Tensor, v: Tensor, b: Tensor, choices: Choices) -> Square:
    """Lay out w and v (s, r, i, j, k) and b (s, r, j, k); what is never read is filled with noise."""
    s, r, n, m, k = w.shape
    generator = torch.Generator().manual_seed(n * m)
    values = torch.randn(s, r, n + 1 + m, n + 1 + m, k, generator=generator, dtype=w.dtype)
    values[:, :, :n, n + 1 :], values[:, :, n, n + 1 :] = w, b
    values[:, :, n + 1 :, :n] = (w if choices.symmetric else v).transpose(2, 3)
    if choices.single:
        values[:, :, :, :] = torch.cat([values[..., :1]] * k, -1)
    return Square(n, m, values)


def step(genome: Tensors, layers: list[Square], x: Tensor, target: Tensor, c: Choices) -> tuple[list[Square], Tensor]:
    """One step from zeroed states; x is (s, r, b, features). Returns the synapses and the prediction."""
    states = swept_up(genome, layers, x, c)
    prediction = states[-1][..., 0]
    taught = torch.zeros_like(states[-1])
    taught = torch.cat(
        [states[-1][..., :1], (target if c.labels == "plain" else 2 * target - 1)[..., None], taught[..., 2:]], -1
    )
    states = swept_down(genome, layers, [*states[:-1], taught], c)
    return [
        learned(of_layer(genome, at), layer, states[at], states[at + 1], c) for at, layer in enumerate(layers)
    ], prediction


def of_layer(genome: Tensors, at: int) -> Tensors:
    """Return a layer's own genome; `layered` ones have an axis for it after the species."""
    return {name: value[:, at] for name, value in genome.items()} if genome["pre"].ndim == 4 else genome


def number(value: Tensor, ndim: int) -> Tensor:
    """Give a number per species axes to broadcast over the rest."""
    return value.reshape(-1, *[1] * (ndim - 1))


def swept_up(genome: Tensors, layers: list[Square], x: Tensor, c: Choices) -> list[Tensor]:
    states = [torch.cat([x[..., None], x.new_zeros(*x.shape, genome["pre"].shape[-1] - 1)], -1)]
    for at, layer in enumerate(layers):
        g = of_layer(genome, at)
        arriving = torch.einsum("srbik,skl,srijl->srbjl", states[-1], g["forward_mix"], unit(layer.forward, c))
        gain, resting = number(g["neuron_gain"], 5), torch.zeros_like(arriving)  # states were zero: nothing is kept
        if c.bias:
            ones = torch.ones_like(states[-1][:, :, :, :1])
            resting = gain * torch.einsum("srbik,skl,srijl->srbjl", ones, g["forward_mix"], layer.bias[:, :, None])
        last = at == len(layers) - 1
        states.append(c.out(gain * arriving + resting) if last else c.up(gain * standard(arriving, c) + resting))
    return states


def swept_down(genome: Tensors, layers: list[Square], states: list[Tensor], c: Choices) -> list[Tensor]:
    states = list(states)
    for at in range(len(layers) - 1, 0, -1):  # the input's states stay; the synapses between `at` and `at + 1` carry
        g, a = of_layer(genome, at), states[at]
        arriving = torch.einsum(
            "srbjk,skl,srjil->srbil", states[at + 1], g["backward_mix"], unit(layers[at].backward, c)
        )
        keep, gain = number(g["neuron_keep"], 5), number(g["neuron_gain"], 5)
        if c.feedback == "additive":
            total = keep * a + gain * arriving
        elif c.feedback == "multiplicative":
            total = a * arriving * keep
        elif c.feedback == "second":
            total = torch.cat([a[..., :1], (a * arriving)[..., 1:]], -1) * keep
        else:
            total = gain * arriving
        states[at] = c.down(standard(total, c))
    return states


def unit(w: Tensor, c: Choices) -> Tensor:
    """Divide each synapse by the norm over the neurons it is summed over."""
    return w / torch.sqrt((w**2).sum(2, keepdim=True) + 1e-9) if c.norm_synapse else w


def standard(s: Tensor, c: Choices) -> Tensor:
    if not c.norm_neuron:
        return s
    centred = s - s.mean(2, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(2, keepdim=True) + 1e-5)


def learned(g: Tensors, layer: Square, below: Tensor, above: Tensor, c: Choices) -> Square:
    """Update the whole square tensor: pre, bias and post neurons on both of its axes."""
    unity = torch.ones_like(below[:, :, :, :1])
    full = torch.cat([below, unity, above], 3)
    change = torch.einsum("srbik,sko,sol,srbjl->srijo", full, g["pre"], g["post"], full)
    count = full.shape[2] if c.average else 1
    change = change / count
    if c.oja != "none":
        change = change - decay(g, layer, full, c, count)
    keep, gain, old = number(g["synapse_keep"], 5), number(g["synapse_gain"], 5), layer.values
    delta = (keep - 1) * old + gain * change
    if c.saturate:
        held = torch.exp(-old.abs() * number(g["saturation"].abs(), 5))
        delta = delta * held
    new = Square(layer.n, layer.m, old + delta)
    return tied(new, c) if c.symmetric or c.single else new


def decay(g: Tensors, layer: Square, full: Tensor, c: Choices, count: int) -> Tensor:
    """Oja's term, always against the synapse; the column norm counts the bias if there is one."""
    old, n = layer.values, layer.n
    if c.oja == "activity":
        y = torch.einsum("sol,srbjl->srbjo", g["post"], full)
        against = old * ((y**2).sum(2) / count)[:, :, None]
    else:
        rows = n + 1 if c.bias else n
        up = (old[:, :, :rows, n + 1 :] ** 2).sum(2, keepdim=True)
        down = (layer.backward**2).sum(2, keepdim=True)
        against = old * torch.cat([down, torch.zeros_like(down[:, :, :, :1]), up], 3)
    return number(torch.sign(g["synapse_gain"]) * g["oja_rate"].abs(), 5) * against


def tied(layer: Square, c: Choices) -> Square:
    """Copy the forward block to the backward one, or the first state to all."""
    n, values = layer.n, layer.values.clone()
    if c.symmetric:
        values[:, :, n + 1 :, :n] = values[:, :, :n, n + 1 :].transpose(2, 3).clone()
    if c.single:
        values = torch.cat([values[..., :1]] * values.shape[-1], -1)
    return Square(n, layer.m, values)
