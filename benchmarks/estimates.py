"""One outer problem on which every hypergradient makes sense: its exact gradient, and estimates of it.

A small network learns digits by gradient descent with a rate, and with a weight decay for each layer; both are learned. The batch is the same in
every update, so that descent has a fixed point, and all estimates are of one gradient: data and initial synapses are those of meta-step 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count

import torch
from torch import Tensor

import rulec
from benchmarks.contender import Answer, Later, Run, answer
from rulec.meta.batches import Batches
from rulec.meta.hypergradients.descent import GradientDescent
from rulec.meta.hypergradients.evolution import Pes
from rulec.meta.hypergradients.interface import Search
from rulec.meta.parameters import Free
from rulec.meta.plan import Plan, plan
from rulec.meta.problem import Problem
from rulec.runtime.compiled import State

TASK, BATCH, SEGMENTS = "digits(pixels=standard)", 32, 5
RULE = """
rule decayed "gradient descent with a rate, and a weight decay for each layer"

genome
  lr : positive = 0.5

genome per layer
  decay : positive = 0.05

update
  w -= lr * (grad(loss, w) + decay * w)

outer measured
  inner rule for {part} of {updates} steps on support
  meta genome
  minimize loss on query
  through {through}
  by sgd(lr = 1)
"""


@dataclass(frozen=True)
class Still(Problem):
    """A problem whose data and initial synapses are the same in every meta-step, and whose batch is the same in every update."""

    def batches(self, number: int) -> Batches:
        data = super().batches(0)
        return replace(data, x=data.x[:1].expand_as(data.x), y=data.y[:1].expand_as(data.y))

    def start(self, free: Free, number: int) -> State:
        return super().start(free, 0)


@dataclass(frozen=True)
class Estimator:
    """A hypergradient on the problem. `estimate(n)` draws the n-th estimate, (meta-parameters,)."""

    plan: Plan
    problem: Still

    def estimate(self, number: int) -> Tensor:
        method, free = self.plan.method, self.plan.free
        if isinstance(method, Pes):
            return self._over_a_trajectory(method, number)
        if not isinstance(method, GradientDescent):
            raise TypeError(f"{type(method).__name__} estimates no gradient")
        return flat(method.gradient(self.problem, free, number)[1])

    def _over_a_trajectory(self, method: Pes, number: int) -> Tensor:
        """Return the mean over the segments: descent with a rate of 1 tells the estimate of each, and does not move."""
        segments = self.problem.horizon // self.problem.inner_steps
        search, total = method.begin(self.problem, self.plan.free), torch.zeros(())
        for segment in range(number * segments, (number + 1) * segments):
            after, _ = method.step(self.problem, search, segment)
            total = total + flat(search.free) - flat(after.free)
            search = Search(search.free, after.memory)
        return total / segments


def estimator(through: str, net: str, updates: int) -> Estimator:
    """Prepare `through ...`, in double precision. Raises `RuleError` for what does not apply."""
    segments = segments_of(updates) if through.startswith("pes") else 1
    rule = rulec.parse(RULE.format(through=through, part=updates // segments, updates=updates))
    compiled = rule.compile(net, loss="cross_entropy", dtype="float64")
    made = plan(
        compiled,
        TASK,
        "measured",
        None,
        None,
        steps=1,
        seed=0,
        batch=BATCH,
        query=None,
        inner_steps=None,
        lr=None,
        clip=1e12,
        memory=None,
        patience=1,
    )
    given = {name: getattr(made.problem, name) for name in Problem.__dataclass_fields__}
    return Estimator(made, Still(**given))


def segments_of(updates: int) -> int:
    """Return into how many segments trajectories are cut where a method cuts them."""
    return SEGMENTS if updates % SEGMENTS == 0 else 1


def exact(net: str, updates: int) -> Tensor:
    """Return the gradient after all updates: back through each of them."""
    return estimator("unroll", net, updates).estimate(0)


def exact_of_segments(net: str, updates: int) -> Tensor:
    """Return the gradient of the mean of the losses after each segment, which is what `pes` estimates."""
    parts = segments_of(updates)
    return torch.stack([exact(net, (k + 1) * updates // parts) for k in range(parts)]).mean(0)


def by_hand(net: str, updates: int) -> Tensor:
    """Return the same as `exact`, by autograd through a loop that was written by hand."""
    made = estimator("unroll", net, updates)
    problem, leaves = made.problem, {n: v.clone().requires_grad_() for n, v in made.plan.free.items()}
    data, state = problem.batches(0), problem.start(leaves, 0)
    rate, decay = leaves["lr"][0].exp(), leaves["decay"][0].exp()
    layers = range(1, len(decay) + 1)
    weights = [state[f"w.c{k}.{part}"][0].detach().requires_grad_() for k in layers for part in ("weight", "bias")]

    def loss(x: Tensor, y: Tensor, w: list[Tensor]) -> Tensor:
        for k in layers:
            x = (torch.tanh(x) if k > 1 else x) @ w[2 * k - 2] + w[2 * k - 1]
        return torch.nn.functional.cross_entropy(x, y)

    for x, y in zip(data.x, data.y, strict=True):
        slopes = torch.autograd.grad(loss(x[0], y[0], weights), weights, create_graph=True)
        weights = [w - rate * (g + decay[k // 2] * w) for k, (w, g) in enumerate(zip(weights, slopes, strict=True))]
    total = loss(data.query_x[0], data.query_y[0], weights)
    return flat(dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True)))


def flat(values: Free) -> Tensor:
    return torch.cat([value.detach().flatten() for value in values.values()])


def running(made: Estimator) -> Run:
    """Return a run that draws one estimate, another one each time."""
    numbers = count()

    def run() -> Answer | Later:
        found = made.estimate(next(numbers))
        return lambda: answer({"gradient": found})

    return run
