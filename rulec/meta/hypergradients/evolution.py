"""Evolution strategies: the gradient of the objective, smoothed by normal noise on the meta-parameters, from scores alone.

`es` draws pairs of antithetic offsets and runs the inner loop for each from its start. `pes` keeps the inner loops of a trajectory of
`horizon` updates going from meta-step to meta-step, a segment of `inner` updates at a time; what has been added to the
meta-parameters since the beginning counts, which takes away the bias that cutting a trajectory short would have.
Salimans et al. 2017, "Evolution Strategies as a Scalable Alternative to Reinforcement Learning"; Vicol et al. 2021,
"Unbiased Gradient Estimation in Unrolled Computation Graphs with Persistent Evolution Strategies", algorithm 2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from rulec.meta import messages
from rulec.meta.hypergradients.descent import Descent
from rulec.meta.hypergradients.finite_difference import at_offsets, gathered, spread
from rulec.meta.hypergradients.interface import Search, Settings, Step
from rulec.meta.hypergradients.reading import check_starts, no_arguments, no_checkpoint, settings_of
from rulec.meta.objective import Scored
from rulec.meta.optimizers import optimizer_of
from rulec.meta.parameters import Free
from rulec.meta.problem import Inner, Problem
from rulec.meta.seeds import derived_seed
from rulec.meta.sharing import Found, shared
from rulec.runtime.compiled import State
from rulec.semantics.typed import Outer
from rulec.source import RuleError


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
class Es(Descent):
    """`through es(sigma = 0.1, pairs = 16)`."""

    sigma: float
    pairs: int

    def tried(self, free: Free) -> int:
        return 2 * self.pairs

    def step(self, problem: Problem, search: Search, number: int) -> tuple[Search, Step]:
        return self.moved(problem, search, number, *self.gradient(problem, search.free, number))

    @torch.no_grad()
    def gradient(self, problem: Problem, free: Free, number: int) -> tuple[Scored, Free]:
        offsets = antithetic(free, self.pairs, self.sigma, derived_seed("es", problem.seed, number))
        found = at_offsets(problem, free, offsets, number)
        return _middle(found), estimate(found.objective, offsets, self.sigma)


@final
@dataclass(frozen=True)
class Pes(Descent):
    """`through pes(sigma = 0.1, pairs = 16, horizon = 100)`: the objective is the mean of those after each segment of a trajectory."""

    least_updates = 1

    sigma: float
    pairs: int
    horizon: int

    def tried(self, free: Free) -> int:
        return 2 * self.pairs

    def begin(self, problem: Problem, free: Free) -> Search:
        search = super().begin(problem, free)
        return Search(search.free, search.memory | self._trajectory(problem, free, 0))

    @torch.no_grad()
    def step(self, problem: Problem, search: Search, number: int) -> tuple[Search, Step]:
        trajectory, segment = divmod(number, self.horizon // problem.inner_steps)
        living = search.memory if segment else self._trajectory(problem, search.free, trajectory)
        offsets = antithetic(search.free, self.pairs, self.sigma, derived_seed("pes", problem.seed, number))
        sums = {name: living[f"sum {name}"] + offset for name, offset in offsets.items()}
        wide = problem.widened(2 * self.pairs)
        places = {name: spread(search.free[name] + offset) for name, offset in offsets.items()}
        state = {name.removeprefix(_INNER): value for name, value in living.items() if name.startswith(_INNER)}

        def learned(own: Problem, free: Free, state: State) -> Found:
            data = replace(own, inner_steps=self.horizon).batches(trajectory)
            part = slice(segment * own.inner_steps, (segment + 1) * own.inner_steps)
            inner = Inner(own.parameters.genome(free, own.fixed), state, replace(data, x=data.x[part], y=data.y[part]))
            after = own.updated(inner, state, 0, own.inner_steps)
            return Found(own.judged(inner, after, own.inner_steps), state=after)

        after = shared(wide, learned, places, state)
        score = after.score
        found = Scored(*(gathered(v, 2 * self.pairs) for v in (score.loss, score.accuracy, score.objective)))
        moved, told = self.moved(problem, search, number, _middle(found), estimate(found.objective, sums, self.sigma))
        return Search(moved.free, moved.memory | _kept(after.state, sums)), told

    def _trajectory(self, problem: Problem, free: Free, number: int) -> dict[str, Tensor]:
        """Return what is remembered at the beginning of a trajectory. Raises `RuleError` if no whole number of segments makes one."""
        if self.horizon % problem.inner_steps:
            raise RuleError([messages.horizon_differs(problem.outer.through.span, self.horizon, problem.inner_steps)])
        many = {name: value.detach().expand(2 * self.pairs, *value.shape) for name, value in free.items()}
        state = problem.widened(2 * self.pairs).start({name: spread(value) for name, value in many.items()}, number)
        carried = {*problem.step.carried(False), "t", "seed"}
        sums = {name: torch.zeros_like(value) for name, value in many.items()}
        return _kept({name: value for name, value in state.items() if name in carried}, sums)


_INNER = "inner "


def _kept(state: State, sums: Free) -> dict[str, Tensor]:
    inner = {f"{_INNER}{name}": value.detach() for name, value in state.items()}
    return inner | {f"sum {name}": value for name, value in sums.items()}


def read_es(outer: Outer, settings: Settings) -> Es:
    no_arguments(outer)
    given = settings_of(outer, {"sigma": 0.1, "pairs": 16}, positive=("sigma",))
    no_checkpoint(outer)
    return Es(optimizer_of(outer), settings.clip, settings.patience, given["sigma"], int(given["pairs"]))


def read_pes(outer: Outer, settings: Settings) -> Pes:
    no_arguments(outer)
    given = settings_of(outer, {"sigma": 0.1, "pairs": 16, "horizon": 100}, positive=("sigma",))
    no_checkpoint(outer)
    check_starts(outer)
    pairs, horizon = int(given["pairs"]), int(given["horizon"])
    return Pes(optimizer_of(outer), settings.clip, settings.patience, given["sigma"], pairs, horizon)
