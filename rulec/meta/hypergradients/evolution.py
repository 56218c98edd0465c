"""Evolution strategies: the gradient of the objective, smoothed by normal noise on the meta-parameters, from scores alone.

`es` draws pairs of antithetic offsets and runs the inner loop for each from its start. `pes` keeps inner loops going from meta-step to
meta-step (`for 10 of 100 steps`), each pair its own; what has been added to the
meta-parameters since the beginning counts, which takes away the bias that cutting a trajectory short would have.
Salimans et al. 2017, "Evolution Strategies as a Scalable Alternative to Reinforcement Learning"; Vicol et al. 2021,
"Unbiased Gradient Estimation in Unrolled Computation Graphs with Persistent Evolution Strategies", algorithm 2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from rulec.meta.hypergradients.descent import Descent, GradientDescent, begun, kept, state_in
from rulec.meta.hypergradients.finite_difference import at_offsets, gathered, spread
from rulec.meta.hypergradients.interface import Search, Settings, Step
from rulec.meta.hypergradients.reading import check_starts, no_arguments, no_checkpoint, settings_of
from rulec.meta.objective import Scored
from rulec.meta.optimizers import optimizer_of
from rulec.meta.parameters import Free
from rulec.meta.problem import Problem
from rulec.meta.seeds import derived_seed
from rulec.meta.sharing import Found, shared
from rulec.semantics.typed import Outer


def antithetic(free: Free, pairs: int, sigma: float, seed: int) -> Free:
    """Draw offsets (2 * pairs, members, ...): the second half is the first with the other sign."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {
        name: sigma * torch.randn(pairs, *value.shape, generator=generator).to(value) for name, value in free.items()
    }
    return {name: torch.cat([value, -value]) for name, value in drawn.items()}


def estimate(objective: Tensor, offsets: Free, sigma: float) -> Free:
    """Return the mean of score times offset over variance: (members, ...). A pair with a score that is not finite counts for nothing."""
    half = len(objective) // 2
    fine = objective.isfinite().unflatten(0, (2, half)).all(0).repeat(2, 1)
    scores = torch.where(fine, objective, torch.zeros_like(objective))
    gradient = {}
    for name, offset in offsets.items():
        along = scores.reshape(*scores.shape, *[1] * (offset.ndim - 2))
        gradient[name] = (along * offset).mean(0) / sigma**2
    return gradient


def _middle(found: Scored) -> Scored:
    """Average over the offsets, those apart whose scores are not finite; NaN where none is."""
    fine = found.objective.isfinite()
    count = fine.sum(0)

    def mean(values: Tensor) -> Tensor:
        total = torch.where(fine, values, torch.zeros_like(values)).sum(0)
        return torch.where(count > 0, total / count.clamp(min=1), torch.nan)

    return Scored(mean(found.loss), mean(found.accuracy), mean(found.objective))


@final
@dataclass(frozen=True)
class Es(GradientDescent):
    """`through es(sigma = 0.1, pairs = 16)`."""

    sigma: float
    pairs: int

    def tried(self, free: Free) -> int:
        return 2 * self.pairs

    def found(self, problem: Problem, free: Free, number: int) -> tuple[Scored, Free]:
        return self.gradient(problem, free, number)  # which shares out its candidates

    @torch.no_grad()
    def gradient(self, problem: Problem, free: Free, number: int) -> tuple[Scored, Free]:
        offsets = antithetic(free, self.pairs, self.sigma, derived_seed("es", problem.seed, number))
        found = at_offsets(problem, free, offsets, number)
        return _middle(found), estimate(found.objective, offsets, self.sigma)


@final
@dataclass(frozen=True)
class Pes(Descent):
    """`through pes(sigma = 0.1, pairs = 16)`: the objective is the mean of those after each part of an inner loop that goes on."""

    least_updates = 1

    sigma: float
    pairs: int

    def tried(self, free: Free) -> int:
        return 2 * self.pairs

    def begin(self, problem: Problem, free: Free) -> Search:
        search = super().begin(problem, free)
        return Search(search.free, search.memory | self._trajectory(problem, free, 0))

    @torch.no_grad()
    def step(self, problem: Problem, search: Search, number: int) -> tuple[Search, Step]:
        first = problem.place(number)[1] == 0
        living = self._trajectory(problem, search.free, number) if first else search.memory
        offsets = antithetic(search.free, self.pairs, self.sigma, derived_seed("pes", problem.seed, number))
        sums = {name: living[f"sum {name}"] + offset for name, offset in offsets.items()}
        wide = replace(problem.widened(2 * self.pairs), living=state_in(living))
        places = {name: spread(search.free[name] + offset) for name, offset in offsets.items()}

        def learned(own: Problem, free: Free) -> Found:
            inner = own.begun(free, number)
            after = own.updated(inner, inner.state, 0, own.inner_steps)
            return Found(own.judged(inner, after, own.inner_steps), state=after)

        after = shared(wide, learned, places, number)
        score = after.score
        found = Scored(*(gathered(v, 2 * self.pairs) for v in (score.loss, score.accuracy, score.objective)))
        moved, told = self.moved(problem, search, number, _middle(found), estimate(found.objective, sums, self.sigma))
        return Search(moved.free, moved.memory | kept(after.state) | _named(sums)), told

    def _trajectory(self, problem: Problem, free: Free, number: int) -> dict[str, Tensor]:
        """Return what is remembered at the beginning of an inner loop."""
        many = {name: value.detach().expand(2 * self.pairs, *value.shape) for name, value in free.items()}
        sums = {name: torch.zeros_like(value) for name, value in many.items()}
        places = {name: spread(value) for name, value in many.items()}
        return begun(problem.widened(2 * self.pairs), places, number) | _named(sums)


def _named(sums: Free) -> dict[str, Tensor]:
    return {f"sum {name}": value for name, value in sums.items()}


def read_es(outer: Outer, settings: Settings) -> Es:
    no_arguments(outer)
    given = settings_of(outer, {"sigma": 0.1, "pairs": 16}, positive=("sigma",))
    no_checkpoint(outer)
    return Es(optimizer_of(outer), settings.clip, settings.patience, given["sigma"], int(given["pairs"]))


def read_pes(outer: Outer, settings: Settings) -> Pes:
    no_arguments(outer)
    given = settings_of(outer, {"sigma": 0.1, "pairs": 16}, positive=("sigma",))
    no_checkpoint(outer)
    check_starts(outer)
    return Pes(optimizer_of(outer), settings.clip, settings.patience, given["sigma"], int(given["pairs"]))
