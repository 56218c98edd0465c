"""EvoGrad: copies of the synapses with noise on them, among which the loss of the support chooses; no second derivatives.

theta_n = w + sigma * e_n, with signs e_n; l_n the loss of theta_n on the support, which depends on what is learned; c = softmax(-l / tau);
w' = sum of c_n theta_n. What is learned moves c, c moves w', and w' is judged on the query. In expectation, to leading order in sigma,
this is the hypergradient of one step of gradient descent with the rate sigma^2 / tau (1 - 1 / candidates), from a few random directions:
much smaller than that of a step with an ordinary rate, so that an outer optimiser that does not care for scale (Adam) is the natural one.
The synapses themselves then learn by the inner rule. Bohdal, Yang and Hospedales 2021, "EvoGrad: Efficient Gradient-Based Meta-Learning
and Hyperparameter Optimization", equations 4 to 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from rulec.backend.liveness import restricted
from rulec.ir.inner_problem import START, constant_states
from rulec.meta import messages
from rulec.meta.hypergradients.descent import GradientDescent, pulled
from rulec.meta.hypergradients.finite_difference import gathered, spread
from rulec.meta.hypergradients.interface import Settings
from rulec.meta.hypergradients.reading import (
    check_differentiable,
    no_arguments,
    no_checkpoint,
    query_alone,
    settings_of,
)
from rulec.meta.objective import Scored, judged, scored
from rulec.meta.optimizers import optimizer_of
from rulec.meta.parameters import Free, connections_within
from rulec.meta.part import Part
from rulec.meta.problem import Inner, Problem
from rulec.meta.seeds import derived_seed
from rulec.runtime.compiled import CompiledRule, Genome, State
from rulec.semantics import typed as t
from rulec.semantics.inner_problems import check_evograd
from rulec.semantics.typed import Outer
from rulec.source import RuleError


@final
@dataclass(frozen=True)
class Evograd(GradientDescent):
    """`through evograd(candidates = 2, sigma = 0.001, tau = 0.05)`."""

    least_updates = 1

    candidates: int
    sigma: float
    tau: float

    def gradient(self, problem: Problem, free: Free, number: int) -> tuple[Scored, Free]:
        leaves = {name: value.detach().requires_grad_() for name, value in free.items()}
        inner, last = problem.begun(leaves, number), problem.inner_steps - 1
        with torch.no_grad():
            state = problem.updated(inner, inner.state, 0, last) if last else inner.state
        merged = {**state, **self._merged(problem, inner, state, number)}
        data = inner.batches
        found = judged(problem.task, problem.step.predict(inner.genome, merged, data.query_x), data.query_y)
        score = scored(problem.outer.objectives, {"query": found}, inner.learned)
        return score, pulled(score.objective.sum(), leaves)

    def _merged(self, problem: Problem, inner: Inner, state: State, number: int) -> State:
        """Return the mean of the candidates' synapses, weighted as the last batch of the support says."""
        step, count = problem.step, self.candidates
        wide = problem.widened(count).step
        generator = torch.Generator().manual_seed(derived_seed("evograd", problem.seed, number))
        candidates = {
            name: state[name].detach() + self.sigma * _signs(count, state[name], problem.part, generator)
            for name in _perturbed(step)
        }
        placed = {name: spread(value) for name, value in candidates.items()}
        others = {n: v.repeat_interleave(count, 0) if v.ndim else v for n, v in state.items() if n not in placed}
        genome = {name: value.repeat_interleave(count, 0) for name, value in inner.genome.items()}
        losses = inner_loss(wide, problem.outer, genome, {**others, **placed}, inner.batches.x[-1], inner.batches.y[-1])
        shares = torch.softmax(-gathered(losses, count) / self.tau, 0)  # (candidates, members, tasks, replicas...)
        return {
            name: (value * shares.reshape(*shares.shape, *[1] * (value.ndim - shares.ndim))).sum(0)
            for name, value in candidates.items()
        }


def _perturbed(step: CompiledRule) -> list[str]:
    """Return the synapses that predictions read, of the connections that learn."""
    read = restricted(step.lowered_prediction, ("prediction",)).state
    still, within = constant_states(step.program), step.program.within
    learning = step.network.weighted if within is None else connections_within(step.network, within)
    places = {name for connection in learning for name in (connection.name, connection.target)}
    stems = [(slot.name, slot.name.split(".")) for slot in read]
    return [name for name, (stem, place, *_) in stems if stem not in {*still, "network"} and place in places]


def _signs(count: int, like: Tensor, part: Part | None, generator: torch.Generator) -> Tensor:
    """Draw signs (count, *like.shape); those of a part are the ones that it has in the whole."""
    shape = list(like.shape)
    if part is not None:
        shape[part.axis] = part.whole
    signs = torch.randint(0, 2, (count, *shape), generator=generator).to(like) * 2 - 1
    return signs if part is None else signs.narrow(part.axis + 1, part.first, part.last - part.first)


def inner_loss(step: CompiledRule, outer: Outer, genome: Genome, state: State, x: Tensor, y: Tensor) -> Tensor:
    """Return what the inner problem minimises, for each network: the mean loss, weighted if it is, and its other terms."""
    total = step.loss_on(genome, state, x, y)
    numbers = {name: k for k, c in enumerate(step.network.connections) for name in (c.name, c.target)}
    for term in outer.plus:
        for name in [name[2:] for name in state if name.startswith("w.")]:
            apart = state[f"w.{name}"] - (state[f"{START}.{name}"] if term.from_start else 0)
            norm = apart.square().flatten(len(step.lead_shape)).sum(-1)
            total = total + _value(term.weight, genome, norm, numbers[name.split(".")[0]]) * norm
    return total


def _value(expression: t.Expr, genome: Genome, like: Tensor, connection: int) -> Tensor | float:
    """Evaluate the factor of a term on one connection for each member, to be multiplied with (members, ...)."""
    match expression:
        case t.Constant(value=number):
            return number
        case t.GenomeRef(name=name):
            value = genome[name] if genome[name].ndim == 1 else genome[name][:, connection]
            return value.reshape(-1, *[1] * (like.ndim - 1))
        case t.Apply(operator="mul" | "div" as operator, arguments=(left, right)):
            a, b = (_value(side, genome, like, connection) for side in (left, right))
            return a * b if operator == "mul" else a / b
        case t.Stop(argument=argument):
            found = _value(argument, genome, like, connection)
            return found.detach() if isinstance(found, Tensor) else found
    raise RuleError([messages.factor_too_long(expression.span)])


def read(outer: Outer, settings: Settings) -> Evograd:
    no_arguments(outer)
    given = settings_of(outer, {"candidates": 2, "sigma": 1e-3, "tau": 0.05}, positive=("sigma", "tau"))
    no_checkpoint(outer)
    check_differentiable(outer)
    query_alone(outer)
    problems = check_evograd(outer)
    if problems:
        raise RuleError(problems)
    return Evograd(
        optimizer_of(outer), settings.clip, settings.patience, int(given["candidates"]), given["sigma"], given["tau"]
    )
