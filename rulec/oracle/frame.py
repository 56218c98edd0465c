"""What a run knows: its inputs, the neurons' present values, and where an op is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from rulec.ir.graph import Op, Program
from rulec.ir.signals import crosses
from rulec.network.graph import Connection, Conv, Layer, Network
from rulec.network.sizes import weighted_shape
from rulec.oracle.arrays import POINTWISE, Array, combine, scalar
from rulec.oracle.geometry import PathMap, unfold
from rulec.oracle.units import Affine, from_images, to_images
from rulec.semantics.typed import Extent

Tensors = Mapping[str, np.ndarray]
NoiseSource = Callable[[str, tuple[int, ...]], np.ndarray]


@dataclass
class View:
    """Where an op is evaluated: at a layer (of side `side`), on a connection, or at a parameter with its gradient."""

    layer: Layer | None = None
    side: str = ""
    connection: Connection | None = None
    parameter: str = ""
    gradient: Array | None = None
    made: dict[int, Array] = field(default_factory=dict)

    @property
    def place(self) -> str:
        if self.connection is not None:
            return self.connection.name
        return self.layer.name if self.layer is not None else self.parameter

    @property
    def convolution(self) -> Conv | None:
        """The convolution that the op is evaluated on, if it is one."""
        weights = self.connection.weights if self.connection is not None else None
        return weights if isinstance(weights, Conv) else None


EvaluateOp = Callable[["Frame", Op, View], Array]


@dataclass
class Frame:
    """The state of one run. `table` says how each op is evaluated; what is not in it is pointwise."""

    program: Program
    network: Network
    loss: str
    genome: Tensors
    state: dict[str, np.ndarray]
    x: np.ndarray
    y: np.ndarray
    step: int
    noise: NoiseSource | None
    table: Mapping[str, EvaluateOp]
    prediction: Array | None = None
    weight: Array | None = None  # of each sample's loss
    neurons: dict[tuple[str, str], Array] = field(default_factory=dict)  # (state, layer), with the letter `j`
    broadcasts: dict[str, Array] = field(default_factory=dict)
    paths: dict[str, PathMap] = field(default_factory=dict)
    signal: str | None = None  # the state that the last forward sweep sent across
    running: str = ""  # the kind of block
    run_count: int = 0  # how often this block has run before

    @property
    def batch(self) -> int:
        return self.x.shape[0]

    # --- Evaluation ---

    def value(self, op: Op, view: View) -> Array:
        if id(op) not in view.made:
            view.made[id(op)] = self._without_margin(self._evaluate(op, view), view)
        return view.made[id(op)]

    def _evaluate(self, op: Op, view: View) -> Array:
        if view.layer is not None and self._leaves_layer(op, view):
            return self.table["across"](self, op, view)
        if op.name in self.table:
            return self.table[op.name](self, op, view)
        return combine(POINTWISE[op.name], *(self.value(a, view) for a in op.args))

    def _leaves_layer(self, op: Op, view: View) -> bool:
        if self.running == "update":
            return op.name in ("reduce", "contract") and bool(({"i", "j"} - {view.side}) & set(op["indices"]))
        return crosses(op, self.running)

    def _without_margin(self, value: Array, view: View) -> Array:
        """What a kernel sees beyond the edge of the image is zero, whatever function is applied to presynaptic values."""
        if view.convolution is None or not {"@", "i"} <= set(value.axes) or "j" in value.axes:
            return value
        assert view.connection is not None
        inside = unfold(view.convolution, np.ones((1, *view.connection.input_shape)))[0]
        return combine(np.multiply, value, Array(("@", "i"), inside))

    # --- Letters, sides and sizes ---

    def side(self, letter: str) -> str:
        owner = self.program.extents.get(letter)
        return str(owner) if owner in ("i", "j") else letter

    def end(self, view: View, letter: str) -> str:
        """Return the layer at the letter's end of the connection."""
        assert view.connection is not None
        return view.connection.target if self.side(letter) == "j" else view.connection.sources[0]

    def owner(self, op: Op, view: View) -> Layer:
        return view.layer if view.layer is not None else self.network.layer(self.end(view, op["side"]))

    def extent_size(self, extent: Extent) -> int:
        return extent if isinstance(extent, int) else self.network.output.shape[0]

    def _place_count(self, view: View) -> int:
        if view.layer is not None:
            return int(np.prod(view.layer.shape[1:]))
        if view.convolution is None:
            return 1
        assert view.connection is not None
        return int(np.prod(weighted_shape(view.convolution, view.connection.input_shape)[1:]))

    def count(self, index: str, view: View) -> int:
        if index == "n":
            return self.batch
        if index == "@":
            return self._place_count(view)
        if index in self.program.extents and self.side(index) not in ("i", "j"):
            return self.extent_size(self.program.extents[index])
        if view.layer is not None:
            return int(np.prod(view.layer.shape))
        assert view.connection is not None
        if self.side(index) == "j":
            return self.network.layer(view.connection.target).shape[0]
        kernel = view.convolution.kernel if view.convolution is not None else ()
        return view.connection.input_shape[0] * int(np.prod(kernel))

    # --- Layers and connections ---

    def affine(self, layer: Layer) -> Affine | None:
        if layer.norm is None or not layer.norm.affine:
            return None
        return self.state[f"network.{layer.name}.scale"], self.state[f"network.{layer.name}.shift"]

    def connection_number(self, view: View) -> int:
        if view.connection is not None:
            return self.network.connections.index(view.connection)
        if view.parameter:
            owner = view.parameter.split(".")[0]
            names = [
                c.name if c.name == owner else c.target if c.target == owner else "" for c in self.network.connections
            ]
            return names.index(owner)
        assert view.layer is not None
        near = self.network.incoming(view.layer.name) if view.side == "j" else self.network.outgoing(view.layer.name)
        if len(near) != 1:
            raise NotImplementedError("a per-layer value outside the sum, where several connections meet")
        return self.network.connections.index(near[0])

    def path(self, connection: Connection) -> PathMap:
        if connection.name not in self.paths:
            images = {name: self._signal_of(name) for name in connection.sources}
            self.paths[connection.name] = PathMap(connection.path, images)
        return self.paths[connection.name]

    def _signal_of(self, layer: str) -> np.ndarray:
        """Return what decides max-pooling: the first component of the state that is sent across."""
        value = self.neurons[(self.signal, layer)] if self.signal else scalar(0.0)
        for index in [a for a in value.axes if a not in ("n", "j", "@")]:
            value = value.component(index, 0)
        return to_images(value, self.network.layer(layer).shape, self.batch, ())

    def seen(self, name: str, own: tuple[str, ...], connection: Connection) -> Array:
        """Return the presynaptic state as the weights see it, with the letter `j` for its neurons."""
        values = {s: self.neurons[(name, s)] for s in connection.sources}
        rest = tuple(a for a in own if any(a in v.axes for v in values.values()))
        sizes = {a: next(v.size(a) for v in values.values() if a in v.axes) for a in rest}
        images = {
            s: np.broadcast_to(
                to_images(v, self.network.layer(s).shape, self.batch, rest),
                (self.batch, *self.network.layer(s).shape, *(sizes[a] for a in rest)),
            )
            for s, v in values.items()
        }
        seen = self.path(connection).apply(images)
        if isinstance(connection.weights, Conv):
            return Array(("n", "@", "j", *rest), unfold(connection.weights, seen))
        return from_images(seen, ("n", "j", "@"), rest, connection.input_shape)
