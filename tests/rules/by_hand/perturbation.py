"""Rules that correlate noise with the loss, written by hand."""

from __future__ import annotations

from torch import Tensor

from tests.rules.by_hand.chain import per_channel, spread
from tests.rules.by_hand.feedback import swept
from tests.rules.by_hand.step import Task, Tensors


def node_perturbation(task: Task, state: Tensors) -> tuple[Tensors, Tensor]:
    """Noise in the pre-activations of every layer at once, its own for each neuron, place and sample."""
    g, x, noise = task.genome, task.x, {}
    for k, link in enumerate(task.chain.links, 1):
        noise[link.layer] = task.noise[f"noise0.0.{link.layer}"]
        z = link.send(state[f"w.c{k}"], x)
        x = link.act(z + spread(state[f"b.{link.layer}"], z.ndim) + g["sigma"] * noise[link.layer])
    xs, _ = swept(task, state)
    gain = task.loss(x, task.y) - task.loss(xs[-1], task.y)
    rate, new = g["lr"] / g["sigma"] / task.batch, dict(state)
    for k, link in enumerate(task.chain.links, 1):
        credit = gain.reshape(-1, *[1] * (xs[k].ndim - 1)) * noise[link.layer]
        new[f"w.c{k}"] = state[f"w.c{k}"] - rate * link.outer(xs[k - 1], credit, state[f"w.c{k}"])
        new[f"b.{link.layer}"] = state[f"b.{link.layer}"] - rate * per_channel(credit)
    return new, xs[-1]


def weight_perturbation(task: Task, state: Tensors) -> tuple[Tensors, Tensor]:
    """One direction for all parameters; the step follows it by as much as the mean loss fell along it."""
    g, new = task.genome, dict(state)
    for k, link in enumerate(task.chain.links, 1):
        new[f"xi.c{k}"] = task.noise[f"noise0.0.c{k}"]
        new[f"xb.{link.layer}"] = task.noise[f"noise1.0.{link.layer}"]
    pairs = [(f"w.c{k}", f"xi.c{k}") for k in range(1, len(task.chain.links) + 1)]
    pairs += [(f"b.{link.layer}", f"xb.{link.layer}") for link in task.chain.links]
    moved = state | {name: state[name] + g["sigma"] * new[xi] for name, xi in pairs}
    noisy, still = swept(task, moved)[0][-1], swept(task, state)[0][-1]
    gain = (task.loss(noisy, task.y) - task.loss(still, task.y)).mean()
    for name, xi in pairs:
        new[name] = state[name] - g["lr"] / g["sigma"] * gain * new[xi]
    return new, still
