"""Rules that send an error backwards, written by hand: they differ in what carries it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tests.rules.by_hand.chain import per_channel, pulled, spread
from tests.rules.by_hand.step import Step, Task, Tensors

Carrier = Callable[[Task, Tensors, int, Tensor, Tensor, Tensor], Tensor]


def swept(task: Task, state: Tensors, bias: bool = True) -> tuple[list[Tensor], list[Tensor]]:
    """Return the activations of all layers, the input's first, and the pre-activations of those after it."""
    xs, zs = [task.x], []
    for k, link in enumerate(task.chain.links, 1):
        z = link.send(state[f"w.c{k}"], xs[-1])
        zs.append(z + spread(state[f"b.{link.layer}"], z.ndim) if bias else z)
        xs.append(link.act(zs[-1]))
    return xs, zs


def output_error(task: Task, z: Tensor) -> Tensor:
    """Return the derivative of each sample's loss with respect to the output's pre-activation."""
    act = task.chain.links[-1].act
    return pulled(lambda u: task.loss(act(u), task.y), z, torch.ones(task.batch, dtype=z.dtype))


def errors(task: Task, state: Tensors, xs: list[Tensor], zs: list[Tensor], carry: Carrier) -> list[Tensor]:
    """Return d of each layer after the input: act'(z) times what `carry` brings from above."""
    links = task.chain.links
    ds = [output_error(task, zs[-1])]
    for k in range(len(links) - 1, 0, -1):  # layer k is the source of connection k + 1
        ds.insert(0, links[k - 1].slope(zs[k - 1], carry(task, state, k, xs[k], ds[0], ds[-1])))
    return ds


def learned(task: Task, state: Tensors, xs: list[Tensor], ds: list[Tensor]) -> Tensors:
    """Return the state after w -= lr * mean over samples of x d, and b -= lr * mean of d."""
    rate, new = task.genome["lr"] / task.batch, dict(state)
    for k, link in enumerate(task.chain.links, 1):
        w = state[f"w.c{k}"]
        new[f"w.c{k}"] = w - rate * link.outer(xs[k - 1], ds[k - 1], w)
        new[f"b.{link.layer}"] = state[f"b.{link.layer}"] - rate * per_channel(ds[k - 1])
    return new


def with_carrier(carry: Carrier) -> Step:
    def step(task: Task, state: Tensors) -> tuple[Tensors, Tensor]:
        xs, zs = swept(task, state)
        return learned(task, state, xs, errors(task, state, xs, zs, carry)), xs[-1]

    return step


def through(name: str, change: Callable[[Tensor], Tensor] = lambda w: w) -> Carrier:
    """Carry the error of the layer above through the synapses of a name."""

    def carry(task: Task, state: Tensors, k: int, x: Tensor, above: Tensor, last: Tensor) -> Tensor:
        return task.chain.links[k].back(change(state[f"{name}.c{k + 1}"]), x, above)

    return carry


def direct(task: Task, state: Tensors, k: int, x: Tensor, above: Tensor, last: Tensor) -> Tensor:
    """Carry the output's error straight to a layer; every place of a channel receives the same."""
    arriving = last @ state[f"v.{task.chain.links[k - 1].layer}"]  # stored (outputs, channels)
    return arriving.reshape(*arriving.shape, *[1] * (x.ndim - 2)).expand_as(x)


backprop = with_carrier(through("w"))
feedback_alignment = with_carrier(through("v"))
sign_symmetry = with_carrier(through("w", torch.sign))
direct_feedback_alignment = with_carrier(direct)


def blur_backprop(task: Task, state: Tensors) -> tuple[Tensors, Tensor]:
    """Backpropagation with the genome's gains where the bare rule has ones."""
    g = task.genome
    xs, zs = [task.x], []
    for k, link in enumerate(task.chain.links, 1):
        w, b = state[f"w.c{k}"], state[f"b.{link.layer}"]
        arriving = link.send(w, xs[-1])
        zs.append(g["neuron_gain"] * g["forward_mix"][0, 0] * (arriving + spread(b, arriving.ndim)))
        xs.append(link.act(zs[-1]))
    ds = errors(task, state, xs, zs, through("w", lambda w: g["neuron_keep"] * g["backward_mix"][1, 1] * w))
    new, rate = dict(state), g["synapse_gain"] * g["pre"][0, 0] * g["post"][0, 1] / task.batch
    for k, link in enumerate(task.chain.links, 1):
        w, b = state[f"w.c{k}"], state[f"b.{link.layer}"]
        new[f"w.c{k}"] = g["synapse_keep"] * w + rate * link.outer(xs[k - 1], ds[k - 1], w)
        new[f"b.{link.layer}"] = g["synapse_keep"] * b + rate * per_channel(ds[k - 1])
    return new, xs[-1]


def kolen_pollack(task: Task, state: Tensors) -> tuple[Tensors, Tensor]:
    """Decay both directions alike and give both the same change."""
    xs, zs = swept(task, state)
    ds = errors(task, state, xs, zs, through("v"))
    new, keep = learned(task, state, xs, ds), 1 - task.genome["decay"]
    for k, link in enumerate(task.chain.links, 1):
        change = task.genome["lr"] * link.outer(xs[k - 1], ds[k - 1], state[f"w.c{k}"]) / task.batch
        for name in ("w", "v"):
            new[f"{name}.c{k}"] = keep * state[f"{name}.c{k}"] - change
    return new, xs[-1]
