"""What a lowering knows while it runs: inputs, the neurons' present values, and where an op is evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from rulec.backend import messages, units
from rulec.backend.layout import Slot, extent_size, genome_slots, state_slots
from rulec.backend.losses import sample_loss
from rulec.backend.paths import PathMap, neuron_labels
from rulec.backend.plain import Plain
from rulec.backend.values import LEADING, Emitter, Value, component
from rulec.ir.graph import Op, Program
from rulec.ir.signals import clamped_states, crosses
from rulec.network.graph import Connection, Conv, Layer, Network
from rulec.network.sizes import weighted_shape
from rulec.source import RuleError, Span

_TAKEN = ("x", "y", "t", "genome", "state", "new", "torch", "batch")  # names that the generated code uses itself


@dataclass(frozen=True)
class NoiseSite:
    """Normal numbers that the step wants: -1 in `shape` is the batch; leading axes are not part of it."""

    name: str
    shape: tuple[int, ...]


@dataclass
class View:
    """Where an op is evaluated: at a layer (of side `side`), on a connection, or at a parameter with its gradient."""

    layer: Layer | None = None
    side: str = ""
    connection: Connection | None = None
    parameter: Slot | None = None
    gradient: Value | None = None
    made: dict[int, Value] = field(default_factory=dict)

    @property
    def place(self) -> str:
        if self.parameter is not None:
            return self.parameter.name.split(".", 1)[1]
        if self.connection is not None:
            return self.connection.name
        return self.layer.name if self.layer is not None else ""

    @property
    def convolution(self) -> Conv | None:
        """The convolution that the op is evaluated on, if it is one."""
        weights = self.connection.weights if self.connection is not None else None
        return weights if isinstance(weights, Conv) else None


LowerOp = Callable[["Frame", Op, View], Value]


class Frame:
    """The state of one lowering. `table` says how each op is lowered; what is not in it is pointwise."""

    def __init__(
        self,
        program: Program,
        network: Network,
        loss: str,
        leading: dict[str, int],
        dtype: torch.dtype,
        table: Mapping[str, LowerOp],
        data: Collection[str] | None = None,
        serving: str = "support",
    ) -> None:
        """`data` are the leading axes that `x` and `y` have: all of them unless told otherwise; `serving`: support or query."""
        self.serving = serving
        self.program, self.network, self.loss_name, self.table = program, network, loss, table
        self.leading = tuple(a for a in LEADING if a in leading)
        sizes = dict(leading)
        for name, extent in program.extents.items():
            if extent not in ("i", "j"):
                sizes[name] = extent_size(extent, network)
        self.emit = Emitter([*program.extents], sizes, dtype)
        self.genome_slots, self.state_slots = genome_slots(program, network), state_slots(program, network)
        self.slots = {s.name: s for s in self.state_slots}
        population = ("P",) if "P" in self.leading else ()
        self.genome = {s.name: self.input(s.name, (*population, *s.labels), "genome") for s in self.genome_slots}
        self.state = {s.name: self.input(s.name, (*self.leading, *s.labels), "state") for s in self.state_slots}
        front = self.leading if data is None else tuple(a for a in self.leading if a in data)
        self.x = self.input("x", (*front, "n", *neuron_labels("i", network.input.shape)))
        self.given = self.x  # before an inner problem changes it
        self.y = self.input("y", (*front, "n", "j"))
        self.t = self.input("t", ())
        self.noise: dict[str, tuple[NoiseSite, Value]] = {}
        self.neurons: dict[tuple[str, str], Value] = {}  # (state, layer), with the letter `j`
        self.broadcasts: dict[str, Value] = {}
        self.paths: dict[str, PathMap] = {}
        self.prediction: Value | None = None
        self.prediction_span: Span | None = None
        self.plain: Plain | None = None
        self.weight: Value | None = None  # of each sample's loss
        self.signal: str | None = None  # the state that the last forward sweep sent across
        self.running, self.run_count = "", 0
        self.clamped = clamped_states(program)
        weighted = network.weighted
        within = program.within
        self.learning = [weighted[k] for k in (within.places(len(weighted)) if within else range(len(weighted)))]
        self._batch: fx.Node | None = None

    # --- Inputs and results ---

    def input(self, name: str, labels: tuple[str, ...], kind: str = "") -> Value:
        """Add an argument of the graph, after those there are."""
        spelled = name.replace(".", "_")
        name = f"{kind}_{spelled}" if kind and spelled in _TAKEN else spelled
        value = self.emit.placeholder(name, labels, moves=bool(kind))
        self.last_input = value.node
        return value

    def late_input(self, name: str, labels: tuple[str, ...]) -> Value:
        """Add an argument when the graph has begun."""
        with self.emit.graph.inserting_after(self.last_input):
            return self.input(name, labels)

    def batch(self) -> fx.Node:
        """Return the number of samples."""
        if self._batch is None:
            with self.emit.graph.inserting_after(self.last_input):
                self._batch = self.emit.batch_of(self.given)
                self._batch._rename("batch")
        return self._batch

    def stored(self, slot: Slot, value: Value) -> Any:
        """Give a new state exactly the axes and sizes of its slot."""
        labels = (*self.leading, *slot.labels)
        if value.labels == labels:
            return value.node
        known = [self.emit.sizes[a] for a in self.leading]
        shape: list[Any] = [self.batch() if size == -1 else size for size in slot.shape]
        full = self.emit.expanded(value, labels, [*known, *shape])
        return self.emit.call(torch.Tensor.contiguous, full.node)

    def loss(self, prediction: Value) -> Value:
        return sample_loss(self.emit, prediction, self.y, self.loss_name)

    def full(self, value: Value, labels: tuple[str, ...]) -> Value:
        """Give a result all its axes, leading ones too."""
        wanted = (*self.leading, *labels)
        sizes = [
            self.batch() if x == "n" else self.network.output.shape[0] if x == "j" else self.emit.sizes[x]
            for x in wanted
        ]
        return value if value.labels == wanted else self.emit.expanded(value, wanted, sizes)

    # --- Axes and places ---

    def relabelled(self, value: Value, old: str, new: str) -> Value:
        if old == new:
            return value
        return self.emit.renamed(value, {old: new, f"{old}y": f"{new}y", f"{old}x": f"{new}x"})

    def as_image(self, value: Value, side: str, shape: tuple[int, ...]) -> Value:
        """Spread a value over samples and all neurons of a shape."""
        ends = neuron_labels(side, shape)
        front = [x for x in value.labels if x not in ("n", "i", "iy", "ix", "j", "jy", "jx")]
        sizes = [*(self.emit.sizes[x] for x in front), self.batch(), *shape]
        return self.emit.expanded(value, (*front, "n", *ends), sizes)

    def path(self, connection: Connection) -> PathMap:
        if connection.name not in self.paths:
            path = PathMap(self.emit, self.network, connection)
            path.record({name: self.signal_of(name) for name in connection.sources})
            self.paths[connection.name] = path
        return self.paths[connection.name]

    def signal_of(self, layer: str) -> Value:
        """Return what decides max-pooling: the first component of the state that is sent across; zero if none ever was."""
        value = self.emit.number(0.0) if self.signal is None else self.neurons[(self.signal, layer)]
        for index in [x for x in value.labels if x in self.program.extents]:
            axis = value.labels.index(index)
            value = self.emit.make(tuple(x for x in value.labels if x != index), torch.select, value.node, axis, 0)
        return self.as_image(self.relabelled(value, "j", "i"), "i", self.network.layer(layer).shape)

    def side(self, letter: str) -> str:
        owner = self.program.extents.get(letter)
        return str(owner) if owner in ("i", "j") else letter

    def end(self, view: View, letter: str) -> str:
        assert view.connection is not None
        return view.connection.target if self.side(letter) == "j" else view.connection.sources[0]

    def seen(self, name: str, connection: Connection) -> Value:
        """Return a presynaptic state as the weights see it."""
        images: dict[str, Value] = {}
        for source in connection.sources:
            value = self.relabelled(self.neurons[(name, source)], "j", "i")
            images[source] = (
                value if self.is_whole(value, source) else self.as_image(value, "i", self.network.layer(source).shape)
            )
        return self.path(connection).apply(images)

    def is_whole(self, value: Value, layer: str) -> bool:
        return {"n", *neuron_labels("i", self.network.layer(layer).shape)} <= set(value.labels)

    def count(self, index: str, view: View) -> int:
        if index in self.emit.sizes:
            return self.emit.sizes[index]
        if index == "@":
            return self._place_count(view)
        if view.layer is not None:
            return volume(view.layer.shape)
        assert view.connection is not None
        if self.side(index) == "j":
            return self.network.layer(view.connection.target).shape[0]
        weights = view.connection.weights
        return view.connection.input_shape[0] * (volume(weights.kernel) if isinstance(weights, Conv) else 1)

    def _place_count(self, view: View) -> int:
        if view.layer is not None:
            return volume(view.layer.shape[1:])
        assert view.connection is not None
        weights = view.connection.weights
        return volume(weighted_shape(weights, view.connection.input_shape)[1:]) if isinstance(weights, Conv) else 1

    def where(self, connection: Connection) -> str:
        return f"the convolution `{connection.module or connection.name}`"

    def affine(self, layer: Layer, side: str) -> units.Affine | None:
        if layer.norm is None or not layer.norm.affine:
            return None
        ends = neuron_labels(side, layer.shape if layer.norm.kind == "layer" else layer.shape[:1])
        scale, shift = (
            Value(self.emit, self.state[f"network.{layer.name}.{x}"].node, (*self.leading, *ends))
            for x in ("scale", "shift")
        )
        return scale, shift

    def owner(self, op: Op, view: View) -> Layer:
        return view.layer if view.layer is not None else self.network.layer(self.end(view, op["side"]))

    def shape_of(self, letter: str, view: View) -> tuple[int, ...]:
        if view.layer is not None:
            return view.layer.shape
        assert view.connection is not None
        if self.side(letter) == "j":
            return self.network.layer(view.connection.target).shape
        return view.connection.input_shape

    def places(self, view: View) -> dict[str, int]:
        """Return the lengths of the neuron axes that values can have here."""
        letters = ("i", "j", *(x for x, extent in self.program.extents.items() if extent in ("i", "j")))
        shapes = {letter: self.shape_of(letter, view) for letter in letters if view.layer or view.connection}
        return {
            x: n for letter, shape in shapes.items() for x, n in zip(neuron_labels(letter, shape), shape, strict=True)
        }

    def of_connection(self, value: Value, name: str, view: View) -> Value:
        axis = 1 if "P" in self.leading else 0
        return self.emit.make(value.labels, torch.select, value.node, axis, self.connection_number(name, view))

    def connection_number(self, name: str, view: View) -> int:
        if view.connection is not None:
            return self.network.connections.index(view.connection)
        if view.parameter is not None and view.parameter.connection is not None:
            return self.network.connections.index(view.parameter.connection)
        layer = view.layer or (view.parameter.layer if view.parameter else None)
        assert layer is not None
        near = self.network.outgoing(layer.name) if view.side == "i" else self.network.incoming(layer.name)
        if len(near) != 1:
            raise RuleError([messages.ambiguous_layer_value(self.emit.span, name, layer.name, len(near))])
        return self.network.connections.index(near[0])

    def indexed(self, value: Value, own: tuple[str, ...], indices: tuple[str | int, ...]) -> Value:
        """Read a value whose declared indices are `own` with other letters, or at fixed components."""
        table: dict[str, str] = {}
        for name, index in zip(own, indices, strict=True):
            if name not in value.labels:
                continue
            if isinstance(index, int):
                value = component(value, name, index)
            elif index != name:
                table[name] = index
        return self.emit.renamed(value, table)

    # --- Evaluation ---

    def value(self, op: Op, view: View) -> Value:
        if id(op) not in view.made:
            before, self.emit.span = self.emit.span, op.span or self.emit.span
            view.made[id(op)] = self.evaluate(op, view)
            self.emit.span = before
        return view.made[id(op)]

    def evaluate(self, op: Op, view: View) -> Value:
        if view.layer is not None and self.leaves_layer(op, view):
            return self.table["across"](self, op, view)
        if op.name in self.table:
            return self.table[op.name](self, op, view)
        values = [self.value(a, view) for a in op.args]
        self.check_spaces(op, values, view)
        return self.emit.pointwise(op.name, *values)

    def check_spaces(self, op: Op, values: list[Value], view: View) -> None:
        """A kernel and a neuron value share no axes on a convolution: only the three maps bring them together."""
        if view.connection is None or view.convolution is None:
            return
        labels = set(self.emit.union(*values))
        if ("q" in labels and ("n" in labels or "i" in labels)) or {"iy", "jy"} <= labels or {"i", "j"} <= labels:
            raise RuleError(
                [messages.cannot_map(op.span, self.where(view.connection), "varies with sample and synapse at once")]
            )

    def leaves_layer(self, op: Op, view: View) -> bool:
        if self.running == "update":
            return op.name in ("reduce", "contract") and bool(({"i", "j"} - {view.side}) & set(op["indices"]))
        return crosses(op, self.running)


def volume(shape: tuple[int, ...]) -> int:
    return math.prod(shape)
