"""Rules that settle before they learn, written by hand. Chains here have no max-pooling."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.rules.by_hand.chain import Chain, Link, per_channel, pulled, spread
from tests.rules.by_hand.feedback import output_error, swept
from tests.rules.by_hand.step import Task, Tensors


def arriving(task: Task, state: Tensors, k: int, values: Tensor) -> Tensor:
    link = task.chain.links[k - 1]
    z = link.send(state[f"w.c{k}"], values)
    return z + spread(state[f"b.{link.layer}"], z.ndim)


def predictive_coding(task: Task, state: Tensors) -> tuple[Tensors, Tensor]:
    """Values start at the forward pass, the output's a step along the error; 20 rounds of inference, from the top down."""
    links, g, new = task.chain.links, task.genome, dict(state)
    rates, values = swept(task, state)  # rates has the input in front
    prediction = rates[-1]
    values[-1] = values[-1] - output_error(task, values[-1])
    for _ in range(20):
        off = [v - arriving(task, state, k, rates[k - 1]) for k, v in enumerate(values, 1)]
        for k in range(len(links) - 1, 0, -1):
            above = links[k].back(state[f"w.c{k + 1}"], rates[k], off[k])
            values[k - 1] = values[k - 1] + g["rate"] * (links[k - 1].slope(values[k - 1], above) - off[k - 1])
            rates[k] = links[k - 1].act(values[k - 1])
    for k, link in enumerate(links, 1):
        w, rate = state[f"w.c{k}"], g["lr"] / task.batch
        new[f"w.c{k}"] = w + rate * link.outer(rates[k - 1], off[k - 1], w)
        new[f"b.{link.layer}"] = state[f"b.{link.layer}"] + rate * per_channel(off[k - 1])
    return new, prediction


# --- Equilibrium propagation ------------------------------------------------------------------


def felt(link: Link, s: Tensor, w: Tensor) -> Tensor:
    """Return what `rho` of the source's state sends to the target."""
    return link.linear(torch.sigmoid(link.path(s)), w)


def felt_back(link: Link, s: Tensor, w: Tensor, above: Tensor) -> Tensor:
    """Carry `rho(above)` back: through the weights, and through the adjoint of the path."""
    seen = link.path(s)
    at_weights = pulled(lambda u: link.linear(u, w), seen, torch.sigmoid(above))
    return pulled(link.path, s, at_weights)


def settle(task: Task, state: Tensors, ss: list[Tensor], rounds: int, beta: float) -> list[Tensor]:
    """Let all states follow the energy downhill; the output is also drawn to the target by `beta`."""
    links, dt, ss = task.chain.links, task.genome["dt"], list(ss)
    for _ in range(rounds):
        below = []
        for k, link in enumerate(links, 1):
            z = felt(link, ss[k - 1], state[f"w.c{k}"])
            below.append(z + spread(state[f"b.{link.layer}"], z.ndim))
        ss[-1] = ss[-1] + dt * (slope(ss[-1]) * below[-1] - ss[-1] + beta * (task.y - ss[-1]))
        for k in range(len(links) - 1, 0, -1):
            above = felt_back(links[k], ss[k], state[f"w.c{k + 1}"], ss[k + 1])
            ss[k] = ss[k] + dt * (slope(ss[k]) * (below[k - 1] + above) - ss[k])
    return ss


def slope(s: Tensor) -> Tensor:
    return torch.sigmoid(s) * (1 - torch.sigmoid(s))


def at_rest(task: Task, state: Tensors) -> list[Tensor]:
    """Return states of zero, with the input's in front."""
    xs, _ = swept(task, state)
    return [task.x, *(torch.zeros_like(x) for x in xs[1:])]


def equilibrium_propagation(task: Task, state: Tensors) -> tuple[Tensors, Tensor]:
    g, new = task.genome, dict(state)
    free = settle(task, state, at_rest(task, state), 20, 0.0)
    nudged = settle(task, state, free, 6, float(g["beta"]))
    rate = g["lr"] / g["beta"] / task.batch
    for k, link in enumerate(task.chain.links, 1):
        w, b = state[f"w.c{k}"], state[f"b.{link.layer}"]
        new[f"w.c{k}"] = w + rate * (coactive(link, nudged, k, w) - coactive(link, free, k, w))
        new[f"b.{link.layer}"] = b + rate * per_channel(torch.sigmoid(nudged[k]) - torch.sigmoid(free[k]))
    return new, free[-1]


def coactive(link: Link, ss: list[Tensor], k: int, w: Tensor) -> Tensor:
    return pulled(lambda u: felt(link, ss[k - 1], u), w, torch.sigmoid(ss[k]))


# --- Forward-forward --------------------------------------------------------------------------


def forward_forward(task: Task, state: Tensors) -> tuple[Tensors, Tensor]:
    """Every label is a hypothesis of its own: an axis of samples here."""
    g, new, count = task.genome, dict(state), task.chain.outputs
    h = task.x.repeat_interleave(count, 0)  # (batch * labels, ...)
    label, goodness = torch.arange(count).repeat(task.batch), torch.zeros(task.batch * count, dtype=h.dtype)
    for k, link in enumerate(task.chain.links, 1):
        w, b, u = state[f"w.c{k}"], state[f"b.{link.layer}"], state[f"u.{link.layer}"]
        z = link.send(w, h)
        z = z + spread(b, z.ndim) + u[label].reshape(*u[label].shape, *[1] * (z.ndim - 2))
        a = link.act(z)
        good = (a**2).flatten(1).mean(1)
        true = task.y.flatten()
        push = true * torch.sigmoid(g["threshold"] - good) - g["negative"] * (1 - true) * torch.sigmoid(
            good - g["threshold"]
        )
        credit = link.slope(z, push.reshape(-1, *[1] * (z.ndim - 1)) * a)
        rate = g["lr"] / task.batch
        new[f"w.c{k}"] = w + rate * link.outer(h, credit, w)
        new[f"b.{link.layer}"] = b + rate * per_channel(credit)
        new[f"u.{link.layer}"] = u + rate * torch.stack([per_channel(credit[label == c]) for c in range(count)])
        goodness = goodness + good
        h = a / torch.sqrt(good + 1e-6).reshape(-1, *[1] * (z.ndim - 1))
    return new, goodness.reshape(task.batch, count)


__all__ = ["Chain", "equilibrium_propagation", "forward_forward", "predictive_coding"]
