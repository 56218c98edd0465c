"""Walk through an unroll and back, on the graphs of an engine: the loop over the steps, and what it keeps for the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rulec.runtime import messages
from rulec.runtime.unrolls.engine import Data, Engine, Memory, Stage, empty_states
from rulec.runtime.unrolls.schedule import Costs, Move, least_bytes, there_and_back
from rulec.source import RuleError

if TYPE_CHECKING:
    from rulec.runtime.compiled import CompiledRule


@dataclass(frozen=True)
class Walk:
    """One unroll: so many steps over some data, and perhaps a prediction."""

    rule: CompiledRule
    engine: Engine
    steps: list[list[Tensor]]  # x, y, the step counter and the noise of each
    last: list[Tensor] | None  # the same of the prediction
    memory: Memory

    @property
    def batch(self) -> int:
        return int(self.steps[0][0].shape[-1 - len(self.rule.network.input.shape)])


def walk_over(
    rule: CompiledRule,
    engine: Engine,
    data: Data,
    query: tuple[Tensor, Tensor] | None,
    begin: int,
    seed: int,
    memory: Memory,
) -> Walk:
    """Lay out what every step takes; `begin` is the step counter before the first."""

    def laid_out(stage: Stage, pair: tuple[Tensor, Tensor], t: int) -> list[Tensor]:
        batch = pair[0].shape[-1 - len(rule.network.input.shape)]
        counter = torch.full((), float(t), dtype=rule.dtype, device=rule.device)
        return [*pair, counter, *rule.noise_of(stage.lowered, seed, t, batch)]

    steps = [laid_out(engine.step, pair, begin + k) for k, pair in enumerate(data, 1)]
    last = None if query is None else laid_out(engine.prediction, query, begin + len(data) + 1)
    return Walk(rule, engine, steps, last, memory)


class _Unroll(torch.autograd.Function):
    """`apply(walk, number of invariants, *invariants, *state)`: the states after all steps, or the prediction then."""

    @staticmethod
    def forward(ctx: Any, walk: Walk, entries: int, *given: Tensor) -> tuple[Tensor, ...]:
        ctx.tape = Tape(walk, given[:entries], given[entries:])
        return tuple(value.clone() for value in ctx.tape.run())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        tape: Tape = ctx.tape
        state = tape.pull([c.contiguous() for c in cotangents])
        gradient = [value.clone() for value in state]
        tape.engine.pool.give(state)
        return None, None, *tape.gradient, *gradient


@dataclass
class _Made:
    """One stage that was run: its arguments as far as they are read again, and all that it made."""

    stage: Stage
    read: list[Tensor]
    results: Sequence[Tensor]


class Tape:
    """What the way forward left behind, the moves yet to make, and the gradient of the genome as far as the way back has come."""

    def __init__(self, walk: Walk, genome: Sequence[Tensor], state: Sequence[Tensor]) -> None:
        self.walk, self.engine, self.genome = walk, walk.engine, genome
        start, steps = [s.contiguous() for s in state], len(walk.steps)
        self.costs = Costs(sum(s.nbytes for s in start), walk.engine.step.reverse.residual_bytes)
        room = least_bytes(steps, self.costs) if walk.memory == "least" else walk.memory
        self.moves = iter(there_and_back(steps, self.costs, room))
        self.states = {0: start}  # by the places of the moves
        self.made: list[_Made] = []
        self.used = False
        self.gradient: list[Tensor | None] = [None] * len(genome)

    def run(self) -> list[Tensor]:
        """Go forward, and keep what the memory allows."""
        for move in self.moves:
            if move.kind == "turn":
                break
            self._forward(move)
        final = list(self.made[-1].results[: self.engine.step.reverse.results])
        return final if self.walk.last is None else self._record(self.engine.prediction, final, self.walk.last)

    def _forward(self, move: Move) -> None:
        now = self.states[move.place]
        if move.kind == "advance":
            self.states[move.place + self.costs.state] = advance(self.walk, self.genome, now, move.begin, move.end)
            return
        for t in range(move.begin, move.end):
            now = self._record(self.engine.step, now, self.walk.steps[t])

    def _record(self, stage: Stage, now: list[Tensor], given: list[Tensor]) -> list[Tensor]:
        arguments = [*self.genome[stage.invariants], *now, *given]
        results = stage.forward(*arguments)
        self.made.append(_Made(stage, [arguments[k] for k in stage.reverse.reads], results))
        return list(results[: stage.reverse.results])

    def pull(self, cotangents: list[Tensor]) -> list[Tensor]:
        """Go back to the start; the tape is used up."""
        if self.used:
            raise RuleError([messages.pulled_twice()])
        self.used = True
        if self.walk.last is not None:
            cotangents = self._back(self.made.pop(), cotangents)
        for move in self.moves:
            if move.kind != "pull":
                self._forward(move)
                continue
            for _ in range(move.begin, move.end):
                cotangents = self._back(self.made.pop(), cotangents)
            self.engine.pool.give(self.states.pop(move.place))
        return cotangents

    def __del__(self) -> None:
        for left in (*(made.results for made in self.made), *self.states.values()):
            self.engine.pool.give(left)

    def _back(self, made: _Made, cotangents: list[Tensor]) -> list[Tensor]:
        stage, reverse, pool = made.stage, made.stage.reverse, self.engine.pool
        pulled = [cotangents[k] for k in reverse.pulls]
        found = stage.backward(*made.read, *made.results[reverse.results :], *pulled)
        before: list[Tensor | None] = [None] * len(stage.lowered.state)
        if stage is self.engine.step:
            before = list(cotangents)  # what an unroll that is `straight` leaves as it is
        for place, gradient in zip(reverse.wrt, found, strict=True):
            k = place - len(stage.hoisted.reads)
            if k >= 0:
                before[k] = gradient
            elif gradient is not None:
                known = self.gradient[stage.first + place]
                self.gradient[stage.first + place] = gradient.clone() if known is None else known.add_(gradient)
        pool.give([*found, *cotangents, *made.results], but=[b for b in before if b is not None])
        return [self._zeros(made, k) if b is None else b for k, b in enumerate(before)]

    def _zeros(self, made: _Made, k: int) -> Tensor:
        """Return the cotangent of a state that nothing depends on."""
        return empty_states(self.walk.rule, made.stage.lowered, self.walk.batch)[k]


def advance(walk: Walk, genome: Sequence[Tensor], now: list[Tensor], begin: int, end: int) -> list[Tensor]:
    """Make steps without keeping anything but the last state."""
    stage, pool = walk.engine.step, walk.engine.pool
    for t in range(begin, end):
        made = stage.forward(*genome[stage.invariants], *now, *walk.steps[t])
        new = list(made[: stage.reverse.results])
        pool.give([*made, *(now if t > begin else ())], but=new)
        now = new
    return now


def walked(walk: Walk, genome: Sequence[Tensor], state: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Run without keeping anything."""
    now = advance(walk, genome, [s.contiguous() for s in state], 0, len(walk.steps))
    if walk.last is not None:
        stage = walk.engine.prediction
        made = stage.forward(*genome[stage.invariants], *now, *walk.last)
        result = [value.clone() for value in made[: stage.reverse.results]]
        walk.engine.pool.give(made)
    else:
        result = [value.clone() for value in now]
    walk.engine.pool.give(now)
    return tuple(result)


def walked_back(walk: Walk, genome: Sequence[Tensor], state: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Run with a way back: the result can be differentiated once."""
    return tuple(_Unroll.apply(walk, len(genome), *genome, *state))
