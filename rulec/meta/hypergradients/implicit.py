"""The implicit hypergradient: at a fixed point of the update, whatever led there.

With w' = F(w, phi) one update and w its fixed point, dJ/dphi = dV/dphi + (dF/dphi)^T v, where (I - dF/dw)^T v = dV/dw. The fixed
point is taken to be the state after all inner steps, and F the update on the last support batch. States that no update writes are
parameters of F: where a term draws `w` back to where it began, that is how initial values are learned. Memory does not depend on the number
of inner steps. Two ways to v:

* `neumann`: v = sum of (dF/dw)^T to the powers 0, 1, ..., steps - 1, times dV/dw. For every rule; it converges if F contracts.
* `cg`: conjugate gradients on I - dF/dw, plus a damping of its diagonal. Only where that matrix is symmetric, which it is if the
  update is the gradient of something: a pair of random vectors is tried, and another rule is refused. Each network stops
  for itself, when its residual is small or a direction shows no positive curvature.

Rajeswaran et al. 2019, "Meta-Learning with Implicit Gradients", equation 6; Lorraine et al. 2020, "Optimizing Millions of
Hyperparameters by Implicit Differentiation".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor
from torch.autograd import grad

from rulec.ir.inner_problem import constant_states
from rulec.meta import messages
from rulec.meta.hypergradients.descent import GradientDescent
from rulec.meta.hypergradients.interface import Settings
from rulec.meta.hypergradients.reading import (
    check_differentiable,
    check_starts,
    no_arguments,
    no_checkpoint,
    settings_of,
)
from rulec.meta.objective import Scored
from rulec.meta.optimizers import optimizer_of
from rulec.meta.parameters import Free
from rulec.meta.problem import Inner, Problem
from rulec.runtime.compiled import State
from rulec.semantics.typed import Outer
from rulec.source import RuleError, Span

Vector = list[Tensor]  # a cotangent of the states: (members, tasks, replicas..., own shape) each
Pull = Callable[[Vector], Vector]

SOLVERS = ("cg", "neumann")
ROUNDINGS = 10  # size of a residual that counts as none, against the right side
TOLERANCE = 1e-3  # of |u.Av - v.Au| against their size


@final
@dataclass(frozen=True)
class Implicit(GradientDescent):
    """`through implicit(cg, steps = 5, damping = 0)`, `through implicit(neumann, steps = 5)`, `through neumann(steps = 5)`."""

    least_updates = 1

    solver: str
    steps: int
    damping: float
    span: Span | None = field(compare=False, repr=False)
    _tried: list[bool] = field(default_factory=list, compare=False, repr=False)

    def gradient(self, problem: Problem, free: Free, number: int) -> tuple[Scored, Free]:
        leaves = {name: value.detach().requires_grad_() for name, value in free.items()}
        inner = problem.begun(leaves, number)
        still = replace(inner, genome={name: value.detach() for name, value in inner.genome.items()})
        found = problem.updated(still, {n: v.detach() for n, v in inner.state.items()}, 0, problem.inner_steps)
        given = {n: inner.state[n] for n in found if n.split(".", 1)[0] in constant_states(problem.step.program)}
        moving = {n: v.requires_grad_() for n, v in found.items() if v.is_floating_point() and n not in given}
        score = problem.judged(inner, {**found, **given}, problem.inner_steps)
        direct, right = _slopes(score.objective.sum(), leaves, moving)

        def pull(vector: Vector) -> Vector:
            """Return (dF/dw)^T times a vector."""
            slopes = _pulled(_after(problem, still, found, moving), list(moving.values()), vector)
            return _filled(slopes, vector)

        solved = self._solved(pull, right, problem)
        fixed = {name: value.detach() for name, value in found.items()} | given
        by_update = _pulled(_after(problem, inner, fixed, moving), list(leaves.values()), solved)
        pairs = zip(direct.items(), by_update, strict=True)
        return score, {name: value if extra is None else value + extra for (name, value), extra in pairs}

    def _solved(self, pull: Pull, right: Vector, problem: Problem) -> Vector:
        if self.solver == "neumann":
            return neumann(pull, right, self.steps)
        lead = len(problem.step.lead_shape)
        if not self._tried:
            self._check_symmetric(pull, right, problem)
            self._tried.append(True)
        return conjugate_gradients(pull, right, self.steps, self.damping, lead)

    def _check_symmetric(self, pull: Pull, right: Vector, problem: Problem) -> None:
        generator = torch.Generator().manual_seed(0)
        one, other = ([torch.randn(v.shape, generator=generator).to(v) for v in right] for _ in range(2))
        same = dot(one, other, 0)  # of what is near the identity, only the rest tells
        left, swapped = dot(one, pull(other), 0) - same, dot(other, pull(one), 0) - same
        rounding = (dot(one, one, 0) * dot(other, other, 0)).sqrt() * torch.finfo(same.dtype).eps
        scale = 1e3 * rounding + left.abs() + swapped.abs()
        if bool((left - swapped).abs() > TOLERANCE * scale):
            raise RuleError([messages.not_symmetric(self.span, problem.step.program.name, float(left), float(swapped))])


def _slopes(total: Tensor, leaves: Free, moving: State) -> tuple[Free, Vector]:
    """Differentiate the objective as if the state were given: by what is learned, and by the state."""
    wanted = [*leaves.values(), *moving.values()]
    found = grad(total, wanted, allow_unused=True, retain_graph=True) if total.requires_grad else (None,) * len(wanted)
    filled = _filled(found, wanted)
    return dict(zip(leaves, filled, strict=False)), filled[len(leaves) :]


def _after(problem: Problem, inner: Inner, state: State, moving: Iterable[str]) -> Vector:
    """Make the last update once more: the states that move, after it."""
    after = problem.updated(inner, state, problem.inner_steps - 1, problem.inner_steps)
    return [after[name] for name in moving]


def _pulled(results: Vector, wanted: Vector, cotangents: Vector) -> Sequence[Tensor | None]:
    """Differentiate what depends on anything."""
    pairs = [(r, c) for r, c in zip(results, cotangents, strict=True) if r.requires_grad]
    if not pairs:
        return [None] * len(wanted)
    return grad([r for r, _ in pairs], wanted, [c for _, c in pairs], allow_unused=True)


def _filled(values: Sequence[Tensor | None], like: Vector) -> Vector:
    return [torch.zeros_like(b) if v is None else v for v, b in zip(values, like, strict=True)]


def neumann(pull: Pull, right: Vector, terms: int) -> Vector:
    """Add up `terms` terms of the series for the inverse of I minus what `pull` multiplies with."""
    total, term = right, right
    for _ in range(terms - 1):
        term = pull(term)
        total = [t + new for t, new in zip(total, term, strict=True)]
    return total


def conjugate_gradients(pull: Pull, right: Vector, steps: int, damping: float, lead: int) -> Vector:
    """Solve (I - A + damping I) v = right for every network by itself; `pull` multiplies with a symmetric A."""

    def matrix(vector: Vector) -> Vector:
        return [(1 + damping) * v - p for v, p in zip(vector, pull(vector), strict=True)]

    found = [torch.zeros_like(v) for v in right]
    residual, direction = right, right
    size = first = dot(right, right, lead)
    none = (ROUNDINGS * torch.finfo(size.dtype).eps) ** 2 * first
    for _ in range(steps):
        ahead = matrix(direction)
        curvature = dot(direction, ahead, lead)
        going = (size > none) & (curvature > 0)
        if not bool(going.any()):
            break
        step = torch.where(going, size / torch.where(going, curvature, torch.ones_like(curvature)), 0.0)
        found = [v + _wide(step, v) * d for v, d in zip(found, direction, strict=True)]
        residual = [r - _wide(step, r) * a for r, a in zip(residual, ahead, strict=True)]
        new = dot(residual, residual, lead)
        turn = torch.where(going, new / torch.where(going, size, torch.ones_like(size)), 0.0)
        direction = [r + _wide(turn, d) * d for r, d in zip(residual, direction, strict=True)]
        size = torch.where(going, new, torch.zeros_like(new))
    return found


def dot(one: Vector, other: Vector, lead: int) -> Tensor:
    """Return the inner product of each network's part: over all but the leading axes."""
    return torch.stack([(a * b).flatten(lead).sum(-1) for a, b in zip(one, other, strict=True)]).sum(0)


def _wide(value: Tensor, like: Tensor) -> Tensor:
    return value.reshape(*value.shape, *[1] * (like.ndim - value.ndim))


def read(outer: Outer, settings: Settings) -> Implicit:
    arguments = [str(a) for a in outer.through.arguments]
    solver = arguments[0] if len(arguments) == 1 else ""
    if solver not in SOLVERS:
        raise RuleError([messages.unknown_solver(outer.through.span, solver, SOLVERS)])
    return _read(outer, settings, solver)


def read_neumann(outer: Outer, settings: Settings) -> Implicit:
    no_arguments(outer)
    return _read(outer, settings, "neumann")


def _read(outer: Outer, settings: Settings, solver: str) -> Implicit:
    given = settings_of(outer, {"steps": 5, "damping": 0.0} if solver == "cg" else {"steps": 5})
    no_checkpoint(outer)
    check_differentiable(outer)
    check_starts(outer)
    damping = given.get("damping", 0.0)
    return Implicit(
        optimizer_of(outer), settings.clip, settings.patience, solver, int(given["steps"]), damping, outer.through.span
    )
