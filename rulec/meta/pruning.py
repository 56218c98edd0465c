"""Make the numbers of a genome simple: zeros, ones and few digits, as long as it learns as well.

Numbers are tried one at a time, those first whose change matters least to the weight updates; a change stays if the genome
with all changes so far is as accurate as before, up to a tolerance, on meta-training data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rulec.ir.graph import Program, walk_blocks, walk_ops
from rulec.ir.passes.specialise import foldable
from rulec.meta.batches import laid_out
from rulec.meta.parameters import with_initial
from rulec.meta.seeds import derived_seed
from rulec.runtime.compiled import CompiledRule, Genome, State
from rulec.runtime.domains import bounds
from rulec.semantics.typed import Domain
from rulec.tasks.task import Task

_MEMBERS = 8  # genomes judged side by side

Simpler = Callable[[float], float | None]  # None: there is nothing to try


def _significant(digits: int) -> Simpler:
    return lambda value: float(f"{value:.{digits}g}")


LEVELS: tuple[Simpler, ...] = (  # simplest first
    lambda value: 0.0,
    lambda value: math.copysign(1.0, value) if 0.5 <= abs(value) <= 2 else None,
    lambda value: round(value, 1),
    lambda value: round(value, 2),
    _significant(2),
    _significant(3),
    _significant(4),
)


@dataclass(frozen=True)
class Number:
    """One number of a genome: an entry, and which of its components."""

    name: str
    place: tuple[int, ...]

    def of(self, genome: Mapping[str, Tensor]) -> float:
        return float(genome[self.name][self.place])

    def changed(self, genome: Genome, value: float) -> Genome:
        """Return the genome with another value here."""
        tensor = genome[self.name].clone()
        tensor[self.place] = value
        return {**genome, self.name: tensor}

    def __str__(self) -> str:
        return self.name + (f"[{','.join(map(str, self.place))}]" if self.place else "")


@dataclass(frozen=True)
class Pruned:
    """A simpler genome, in float64; `effects` says how much the updates change without each number, `effect` how much with all changes."""

    genome: Genome
    effects: dict[Number, float]
    effect: float
    accuracy: tuple[float, float]  # before and after, on meta-training data


@dataclass(frozen=True)
class Criterion:
    """What a simpler genome may lose: accuracy, and (if given) how much the updates may change, relative to their size."""

    accuracy: float = 0.01
    effect: float | None = None


def numbers(program: Program, genome: Genome) -> list[Number]:
    """Return the numbers that the program reads and that can be folded into it."""
    ops = [op for b in walk_blocks(program.blocks) for op in walk_ops([w.value for w in b.writes])]
    read = {op["name"] for op in ops if op.name == "genome"}
    return [Number(name, place) for name in foldable(program) if name in read for place in _places(genome[name].shape)]


def _places(shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    if not shape:
        yield ()
        return
    for first in range(shape[0]):
        for rest in _places(shape[1:]):
            yield (first, *rest)


def prune(judge: Judge, genome: Genome, criterion: Criterion) -> Pruned:
    """Try simpler values for every number, level by level."""
    compiled = judge.compiled
    genome = {name: value.detach().cpu().double() for name, value in genome.items()}
    own = numbers(compiled.program, genome)
    effects = dict(zip(own, judge.effects([n.changed(genome, 0.0) for n in own]), strict=True))
    before = judge.accuracies([genome])[0]
    present, settled = genome, set[Number]()
    for simpler in LEVELS:
        tried = {n: v for n in own if n not in settled and (v := simpler(n.of(genome))) is not None}
        allowed = {n: v for n, v in tried.items() if _inside(compiled.genome_spec[n.name].domain, v)}
        for number in [n for n in allowed if _same(allowed[n], n.of(present))]:
            settled.add(number)
        ranked = [n for n in allowed if n not in settled]
        sizes = dict(zip(ranked, judge.effects([n.changed(genome, allowed[n]) for n in ranked]), strict=True))
        ranked.sort(key=lambda n: sizes[n])
        present, accepted = _accept(judge, present, [(n, allowed[n]) for n in ranked], before, criterion)
        settled |= accepted
    after = judge.accuracies([present])[0]
    return Pruned(present, effects, judge.effects([present])[0], (before, after))


def _inside(domain: Domain, value: float) -> bool:
    if domain.name == "positive":
        return value > 0
    if domain.name in ("unit", "interval"):
        low, high = bounds(domain)
        return low <= value <= high
    return True


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=0.0)


def _accept(
    judge: Judge, present: Genome, changes: list[tuple[Number, float]], before: float, criterion: Criterion
) -> tuple[Genome, set[Number]]:
    """Make changes one after the other, and leave out each that costs too much: what is judged at once are the next few."""
    accepted: set[Number] = set()
    while changes:
        attempts = [present]
        for number, value in changes[: judge.members]:
            attempts.append(number.changed(attempts[-1], value))
        good = judge.passes(attempts[1:], before, criterion)
        count = good.index(False) if False in good else len(good)
        present = attempts[count]
        accepted |= {number for number, _ in changes[:count]}
        changes = changes[count + (count < len(good)) :]
    return present, accepted


class Judge:
    """Genomes side by side on the same episodes of meta-training data, from the same initial synapses."""

    def __init__(
        self,
        compiled: CompiledRule,
        task: Task,
        genome: Genome,
        *,
        updates: int,
        batch: int,
        episodes: int,
        seed: int,
        initial: State | None = None,
    ) -> None:
        self.compiled, self.task, self.members = compiled, task, _MEMBERS
        self.step = compiled.resized(population=_MEMBERS, tasks=episodes, replicas=None)
        key = derived_seed("formula", seed)
        episode = task.episode(seed=key, steps=updates, batch=batch, tasks=episodes)
        self.batches = laid_out(episode, self.step)
        wide = {name: value.unsqueeze(0) for name, value in (initial or {}).items()}
        self.start = with_initial(self.step, self.step.init_state(key, batch=batch), wide)
        self.reference = self._trajectory(genome)

    @torch.no_grad()
    def accuracies(self, genomes: Sequence[Genome]) -> list[float]:
        """Return the accuracy on the query after all updates, averaged over the episodes."""
        found: list[float] = []
        for chunk in self._chunks(genomes):
            state = self.start
            for x, y in zip(self.batches.x, self.batches.y, strict=True):
                state, _ = self.step(chunk, state, x, y)
            prediction = self.step.predict(chunk, state, self.batches.query_x)
            found += self.task.accuracy(prediction, self.batches.query_y).mean(1).tolist()
        return found[: len(genomes)]

    @torch.no_grad()
    def effects(self, genomes: Sequence[Genome]) -> list[float]:
        """Return how much each genome changes the weight updates along the trajectory of the first one, relative to them.

        Each tensor of synapses counts alike: the root mean square over them, and over three moments of the trajectory.
        """
        found: list[float] = []
        for chunk in self._chunks(genomes):
            squares = []
            for at, state, update in self.reference:
                other = self._update(chunk, state, at)
                squares += [
                    _norm(other[name] - value) / _norm(value) for name, value in update.items() if _norm(value).all()
                ]
            total = torch.stack([s.square() for s in squares]).mean(0).sqrt() if squares else torch.zeros(self.members)
            found += total.nan_to_num(nan=math.inf).tolist()
        return found[: len(genomes)]

    def passes(self, genomes: Sequence[Genome], before: float, criterion: Criterion) -> list[bool]:
        good = [accuracy >= before - criterion.accuracy - 1e-9 for accuracy in self.accuracies(genomes)]
        if criterion.effect is None:
            return good
        return [g and e <= criterion.effect for g, e in zip(good, self.effects(genomes), strict=True)]

    def _chunks(self, genomes: Sequence[Genome]) -> Iterator[Genome]:
        """Yield the genomes a few at a time, with a population axis; the last ones are repeated to fill it."""
        for at in range(0, len(genomes), self.members):
            chunk = list(genomes[at : at + self.members])
            chunk += [chunk[-1]] * (self.members - len(chunk))
            stacked = {name: torch.stack([g[name] for g in chunk]) for name in self.compiled.genome_spec}
            yield {name: value.to(self.step.device, self.step.dtype) for name, value in stacked.items()}

    @torch.no_grad()
    def _trajectory(self, genome: Genome) -> list[tuple[int, State, State]]:
        """Return states of the genome's learning at its beginning, middle and end, and the updates that follow them."""
        (wide,) = self._chunks([genome])
        count = len(self.batches.x)
        moments = {0, count // 2, count - 1}
        found, state = [], self.start
        for at in range(count):
            if at in moments:
                found.append((at, state, self._update(wide, state, at)))
            state, _ = self.step(wide, state, self.batches.x[at], self.batches.y[at])
        return found

    def _update(self, genome: Genome, state: State, at: int) -> State:
        new, _ = self.step(genome, state, self.batches.x[at], self.batches.y[at])
        return {name: new[name] - state[name] for name in new if name not in ("t", "seed")}


def _norm(value: Tensor) -> Tensor:
    """Return the norm of each member."""
    return value.double().flatten(1).norm(dim=1)
