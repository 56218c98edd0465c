"""Many steps of a rule, and a prediction at their end, with a reverse pass of their own.

One step, the prediction, and the vector-Jacobian product of each are compiled and nothing else, so compiling takes as long for
500 steps as for 5. The loop over the steps and its reverse live here, and with them the choice of what to keep for the way
back (`rulec.runtime.schedule`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rulec.backend.invariants import Hoisted, hoisted
from rulec.backend.liveness import carried_states, restricted
from rulec.backend.lowering import Lowered
from rulec.backend.modules import Graph, without_gradient
from rulec.backend.planned import Pool
from rulec.backend.reverse import Reversible, reversible
from rulec.runtime import messages
from rulec.runtime.choice import Choice
from rulec.runtime.kernel import Kernel, unroll_kernel
from rulec.runtime.schedule import Costs, borders, inner_room, least_bytes, stretches
from rulec.source import RuleError

if TYPE_CHECKING:
    from rulec.runtime.compiled import CompiledRule

Memory = int | Literal["least"] | None  # bytes to keep for the way back; None: everything
Data = Sequence[tuple[Tensor, Tensor]]  # x and y of each step, with all leading axes


@dataclass(frozen=True)
class Form:
    """What the graphs of an unroll depend on besides the rule."""

    axes: tuple[str, ...]  # leading axes along which the data differ
    reverse: bool  # whether there is a way back
    learned: frozenset[str]  # genome entries that want a gradient
    unread: bool  # whether states that no prediction reads are carried, too
    straight: bool  # whether the Jacobian of the state is taken to be the identity


@dataclass(frozen=True)
class Stage:
    """A step, or the prediction: arguments are its invariants, the carried states, x, y, t and noise."""

    hoisted: Hoisted
    forward: Graph
    backward: Graph
    reverse: Reversible
    first: int  # the place of its invariants among those of all stages

    @property
    def lowered(self) -> Lowered:
        return self.hoisted.lowered

    @property
    def invariants(self) -> slice:
        return slice(self.first, self.first + len(self.hoisted.reads))


@dataclass(frozen=True)
class Engine:
    """The stages of an unroll; they take the same states."""

    step: Stage
    prediction: Stage
    pool: Pool

    @property
    def carried(self) -> list[str]:
        return [slot.name for slot in self.step.lowered.state]


def engine_for(rule: CompiledRule, form: Form, data: Sequence[Tensor], query: Sequence[Tensor]) -> Engine:
    """Compile for data like these: `x` and `y` of a step, and of the query."""
    step, prediction = rule.lowered_for("step", form.axes), rule.lowered_for("prediction", form.axes)
    states = step.outputs[:-2] if form.unread else carried_states(step, prediction)
    parts = hoisted(restricted(step, states, states)), hoisted(restricted(prediction, ("prediction",), states))
    pool = Pool()
    return Engine(
        _stage(rule, form, parts[0], 0, data, pool),
        _stage(rule, form, parts[1], len(parts[0].reads), query, pool),
        pool,
    )


def _stage(rule: CompiledRule, form: Form, part: Hoisted, first: int, data: Sequence[Tensor], pool: Pool) -> Stage:
    lead = (rule.population,) if rule.population is not None else ()
    lowered, batch = part.lowered, data[0].shape[len(form.axes)]
    backend = rule.backend_for(batch)
    entries = [torch.ones((*lead, *slot.shape), dtype=rule.dtype, device=rule.device) for slot in lowered.genome]
    counter, noise = torch.zeros((), dtype=rule.dtype, device=rule.device), rule.noise_of(lowered, 0, 0, batch)
    likes = [*part.before(*entries), *_states(rule, lowered, batch), *data, counter, *noise]
    examples = [torch.empty_strided(e.shape, e.stride(), dtype=e.dtype, device=e.device) for e in likes]
    wrt = [k for k, reads in enumerate(part.reads) if reads & form.learned]
    if form.reverse and not (form.straight and "prediction" not in lowered.outputs):
        wrt += range(len(part.reads), len(part.reads) + len(lowered.state))
    reverse = reversible(part.step, examples, wrt)
    return Stage(
        part,
        without_gradient(reverse.forward, backend, pool),
        without_gradient(reverse.backward, backend, pool),
        reverse,
        first,
    )


def _states(rule: CompiledRule, lowered: Lowered, batch: int) -> list[Tensor]:
    shapes = [(*rule.lead_shape, *(batch if s == -1 else s for s in slot.shape)) for slot in lowered.state]
    return [torch.zeros(shape, dtype=rule.dtype, device=rule.device) for shape in shapes]


# --- Running ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Walk:
    """One unroll: so many steps over some data, and perhaps a prediction."""

    rule: CompiledRule
    engine: Engine
    data: Data
    query: tuple[Tensor, Tensor] | None
    begin: int  # the step counter before the first step
    seed: int
    memory: Memory

    def arguments(self, stage: Stage, t: int) -> list[Tensor]:
        """Return x, y, t and the noise of step `t`, counted from zero; the prediction comes after the last."""
        x, y = self.data[t] if stage is self.engine.step else self.query  # type: ignore[misc]
        now = self.begin + t + 1
        batch = x.shape[-1 - len(self.rule.network.input.shape)]
        counter = torch.full((), float(now), dtype=self.rule.dtype, device=self.rule.device)
        return [x, y, counter, *self.rule.noise_of(stage.lowered, self.seed, now, batch)]


class _Unroll(torch.autograd.Function):
    """`apply(walk, number of invariants, *invariants, *state)`: the states after all steps, or the prediction then."""

    @staticmethod
    def forward(ctx: Any, walk: Walk, entries: int, *given: Tensor) -> tuple[Tensor, ...]:
        ctx.tape = _Tape(walk, given[:entries])
        return tuple(value.clone() for value in ctx.tape.run(given[entries:]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        tape: _Tape = ctx.tape
        state = tape.pull([c.contiguous() for c in cotangents])
        gradient = [value.clone() for value in state]
        tape.engine.pool.give(state)
        return None, None, *tape.gradient, *gradient


@dataclass
class _Stretch:
    """Steps of which either everything is kept, or only the state that they begin with."""

    begin: int
    end: int
    state: list[Tensor]
    room: int | None
    owned: bool  # whether nothing before it needs its state


@dataclass
class _Made:
    """One stage that was run: its arguments as far as they are read again, and all that it made."""

    stage: Stage
    read: list[Tensor]
    results: Sequence[Tensor]


@dataclass
class _Spent:
    """States that nothing before this place on the tape needs."""

    state: list[Tensor]


class _Tape:
    """What the way forward left behind, and the gradient of the genome as far as the way back has come."""

    def __init__(self, walk: Walk, genome: Sequence[Tensor]) -> None:
        self.walk, self.engine, self.genome = walk, walk.engine, genome
        self.kept: list[_Stretch | _Made | _Spent] = []
        self.used = False
        self.gradient: list[Tensor | None] = [None] * len(genome)

    def run(self, state: Sequence[Tensor]) -> list[Tensor]:
        """Go forward, and keep what the memory allows."""
        steps = len(self.walk.data)
        now = [s.contiguous() for s in state]
        costs, memory = self._costs(now), self.walk.memory
        room = least_bytes(steps, costs) if memory == "least" else memory
        final = self._forward(now, 0, steps, room, costs)
        return final if self.walk.query is None else self._record(self.engine.prediction, final, steps)

    def _costs(self, state: Sequence[Tensor]) -> Costs:
        return Costs(sum(s.nbytes for s in state), self.engine.step.reverse.residual_bytes)

    def _forward(self, now: list[Tensor], begin: int, end: int, room: int | None, costs: Costs) -> list[Tensor]:
        parts = stretches(end - begin, costs, room)
        if parts == 1:
            for t in range(begin, end):
                now = self._record(self.engine.step, now, t)
            return now
        own = inner_room(parts, costs, room)
        cuts = [begin + b for b in borders(end - begin, parts)]
        for first, last in pairwise(cuts[:-1]):
            self.kept.append(_Stretch(first, last, now, own, owned=first > begin))
            now = self.advance(now, first, last)
        self.kept.append(_Spent(now))
        return self._forward(now, cuts[-2], end, own, costs)

    def advance(self, now: list[Tensor], begin: int, end: int) -> list[Tensor]:
        """Make steps without keeping anything but the last state."""
        stage = self.engine.step
        for t in range(begin, end):
            made = stage.forward(*self.genome[stage.invariants], *now, *self.walk.arguments(stage, t))
            new = list(made[: stage.reverse.results])
            self.engine.pool.give([*made, *(now if t > begin else ())], but=new)
            now = new
        return now

    def _record(self, stage: Stage, now: list[Tensor], t: int) -> list[Tensor]:
        arguments = [*self.genome[stage.invariants], *now, *self.walk.arguments(stage, t)]
        results = stage.forward(*arguments)
        self.kept.append(_Made(stage, [arguments[k] for k in stage.reverse.reads], results))
        return list(results[: stage.reverse.results])

    def pull(self, cotangents: list[Tensor]) -> list[Tensor]:
        """Go back to the start; the tape is used up."""
        if self.used:
            raise RuleError([messages.pulled_twice()])
        self.used = True
        while self.kept:
            last = self.kept.pop()
            if isinstance(last, _Made):
                cotangents = self._back(last, cotangents)
            elif isinstance(last, _Spent):
                self.engine.pool.give(last.state)
            else:
                self.kept += [_Spent(last.state)] if last.owned else []
                self._forward(last.state, last.begin, last.end, last.room, self._costs(last.state))
        return cotangents

    def __del__(self) -> None:
        for left in self.kept:
            self.engine.pool.give(left.results if isinstance(left, _Made) else left.state)

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
        batch = self.walk.data[0][0].shape[-1 - len(self.walk.rule.network.input.shape)]
        return _states(self.walk.rule, made.stage.lowered, batch)[k]


def unroll(
    rule: CompiledRule,
    genome: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    data: Data,
    query: Tensor | None,
    *,
    unread: bool = True,
    straight: bool = False,
    memory: Memory = None,
) -> tuple[Tensor, ...]:
    """Run the steps; return the carried states after them, or the prediction on `query` alone.

    `data` and `query` have all leading axes. The engine's names of the carried states go with them: see `CompiledRule.unroll`.
    """
    if not (memory is None or memory == "least" or (isinstance(memory, int) and memory >= 1)):
        raise RuleError([messages.wrong_memory(memory)])
    asked = query if query is not None else data[0][0]
    pairs = [*data, (asked, rule.unknown_target(asked))]
    axes = data_axes(rule, pairs)
    pairs = [(narrowed(rule, x, axes).contiguous(), narrowed(rule, y, axes).contiguous()) for x, y in pairs]
    for place in (0, 1):  # the graphs are made for the first batch: memory is planned, and views are not checked again
        for pair in pairs[:-1]:
            if pair[place].shape != pairs[0][place].shape:
                raise RuleError([messages.wrong_shape("xy"[place], pair[place].shape, pairs[0][place].shape)])
    asked_for = [v for v in (*genome.values(), *state.values()) if v.requires_grad and torch.is_grad_enabled()]
    learned = frozenset(name for name, value in genome.items() if asked_for and value.requires_grad)
    form = Form(axes, bool(asked_for), learned, unread, straight)
    kernel = _kernel(rule, form, pairs)
    if kernel is not None:
        for lowered in (kernel.step, kernel.query):
            rule.check_entries(lowered, genome, state)
        final = None if query is None else pairs[-1]
        return unroll_kernel(rule, kernel, axes, genome, state, pairs[:-1], final, memory)
    engine = rule.engine(form, pairs[0], pairs[-1])
    for stage in (engine.step, engine.prediction):
        rule.check_entries(stage.lowered, genome, state)
    entries = [
        invariant
        for stage in (engine.step, engine.prediction)
        for invariant in stage.hoisted.before(*(genome[slot.name].contiguous() for slot in stage.lowered.genome))
    ]
    carried = [state[name] for name in engine.carried]
    final = pairs[-1] if query is not None else None
    walk = Walk(rule, engine, pairs[:-1], final, int(state["t"]), int(state["seed"]), memory)
    if asked_for:
        return tuple(_Unroll.apply(walk, len(entries), *entries, *carried))
    return _walked(walk, entries, carried)


def _kernel(rule: CompiledRule, form: Form, pairs: Data) -> Kernel | None:
    """Return the generated kernel where that is the backend; `auto` does without where none can be generated."""
    batch = pairs[0][0].shape[len(form.axes)]
    if rule.backend_for(batch) != "kernel":
        return None
    try:
        return rule.kernel(form, pairs[0], pairs[-1])
    except RuleError as problem:
        if rule.backend != "auto":
            raise
        rule.choices[batch] = Choice("fx", problem.diagnostics[0].notes[0])
        return None


def _walked(walk: Walk, genome: Sequence[Tensor], state: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Run without keeping anything."""
    tape = _Tape(walk, genome)
    now = tape.advance([s.contiguous() for s in state], 0, len(walk.data))
    if walk.query is not None:
        stage = walk.engine.prediction
        made = stage.forward(*tape.genome[stage.invariants], *now, *walk.arguments(stage, len(walk.data)))
        result = [value.clone() for value in made[: stage.reverse.results]]
        walk.engine.pool.give(made)
    else:
        result = [value.clone() for value in now]
    walk.engine.pool.give(now)
    return tuple(result)


def data_axes(rule: CompiledRule, data: Data) -> tuple[str, ...]:
    """Return the leading axes along which the data differ, as far as their strides tell."""

    def differs(place: int) -> bool:
        return any(v.shape[place] > 1 and v.stride(place) != 0 for pair in data for v in pair)

    return tuple(label for place, label in enumerate(rule.leading) if differs(place))


def narrowed(rule: CompiledRule, value: Tensor, axes: tuple[str, ...]) -> Tensor:
    """Drop the leading axes along which a value is the same."""
    for place, label in reversed(list(enumerate(rule.leading))):
        if label not in axes:
            value = value.select(place, 0)
    return value
