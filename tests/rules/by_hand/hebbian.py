"""Rules of activity alone, written by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.rules.by_hand.chain import per_channel
from tests.rules.by_hand.feedback import swept
from tests.rules.by_hand.step import Step, Task, Tensors


def hebb(teach: bool) -> Step:
    def step(task: Task, state: Tensors) -> tuple[Tensors, Tensor]:
        xs, _ = swept(task, state, bias=False)
        fired = [*xs[:-1], task.y] if teach else xs
        rate, new = task.genome["lr"] / task.batch, dict(state)
        for k, link in enumerate(task.chain.links, 1):
            new[f"w.c{k}"] = state[f"w.c{k}"] + rate * link.outer(fired[k - 1], fired[k], state[f"w.c{k}"])
        return new, xs[-1]

    return step


def bcm(task: Task, state: Tensors) -> tuple[Tensors, Tensor]:
    xs, _ = swept(task, state, bias=False)
    g, new = task.genome, dict(state)
    for k, link in enumerate(task.chain.links, 1):
        x, theta, w = xs[k], state[f"theta.{link.layer}"], state[f"w.c{k}"]
        new[f"w.c{k}"] = w + g["lr"] / task.batch * link.outer(xs[k - 1], x * (x - theta), w)
        new[f"theta.{link.layer}"] = theta + g["rate"] * (per_channel(x**2) / task.batch - theta)
    return new, xs[-1]


def linear_sweep(task: Task, state: Tensors) -> list[Tensor]:
    xs = [task.x]
    for k in range(1, len(task.chain.links) + 1):
        xs.append(xs[-1] @ state[f"w.c{k}"])
    return xs


def oja(task: Task, state: Tensors) -> tuple[Tensors, Tensor]:
    """Each output on its own: y (x - y w), equation 3."""
    xs, new = linear_sweep(task, state), dict(state)
    for k in range(1, len(xs)):
        x, y, w = xs[k - 1], xs[k], state[f"w.c{k}"]
        change = torch.stack([y[n] * (x[n][:, None] - y[n] * w) for n in range(task.batch)])
        new[f"w.c{k}"] = w + task.genome["lr"] * change.mean(0)
    return new, xs[-1]


def sanger(task: Task, state: Tensors) -> tuple[Tensors, Tensor]:
    """In the paper's matrix form: y x^T - LT(y y^T) w, with the outputs as rows."""
    xs, new = linear_sweep(task, state), dict(state)
    for k in range(1, len(xs)):
        x, y, rows = xs[k - 1], xs[k], state[f"w.c{k}"].T
        change = y.T @ x / task.batch - torch.tril(y.T @ y / task.batch) @ rows
        new[f"w.c{k}"] = (rows + task.genome["lr"] * change).T
    return new, xs[-1]
