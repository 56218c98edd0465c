"""Lower a program and a network to an fx graph: one step, all layers, all leading axes, no loops."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from rulec.backend import messages, units
from rulec.backend.layout import (
    Slot,
    extent_size,
    genome_slots,
    layers_with_weights,
    parameter_slots,
    state_slots,
    weight_labels,
)
from rulec.backend.losses import loss_slope, sample_loss
from rulec.backend.maps import CannotMap, ConvMaps, contract_labels
from rulec.backend.paths import PathMap, neuron_labels
from rulec.backend.plain import Plain
from rulec.backend.values import LEADING, Emitter, Value
from rulec.ir.graph import Block, Op, Program, Write
from rulec.ir.signals import clamped_states, crosses, schedule, signal_state, whole_layer
from rulec.network.graph import Connection, Conv, Layer, Network
from rulec.oracle.initial import initial_array
from rulec.semantics.typed import Extent
from rulec.source import RuleError


_TAKEN = ("x", "y", "t", "genome", "state", "new", "torch", "batch")  # names that the generated code uses itself


@dataclass(frozen=True)
class NoiseSite:
    """Normal numbers that the step wants: -1 in `shape` is the batch; leading axes are not part of it."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Lowered:
    """A graph and the meaning of its arguments and results, in order."""

    graph: fx.Graph
    genome: tuple[Slot, ...]
    state: tuple[Slot, ...]
    noise: tuple[NoiseSite, ...]
    outputs: tuple[str, ...]  # state names, then "prediction" and "loss"


def lower_step(program: Program, network: Network, loss: str, leading: dict[str, int], dtype: torch.dtype) -> Lowered:
    """Return the graph of one whole step: genome, state, x, y, t, noise to new state, prediction and loss."""
    return _Lowering(program, network, loss, leading, dtype).step()


def lower_prediction(
    program: Program, network: Network, loss: str, leading: dict[str, int], dtype: torch.dtype
) -> Lowered:
    """Return the graph of the prediction alone. Raises `RuleError` if it depends on the target."""
    return _Lowering(program, network, loss, leading, dtype).predict()


@dataclass
class _View:
    """Where an op is evaluated: at a layer (of side `side`), on a connection, or at a parameter."""

    layer: Layer | None = None
    side: str = ""
    connection: Connection | None = None
    parameter: Slot | None = None
    made: dict[int, Value] = field(default_factory=dict)

    @property
    def place(self) -> str:
        if self.parameter is not None:
            return self.parameter.name.split(".", 1)[1]
        return (
            self.connection.name if self.connection is not None else self.layer.name if self.layer is not None else ""
        )


class _Lowering:
    def __init__(
        self, program: Program, network: Network, loss: str, leading: dict[str, int], dtype: torch.dtype
    ) -> None:
        self.program, self.network, self.loss_name = program, network, loss
        self.leading = tuple(a for a in LEADING if a in leading)
        declared = [*program.extents]
        sizes = dict(leading)
        for name, extent in program.extents.items():
            if extent not in ("i", "j"):
                sizes[name] = extent_size(extent, network)
        self.emit = Emitter(declared, sizes, dtype)
        self.genome_slots, self.state_slots = genome_slots(program, network), state_slots(program, network)
        self.genome = {s.name: self._genome_input(s) for s in self.genome_slots}
        self.state = {s.name: self._input("state", s.name, (*self.leading, *s.labels)) for s in self.state_slots}
        self.slots = {s.name: s for s in self.state_slots}
        self.x = self._input("", "x", (*self.leading, "n", *neuron_labels("i", network.input.shape)))
        self.y = self._input("", "y", (*self.leading, "n", "j"))
        self.t = self._input("", "t", ())
        self.noise: dict[str, tuple[NoiseSite, Value]] = {}
        self.neurons: dict[tuple[str, str], Value] = {}
        self.broadcasts: dict[str, Value] = {}
        self.paths: dict[str, PathMap] = {}
        self.prediction: Value | None = None
        self.signal: str | None = None
        self.running, self.run_count = "", 0
        self.clamped = clamped_states(program)
        self.batch: fx.Node | None = None

    def _input(self, prefix: str, name: str, labels: tuple[str, ...]) -> Value:
        spelled = name.replace(".", "_")
        value = self.emit.placeholder(f"{prefix}_{spelled}" if prefix and spelled in _TAKEN else spelled, labels)
        self.last_input = value.node
        return value

    def _genome_input(self, slot: Slot) -> Value:
        population = ("P",) if "P" in self.leading else ()
        return self._input("genome", slot.name, (*population, *slot.labels))

    # --- Results ---

    def step(self) -> Lowered:
        self._run()
        prediction = self._prediction_value()
        loss = self.emit.reduce("mean", self._full(self._loss(prediction), ("n",)), ("n",))
        outputs = [self._stored(slot, self.state[slot.name]) for slot in self.state_slots]
        return self._finish([*outputs, prediction.node, loss.node], [*self.state, "prediction", "loss"])

    def predict(self) -> Lowered:
        self._run()
        lowered = self._finish([self._prediction_value().node], ["prediction"])
        if any(node.op == "placeholder" and node.name == "y" and node.users for node in lowered.graph.nodes):
            raise RuleError([messages.prediction_reads_target(self.prediction_span, self.program.name)])
        return lowered

    prediction_span = None

    def _prediction_value(self) -> Value:
        assert self.prediction is not None
        return self._full(self.prediction, ("n", "j"))

    def _full(self, value: Value, labels: tuple[str, ...]) -> Value:
        """Give a result all its axes, leading ones too."""
        wanted = (*self.leading, *labels)
        sizes = [
            self._batch() if x == "n" else self.network.output.shape[0] if x == "j" else self.emit.sizes[x]
            for x in wanted
        ]
        return value if value.labels == wanted else self.emit.expanded(value, wanted, sizes)

    def _stored(self, slot: Slot, value: Value) -> Any:
        labels = (*self.leading, *slot.labels)
        if value.labels == labels:
            return value.node
        known = [self.emit.sizes[a] for a in self.leading]
        shape = [self._batch() if size == -1 else size for size in slot.shape]
        full = self.emit.expanded(value, labels, [*known, *shape])
        return self.emit.call(torch.Tensor.contiguous, full.node)

    def _finish(self, results: list[Any], names: list[str]) -> Lowered:
        graph = self.emit.graph
        graph.output(tuple(results))
        graph.eliminate_dead_code()
        graph.lint()
        noise = tuple(site for site, value in self.noise.values())
        return Lowered(graph, tuple(self.genome_slots), tuple(self.state_slots), noise, tuple(names))

    def _batch(self) -> fx.Node:
        if self.batch is None:
            with self.emit.graph.inserting_after(self.last_input):
                self.batch = self.emit.batch_of(self.x)
                self.batch._rename("batch")
        return self.batch

    # --- Running blocks ---

    def _run(self) -> None:
        for declared in self.program.states:
            self._start(declared.name)
        if self.program.acts_on_parameters:
            self.plain = Plain(self.emit, self.network, {k[2:]: v for k, v in self.state.items() if k.startswith("w.")})
            self.prediction = self.plain.forward(self.x)
        for block, count in schedule(self.program.blocks):
            self.running, self.run_count = block.kind, count
            getattr(self, f"_run_{block.kind}")(block)

    def _start(self, name: str) -> None:
        declared = self.program.state(name)
        if declared.kind == "synapse":
            return
        value = self._constant_array(declared.initial, declared.shape, declared.indices)
        if declared.kind == "broadcast":
            self.broadcasts[name] = value
            return
        for layer in self.network.layers:
            self.neurons[(name, layer.name)] = self.state[f"{name}.{layer.name}"] if declared.keep else value

    def _constant_array(self, initial: Any, shape: tuple[Extent, ...], indices: tuple[str, ...]) -> Value:
        array = initial_array(initial, [extent_size(e, self.network) for e in shape])
        if array.size and (array == array.flat[0]).all():
            return self.emit.number(float(array.flat[0]))
        value = self.emit.make(indices, torch.tensor, array.tolist(), dtype=self.emit.dtype)
        return self.emit.canonical(value)

    def _run_input(self, block: Block) -> None:
        self._visit(block, self.network.input, "i")

    def _run_output(self, block: Block) -> None:
        self._visit(block, self.network.output, "j")

    def _run_forward(self, block: Block) -> None:
        if signal_state(block) is not None:
            self.signal = signal_state(block)
            self.paths.clear()
        for layer in self.network.layers[1:]:
            self._visit(block, layer, "j")

    def _run_backward(self, block: Block) -> None:
        for layer in reversed(self.network.layers[:-1]):
            self._visit(block, layer, "i")

    def _visit(self, block: Block, layer: Layer, side: str) -> None:
        view = _View(layer, side)
        made = [(w, self._named(w, self._value(w.value, view), layer.name)) for w in block.writes]
        for write, value in made:
            if write.name == "prediction":
                self.prediction, self.prediction_span = value, write.span
            elif self.program.state(write.name).kind == "broadcast":
                self.broadcasts[write.name] = value
            elif not (layer is self.network.input and block.kind != "input" and write.name in self.clamped):
                self.neurons[(write.name, layer.name)] = self._relabelled(value, side, "j")

    def _named(self, write: Write, value: Value, place: str) -> Value:
        """Name the node after the state and the layer, so that the generated code reads like the rule."""
        node = value.node
        if isinstance(node, fx.Node) and node.op == "call_function" and "named" not in node.meta:
            node.meta["named"] = True
            node._rename(f"{write.name}_{place}".replace(".", "_"))
        return value

    def _relabelled(self, value: Value, old: str, new: str) -> Value:
        if old == new:
            return value
        return self.emit.renamed(value, {old: new, f"{old}y": f"{new}y", f"{old}x": f"{new}x"})

    def _run_update(self, block: Block) -> None:
        new: dict[str, Value] = {}
        for write in block.writes:
            if len(write.side.split(",")) == 2:
                for connection in self.network.weighted:
                    value = self._value(write.value, self._shared_view(block, connection=connection))
                    new[f"{write.name}.{connection.name}"] = self._named(
                        write, self._as_kernel(value, connection, write), f"{connection.name}_new"
                    )
            else:
                for layer in layers_with_weights(self.network):
                    value = self._value(write.value, self._shared_view(block, layer=layer, side=write.side))
                    value = self._relabelled(value, write.side, "j")
                    new[f"{write.name}.{layer.name}"] = self._named(write, value, f"{layer.name}_new")
        self.views.clear()
        for key, value in new.items():
            slot = self.slots[key]
            self.state[key] = Value(self.emit, self._stored(slot, value), (*self.leading, *slot.labels))

    @property
    def views(self) -> dict[tuple[str, str], _View]:
        if not hasattr(self, "_views"):
            self._views: dict[tuple[str, str], _View] = {}
        return self._views

    def _shared_view(
        self, block: Block, connection: Connection | None = None, layer: Layer | None = None, side: str = ""
    ) -> _View:
        """Return one view per place for the whole block, so that its writes share what they compute."""
        key = (connection.name if connection else layer.name if layer else "", side)
        if key not in self.views:
            self.views[key] = _View(layer=layer, side=side, connection=connection)
        return self.views[key]

    def _as_kernel(self, value: Value, connection: Connection, write: Write) -> Value:
        if isinstance(connection.weights, Conv) and {"iy", "jy"} & set(value.labels):
            raise RuleError([messages.cannot_map(write.span, self._where(connection), "one value per place")])
        return value

    def _where(self, connection: Connection) -> str:
        return f"the convolution `{connection.module or connection.name}`"

    def _run_parameters(self, block: Block) -> None:
        gradients = self.plain.gradients(self.y, self.loss_name)
        new: dict[str, Value] = {}
        for slot in parameter_slots(self.network, "w"):
            view = _View(parameter=slot)
            self.gradient = gradients[slot.name[2:]]
            for write in block.writes:
                place = slot.name.split(".", 1)[1]
                new[f"{write.name}.{place}"] = self._named(write, self._value(write.value, view), f"{place}_new")
        for key, value in new.items():
            slot = self.slots[key]
            self.state[key] = Value(self.emit, self._stored(slot, value), (*self.leading, *slot.labels))

    # --- Evaluating ops ---

    def _value(self, op: Op, view: _View) -> Value:
        if id(op) not in view.made:
            before, self.emit.span = self.emit.span, op.span or self.emit.span
            view.made[id(op)] = self._evaluate(op, view)
            self.emit.span = before
        return view.made[id(op)]

    def _evaluate(self, op: Op, view: _View) -> Value:
        if view.layer is not None and self._leaves_layer(op, view):
            return self._across(op, view)
        special = getattr(self, f"_op_{op.name}", None)
        if special is not None:
            return special(op, view)
        values = [self._value(a, view) for a in op.args]
        self._check_spaces(op, values, view)
        return self.emit.pointwise(op.name, *values)

    def _check_spaces(self, op: Op, values: list[Value], view: _View) -> None:
        """A kernel and a neuron value share no axes on a convolution: only the three maps bring them together."""
        if view.connection is None or not isinstance(view.connection.weights, Conv):
            return
        labels = set(self.emit.union(*values))
        if "q" in labels and ("n" in labels or "i" in labels) or {"iy", "jy"} <= labels or {"i", "j"} <= labels:
            raise RuleError(
                [messages.cannot_map(op.span, self._where(view.connection), "varies with sample and synapse at once")]
            )

    def _leaves_layer(self, op: Op, view: _View) -> bool:
        if self.running == "update":
            return op.name in ("reduce", "contract") and bool(({"i", "j"} - {view.side}) & set(op["indices"]))
        return crosses(op, self.running)

    def _across(self, op: Op, view: _View) -> Value:
        """Evaluate a reduction on each connection of the layer, and add up."""
        assert view.layer is not None
        connections = (
            self.network.incoming(view.layer.name) if view.side == "j" else self.network.outgoing(view.layer.name)
        )
        parts = [
            p
            for c in connections
            if (p := self._back_to_layer(self._value(op, _View(connection=c)), c, view)) is not None
        ]
        if not parts:
            return self.emit.number(0.0)
        if len(parts) > 1 and not (op.name == "contract" and not set(op["means"]) & {"i", "j"}):
            operator = "mean" if op.name == "contract" else op["operator"]
            raise RuleError([messages.several_connections(op.span, operator, view.layer.name)])
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def _back_to_layer(self, value: Value, connection: Connection, view: _View) -> Value | None:
        if view.side == "j" or not {"i", "q"} & set(value.labels):
            return value
        assert view.layer is not None
        if "q" in value.labels:
            raise RuleError([messages.cannot_map(self.emit.span, self._where(connection), "a sum over weights alone")])
        if "n" not in value.labels or len([x for x in value.labels if x in ("i", "iy", "ix")]) != len(
            connection.input_shape
        ):
            value = self._as_image(value, "i", connection.input_shape)
        return self._path(connection).adjoint(view.layer.name, value)

    def _as_image(self, value: Value, side: str, shape: tuple[int, ...]) -> Value:
        """Spread a value over samples and all neurons of a shape."""
        ends = neuron_labels(side, shape)
        front = [x for x in value.labels if x not in ("n", "i", "iy", "ix", "j", "jy", "jx")]
        sizes = [*(self.emit.sizes[x] for x in front), self._batch(), *shape]
        return self.emit.expanded(value, (*front, "n", *ends), sizes)

    def _path(self, connection: Connection) -> PathMap:
        if connection.name not in self.paths:
            path = PathMap(self.emit, self.network, connection)
            if self.signal is not None:
                path.record({name: self._signal(name) for name in connection.sources})
            self.paths[connection.name] = path
        return self.paths[connection.name]

    def _signal(self, layer: str) -> Value:
        assert self.signal is not None
        value = self.neurons[(self.signal, layer)]
        for index in [x for x in value.labels if x in self.program.extents]:
            axis = value.labels.index(index)
            value = self.emit.make(tuple(x for x in value.labels if x != index), torch.select, value.node, axis, 0)
        return self._as_image(self._relabelled(value, "j", "i"), "i", self.network.layer(layer).shape)

    def _op_constant(self, op: Op, view: _View) -> Value:
        return self.emit.number(op["value"])

    def _op_time(self, op: Op, view: _View) -> Value:
        return self.t

    def _op_genome(self, op: Op, view: _View) -> Value:
        entry = next(e for e in self.program.genome if e.name == op["name"])
        value = self.genome[entry.name]
        if entry.per_layer:
            value = self._of_connection(value, entry.name, view)
        return self._indexed(value, entry.indices, op["indices"])

    def _of_connection(self, value: Value, name: str, view: _View) -> Value:
        axis = 1 if "P" in self.leading else 0
        return self.emit.make(value.labels, torch.select, value.node, axis, self._connection_number(name, view))

    def _connection_number(self, name: str, view: _View) -> int:
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

    def _indexed(self, value: Value, own: tuple[str, ...], indices: tuple[str | int, ...]) -> Value:
        """Read a value whose declared indices are `own` with other letters, or at fixed components."""
        table: dict[str, str] = {}
        for name, index in zip(own, indices, strict=True):
            if name not in value.labels:
                continue
            if isinstance(index, int):
                axis = value.labels.index(name)
                value = self.emit.make(
                    tuple(x for x in value.labels if x != name), torch.select, value.node, axis, index
                )
            elif index != name:
                table[name] = index
        return self.emit.canonical(Value(self.emit, value.node, tuple(table.get(x, x) for x in value.labels)))

    def _op_state(self, op: Op, view: _View) -> Value:
        name, side, indices = op["name"], op["side"], op["indices"]
        if view.parameter is not None:
            return self.state[f"{name}.{view.parameter.name.split('.', 1)[1]}"]
        declared = self.program.state(name)
        if declared.kind == "broadcast":
            return self._indexed(self.broadcasts[name], declared.indices, indices)
        letters = side.split(",")
        if declared.kind == "neuron":
            return self._indexed(self._neuron(name, letters[0], view, op), declared.indices, indices)
        return self._indexed(self._synapse(name, letters, view, op), declared.indices, indices)

    def _synapse(self, name: str, letters: list[str], view: _View, op: Op) -> Value:
        if len(letters) == 1:
            layer = view.layer.name if view.layer is not None else self._end(view, letters[0])
            value = self.state.get(f"{name}.{layer}")
            return self.emit.number(0.0) if value is None else self.emit.renamed(value, {"j": letters[0]})
        connection = view.connection
        assert connection is not None
        if connection.weights is None:
            return self.emit.number(1.0)
        value = self.state[f"{name}.{connection.name}"]
        if letters != ["i", "j"]:
            self._require_dense(connection, op)
            value = self.emit.renamed(value, {"i": letters[0], "j": letters[1]})
        return value

    def _require_dense(self, connection: Connection, op: Op) -> None:
        if isinstance(connection.weights, Conv):
            raise RuleError(
                [messages.cannot_map(op.span, self._where(connection), "an index over other neurons of the layer")]
            )

    def _side(self, letter: str) -> str:
        owner = self.program.extents.get(letter)
        return str(owner) if owner in ("i", "j") else letter

    def _end(self, view: _View, letter: str) -> str:
        assert view.connection is not None
        return view.connection.target if self._side(letter) == "j" else view.connection.sources[0]

    def _neuron(self, name: str, letter: str, view: _View, op: Op) -> Value:
        side = self._side(letter)
        if view.layer is not None:
            return self._relabelled(self.neurons[(name, view.layer.name)], "j", letter)
        connection = view.connection
        assert connection is not None
        if letter != side:
            self._require_dense(connection, op)
        passes = connection.weights is None
        if side == "j":
            letter = "i" if passes and self.running == "backward" else letter
            return self._relabelled(self.neurons[(name, connection.target)], "j", letter)
        letter = "j" if passes and self.running != "backward" else letter
        return self._relabelled(self._seen(name, connection), "i", letter)

    def _seen(self, name: str, connection: Connection) -> Value:
        """Return a presynaptic state as the weights see it."""
        images: dict[str, Value] = {}
        for source in connection.sources:
            value = self._relabelled(self.neurons[(name, source)], "j", "i")
            images[source] = (
                value if self._is_whole(value, source) else self._as_image(value, "i", self.network.layer(source).shape)
            )
        return self._path(connection).apply(images)

    def _is_whole(self, value: Value, layer: str) -> bool:
        return {"n", *neuron_labels("i", self.network.layer(layer).shape)} <= set(value.labels)

    def _op_input(self, op: Op, view: _View) -> Value:
        return self._relabelled(self.x, "i", op["letter"])

    def _op_target(self, op: Op, view: _View) -> Value:
        return self.emit.renamed(self.y, {"j": op["letter"]})

    def _op_prediction(self, op: Op, view: _View) -> Value:
        assert self.prediction is not None
        return self.emit.renamed(self.prediction, {"j": op["letter"]})

    def _op_loss(self, op: Op, view: _View) -> Value:
        return self._loss(self._predicted(op, view))

    def _predicted(self, op: Op, view: _View) -> Value:
        value = self._value(op.args[0], view) if op.args else self.prediction
        assert value is not None
        return self._full(value, ("n", "j"))

    def _loss(self, prediction: Value) -> Value:
        return sample_loss(self.emit, prediction, self.y, self.loss_name)

    def _op_loss_slope(self, op: Op, view: _View) -> Value:
        return loss_slope(self.emit, self._predicted(op, view), self.y, self.loss_name, self.network.output.shape[0])

    def _op_extent(self, op: Op, view: _View) -> Value:
        index = op["index"]
        if index == "n":
            return Value(self.emit, self._batch(), ())
        return self.emit.number(float(self._count(index, view)))

    def _count(self, index: str, view: _View) -> int:
        if index in self.emit.sizes:
            return self.emit.sizes[index]
        if view.layer is not None:
            return _volume(view.layer.shape)
        assert view.connection is not None
        if self._side(index) == "j":
            return self.network.layer(view.connection.target).shape[0]
        weights = view.connection.weights
        return view.connection.input_shape[0] * (_volume(weights.kernel) if isinstance(weights, Conv) else 1)

    def _op_position(self, op: Op, view: _View) -> Value:
        return self.emit.make((op["index"],), torch.arange, self._count(op["index"], view), dtype=self.emit.dtype)

    def _op_act(self, op: Op, view: _View) -> Value:
        layer = self._owner(op, view)
        return units.activate(
            self.emit, layer, self._value(op.args[0], view), op["side"], self._affine(layer, op["side"])
        )

    def _op_slope(self, op: Op, view: _View) -> Value:
        layer = self._owner(op, view)
        if layer.norm is not None or layer.activation == "softmax":
            what = f"{layer.norm.kind} normalisation" if layer.norm is not None else "a softmax"
            raise RuleError([messages.slope_of_norm(op.span, layer.module or layer.name, what)])
        return units.slope(self.emit, layer, self._value(op.args[0], view), op["order"])

    def _op_pullback(self, op: Op, view: _View) -> Value:
        layer = self._owner(op, view)
        z, back = (self._value(a, view) for a in op.args)
        return units.pull_back(self.emit, layer, z, back, op["side"], self._affine(layer, op["side"]))

    def _owner(self, op: Op, view: _View) -> Layer:
        return view.layer if view.layer is not None else self.network.layer(self._end(view, op["side"]))

    def _affine(self, layer: Layer, side: str) -> units.Affine | None:
        if layer.norm is None or not layer.norm.affine:
            return None
        ends = neuron_labels(side, layer.shape if layer.norm.kind == "layer" else layer.shape[:1])
        scale, shift = (
            Value(self.emit, self.state[f"network.{layer.name}.{x}"].node, (*self.leading, *ends))
            for x in ("scale", "shift")
        )
        return scale, shift

    # --- Reductions ---

    def _solid(self, op: Op, view: _View) -> Value:
        """Return an op's value with every axis that is to be counted: states that were never written are constants."""
        value = self._value(op, view)
        letters = [x for x in ("i", "j") if x in op.axes]
        if "n" not in op.axes or len(letters) != 1 or (value.is_number and value.node == 0):
            return value
        missing = {x for x in op.axes if x not in value.labels}
        if not missing or missing == set(letters) and view.connection is not None and view.connection.weights is None:
            return value
        shape = self._shape_of(letters[0], view)
        declared = [x for x in self.emit.sort([*value.labels, *op.axes]) if x in self.emit.sizes]
        ends = neuron_labels(letters[0], shape)
        sizes = [*(self.emit.sizes[x] for x in declared), self._batch(), *shape]
        return self.emit.expanded(value, (*declared, "n", *ends), sizes)

    def _shape_of(self, letter: str, view: _View) -> tuple[int, ...]:
        if view.layer is not None:
            return view.layer.shape
        assert view.connection is not None
        if self._side(letter) == "j":
            return self.network.layer(view.connection.target).shape
        return view.connection.input_shape

    def _reduced(self, op: Op, view: _View) -> set[str]:
        """Return the labels that a reduction removes: places go with the sample, and with a layer seen as a whole."""
        labels = set(op["indices"])
        lateral = (
            view.side in labels if view.layer is not None else view.connection is not None and whole_layer(op, "j")
        )
        if "n" in labels or lateral:
            labels |= {"iy", "ix", "jy", "jx"}
        return labels

    def _op_reduce(self, op: Op, view: _View) -> Value:
        value = self._solid(op.args[0], view)
        labels = self._reduced(op, view)
        if view.connection is not None and isinstance(view.connection.weights, Conv):
            labels = self._reduced_on_kernel(op, value, labels, view)
        if op["operator"] == "mean" and "n" in op["indices"] and not op["places"]:
            total = self.emit.reduce("sum", value, labels)
            return total / self._divisor(op["indices"], view)
        return self.emit.reduce(op["operator"], value, labels)

    def _reduced_on_kernel(self, op: Op, value: Value, labels: set[str], view: _View) -> set[str]:
        assert view.connection is not None
        if "q" in value.labels:
            if "i" in labels:
                labels = labels - {"i"} | {"q", "ky", "kx"}
        elif "i" in labels or ("n" in labels and "iy" in value.labels):
            raise RuleError(
                [
                    messages.cannot_map(
                        op.span, self._where(view.connection), f"`{op['operator']}` over what each weight sees"
                    )
                ]
            )
        return labels

    def _divisor(self, indices: tuple[str, ...], view: _View) -> Value:
        total = self.emit.number(1.0)
        for index in indices:
            count = (
                Value(self.emit, self._batch(), ())
                if index == "n"
                else self.emit.number(float(self._count(index, view)))
            )
            total = count if total.is_number and total.node == 1.0 else total * count
        return total

    def _op_contract(self, op: Op, view: _View) -> Value:
        factors = [self._solid(a, view) for a in op.args]
        if any(f.is_number and f.node == 0 for f in factors):
            return self.emit.number(0.0)
        labels = self._reduced(op, view)
        value = self._contracted(op, factors, labels, view)
        if op["means"]:
            value = value / self._divisor(op["means"], view)
        lateral = view.connection is not None and set(op["means"]) == {"j"} and whole_layer(op, "j")
        if op["places"] or lateral:
            value = value / float(self._place_count(factors, view))
        return value

    def _place_count(self, factors: list[Value], view: _View) -> int:
        present = {x for f in factors for x in f.labels}
        if view.connection is not None and isinstance(view.connection.weights, Conv) and {"iy", "jy"} & present:
            return _volume(self.network.layer(view.connection.target).shape[1:])
        if view.layer is not None and {"iy", "jy"} & present:
            return _volume(view.layer.shape[1:])
        return 1

    def _contracted(self, op: Op, factors: list[Value], labels: set[str], view: _View) -> Value:
        everything = set().union(*(f.labels for f in factors))
        connection = view.connection
        if connection is None or not isinstance(connection.weights, Conv):
            return contract_labels(self.emit, factors, tuple(everything - labels))
        if "i" in labels and "q" in everything and "i" not in everything:
            labels = labels | {"q", "ky", "kx"}
        maps = ConvMaps(self.emit, connection.weights, connection.input_shape)
        keep = everything - labels
        try:
            return maps.contract(factors, tuple(keep))
        except CannotMap as problem:
            raise RuleError([messages.cannot_map(op.span, self._where(connection), str(problem))]) from None

    # --- The rest ---

    def _op_take(self, op: Op, view: _View) -> Value:
        value = self._value(op.args[0], view)
        for index, number in op["at"]:
            if index in value.labels:
                axis = value.labels.index(index)
                value = self.emit.make(
                    tuple(x for x in value.labels if x != index), torch.select, value.node, axis, number
                )
        return value

    def _op_insert(self, op: Op, view: _View) -> Value:
        """Replace fixed components: one component at a time, by stacking along its axis."""
        before, value = (self._value(a, view) for a in op.args)
        return self._inserted(before, value, list(op["at"]))

    def _inserted(self, before: Value, value: Value, at: list[tuple[str, int]]) -> Value:
        index, number = at[0]
        parts = [self._component(before, index, k) for k in range(self.emit.sizes[index])]
        parts[number] = value if len(at) == 1 else self._inserted(parts[number], value, at[1:])
        labels = self.emit.union(*parts)
        sizes = {x: self._size_of(x, parts) for x in labels}
        nodes = [self.emit.expanded(p, labels, [sizes[x] for x in labels]).node for p in parts]
        axis = sorted([*labels, index], key=self.emit.rank.__getitem__).index(index)
        return self.emit.make(self.emit.sort([*labels, index]), torch.stack, nodes, axis)

    def _size_of(self, label: str, parts: list[Value]) -> Any:
        if label in self.emit.sizes:
            return self.emit.sizes[label]
        owner = next(p for p in parts if label in p.labels)
        return self.emit.call(torch.Tensor.size, owner.node, owner.labels.index(label))

    def _component(self, value: Value, index: str, number: int) -> Value:
        if index not in value.labels:
            return value
        rest = tuple(x for x in value.labels if x != index)
        return self.emit.make(rest, torch.select, value.node, value.labels.index(index), number)

    def _op_rename(self, op: Op, view: _View) -> Value:
        table = dict(op["letters"])
        for old, new in list(table.items()):
            if old in ("i", "j"):
                table |= {f"{old}y": f"{new}y", f"{old}x": f"{new}x"}
        return self.emit.renamed(self._value(op.args[0], view), table)

    def _op_stop(self, op: Op, view: _View) -> Value:
        value = self._value(op.args[0], view)
        return value if value.is_number else self.emit.make(value.labels, torch.detach, value.node)

    def _op_grad(self, op: Op, view: _View) -> Value:
        return self.gradient

    def _op_noise(self, op: Op, view: _View) -> Value:
        name = f"noise{op['site']}.{self.run_count}.{view.place}"
        labels, shape = self._noise_axes(op, view)
        if name not in self.noise:
            with self.emit.graph.inserting_after(self.last_input):
                value = self._input("", name, (*self.leading, *labels))
            self.noise[name] = (NoiseSite(name, shape), value)
        return self.emit.canonical(self.noise[name][1])

    def _noise_axes(self, op: Op, view: _View) -> tuple[tuple[str, ...], tuple[int, ...]]:
        declared = tuple(x for x in sorted(op.axes) if x not in ("n", "i", "j", "p"))
        lead = tuple(self.emit.sizes[x] for x in declared)
        if view.parameter is not None:
            return view.parameter.labels, view.parameter.shape
        if {"i", "j"} <= op.axes:
            assert view.connection is not None
            labels, shape = weight_labels(view.connection)
            return (*declared, *labels), (*lead, *shape)
        sample, size = (("n",), (-1,)) if "n" in op.axes else ((), ())
        letter = next((x for x in ("i", "j") if x in op.axes), None)
        if letter is None:
            return (*declared, *sample), (*lead, *size)
        assert view.layer is not None
        shape = view.layer.shape if sample else view.layer.shape[:1]
        return (*declared, *sample, *neuron_labels(letter, shape)), (*lead, *size, *shape)

    def _op_net(self, op: Op, view: _View) -> Value:
        net = next(n for n in self.program.nets if n.name == op["name"])
        weights = [
            (
                self._net_weight(f"{net.name}.{k}.weight", net.per_layer, view),
                self._net_weight(f"{net.name}.{k}.bias", net.per_layer, view),
            )
            for k in range(len(net.sizes) - 1)
        ]
        hidden = self._features(op, view)
        labels = hidden.labels[:-1]
        for k, (weight, bias) in enumerate(weights):
            hidden = self._affine_map(hidden, weight, bias)
            if k < len(weights) - 1:
                hidden = self.emit.pointwise(net.activation, hidden)
        if isinstance(op["index"], str):
            return self.emit.canonical(Value(self.emit, hidden.node, (*labels, op["index"])))
        return self.emit.make(labels, torch.select, hidden.node, -1, op["index"] or 0)

    def _net_weight(self, name: str, per_layer: bool, view: _View) -> Value:
        value = self.genome[name]
        return self._of_connection(value, name, view) if per_layer else value

    def _features(self, op: Op, view: _View) -> Value:
        """Stack the inputs of a net along a last axis, labelled `*`."""
        columns: list[Value] = []
        for index, argument in zip(op["features"], op.args, strict=True):
            value = self._value(argument, view)
            columns += (
                [value] if index is None else [self._component(value, index, k) for k in range(self.emit.sizes[index])]
            )
        labels = self.emit.union(*columns)
        if "P" in self.leading and "P" not in labels:
            labels = ("P", *labels)
        sizes = [self._size_of(x, [c for c in columns if x in c.labels] or columns) for x in labels]
        nodes = [self.emit.expanded(c, labels, sizes).node for c in columns]
        return self.emit.make((*labels, "*"), torch.stack, nodes, -1)

    def _affine_map(self, hidden: Value, weight: Value, bias: Value) -> Value:
        """Multiply the last axis with a weight matrix that may have a population axis."""
        emit = self.emit
        if "P" not in weight.labels:
            node = emit.call(torch.add, emit.call(torch.matmul, hidden.node, weight.node), bias.node)
            return Value(emit, node, hidden.labels)
        flat = (
            emit.call(torch.flatten, hidden.node, 1, -2)
            if len(hidden.labels) > 2
            else emit.call(torch.unsqueeze, hidden.node, 1)
        )
        out = emit.call(torch.baddbmm, emit.call(torch.unsqueeze, bias.node, 1), flat, weight.node)
        if len(hidden.labels) == 2:
            return Value(emit, emit.call(torch.squeeze, out, 1), hidden.labels)
        sizes = [emit.call(torch.Tensor.size, hidden.node, k) for k in range(1, len(hidden.labels) - 1)]
        return Value(emit, emit.call(torch.unflatten, out, 1, sizes), hidden.labels)

    def _op_solve(self, op: Op, view: _View) -> Value:
        matrix, right = (self._value(a, view) for a in op.args)
        rest = tuple(x for x in self.emit.union(matrix, right) if x not in (op["row"], op["column"]))
        a = self.emit.spread(matrix, (*rest, op["row"], op["column"]))
        b = self.emit.spread(right, (*rest, op["row"]))
        solution = self.emit.call(torch.linalg.solve, a, self.emit.call(torch.unsqueeze, b, -1))
        return self.emit.canonical(self.emit.make((*rest, op["column"]), torch.squeeze, solution, -1))


def _volume(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
