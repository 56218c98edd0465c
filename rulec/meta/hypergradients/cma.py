"""Search by covariance matrix adaptation: no gradient; all candidates of a generation run side by side.

The candidates of a generation are the population axis of the compiled step. They see the same data and the same initial synapses,
so that only their genomes tell them apart. Hansen and Ostermeier 2001, "Completely Derandomized Self-Adaptation in Evolution Strategies".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rulec.meta import messages
from rulec.meta.hypergradients.interface import Hypergradient, Search, Settings, Step
from rulec.meta.hypergradients.reading import each_anew, no_checkpoint, no_settings
from rulec.meta.objective import Scored
from rulec.meta.parameters import Free
from rulec.meta.problem import Problem
from rulec.meta.seeds import derived_seed
from rulec.meta.sharing import scores
from rulec.semantics.outer_messages import unknown_setting
from rulec.semantics.typed import Outer
from rulec.source import RuleError

if TYPE_CHECKING:
    import cma

Vector = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Cma(Hypergradient):
    """`through cma`: one search in free space, whose result is the mean of the distribution.

    The memory holds the start and the fitness of every candidate so far. Candidates are drawn from a keyed generator, so a
    resumed search finds its place by telling the strategy the same story again.
    """

    sigma: float
    candidates: int | None  # None: 4 + 3 log(n), Hansen's choice
    _live: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def members(self, population: int | None) -> int:
        return 1

    def tried(self, free: Free) -> int:
        return self.candidates or default_candidates(len(flat(free)))

    def begin(self, problem: Problem, free: Free) -> Search:
        count = self.tried(free)
        return Search(
            free, {"start": torch.from_numpy(flat(free)), "fitness": torch.zeros(0, count, dtype=torch.float64)}
        )

    def step(self, problem: Problem, search: Search, number: int) -> tuple[Search, Step]:
        strategy = self._strategy(problem.seed, search.memory)
        asked = strategy.ask()
        with torch.no_grad():
            score = scores(self._widened(problem, len(asked)), unflat(np.stack(asked), search.free), number)
        fitness = ranked(score.objective)
        strategy.tell(asked, fitness.tolist())
        free = unflat(strategy.mean[None, : len(search.memory["start"])], search.free)
        told = torch.cat([search.memory["fitness"].cpu(), torch.from_numpy(fitness)[None]])
        return Search(free, {**search.memory, "fitness": told}), _summary(score)

    def retired(self, search: Search) -> Tensor:
        return torch.full((1,), -1, dtype=torch.int64)

    def _widened(self, problem: Problem, count: int) -> Problem:
        if "problem" not in self._live:  # its graph is made once
            self._live["problem"] = problem.widened(count)
        return self._live["problem"]

    def _strategy(self, seed: int, memory: dict[str, Tensor]) -> cma.CMAEvolutionStrategy:
        strategy = self._live.get("strategy")
        if strategy is None or strategy.countiter != len(memory["fitness"]):
            strategy = begin_strategy(memory["start"].cpu().numpy(), self.sigma, memory["fitness"].shape[1], seed)
            for fitness in memory["fitness"].cpu().numpy():
                strategy.tell(strategy.ask(), fitness.tolist())
            self._live["strategy"] = strategy
        return strategy


def default_candidates(size: int) -> int:
    return 4 + int(3 * math.log(max(size, 2)))


def begin_strategy(start: Vector, sigma: float, candidates: int, seed: int) -> cma.CMAEvolutionStrategy:
    """Start a silent strategy with a generator of its own; a search in one dimension gets a second one without effect."""
    import cma

    generator = np.random.Generator(np.random.Philox(derived_seed("cma", seed)))
    padded = np.append(start, 0.0) if len(start) == 1 else start
    options = {
        "popsize": candidates,
        "verbose": -9,
        "seed": math.nan,
        "randn": lambda *size: generator.standard_normal(size),
    }
    return cma.CMAEvolutionStrategy(padded, sigma, options)


def ranked(objective: Tensor) -> Vector:
    """Return the fitness of each candidate: its objective, or something worse than all others where that is not finite."""
    values = objective.detach().double().cpu().numpy()
    finite = np.isfinite(values)
    worst = values[finite].max() + 1.0 if finite.any() else 0.0
    return np.where(finite, values, worst)


def flat(free: Free) -> Vector:
    """Lay the first member's meta-parameters out as one vector."""
    return torch.cat([value[0].detach().double().cpu().flatten() for value in free.values()]).numpy()


def unflat(vectors: Vector, like: Free) -> Free:
    """Cut vectors (count, n) into meta-parameters with `count` members."""
    free: Free = {}
    place = 0
    for name, value in like.items():
        size = value[0].numel()
        piece = torch.from_numpy(np.ascontiguousarray(vectors[:, place : place + size]))
        free[name] = piece.reshape(len(vectors), *value.shape[1:]).to(value.device, value.dtype)
        place += size
    return free


def _summary(score: Scored) -> Step:
    """Average the generation; a candidate that is not finite says nothing about the others."""
    finite = score.objective.isfinite()
    bad = ~finite.any()
    return Step(
        score.loss[finite].mean().reshape(1), score.accuracy[finite].mean().reshape(1), torch.zeros(1), bad.reshape(1)
    )


def read(outer: Outer, settings: Settings) -> Cma:
    """Read `through cma` and `by cma(sigma = ..., population = ...)`. Raises `RuleError`."""
    no_settings(outer)
    no_checkpoint(outer)
    each_anew(outer)
    if outer.optimizer.name != "cma":
        raise RuleError([messages.unknown_optimizer(outer.optimizer.span, outer.optimizer.name, ("cma",), "cma")])
    given = {**outer.settings, **outer.optimizer.settings}
    for name in outer.optimizer.settings:
        if name not in ("sigma", "population"):
            raise RuleError([unknown_setting(outer.optimizer.span, name, ("sigma", "population"))])
    sigma, population = float(given.get("sigma", 0.3)), settings.population or given.get("population")
    if not (math.isfinite(sigma) and sigma > 0):
        raise RuleError([messages.not_positive(outer.optimizer.span, "sigma", sigma)])
    if population is not None and (not isinstance(population, int) or population < 2):
        raise RuleError([messages.population_too_small(outer.optimizer.span, population)])
    return Cma(sigma, population)
