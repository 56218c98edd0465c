"""A network under construction: signals flow in, layers and connections come out.

A *signal* is a sum of contributions, each a path over finished layers, with or without weights at its end. It stays
open as long as it may still become a layer's input: more contributions may be added, a normalisation, an activation.
Settling it makes the layer. Specs and traced modules are both built through here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rulec.network.graph import Add, Concat, Connection, Layer, Leaf, Network, Norm, Path, Shape, Weights
from rulec.network.sizes import shape_of, weighted_shape

_RESERVED = ("input", "output")  # the last layer gets its name at the end


@dataclass(frozen=True)
class Contribution:
    path: Path
    weights: Weights | None = None
    bias: bool = False
    module: str = ""


@dataclass(frozen=True)
class Signal:
    """A sum of contributions, perhaps normalised."""

    shape: Shape
    contributions: tuple[Contribution, ...]
    norm: Norm | None = None

    @property
    def settled(self) -> bool:
        """Whether it is made of finished layers alone, so that it may be read any number of times."""
        return self.norm is None and all(part.weights is None for part in self.contributions)

    @property
    def module(self) -> str:
        """The module the signal is best known by: the first with weights, else that of the normalisation."""
        weighted = [part.module for part in self.contributions if part.weights is not None]
        return weighted[0] if weighted else self.norm.module if self.norm else ""


class Draft:
    """Collect layers and connections in topological order."""

    def __init__(self, input_shape: Shape) -> None:
        self._layers: list[Layer] = [Layer("input", input_shape)]
        self._connections: list[Connection] = []

    @property
    def depth(self) -> int:
        """How many layers there are so far, the input among them."""
        return len(self._layers)

    def input(self) -> Signal:
        return Signal(self._layers[0].shape, (Contribution(Leaf("input")),))

    def weigh(self, signal: Signal, weights: Weights, *, bias: bool, module: str) -> Signal:
        """Apply weights to a signal, which is settled first."""
        shape = weighted_shape(weights, signal.shape)
        return Signal(shape, (Contribution(self.path(signal), weights, bias, module),))

    def normalise(self, signal: Signal, norm: Norm) -> Signal:
        """Normalise a signal; one that is normalised already is settled first."""
        return replace(signal if signal.norm is None else self.settle(signal), norm=norm)

    def add(self, signals: Sequence[Signal]) -> Signal:
        """Sum signals of one shape; a normalised one is settled first, for its statistics are of itself alone."""
        parts = [signal if signal.norm is None else self.settle(signal) for signal in signals]
        return Signal(parts[0].shape, tuple(one for part in parts for one in part.contributions))

    def concat(self, signals: Sequence[Signal]) -> Signal:
        return self._read(Concat(tuple(self.path(signal) for signal in signals)))

    def through(self, signal: Signal, operation: Callable[[Path], Path]) -> Signal:
        """Pass a signal through an operation without weights."""
        return self._read(operation(self.path(signal)))

    def path(self, signal: Signal) -> Path:
        """Return the path that reads a signal, settling it if it is not made of finished layers alone."""
        paths = tuple(part.path for part in self.settle(signal).contributions)
        return paths[0] if len(paths) == 1 else Add(paths)

    def settle(self, signal: Signal, activation: str = "identity", *, name: str = "", module: str = "") -> Signal:
        """Make a signal a layer and return the signal that reads it; a settled one under identity stays as it is."""
        if signal.settled and activation == "identity":
            return signal
        return Signal(signal.shape, (Contribution(Leaf(self._layer(signal, activation, name, module))),))

    def finish(self, signal: Signal, spec: str) -> Network:
        """Return the network whose output is `signal`, its last layer named `output`."""
        last = self._layers[-1].name
        if len(self._layers) == 1 or signal.contributions != (Contribution(Leaf(last)),) or signal.norm:
            last = self._layer(signal, "identity", "output", "")
        layers = (*self._layers[:-1], replace(self._layers[-1], name="output"))
        connections = [replace(one, target="output") if one.target == last else one for one in self._connections]
        return Network(layers, tuple(connections), spec)

    def _read(self, path: Path) -> Signal:
        shape = shape_of(path, {layer.name: layer.shape for layer in self._layers})
        return Signal(shape, (Contribution(path),))

    def _layer(self, signal: Signal, activation: str, name: str, module: str) -> str:
        module = signal.module or module
        name = self._unused(name or identifier(module))
        self._layers.append(Layer(name, signal.shape, activation, signal.norm, module))
        for part in signal.contributions:
            self._connections.append(self._connection(part, name))
        return name

    def _connection(self, part: Contribution, target: str) -> Connection:
        name = f"c{len(self._connections) + 1}"
        shape = self._read(part.path).shape
        return Connection(name, part.path, part.weights, target, shape, part.bias, part.module)

    def _unused(self, wish: str) -> str:
        taken = {layer.name for layer in self._layers} | set(_RESERVED)
        name, count = wish, 2
        while name in taken:
            name, count = f"{wish}_{count}", count + 1
        return name


def identifier(module: str) -> str:
    """Make a layer's name from a module's path: `layer1.0.conv1` to `layer1_0_conv1`, `3` to `layer3`."""
    name = re.sub(r"\W", "_", module)
    return name if name and not name[0].isdigit() else f"layer{name}"
