"""Draw initial genomes and synapses from their declared laws."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rulec.backend.layout import Slot
from rulec.network.graph import Network
from rulec.network.sizes import fan_in, fan_out
from rulec.runtime import messages
from rulec.semantics import typed as t
from rulec.source import RuleError

if TYPE_CHECKING:
    from rulec.runtime.compiled import CompiledRule

_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "neg": torch.neg,
    "sqrt": torch.sqrt,
    "exp": torch.exp,
    "log": torch.log,
    "abs": torch.abs,
    "tanh": torch.tanh,
    "sign": torch.sign,
    "sin": torch.sin,
    "cos": torch.cos,
    "min": torch.minimum,
    "max": torch.maximum,
    "square": torch.square,
    "relu": torch.relu,
}


class Draw:
    """Evaluate an initial value to a tensor of a given shape. Numbers are drawn in float64, so that dtypes agree."""

    def __init__(
        self, generator: torch.Generator, shape: Sequence[int], network: Network, slot: Slot, drawn: dict[str, Tensor]
    ) -> None:
        self.generator, self.shape, self.network, self.slot, self.drawn = generator, tuple(shape), network, slot, drawn

    def evaluate(self, expression: t.Expr) -> Tensor:
        return self._evaluate(expression).expand(self.shape).clone()

    def _evaluate(self, expression: t.Expr) -> Tensor:
        match expression:
            case t.Constant(value=value):
                return torch.tensor(value, dtype=torch.float64)
            case t.Matrix(shape=shape, values=values):
                return self._aligned(torch.tensor(values, dtype=torch.float64).reshape(shape))
            case t.Identity():
                return self._aligned(torch.eye(*self._declared()[-2:], dtype=torch.float64))
            case t.SizeRef(name=name):
                return torch.tensor(float(self._size(name)), dtype=torch.float64)
            case t.Sample(law=law, first=first, second=second):
                return self._sample(law, self._evaluate(first), self._evaluate(second))
            case t.StateRef(name=name):
                return self.drawn[f"{name}.{self.slot.name.split('.', 1)[1]}"].double()
            case t.Apply(operator=operator, arguments=arguments):
                return _FUNCTIONS[operator](*(self._evaluate(a) for a in arguments))
        raise AssertionError(expression)

    def _declared(self) -> tuple[int, ...]:
        """Return the sizes of the declared indices among the shape."""
        count = len(self.slot.state.indices) if self.slot.state is not None else len(self.slot.labels)
        rest = len(self.slot.shape) - count if self.slot.state is not None else 0
        return tuple(self.shape[: len(self.shape) - rest][-count:]) if count else ()

    def _aligned(self, value: Tensor) -> Tensor:
        """Declared indices come before neurons and weights: add axes for those."""
        rest = len(self.slot.shape) - len(self.slot.state.indices) if self.slot.state is not None else 0
        return value.reshape(*value.shape, *[1] * rest)

    def _size(self, name: str) -> int:
        if name == "outputs":
            return self.network.output.shape[0]
        connections = [self.slot.connection] if self.slot.connection is not None else []
        if self.slot.layer is not None:
            connections = [c for c in self.network.incoming(self.slot.layer.name) if c.weights is not None]
        sizes = [fan_in(c) if name == "fan_in" else fan_out(c) for c in connections]
        return max(1, sum(sizes)) if name == "fan_in" else max(1, max(sizes, default=1))

    def _sample(self, law: str, first: Tensor, second: Tensor) -> Tensor:
        if law == "normal":
            return first + second * torch.randn(self.shape, generator=self.generator, dtype=torch.float64)
        return first + (second - first) * torch.rand(self.shape, generator=self.generator, dtype=torch.float64)


def is_drawn(slot: Slot) -> bool:
    """Whether the initial value of a state is drawn, or read off other states, rather than the same numbers each time."""

    def drawn(expression: t.Expr) -> bool:
        if isinstance(expression, t.Apply):
            return any(map(drawn, expression.arguments))
        return isinstance(expression, (t.Sample, t.StateRef))

    return slot.name.endswith(".weight") if slot.state is None else drawn(slot.state.initial)


def default_weight(generator: torch.Generator, shape: Sequence[int], slot: Slot) -> Tensor:
    """Initialise a parameter of the network itself: weights normal(0, 1 / sqrt(fan_in)), scales one, the rest zero."""
    name = slot.name.rsplit(".", 1)[1]
    if name == "weight":
        assert slot.connection is not None
        return torch.randn(tuple(shape), generator=generator, dtype=torch.float64) / math.sqrt(fan_in(slot.connection))
    return (
        torch.ones(tuple(shape), dtype=torch.float64)
        if name == "scale"
        else torch.zeros(tuple(shape), dtype=torch.float64)
    )


def net_weight(generator: torch.Generator, shape: Sequence[int], slot: Slot) -> Tensor:
    """Initialise a net inside a genome: weights normal(0, 1 / sqrt(inputs)), biases zero."""
    if slot.name.endswith("bias"):
        return torch.zeros(tuple(shape), dtype=torch.float64)
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float64) / math.sqrt(slot.shape[-2])


def drawn_genome(rule: CompiledRule, seed: int) -> dict[str, Tensor]:
    """Draw a genome: see `CompiledRule.init_genome`."""
    generator = torch.Generator().manual_seed(seed)
    lead = (rule.population,) if rule.population is not None else ()
    entries = {e.name: e for e in rule.program.genome}
    genome: dict[str, Tensor] = {}
    for slot in rule.genome_layout:
        shape = (*lead, *slot.shape)
        if slot.name in entries:
            drawn = Draw(generator, shape, rule.network, slot, {}).evaluate(entries[slot.name].initial)
        else:
            drawn = net_weight(generator, shape, slot)
        genome[slot.name] = drawn.to(rule.device, rule.dtype)
    return genome


def drawn_state(rule: CompiledRule, seed: int, batch: int | None, given: Collection[str]) -> dict[str, Tensor]:
    """Draw synapses: see `CompiledRule.init_state`."""
    generator = torch.Generator().manual_seed(seed)
    samples, slots = _checked_batch(rule, batch), rule.state_layout
    shapes = {s.name: tuple(samples if size == -1 else size for size in s.shape) for s in slots}
    chance = [k for k, slot in enumerate(slots) if slot.name not in given and is_drawn(slot)]
    needed = max(chance, default=-1) + 1
    drawn: dict[str, Tensor] = {}
    for k, slot in enumerate(slots):
        shape = (*rule.drawn_axes, *shapes[slot.name])
        if slot.name in given and k >= needed:
            continue
        if slot.state is None:
            drawn[slot.name] = default_weight(generator, shape, slot)
        else:
            drawn[slot.name] = Draw(generator, shape, rule.network, slot, drawn).evaluate(slot.state.initial)
    none = torch.zeros((), device=rule.device, dtype=rule.dtype)
    state = {name: none.expand(*rule.lead_shape, *shape) for name, shape in shapes.items()}
    for name, value in drawn.items():
        own = rule.own_tasks(value)
        own = own if rule.population is None else own.expand(rule.population, *own.shape).clone()
        state[name] = own.to(rule.device, rule.dtype)
    state["t"] = torch.zeros((), dtype=torch.int64, device=rule.device)
    state["seed"] = torch.tensor(seed, dtype=torch.int64, device=rule.device)
    return state


def _checked_batch(rule: CompiledRule, batch: int | None) -> int:
    kept = [s.name for s in rule.program.states if s.kind == "neuron" and s.keep]
    if kept and batch is None:
        raise RuleError([messages.needs_batch(kept)])
    return batch or 1
