"""One training step of a program on a small dense network, over any field: what laws and equivalences speak of.

State layout as everywhere: `w.c1` is state `w` on connection `c1`, (declared indices..., inputs, outputs); `b.hidden1` is
a state of a layer. For rules on parameters, `w.NAME` and `m.NAME` are the parameter NAME and what belongs to it, and the
gradient is given: nothing about it is assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce as fold

import numpy as np

from rulec.ir.graph import Block, Law, Op, Program, walk_ops
from rulec.ir.initial import initial_array
from rulec.ir.signals import clamped_states, crosses, schedule
from rulec.network.graph import Connection, Layer, Network
from rulec.oracle.arrays import Array, combine, union
from rulec.symbolic.fields import Field, Number, Numbers

State = dict[str, Numbers]


@dataclass(frozen=True)
class Inputs:
    """What a step starts from; every array has dtype object. `gradient`: for rules on parameters."""

    genome: Mapping[str, Numbers]
    state: State
    x: Numbers  # (batch, inputs)
    y: Numbers  # (batch, outputs)
    time: Number
    noise: Callable[[str, tuple[int, ...]], Numbers]
    gradient: Mapping[str, Numbers] = field(default_factory=dict)


@dataclass
class _View:
    """Where an op is evaluated: at a layer (of side `side`), on a connection, or at a parameter."""

    layer: Layer | None = None
    side: str = ""
    connection: Connection | None = None
    parameter: str = ""
    made: dict[int, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Sides:
    """Both sides of a law at one place, as arrays of one shape."""

    place: str
    axes: tuple[str, ...]
    left: Numbers
    right: Numbers


def _end(blocks: Sequence[tuple[Block, int]], wanted: Op) -> int:
    """Return how many of the blocks have to run before an op has its value."""
    read = {op["name"] for op in walk_ops([wanted]) if op.name == "state"}
    if any(op.name in ("prediction", "loss", "loss_slope") for op in walk_ops([wanted])):
        read.add("prediction")
    written = [k for k, (block, _) in enumerate(blocks, 1) if read & {w.name for w in block.writes}]
    return max(written, default=0)


class Step:
    """The step, run when it is made: `state` and `prediction` (batch, outputs) are its results.

    With `wanted`, no further than that op needs: what a step makes afterwards is missing.
    """

    def __init__(
        self, over: Field, program: Program, network: Network, loss: str, inputs: Inputs, wanted: Op | None = None
    ) -> None:
        self.over, self.program, self.network, self.loss, self.inputs = over, program, network, loss, inputs
        self.before = dict(inputs.state)
        self.state = dict(inputs.state)
        self.batch = inputs.x.shape[0]
        self.predicted: Array | None = None
        self.neurons: dict[tuple[str, str], Array] = {}
        self.broadcasts: dict[str, Array] = {}
        self.running, self.count = "", 0
        self.clamped = clamped_states(program)
        self._start()
        blocks = schedule(program.blocks)
        for block, count in blocks if wanted is None else blocks[: _end(blocks, wanted)]:
            self.running, self.count = block.kind, count
            getattr(self, f"_run_{block.kind}")(block)
        self._store_kept()

    @property
    def prediction(self) -> Numbers:
        assert self.predicted is not None
        shape = (self.batch, self.network.output.shape[0])
        return np.broadcast_to(self.predicted.spread(("n", "j")), shape)

    # --- States ---

    def _start(self) -> None:
        for declared in self.program.states:
            if declared.kind == "synapse":
                continue
            start = initial_array(declared.initial, [self._extent(e) for e in declared.shape])
            value = Array(declared.indices, self._numbers(start))
            if declared.kind == "broadcast":
                self.broadcasts[declared.name] = value
                continue
            for layer in self.network.layers:
                kept = self.before.get(f"{declared.name}.{layer.name}") if declared.keep else None
                own = value if kept is None else Array((*declared.indices, "n", "j"), kept)
                self.neurons[(declared.name, layer.name)] = self._whole(own, layer)

    def _store_kept(self) -> None:
        for declared in self.program.states:
            if declared.kind == "neuron" and declared.keep:
                for layer in self.network.layers:
                    value = self.neurons[(declared.name, layer.name)]
                    sizes = [self._extent(e) for e in declared.shape]
                    full = value.spread((*declared.indices, "n", "j"))
                    shape = (*sizes, self.batch, layer.shape[0])
                    self.state[f"{declared.name}.{layer.name}"] = np.broadcast_to(full, shape).copy()

    def _whole(self, value: Array, layer: Layer) -> Array:
        """Give a neuron value one number per sample and neuron, so that sums count every one."""
        rest = tuple(a for a in value.axes if a not in ("n", "j"))
        shape = (self.batch, layer.shape[0], *(value.size(a) for a in rest))
        return Array(("n", "j", *rest), np.broadcast_to(value.spread(("n", "j", *rest)), shape))

    def _numbers(self, values: np.ndarray) -> Numbers:
        return np.array([self.over.number(v) for v in values.reshape(-1)], object).reshape(values.shape)

    def _scalar(self, value: float) -> Array:
        return Array((), np.array(self.over.number(value), object))

    def _extent(self, extent: int | str) -> int:
        return extent if isinstance(extent, int) else self.network.output.shape[0]

    # --- Blocks ---

    def _run_input(self, block: Block) -> None:
        self._visit(block, self.network.input, "i")

    def _run_output(self, block: Block) -> None:
        self._visit(block, self.network.output, "j")

    def _run_forward(self, block: Block) -> None:
        for layer in self.network.layers[1:]:
            self._visit(block, layer, "j")

    def _run_backward(self, block: Block) -> None:
        for layer in reversed(self.network.layers[:-1]):
            self._visit(block, layer, "i")

    def _visit(self, block: Block, layer: Layer, side: str) -> None:
        view = _View(layer, side)
        made = [(w, self._value(w.value, view)) for w in block.writes]
        for write, value in made:
            if write.name == "prediction":
                self.predicted = value
            elif self.program.state(write.name).kind == "broadcast":
                self.broadcasts[write.name] = value
            elif not (layer is self.network.input and block.kind != "input" and write.name in self.clamped):
                self.neurons[(write.name, layer.name)] = self._whole(value.renamed({side: "j"}), layer)

    def _run_update(self, block: Block) -> None:
        new: State = {}
        for write in block.writes:
            indices = self.program.state(write.name).indices
            if "," in write.side:
                views = {c.name: _View(connection=c) for c in self.network.weighted}
            else:
                views = {layer.name: _View(layer, write.side) for layer in self._layers_with_weights()}
            for place, view in views.items():
                key = f"{write.name}.{place}"
                value = self._value(write.value, view).spread((*indices, *sorted(write.side.split(","))))
                new[key] = np.broadcast_to(value, self.state[key].shape).copy()
        self.state.update(new)

    def _layers_with_weights(self) -> list[Layer]:
        return [layer for layer in self.network.layers if any(c.weights for c in self.network.incoming(layer.name))]

    def _run_parameters(self, block: Block) -> None:
        new: State = {}
        for name, slope in self.inputs.gradient.items():
            view = _View(parameter=name)
            for write in block.writes:
                value = np.broadcast_to(self._value(write.value, view).spread(("p",)), slope.size)
                new[f"{write.name}.{name}"] = value.reshape(slope.shape).copy()
        self.state.update(new)

    # --- Laws ---

    def sides(self, law: Law) -> list[Sides]:
        """Evaluate both sides of a law wherever it speaks: on connections, at layers, at parameters."""
        self.running = "update"
        after, self.state = self.state, self.before
        try:
            return [self._sides_at(place, view, law, after) for place, view in self._places(law)]
        finally:
            self.state = after

    def _places(self, law: Law) -> list[tuple[str, _View]]:
        if self.program.acts_on_parameters:
            return [(name, _View(parameter=name)) for name in self.inputs.gradient]
        letters = law.left.axes | law.right.axes
        if "j" in letters and "i" not in letters:
            return [(layer.name, _View(layer, "j")) for layer in self._layers_with_weights()]
        return [(c.name, _View(connection=c)) for c in self.network.weighted]

    def _sides_at(self, place: str, view: _View, law: Law, after: State) -> Sides:
        self.after = after
        left, right = self._value(law.left, view), self._value(law.right, view)
        axes = union(left, right)
        both = np.broadcast_arrays(left.spread(axes), right.spread(axes))
        return Sides(place, axes, *both)

    def value_of(self, op: Op) -> Number:
        """Evaluate an op that belongs to no place: the mean loss, say."""
        return self._value(op, _View()).data[()]

    def _op_change(self, op: Op, view: _View) -> Array:
        key = f"{op['name']}.{self._place_of(op, view)}"
        return self._placed(op, self.after[key] - self.before[key])

    def _op_grad(self, op: Op, view: _View) -> Array:
        if view.parameter:
            return Array(("p",), self.inputs.gradient[view.parameter].reshape(-1))
        key = f"{op['name']}.{self._place_of(op, view)}"
        objective = op.args[0]

        def again(numbers: Numbers) -> Number:
            changed = Inputs(**{**vars(self.inputs), "state": {**self.before, key: numbers}})
            return Step(self.over, self.program, self.network, self.loss, changed, objective)._mean_of(objective)

        return self._placed(op, self.over.gradient(self._mean_of(objective), again, self.before[key]))

    def _mean_of(self, objective: Op) -> Number:
        """One number: over samples, the gradient of a loss is that of its mean."""
        self.running = "update"
        value = self._value(objective, _View())
        return value.data.sum() / self.over.number(value.data.size)

    def _place_of(self, op: Op, view: _View) -> str:
        if view.parameter:
            return view.parameter
        if "," in self._sides_of(op):
            assert view.connection is not None
            return view.connection.name
        return view.layer.name if view.layer is not None else self._end(view, self._sides_of(op))

    def _sides_of(self, op: Op) -> str:
        return ",".join(sorted(self.program.state(op["name"]).sides))

    def _placed(self, op: Op, data: Numbers) -> Array:
        if "p" in op.axes:
            return Array(("p",), data.reshape(-1))
        declared = self.program.state(op["name"])
        letters = ("i", "j") if len(declared.sides) == 2 else tuple(declared.sides)
        return Array((*declared.indices, *letters), data)

    # --- Ops ---

    def _value(self, op: Op, view: _View) -> Array:
        if id(op) not in view.made:
            view.made[id(op)] = self._evaluate(op, view)
        return view.made[id(op)]

    def _evaluate(self, op: Op, view: _View) -> Array:
        if view.layer is not None and self._leaves_layer(op, view):
            return self._across(op, view)
        special = getattr(self, f"_op_{op.name}", None)
        if special is not None:
            return special(op, view)
        return combine(lambda *a: self.over.apply(op.name, *a), *(self._value(a, view) for a in op.args))

    def _leaves_layer(self, op: Op, view: _View) -> bool:
        if self.running == "update":
            return op.name in ("reduce", "contract") and bool(({"i", "j"} - {view.side}) & set(op["indices"]))
        return crosses(op, self.running)

    def _across(self, op: Op, view: _View) -> Array:
        """Evaluate a reduction on each connection of the layer, and add up."""
        assert view.layer is not None
        near = self.network.incoming if view.side == "j" else self.network.outgoing
        parts = [self._value(op, _View(connection=c)) for c in near(view.layer.name)]
        return fold(lambda a, b: combine(np.add, a, b), parts) if parts else self._scalar(0)

    def _op_constant(self, op: Op, view: _View) -> Array:
        return self._scalar(op["value"])

    def _op_array(self, op: Op, view: _View) -> Array:
        return Array(op["indices"], self._numbers(np.array(op["values"], float)))

    def _op_time(self, op: Op, view: _View) -> Array:
        return Array((), np.array(self.inputs.time, object))

    def _op_genome(self, op: Op, view: _View) -> Array:
        data = self.inputs.genome[op["name"]]
        if next(e for e in self.program.genome if e.name == op["name"]).per_layer:
            data = data[self._connection_number(view)]
        place = tuple(i if isinstance(i, int) else slice(None) for i in op["indices"])
        return Array(
            tuple(i for i in op["indices"] if isinstance(i, str)), np.asarray(np.asarray(data, object)[place], object)
        )

    def _connection_number(self, view: _View) -> int:
        if view.connection is not None:
            return self.network.connections.index(view.connection)
        if view.parameter:
            return 0
        assert view.layer is not None
        near = self.network.incoming if view.side == "j" else self.network.outgoing
        return self.network.connections.index(near(view.layer.name)[0])

    def _op_state(self, op: Op, view: _View) -> Array:
        name, side, indices = op["name"], op["side"], op["indices"]
        if view.parameter:
            return Array(("p",), self.state[f"{name}.{view.parameter}"].reshape(-1))
        declared = self.program.state(name)
        own = declared.indices
        if declared.kind == "broadcast":
            return _selected(self.broadcasts[name], own, indices)
        if declared.kind == "neuron":
            value = self.neurons[(name, self._layer_of(side, view))]
            return _selected(value.renamed({"j": side}), own, indices)
        letters = side.split(",")
        if len(letters) == 2:
            assert view.connection is not None
            return _selected(Array((*own, *letters), self.state[f"{name}.{view.connection.name}"]), own, indices)
        shared = self.state.get(f"{name}.{self._layer_of(side, view)}")
        return self._scalar(0) if shared is None else _selected(Array((*own, side), shared), own, indices)

    def _layer_of(self, letter: str, view: _View) -> str:
        return view.layer.name if view.layer is not None else self._end(view, letter)

    def _end(self, view: _View, letter: str) -> str:
        assert view.connection is not None
        return view.connection.target if self._side(letter) == "j" else view.connection.sources[0]

    def _side(self, letter: str) -> str:
        owner = self.program.extents.get(letter)
        return str(owner) if owner in ("i", "j") else letter

    def _op_input(self, op: Op, view: _View) -> Array:
        return Array(("n", op["letter"]), self.inputs.x)

    def _op_target(self, op: Op, view: _View) -> Array:
        return Array(("n", op["letter"]), self.inputs.y)

    def _op_prediction(self, op: Op, view: _View) -> Array:
        assert self.predicted is not None
        return self.predicted.renamed({"j": op["letter"]})

    def _predicted(self, op: Op, view: _View) -> Numbers:
        prediction = self._value(op.args[0], view) if op.args else self.predicted
        assert prediction is not None
        shape = (self.batch, self.network.output.shape[0])
        return np.broadcast_to(prediction.spread(("n", "j")), shape)

    def _op_loss(self, op: Op, view: _View) -> Array:
        return Array(("n",), self.over.loss(self.loss, self._predicted(op, view), self.inputs.y))

    def _op_loss_slope(self, op: Op, view: _View) -> Array:
        return Array(("n", "j"), self.over.loss_slope(self.loss, self._predicted(op, view), self.inputs.y))

    def _op_extent(self, op: Op, view: _View) -> Array:
        return self._scalar(self._count(op["index"], view))

    def _count(self, index: str, view: _View) -> int:
        if index == "n":
            return self.batch
        if index == "@":  # networks of symbols have no images
            return 1
        if index in self.program.extents and self._side(index) not in ("i", "j"):
            return self._extent(self.program.extents[index])
        return self.network.layer(self._layer_of(index, view)).shape[0]

    def _op_ones(self, op: Op, view: _View) -> Array:
        return Array((op["index"],), self._numbers(np.ones(self._count(op["index"], view), int)))

    def _op_position(self, op: Op, view: _View) -> Array:
        return Array((op["index"],), self._numbers(np.arange(self._count(op["index"], view))))

    def _op_noise(self, op: Op, view: _View) -> Array:
        place = view.parameter or (view.connection or view.layer).name  # type: ignore[union-attr]
        name = f"noise{op['site']}.{self.count}.{place}"
        if "p" in op.axes:
            return Array(("p",), self.inputs.noise(name, self.state[f"w.{view.parameter}"].shape).reshape(-1))
        declared = tuple(a for a in sorted(op.axes) if a not in ("n", "i", "j"))
        axes = (*declared, *(a for a in ("n", "i", "j") if a in op.axes))
        return Array(axes, self.inputs.noise(name, tuple(self._count(a, view) for a in axes)))

    def _op_act(self, op: Op, view: _View) -> Array:
        z = self._value(op.args[0], view)
        return combine(lambda v: self.over.apply(self._activation(op, view), v), z)

    def _op_slope(self, op: Op, view: _View) -> Array:
        z = self._value(op.args[0], view)
        return combine(lambda v: self.over.slope(self._activation(op, view), op["order"], v), z)

    def _op_pullback(self, op: Op, view: _View) -> Array:
        z, back = (self._value(a, view) for a in op.args)
        return combine(lambda v, e: self.over.slope(self._activation(op, view), 1, v) * e, z, back)

    def _activation(self, op: Op, view: _View) -> str:
        return self.network.layer(self._layer_of(op["side"], view)).activation

    def _op_reduce(self, op: Op, view: _View) -> Array:
        return self._reduced(op["operator"], self._value(op.args[0], view), op["indices"])

    def _op_contract(self, op: Op, view: _View) -> Array:
        product = fold(lambda a, b: combine(np.multiply, a, b), (self._value(a, view) for a in op.args))
        total = self._reduced("sum", product, op["indices"])
        count = int(np.prod([product.size(i) for i in op["means"] if i in product.axes]))
        return Array(total.axes, np.asarray(total.data / self.over.number(count), object))

    def _reduced(self, operator: str, value: Array, indices: tuple[str, ...]) -> Array:
        axes = tuple(a for a in indices if a in value.axes)
        where = tuple(value.axes.index(a) for a in axes)
        rest = tuple(a for a in value.axes if a not in axes)
        data, apply = value.data, self.over.apply
        count = self.over.number(int(np.prod([value.size(a) for a in axes])))
        if operator == "softmax":
            powers = apply("exp", data)
            return Array(value.axes, apply("div", powers, powers.sum(axis=where, keepdims=True)))
        if operator in ("max", "min"):
            folded = data.transpose([*where, *(value.axes.index(a) for a in rest)])
            folded = folded.reshape(-1, *(value.size(a) for a in rest))
            return Array(rest, fold(lambda a, b: apply(operator, a, b), folded))
        if operator == "var":
            centred = data - data.sum(axis=where, keepdims=True) / count
            data, operator = centred * centred, "mean"
        elif operator == "norm":
            data = data * data
        total = np.asarray(data.sum(axis=where), object)
        if operator == "mean":
            total = np.asarray(total / count, object)
        return Array(rest, apply("sqrt", total) if operator == "norm" else total)

    def _op_take(self, op: Op, view: _View) -> Array:
        value = self._value(op.args[0], view)
        return _selected(value, tuple(i for i, _ in op["at"]), tuple(number for _, number in op["at"]))

    def _op_insert(self, op: Op, view: _View) -> Array:
        before, value = (self._value(a, view) for a in op.args)
        fixed = dict(op["at"])
        axes = union(before, value, *(Array((i,), np.zeros(1)) for i in fixed))
        sizes = [
            self._count(a, view) if a in fixed else max(v.size(a) for v in (before, value) if a in v.axes) for a in axes
        ]
        data = np.broadcast_to(before.spread(axes), sizes).copy()
        data[tuple(fixed.get(a, slice(None)) for a in axes)] = value.spread(tuple(a for a in axes if a not in fixed))
        return Array(axes, data)

    def _op_rename(self, op: Op, view: _View) -> Array:
        return self._value(op.args[0], view).renamed(dict(op["letters"]))

    def _op_stop(self, op: Op, view: _View) -> Array:
        return self._value(op.args[0], view)

    def _op_net(self, op: Op, view: _View) -> Array:
        columns: list[Array] = []
        for index, argument in zip(op["features"], op.args, strict=True):
            value = self._value(argument, view)
            if index is None:
                columns.append(value)
            else:
                columns += [_selected(value, (index,), (k,)) for k in range(value.size(index))]
        axes = union(*columns)
        hidden = np.stack(np.broadcast_arrays(*(c.spread(axes) for c in columns)), axis=-1)
        net = next(n for n in self.program.nets if n.name == op["name"])
        for layer in range(len(net.sizes) - 1):
            weight, bias = (self.inputs.genome[f"{net.name}.{layer}.{part}"] for part in ("weight", "bias"))
            if net.per_layer:
                number = self._connection_number(view)
                weight, bias = weight[number], bias[number]
            hidden = (hidden[..., None] * weight).sum(axis=-2) + bias
            if layer < len(net.sizes) - 2:
                hidden = self.over.apply(net.activation, hidden)
        if isinstance(op["index"], str):
            return Array((*axes, op["index"]), hidden)
        return Array(axes, np.asarray(hidden[..., op["index"] or 0], object))

    def _op_solve(self, op: Op, view: _View) -> Array:
        matrix, right = (self._value(a, view) for a in op.args)
        rest = tuple(a for a in union(matrix, right) if a not in (op["row"], op["column"]))
        a, b = matrix.spread((*rest, op["row"], op["column"])), right.spread((*rest, op["row"]))
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-1])
        a, b = np.broadcast_to(a, (*lead, *a.shape[-2:])), np.broadcast_to(b, (*lead, b.shape[-1]))
        return Array((*rest, op["column"]), self.over.solve(a, b))


def _selected(value: Array, own: tuple[str, ...], indices: tuple[str | int, ...]) -> Array:
    """Read a value whose declared indices are `own` with other letters, or at fixed components."""
    for name, index in zip(own, indices, strict=True):
        if isinstance(index, int) and name in value.axes:
            at = value.axes.index(name)
            data = np.asarray(np.take(value.data, index, at), object)
            value = Array(tuple(a for a in value.axes if a != name), data)
    return value.renamed({name: index for name, index in zip(own, indices, strict=True) if isinstance(index, str)})
