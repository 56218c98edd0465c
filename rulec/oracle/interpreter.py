"""The oracle: run a program on a network in float64 numpy, slowly and plainly.

There are no leading axes here: one genome, one replica, one task. Every convolution is unfolded into a dense connection
over places (axis `@`), so each op has a single meaning: broadcast, and reduce over named axes. Nothing is shared with the
compiler but the IR and the network.

State layout, common to all evaluators: declared indices first, then the neurons or the weights. `w.c1` is state `w` on
connection `c1`, dense (..., inputs, outputs) or convolutional (..., outputs, inputs / groups, height, width); `b.hidden1`
is a state of layer `hidden1`, (..., channels); a kept neuron state `trace.hidden1` is (..., batch, *shape).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from rulec.ir.graph import Block, Op, Program, walk_ops
from rulec.ir.signals import clamped_states, crosses, schedule, signal_state, whole_layer
from rulec.network.graph import Connection, Conv, Layer, Network
from rulec.oracle import geometry
from rulec.oracle.arrays import CURVATURES, POINTWISE, SLOPES, Array, combine, reduce_axes, scalar, union
from rulec.oracle.initial import initial_array
from rulec.oracle.plain import plain_gradient, plain_prediction
from rulec.oracle.units import Affine, activate, from_images, pull_back, slope, to_images

Tensors = Mapping[str, np.ndarray]
NoiseSource = Callable[[str, tuple[int, ...]], np.ndarray]


@dataclass(frozen=True)
class Result:
    state: dict[str, np.ndarray]
    prediction: np.ndarray  # (batch, outputs)
    loss: float  # mean over the batch


def interpret(
    program: Program,
    network: Network,
    loss: str,
    genome: Tensors,
    state: Tensors,
    x: np.ndarray,
    y: np.ndarray,
    step: int = 1,
    noise: NoiseSource | None = None,
) -> Result:
    """Run one step. `noise(name, shape)` supplies normal numbers for the named site."""
    return _Run(program, network, loss, genome, dict(state), x, y, step, noise).result()


@dataclass
class _View:
    """Where an op is evaluated: at a layer (of side `side`), on a connection, or at a parameter."""

    layer: Layer | None = None
    side: str = ""
    connection: Connection | None = None
    parameter: str = ""
    made: dict[int, Array] = field(default_factory=dict)


class _Run:
    def __init__(
        self,
        program: Program,
        network: Network,
        loss: str,
        genome: Tensors,
        state: dict[str, np.ndarray],
        x: np.ndarray,
        y: np.ndarray,
        step: int,
        noise: NoiseSource | None,
    ) -> None:
        self.program, self.network, self.loss_name = program, network, loss
        self.genome, self.state, self.x, self.y, self.step, self.noise = genome, state, x, y, step, noise
        self.batch = x.shape[0]
        self.clamped = clamped_states(program)
        self.prediction: Array | None = None
        self.neurons: dict[tuple[str, str], Array] = {}
        self.broadcasts: dict[str, Array] = {}
        self.paths: dict[str, geometry.PathMap] = {}
        self.signal: str | None = None
        self.run_count = 0
        self.running = ""
        for declared in program.states:
            self._start(declared.name)

    def _start(self, name: str) -> None:
        declared = self.program.state(name)
        if declared.kind == "synapse":
            return
        extents = [self._extent_of(e) for e in declared.shape]
        value = Array(declared.indices, initial_array(declared.initial, extents))
        if declared.kind == "broadcast":
            self.broadcasts[name] = value
            return
        for layer in self.network.layers:
            kept = self.state.get(f"{name}.{layer.name}") if declared.keep else None
            start = value if kept is None else self._read_kept(kept, declared.indices, layer)
            self.neurons[(name, layer.name)] = self._whole(start, layer)

    def _read_kept(self, data: np.ndarray, indices: tuple[str, ...], layer: Layer) -> Array:
        axes = (*indices, "n", "j", "@")[: data.ndim if len(layer.shape) == 1 else None]
        return Array(axes, data.reshape(*data.shape[: len(indices) + 2], *([-1] if len(layer.shape) > 1 else [])))

    def _whole(self, value: Array, layer: Layer) -> Array:
        """Give a neuron value one number per sample and neuron, so that sums count every one."""
        rest = tuple(a for a in value.axes if a not in ("n", "j", "@"))
        return from_images(to_images(value, layer.shape, self.batch, rest), ("n", "j", "@"), rest, layer.shape)

    def _extent_of(self, extent: int | str) -> int:
        return extent if isinstance(extent, int) else self.network.output.shape[0]

    # --- Running blocks ---

    def result(self) -> Result:
        if self.program.acts_on_parameters:
            output = plain_prediction(self.network, self.state, self.x)
            self.prediction = Array(("n", "j"), output)
        for block, count in schedule(self.program.blocks):
            self.run_count, self.running = count, block.kind
            getattr(self, f"_run_{block.kind}")(block)
        assert self.prediction is not None
        self._store_kept()
        loss = self._loss(self.prediction)
        prediction = np.broadcast_to(self.prediction.spread(("n", "j")), (self.batch, self.network.output.shape[0]))
        return Result(self.state, prediction, float(np.mean(np.broadcast_to(loss.spread(("n",)), (self.batch,)))))

    def _store_kept(self) -> None:
        for declared in self.program.states:
            if declared.kind != "neuron" or not declared.keep:
                continue
            extents = tuple(self._extent_of(e) for e in declared.shape)
            for layer in self.network.layers:
                value = self.neurons[(declared.name, layer.name)]
                places = int(np.prod(layer.shape[1:]))
                full = np.broadcast_to(
                    value.spread((*declared.indices, "n", "j", "@")), (*extents, self.batch, layer.shape[0], places)
                )
                self.state[f"{declared.name}.{layer.name}"] = full.reshape(*extents, self.batch, *layer.shape).copy()

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
        made = [(w, self._value(w.value, view, block.kind)) for w in block.writes]
        for write, value in made:
            if write.name == "prediction":
                self.prediction = value
            elif self.program.state(write.name).kind == "broadcast":
                self.broadcasts[write.name] = value
            elif not (layer is self.network.input and block.kind != "input" and write.name in self.clamped):
                self.neurons[(write.name, layer.name)] = self._whole(value.renamed({side: "j"}), layer)

    def _run_update(self, block: Block) -> None:
        new: dict[str, np.ndarray] = {}
        for write in block.writes:
            declared = self.program.state(write.name)
            if len(write.side.split(",")) == 2:
                for connection in self.network.weighted:
                    view = _View(connection=connection)
                    key = f"{write.name}.{connection.name}"
                    new[key] = self._store_synapse(
                        connection, declared.indices, self._value(write.value, view, "update"), self.state[key]
                    )
            else:
                for layer in self._layers_with_weights():
                    key = f"{write.name}.{layer.name}"
                    value = self._value(write.value, _View(layer, write.side), "update")
                    shape = self.state[key].shape
                    new[key] = np.broadcast_to(value.spread((*declared.indices, write.side)), shape).copy()
        self.state.update(new)

    def _layers_with_weights(self) -> list[Layer]:
        return [layer for layer in self.network.layers if any(c.weights for c in self.network.incoming(layer.name))]

    def _store_synapse(
        self, connection: Connection, indices: tuple[str, ...], value: Array, before: np.ndarray
    ) -> np.ndarray:
        matrix = value.spread((*indices, "i", "j"))
        if not isinstance(connection.weights, Conv):
            return np.broadcast_to(matrix, before.shape).copy()
        full = (*before.shape[: len(indices)], *geometry.dense_kernel(connection.weights, before).shape[-2:])
        return geometry.sparse_kernel(connection.weights, np.broadcast_to(matrix, full))

    def _run_parameters(self, block: Block) -> None:
        gradient = plain_gradient(self.network, self.state, self.x, self.y, self.loss_name)
        new: dict[str, np.ndarray] = {}
        for name, slope_of in gradient.items():
            view = _View(parameter=name)
            flat = Array(("p",), slope_of.reshape(-1))
            view.made = {id(op): flat for w in block.writes for op in _grads(w.value)}
            for write in block.writes:
                value = self._value(write.value, view, "parameters")
                key = f"{write.name}.{name}"
                new[key] = np.broadcast_to(value.spread(("p",)), slope_of.size).reshape(slope_of.shape).copy()
        self.state.update(new)

    # --- Evaluating ops ---

    def _value(self, op: Op, view: _View, kind: str) -> Array:
        if id(op) not in view.made:
            view.made[id(op)] = self._without_margin(self._evaluate(op, view, kind), view)
        return view.made[id(op)]

    def _evaluate(self, op: Op, view: _View, kind: str) -> Array:
        if view.layer is not None and self._leaves_layer(op, view, kind):
            return self._across(op, view, kind)
        special = getattr(self, f"_op_{op.name}", None)
        if special is not None:
            return special(op, view, kind)
        return combine(POINTWISE[op.name], *(self._value(a, view, kind) for a in op.args))

    def _leaves_layer(self, op: Op, view: _View, kind: str) -> bool:
        if kind == "update":
            return op.name in ("reduce", "contract") and ({"i", "j"} - {view.side}) & set(op["indices"]) != set()
        return crosses(op, kind)

    def _across(self, op: Op, view: _View, kind: str) -> Array:
        """Evaluate a reduction on each connection of the layer, and add up."""
        assert view.layer is not None
        if view.side == "j":
            connections = self.network.incoming(view.layer.name)
        else:
            connections = self.network.outgoing(view.layer.name)
        operator = "sum" if op.name == "contract" else op["operator"]
        parts = [self._back_to_layer(self._value(op, _View(connection=c), kind), c, view) for c in connections]
        if not parts:
            return scalar(0.0)
        if len(parts) > 1 and operator != "sum":
            raise NotImplementedError(f"`{operator}` over several connections")
        total = parts[0]
        for part in parts[1:]:
            total = combine(np.add, total, part)
        return total

    def _back_to_layer(self, value: Array, connection: Connection, view: _View) -> Array:
        if view.side == "j" or "i" not in value.axes:
            return value
        assert view.layer is not None
        rest = tuple(a for a in value.axes if a not in ("n", "@", "i"))
        data = np.broadcast_to(
            value.spread(("n", "@", "i", *rest)),
            (self.batch, self._places(connection), value.size("i"), *(value.size(a) for a in rest)),
        )
        if isinstance(connection.weights, Conv):
            seen = geometry.fold(connection.weights, data, *connection.input_shape[1:])
        else:
            seen = _unplaced(data, connection.input_shape)
        like = {name: np.zeros((self.batch, *self.network.layer(name).shape)) for name in connection.sources}
        image = self._path(connection).adjoint(view.layer.name, seen, like)
        return from_images(image, ("n", "i", "@"), rest, view.layer.shape)

    def _places(self, connection: Connection) -> int:
        if isinstance(connection.weights, Conv):
            rows, columns = geometry.out_size(connection.weights, *connection.input_shape[1:])
            return rows * columns
        return int(np.prod(connection.input_shape[1:])) if connection.weights is None else 1

    def _path(self, connection: Connection) -> geometry.PathMap:
        if connection.name not in self.paths:
            images = {}
            for name in connection.sources:
                value = self.neurons[(self.signal, name)] if self.signal else scalar(0.0)
                for index in [a for a in value.axes if a not in ("n", "j", "@")]:
                    value = Array(
                        tuple(a for a in value.axes if a != index), np.take(value.data, 0, value.axes.index(index))
                    )
                images[name] = to_images(value, self.network.layer(name).shape, self.batch, ())
            self.paths[connection.name] = geometry.PathMap(connection.path, images)
        return self.paths[connection.name]

    def _op_constant(self, op: Op, view: _View, kind: str) -> Array:
        return scalar(op["value"])

    def _op_time(self, op: Op, view: _View, kind: str) -> Array:
        return scalar(self.step)

    def _op_genome(self, op: Op, view: _View, kind: str) -> Array:
        data = self.genome[op["name"]]
        entry = next(e for e in self.program.genome if e.name == op["name"])
        if entry.per_layer:
            data = data[self._connection_number(view)]
        return _selected(data, op["indices"])

    def _connection_number(self, view: _View) -> int:
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

    def _op_state(self, op: Op, view: _View, kind: str) -> Array:
        name, side, indices = op["name"], op["side"], op["indices"]
        if view.parameter:
            return Array(("p",), self.state[f"{name}.{view.parameter}"].reshape(-1))
        declared = self.program.state(name)
        if declared.kind == "broadcast":
            return _selected_axes(self.broadcasts[name], declared.indices, indices)
        if declared.kind == "synapse":
            return self._synapse(declared.indices, name, side.split(","), indices, view)
        return self._neuron(declared.indices, name, side, indices, view)

    def _synapse(
        self, own: tuple[str, ...], name: str, letters: list[str], indices: tuple[str | int, ...], view: _View
    ) -> Array:
        if len(letters) == 2:
            connection = view.connection
            assert connection is not None
            if connection.weights is None:
                return scalar(1.0)
            data = self.state[f"{name}.{connection.name}"]
            if isinstance(connection.weights, Conv):
                data = geometry.dense_kernel(connection.weights, data)
            return _selected_axes(Array((*own, *letters), data), own, indices)
        layer = view.layer.name if view.layer is not None else self._end(view, letters[0])
        shared = self.state.get(f"{name}.{layer}")
        return scalar(0.0) if shared is None else _selected_axes(Array((*own, letters[0]), shared), own, indices)

    def _end(self, view: _View, letter: str) -> str:
        assert view.connection is not None
        return view.connection.target if self._side(letter) == "j" else view.connection.sources[0]

    def _side(self, letter: str) -> str:
        owner = self.program.extents.get(letter)
        return str(owner) if owner in ("i", "j") else letter

    def _neuron(
        self, own: tuple[str, ...], name: str, letter: str, indices: tuple[str | int, ...], view: _View
    ) -> Array:
        side = self._side(letter)
        if view.layer is not None:
            value = self.neurons[(name, view.layer.name)]
        elif side == "j":
            assert view.connection is not None
            value = self.neurons[(name, view.connection.target)]
            if view.connection.weights is None and self.running == "backward":
                letter = "i"
        else:
            value = self._seen(name, own, view)
            if view.connection is not None and view.connection.weights is None and self.running != "backward":
                letter = "j"
        return _selected_axes(value.renamed({"j": letter}), own, indices)

    def _seen(self, name: str, own: tuple[str, ...], view: _View) -> Array:
        """Return the presynaptic state as the weights see it, with the letter `j` for its neurons."""
        connection = view.connection
        assert connection is not None
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
        seen = self._path(connection).apply(images)
        if isinstance(connection.weights, Conv):
            return Array(("n", "@", "j", *rest), geometry.unfold(connection.weights, seen))
        return from_images(seen, ("n", "j", "@"), rest, connection.input_shape)

    def _op_input(self, op: Op, view: _View, kind: str) -> Array:
        return from_images(
            self.x.reshape(self.batch, *self.network.input.shape),
            ("n", op["letter"], "@"),
            (),
            self.network.input.shape,
        )

    def _op_target(self, op: Op, view: _View, kind: str) -> Array:
        return Array(("n", op["letter"]), self.y)

    def _op_prediction(self, op: Op, view: _View, kind: str) -> Array:
        assert self.prediction is not None
        return self.prediction.renamed({"j": op["letter"]})

    def _op_loss(self, op: Op, view: _View, kind: str) -> Array:
        return self._loss(self._predicted(op, view, kind))

    def _predicted(self, op: Op, view: _View, kind: str) -> Array:
        prediction = self._value(op.args[0], view, kind) if op.args else self.prediction
        assert prediction is not None
        return prediction

    def _loss(self, prediction: Array) -> Array:
        target = Array(("n", "j"), self.y)
        if self.loss_name == "mse":
            return reduce_axes("mean", combine(lambda p, q: (p - q) ** 2, prediction, target), ("j",))
        highest = reduce_axes("max", prediction, ("j",))
        shifted = combine(np.subtract, prediction, highest)
        logs = combine(lambda p, s: p - np.log(s), shifted, reduce_axes("sum", combine(np.exp, shifted), ("j",)))
        return combine(np.negative, reduce_axes("sum", combine(np.multiply, logs, target), ("j",)))

    def _op_loss_slope(self, op: Op, view: _View, kind: str) -> Array:
        prediction, target = self._predicted(op, view, kind), Array(("n", "j"), self.y)
        if self.loss_name == "mse":
            return combine(lambda p, q: 2 * (p - q) / self.y.shape[1], prediction, target)
        mass = reduce_axes("sum", target, ("j",))
        return combine(lambda s, m, q: s * m - q, reduce_axes("softmax", prediction, ("j",)), mass, target)

    def _op_extent(self, op: Op, view: _View, kind: str) -> Array:
        return scalar(self._count(op["index"], view))

    def _count(self, index: str, view: _View) -> int:
        if index == "n":
            return self.batch
        if index in self.program.extents and self._side(index) not in ("i", "j"):
            return self._extent_of(self.program.extents[index])
        if view.layer is not None:
            return int(np.prod(view.layer.shape))
        assert view.connection is not None
        if self._side(index) == "j":
            return self.network.layer(view.connection.target).shape[0]
        weights = view.connection.weights
        return view.connection.input_shape[0] * (int(np.prod(weights.kernel)) if isinstance(weights, Conv) else 1)

    def _op_position(self, op: Op, view: _View, kind: str) -> Array:
        return Array((op["index"],), np.arange(self._count(op["index"], view), dtype=float))

    def _op_noise(self, op: Op, view: _View, kind: str) -> Array:
        assert self.noise is not None, "this rule draws noise"
        place = view.parameter or (
            view.connection.name if view.connection is not None else view.layer.name if view.layer else ""
        )
        name = f"noise{op['site']}.{self.run_count}.{place}"
        declared = tuple(a for a in sorted(op.axes) if a not in ("n", "i", "j", "p"))
        lead = tuple(self._extent_of(self.program.extents[a]) for a in declared)
        if "p" in op.axes:
            return Array(("p",), self.noise(name, self.state[f"w.{view.parameter}"].shape).reshape(-1))
        if {"i", "j"} <= op.axes:
            return self._synapse_noise(name, declared, lead, view)
        sample = (self.batch,) if "n" in op.axes else ()
        letter = next((a for a in ("i", "j") if a in op.axes), None)
        if letter is None:
            return Array((*declared, *(("n",) if sample else ())), self.noise(name, (*lead, *sample)))
        assert view.layer is not None
        shape = view.layer.shape if sample else view.layer.shape[:1]
        data = self.noise(name, (*lead, *sample, *shape))
        axes = (*declared, *(("n",) if sample else ()), letter)
        return Array((*axes, "@"), data.reshape(*data.shape[: len(axes)], -1)) if len(shape) > 1 else Array(axes, data)

    def _synapse_noise(self, name: str, declared: tuple[str, ...], lead: tuple[int, ...], view: _View) -> Array:
        assert view.connection is not None and view.connection.weights is not None and self.noise is not None
        weights = view.connection.weights
        if isinstance(weights, Conv):
            shape = (*lead, weights.outputs, weights.inputs // weights.groups, *weights.kernel)
            return Array((*declared, "i", "j"), geometry.dense_kernel(weights, self.noise(name, shape)))
        return Array((*declared, "i", "j"), self.noise(name, (*lead, weights.inputs, weights.outputs)))

    def _op_act(self, op: Op, view: _View, kind: str) -> Array:
        layer = self._owner(op, view)
        return activate(layer, self._value(op.args[0], view, kind), op["side"], self._affine(layer))

    def _op_slope(self, op: Op, view: _View, kind: str) -> Array:
        table = {1: SLOPES, 2: CURVATURES}[op["order"]]
        return slope(self._owner(op, view), self._value(op.args[0], view, kind), table)

    def _op_pullback(self, op: Op, view: _View, kind: str) -> Array:
        z, back = (self._value(a, view, kind) for a in op.args)
        layer = self._owner(op, view)
        return pull_back(layer, z, back, op["side"], self._affine(layer))

    def _affine(self, layer: Layer) -> Affine | None:
        if layer.norm is None or not layer.norm.affine:
            return None
        return self.state[f"network.{layer.name}.scale"], self.state[f"network.{layer.name}.shift"]

    def _owner(self, op: Op, view: _View) -> Layer:
        if view.layer is not None:
            return view.layer
        return self.network.layer(self._end(view, op["side"]))

    def _op_reduce(self, op: Op, view: _View, kind: str) -> Array:
        value = self._value(op.args[0], view, kind)
        if op["operator"] == "mean" and "n" in op["indices"]:
            return self._mean_over_samples(op, value, view)
        return reduce_axes(op["operator"], value, self._reduced(op, value, view))

    def _without_margin(self, value: Array, view: _View) -> Array:
        """What a kernel sees beyond the edge of the image is zero, whatever function is applied to presynaptic values."""
        connection = view.connection
        if (
            connection is None
            or not isinstance(connection.weights, Conv)
            or not {"@", "i"} <= set(value.axes)
            or "j" in value.axes
        ):
            return value
        inside = geometry.unfold(connection.weights, np.ones((1, *connection.input_shape)))[0]
        return combine(np.multiply, value, Array(("@", "i"), inside))

    def _reduced(self, op: Op, value: Array, view: _View) -> tuple[str, ...]:
        """Return the axes to reduce: places go with the sample, and with the neurons of a layer seen as a whole."""
        indices = op["indices"]
        axes = [i for i in indices if i in value.axes]
        lateral = view.side in indices if view.layer is not None else whole_layer(op, "j")
        if "@" in value.axes and ("n" in indices or lateral):
            axes.append("@")
        return tuple(axes)

    def _mean_over_samples(self, op: Op, value: Array, view: _View) -> Array:
        """A statistic averages over places too; a change of a shared synapse adds them up."""
        axes = self._reduced(op, value, view)
        total = reduce_axes("sum", value, axes)
        count = np.prod([value.size(a) for a in axes if a != "@" or op["places"]])
        return combine(lambda v: v / count, total)

    def _op_contract(self, op: Op, view: _View, kind: str) -> Array:
        value = combine(
            lambda *factors: np.prod(np.broadcast_arrays(*factors), axis=0),
            *(self._value(a, view, kind) for a in op.args),
        )
        axes = self._reduced(op, value, view)
        total = reduce_axes("sum", value, axes)
        divisor = float(np.prod([value.size(index) for index in op["means"] if index in value.axes]))
        if "@" in axes and op["means"] and (op["places"] or "n" not in op["indices"]):
            divisor *= value.size("@")
        return combine(lambda v: v / divisor, total)

    def _op_take(self, op: Op, view: _View, kind: str) -> Array:
        value = self._value(op.args[0], view, kind)
        for index, number in op["at"]:
            if index in value.axes:
                at = value.axes.index(index)
                value = Array(tuple(a for a in value.axes if a != index), np.take(value.data, number, at))
        return value

    def _op_insert(self, op: Op, view: _View, kind: str) -> Array:
        before, value = (self._value(a, view, kind) for a in op.args)
        fixed = dict(op["at"])
        axes = union(before, value, *(Array((i,), np.zeros(self._count(i, view))) for i in fixed))
        sizes = [
            max([a.size(x) for a in (before, value) if x in a.axes] + ([self._count(x, view)] if x in fixed else []))
            for x in axes
        ]
        data = np.broadcast_to(before.spread(axes), sizes).copy()
        place = tuple(fixed.get(a, slice(None)) for a in axes)
        inner = value.spread(tuple(a for a in axes if a not in fixed))
        data[place] = inner
        return Array(axes, data)

    def _op_rename(self, op: Op, view: _View, kind: str) -> Array:
        return self._value(op.args[0], view, kind).renamed(dict(op["letters"]))

    def _op_stop(self, op: Op, view: _View, kind: str) -> Array:
        return self._value(op.args[0], view, kind)

    def _op_net(self, op: Op, view: _View, kind: str) -> Array:
        columns: list[Array] = []
        for index, argument in zip(op["features"], op.args, strict=True):
            value = self._value(argument, view, kind)
            columns += (
                [value]
                if index is None
                else [
                    Array(tuple(a for a in value.axes if a != index), np.take(value.data, k, value.axes.index(index)))
                    for k in range(value.size(index))
                ]
            )
        axes = union(*columns)
        hidden = np.stack(np.broadcast_arrays(*(c.spread(axes) for c in columns)), axis=-1)
        net = next(n for n in self.program.nets if n.name == op["name"])
        for layer in range(len(net.sizes) - 1):
            hidden = hidden @ self.genome[f"{net.name}.{layer}.weight"] + self.genome[f"{net.name}.{layer}.bias"]
            if layer < len(net.sizes) - 2:
                hidden = POINTWISE[net.activation](hidden)
        if isinstance(op["index"], str):
            return Array((*axes, op["index"]), hidden)
        return Array(axes, hidden[..., op["index"] or 0])

    def _op_solve(self, op: Op, view: _View, kind: str) -> Array:
        matrix, right = (self._value(a, view, kind) for a in op.args)
        rest = tuple(a for a in union(matrix, right) if a not in (op["row"], op["column"]))
        a = matrix.spread((*rest, op["row"], op["column"]))
        b = right.spread((*rest, op["row"]))
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-1])
        solution = np.linalg.solve(
            np.broadcast_to(a, (*lead, *a.shape[-2:])), np.broadcast_to(b, (*lead, b.shape[-1]))[..., None]
        )
        return Array((*rest, op["column"]), solution[..., 0])


def _grads(root: Op) -> list[Op]:
    return [op for op in walk_ops([root]) if op.name == "grad"]


def _selected(data: np.ndarray, indices: tuple[str | int, ...]) -> Array:
    place = tuple(i if isinstance(i, int) else slice(None) for i in indices)
    return Array(tuple(i for i in indices if isinstance(i, str)), np.asarray(data)[place])


def _selected_axes(value: Array, own: tuple[str, ...], indices: tuple[str | int, ...]) -> Array:
    """Read a state whose declared indices are `own` with other letters, or at fixed components."""
    for name, index in zip(own, indices, strict=True):
        if isinstance(index, int) and name in value.axes:
            at = value.axes.index(name)
            value = Array(tuple(a for a in value.axes if a != name), np.take(value.data, index, at))
    return value.renamed({name: index for name, index in zip(own, indices, strict=True) if isinstance(index, str)})


def _unplaced(data: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(n, places, features, ...) to images (n, features, height, width, ...), or (n, features, ...) without places."""
    if len(shape) == 1:
        return data[:, 0]
    moved = np.moveaxis(data, 1, 2)
    return moved.reshape(moved.shape[0], *shape, *moved.shape[3:])
