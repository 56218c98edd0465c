"""A step at every stage on its way to what an unroll runs, and what it costs there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, fx

from rulec.backend.cost import step_arguments, step_cost
from rulec.backend.counting import Cost, graph_cost
from rulec.backend.invariants import Hoisted, hoisted
from rulec.backend.liveness import restricted, unread_states
from rulec.backend.lowering import Lowered, lower_prediction, lower_step
from rulec.backend.reverse import Reversible, reversible
from rulec.ir.graph import Program
from rulec.ir.passes import runs
from rulec.network.graph import Network
from rulec.source import RuleError

_UNREAD = "states that no prediction reads left out"
_SAME = "what is the same in every step taken out"


@dataclass(frozen=True)
class Setting:
    """What a program is lowered for."""

    network: Network
    loss: str
    dtype: torch.dtype
    batch: int
    leading: Mapping[str, int]

    def step(self, program: Program) -> Lowered:
        return lower_step(program, self.network, self.loss, dict(self.leading), self.dtype)

    def prediction(self, program: Program) -> Lowered:
        return lower_prediction(program, self.network, self.loss, dict(self.leading), self.dtype)

    def cost(self, lowered: Lowered) -> Cost:
        return step_cost(lowered, self.network, self.leading, self.dtype, self.batch)


@dataclass(frozen=True)
class Stage:
    """The costs of the graphs that run one after the other; or why there are none yet."""

    name: str
    costs: tuple[Cost, ...]
    problem: str = ""

    @property
    def products(self) -> int:
        return sum(cost.products for cost in self.costs)

    @property
    def elementwise(self) -> int:
        return sum(cost.elementwise for cost in self.costs)

    @property
    def traffic(self) -> int:
        return sum(cost.traffic for cost in self.costs)

    @property
    def peak(self) -> int:
        return max((cost.peak for cost in self.costs), default=0)

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        return self.products, self.elementwise, self.traffic, self.peak


class Unrolled:
    """The step of an optimised program as an unroll runs it, all genome entries and states wanting a gradient.

    Raises `RuleError` if a prediction depends on the target.
    """

    def __init__(self, program: Program, setting: Setting) -> None:
        self.setting = setting
        self.step = setting.step(program)
        self.unread = unread_states(self.step, setting.prediction(program))
        self.carried = tuple(name for name in self.step.outputs[:-2] if name not in self.unread)
        self.restricted = restricted(self.step, self.carried, self.carried)

    @cached_property
    def hoisted(self) -> Hoisted:
        return hoisted(self.restricted)

    @cached_property
    def arguments(self) -> list[Tensor]:
        """What the step takes once the invariants are out of it, without data."""
        s = self.setting
        every = step_arguments(self.restricted, s.network, s.leading, s.dtype, s.batch)
        entries = len(self.restricted.genome)
        made = self.hoisted.before(*every[:entries])
        likes = [*made, *every[entries:]]
        return [x.new_empty_strided(x.shape, x.stride()) for x in likes]

    def reverse(self, rewrite: bool = True) -> Reversible:
        reads = self.hoisted.reads
        wrt = [k for k, entries in enumerate(reads) if entries]
        wrt += range(len(reads), len(reads) + len(self.restricted.state))
        return reversible(self.hoisted.step, self.arguments, wrt, rewrite)

    def costs_of(self, reverse: Reversible) -> tuple[Cost, Cost]:
        """Return what going forward and going back costs."""
        return graph_cost_of(reverse.forward, self.setting.batch), graph_cost_of(reverse.backward, self.setting.batch)


def graph_cost_of(traced: fx.GraphModule, batch: int) -> Cost:
    """Count for the arguments that a graph was traced for."""
    places = [n for n in traced.graph.nodes if n.op == "placeholder"]
    return graph_cost(traced, [place.meta["val"] for place in places], batch)


def stages(program: Program, setting: Setting) -> Iterator[Stage]:
    """Yield the step as it was written, after each pass, and on the way to its reverse."""
    yield _lowered("as written", program, setting)
    for run in runs(program):
        program = run.after
        yield _lowered(run.name, program, setting)
    yield from _unrolled(program, setting)


def _lowered(name: str, program: Program, setting: Setting) -> Stage:
    try:
        return Stage(name, (setting.cost(setting.step(program)),))
    except RuleError as error:
        return Stage(name, (), error.diagnostics[0].message)


def _unrolled(program: Program, setting: Setting) -> Iterator[Stage]:
    try:
        unrolled = Unrolled(program, setting)
    except RuleError as error:
        yield Stage(_UNREAD, (), error.diagnostics[0].message)
        return
    yield Stage(_UNREAD, (setting.cost(unrolled.restricted),))
    step = graph_cost(unrolled.hoisted.step, unrolled.arguments, setting.batch)
    yield Stage(_SAME, (step,))
    traced = unrolled.costs_of(unrolled.reverse(rewrite=False))
    yield Stage("its reverse", traced[1:])
    yield Stage("both", traced)
    yield Stage("both, rewritten", unrolled.costs_of(unrolled.reverse()))
