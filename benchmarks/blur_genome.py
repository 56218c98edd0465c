"""Benchmark 10: one genome, learned in four ways from the same start: what each reaches in the same time."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from statistics import fmean, median, stdev

import torch

import rulec
from benchmarks.agreement import TOLERANCE
from benchmarks.contender import Row, Section
from benchmarks.suite import Effort
from benchmarks.timing import Samples
from rulec.meta.evaluate import evaluate
from rulec.meta.hypergradients.descent import GradientDescent
from rulec.meta.plan import CLIP, plan
from rulec.meta.result import MetaResult
from rulec.meta.train import Progress, meta_train
from rulec.runtime.compiled import CompiledRule
from rulec.semantics.typed import OptionValue
from rulec.source import RuleError

Settings = Mapping[str, OptionValue]

TASK, NET, RECIPE, UPDATES, LATER = "digits", "64-32-10", {"recipe": "normalised"}, 10, 50
WARMUP = 2  # meta-steps that are not timed
TUNING = (100, 101)  # seeds
OUTERS = """
outer by_unroll
  option lr = 0.01
  inner rule for 10 steps on support
  meta genome
  minimize loss on query
  through unroll
  by adam(lr = lr), clip = 10

outer by_forward
  option lr = 0.01
  inner rule for 10 steps on support
  meta genome
  minimize loss on query
  through forward
  by adam(lr = lr), clip = 10

outer by_pes
  option lr = 0.01
  option sigma = 0.1
  inner rule for 2 of 10 steps on support
  meta genome
  minimize error on query
  through pes(sigma = sigma, pairs = 16)
  by adam(lr = lr), clip = 10

outer by_cma
  option sigma = 0.3
  inner rule for 10 steps on support
  meta genome
  minimize error on query
  through cma
  by cma(sigma = sigma)
"""


@dataclass(frozen=True)
class Way:
    """A hypergradient, and the settings among which it is tuned."""

    name: str
    grid: Mapping[str, tuple[float, ...]]

    @property
    def outer(self) -> str:
        return f"by_{self.name}"

    def settings(self) -> list[Settings]:
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]


WAYS = (
    Way("unroll", {"lr": (0.003, 0.01, 0.03, 0.1)}),
    Way("forward", {"lr": (0.003, 0.01, 0.03, 0.1)}),
    Way("pes", {"lr": (0.003, 0.01, 0.03, 0.1), "sigma": (0.1, 0.3)}),
    Way("cma", {"sigma": (0.1, 0.3, 1.0)}),
)


@dataclass(frozen=True)
class Budget:
    """Seconds of the clock that runs and tuning runs get, the times at which runs are compared, and how many there are."""

    run: float
    tuning: float
    seeds: int
    looks: int  # at the held-out score, in each run
    rounds: int  # of timing
    timed: int  # meta-steps in each round


@dataclass(frozen=True)
class Track:
    """One run: seconds, and held-out accuracy after as many updates as a meta-step has; and after more updates at the end."""

    seconds: list[float]
    accuracy: list[float]
    later: float

    def at(self, seconds: float) -> float:
        """Return the accuracy that was there after so many seconds."""
        return [a for s, a in zip(self.seconds, self.accuracy, strict=True) if s <= seconds * (1 + 1e-9)][-1]


def sections(effort: Effort) -> list[Section]:
    budget = Budget(0.3, 0.1, 1, 2, 1, 2) if effort.quick else Budget(30.0, 6.0, 3, 30, 5, 10)
    rule = rulec.parse(rulec.load("blur").text + OUTERS)
    compiled = rule.compile(NET, options=RECIPE, loss="cross_entropy")
    effort.say("One genome, four ways")
    rows = [Row(f"rulec {way.name}") for way in WAYS]
    rows[1].error = _apart(compiled)
    steps = _timed(compiled, budget)
    lines = {}
    for way, row, samples in zip(WAYS, rows, steps, strict=True):
        row.wall, row.cpu = samples.wall, samples.cpu
        settings = way.settings()[:1] if effort.quick else way.settings()
        lines[row.name] = _measured(effort, compiled, way, settings, row, budget)
    return [
        Section(
            "One genome, four ways",
            f"BLUR ({_told(RECIPE)}) on {TASK}, {NET}, {_numbers(compiled)} numbers, inner loops of {UPDATES} updates, float32, "
            f"{budget.seeds} seeds; `start` is what drawn genomes reach",
            rows,
            rows[0].name,
            "outer step",
            [
                f"Accuracy on held-out images after {UPDATES} updates, mean and standard deviation over seeds: drawn genomes, the same for all ways, and those "
                f"learned in so many seconds; `@{LATER}`: the last ones, after {LATER} updates. Seconds: outer steps times the median of one, by the clock or the processor's time, whichever is less, so that what else a machine does counts little; held-out scores and "
                "compilation do not count.",
                f"`unroll` and `forward` minimise the loss after {UPDATES} updates, `cma` the share of wrong answers then, `pes` its mean after 2, 4, ... 10. `error`: "
                f"largest relative difference between the gradients of `forward` and `unroll`, at most {TOLERANCE['float32']}.",
                f"Tuned for {budget.tuning:g} s with {len(TUNING)} other seeds, by their mean objective on fresh meta-training data: "
                + "; ".join(f"{way.name} {_grid(way)}" for way in WAYS),
            ],
            lines=lines,
            axes=("seconds", f"held-out accuracy after {UPDATES} updates"),
            scale="linear",
        )
    ]


def _measured(
    effort: Effort, compiled: CompiledRule, way: Way, settings: Sequence[Settings], row: Row, budget: Budget
) -> dict[str, list[float]]:
    """Tune a way, run it with every seed, fill its row, and return its line."""
    each = min(median(row.wall), median(row.cpu))
    effort.say(f"  {way.name}: {1e3 * each:.0f} ms for an outer step; tuning {len(settings)}")
    chosen = _tuned(compiled, way, settings, _steps(budget.tuning, each)) if len(settings) > 1 else settings[0]
    steps = _steps(budget.run, each)
    row.note = _told(chosen)
    tracks = []
    for seed in range(budget.seeds):
        effort.say(f"  {way.name}, {row.note}, seed {seed}, {steps} outer steps")
        try:
            tracks.append(_track(compiled, way, chosen, steps, each, seed, budget))
        except RuleError as problem:
            row.status, row.note = "failed", f"seed {seed}: {problem.diagnostics[0].message}"
            return {}
    row.values["outer steps"] = steps
    for name, found in {
        "start": [t.accuracy[0] for t in tracks],
        **{f"{seconds:g} s": [t.at(seconds) for t in tracks] for seconds in (budget.run / 3, budget.run)},
        f"@{LATER}": [t.later for t in tracks],
    }.items():
        row.values[name] = fmean(found)
        row.values[f"{name}, sd"] = stdev(found) if len(found) > 1 else 0.0
    across = list(zip(*(t.accuracy for t in tracks), strict=True))
    return {
        "x": tracks[0].seconds,
        "y": [fmean(values) for values in across],
        "low": [min(values) for values in across],
        "high": [max(values) for values in across],
    }


def _track(
    compiled: CompiledRule, way: Way, settings: Settings, steps: int, each: float, seed: int, budget: Budget
) -> Track:
    every = max(1, steps // budget.looks)
    found = _learned(compiled, way, settings, steps, seed, every)
    before = evaluate(compiled, _start(compiled, seed), TASK, updates=(UPDATES,), seed=seed)
    after = evaluate(compiled, found.genome, TASK, updates=(UPDATES, LATER), seed=seed)
    places = [0, *found.history.held_out_at]
    scores = [before.at(UPDATES), *(float(row[1]) for row in found.history.held_out_rows)]
    return Track([each * k for k in places], scores, after.at(LATER))


def _tuned(compiled: CompiledRule, way: Way, settings: Sequence[Settings], steps: int) -> Settings:
    """Return the settings whose genomes do best on fresh meta-training episodes."""

    def score(given: Settings) -> float:
        try:
            found = [_learned(compiled, way, given, steps, seed).scores[0] for seed in TUNING]
        except RuleError:  # all members diverged
            return math.inf
        return fmean(found) if all(map(math.isfinite, found)) else math.inf

    return min(settings, key=score)


def _learned(
    compiled: CompiledRule, way: Way, settings: Settings, steps: int, seed: int, held_out_every: int = 0
) -> MetaResult:
    return meta_train(
        compiled,
        TASK,
        way.outer,
        options=settings,
        steps=steps,
        seed=seed,
        start=_start(compiled, seed),
        held_out_every=held_out_every,
    )


def _timed(compiled: CompiledRule, budget: Budget) -> list[Samples]:
    """Return the seconds of single outer steps of each way; they take turns."""
    found = [Samples([], []) for _ in WAYS]
    for _ in range(budget.rounds):
        for way, samples in zip(WAYS, found, strict=True):
            ends: list[tuple[float, float]] = []

            def note(progress: Progress, ends: list[tuple[float, float]] = ends) -> None:
                ends.append((progress.seconds, time.process_time()))

            steps = WARMUP + budget.timed
            meta_train(compiled, TASK, way.outer, steps=steps, start=_start(compiled, 0), progress=note, log_every=1)
            for (wall, cpu), (wall_end, cpu_end) in pairwise(ends[WARMUP - 1 :]):
                samples.wall.append(wall_end - wall)
                samples.cpu.append(cpu_end - cpu)
    return found


def _apart(compiled: CompiledRule) -> float:
    """Return by how much the gradients of `forward` and `unroll` at the start differ. Raises `ArithmeticError` if by too much."""
    both = []
    for way in WAYS[:2]:
        made = plan(
            compiled,
            TASK,
            way.outer,
            None,
            _start(compiled, 0),
            steps=1,
            seed=0,
            batch=None,
            query=None,
            inner_steps=None,
            lr=None,
            clip=CLIP,
            memory=None,
            patience=1,
        )
        assert isinstance(made.method, GradientDescent)
        _, gradient = made.method.gradient(made.problem, made.free, 0)
        both.append(torch.cat([value.flatten() for value in gradient.values()]))
    apart = float((both[0] - both[1]).abs().max() / both[0].abs().max())
    if not apart <= TOLERANCE["float32"]:
        raise ArithmeticError(f"`forward` and `unroll` differ by {apart:.1e}")
    return apart


def _start(compiled: CompiledRule, seed: int) -> dict[str, torch.Tensor]:
    return compiled.init_genome(seed)


def _steps(seconds: float, each: float) -> int:
    return max(1, int(seconds / each))


def _numbers(compiled: CompiledRule) -> int:
    return sum(math.prod(spec.shape) for spec in compiled.genome_spec.values())


def _told(settings: Settings) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _grid(way: Way) -> str:
    return ", ".join(f"{name} {'|'.join(map(str, values))}" for name, values in way.grid.items())
