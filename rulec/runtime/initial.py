"""Draw initial genomes and synapses from their declared laws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rulec.backend.layout import Slot
from rulec.network.graph import Network
from rulec.network.sizes import fan_in, fan_out
from rulec.semantics import typed as t

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
