"""Lower the ops of the IR, one function each; reductions and nets have files of their own."""

from __future__ import annotations

from typing import Any

import torch

from rulec.backend import messages, units
from rulec.backend.frame import Frame, NoiseSite, View
from rulec.backend.layout import weight_labels
from rulec.backend.losses import loss_slope
from rulec.backend.paths import neuron_labels
from rulec.backend.products import contract_labels
from rulec.backend.values import Value, component, size_of
from rulec.ir.graph import Op
from rulec.network.graph import Connection, Conv
from rulec.source import RuleError


def _lower_constant(frame: Frame, op: Op, view: View) -> Value:
    return frame.emit.number(op["value"])


def _lower_array(frame: Frame, op: Op, view: View) -> Value:
    """Make an array where the data are, of their type."""
    return frame.emit.canonical(
        frame.emit.make(op["indices"], torch.Tensor.new_tensor, frame.x.node, _lists(op["values"]))
    )


def _lists(values: Any) -> Any:
    return [_lists(v) for v in values] if isinstance(values, tuple) else values


def _lower_time(frame: Frame, op: Op, view: View) -> Value:
    return frame.t


def _lower_genome(frame: Frame, op: Op, view: View) -> Value:
    entry = next(e for e in frame.program.genome if e.name == op["name"])
    value = frame.genome[entry.name]
    if entry.per_layer:
        value = frame.of_connection(value, entry.name, view)
    return frame.indexed(value, entry.indices, op["indices"])


def _lower_state(frame: Frame, op: Op, view: View) -> Value:
    name, side, indices = op["name"], op["side"], op["indices"]
    if view.parameter is not None:
        return frame.state[f"{name}.{view.parameter.name.split('.', 1)[1]}"]
    declared = frame.program.state(name)
    if declared.kind == "broadcast":
        return frame.indexed(frame.broadcasts[name], declared.indices, indices)
    letters = side.split(",")
    if declared.kind == "neuron":
        return frame.indexed(_neuron(frame, name, letters[0], view, op), declared.indices, indices)
    return frame.indexed(_synapse(frame, name, letters, view, op), declared.indices, indices)


def _lower_input(frame: Frame, op: Op, view: View) -> Value:
    return frame.relabelled(frame.x, "i", op["letter"])


def _lower_target(frame: Frame, op: Op, view: View) -> Value:
    return frame.emit.renamed(frame.y, {"j": op["letter"]})


def _lower_prediction(frame: Frame, op: Op, view: View) -> Value:
    assert frame.prediction is not None
    return frame.emit.renamed(frame.prediction, {"j": op["letter"]})


def _lower_loss(frame: Frame, op: Op, view: View) -> Value:
    return frame.loss(_predicted(frame, op, view))


def _lower_loss_slope(frame: Frame, op: Op, view: View) -> Value:
    return loss_slope(frame.emit, _predicted(frame, op, view), frame.y, frame.loss_name, frame.network.output.shape[0])


def _lower_extent(frame: Frame, op: Op, view: View) -> Value:
    index = op["index"]
    if index == "n":
        return Value(frame.emit, frame.batch(), ())
    return frame.emit.number(float(frame.count(index, view)))


def _lower_ones(frame: Frame, op: Op, view: View) -> Value:
    """A one per neuron of a layer, or per input of a kernel; with groups, the inputs of the others are counted there, too."""
    index, connection = op["index"], view.connection
    if connection is not None and connection.weights is None:
        return frame.emit.number(1.0)
    shape = frame.shape_of(index, view)
    labels, one = neuron_labels(index, shape), 1.0
    if connection is not None and isinstance(connection.weights, Conv) and frame.side(index) == "i":
        weights = connection.weights
        labels, shape, one = ("q", "ky", "kx"), (weights.inputs // weights.groups, *weights.kernel), weights.groups
    elif connection is not None:
        labels, shape = labels[:1], shape[:1]
    return frame.emit.make(labels, torch.Tensor.new_full, frame.x.node, shape, one)


def _lower_position(frame: Frame, op: Op, view: View) -> Value:
    return frame.emit.make((op["index"],), torch.arange, frame.count(op["index"], view), dtype=frame.emit.dtype)


def _lower_act(frame: Frame, op: Op, view: View) -> Value:
    layer = frame.owner(op, view)
    return units.activate(frame.emit, layer, frame.value(op.args[0], view), op["side"], frame.affine(layer, op["side"]))


def _lower_slope(frame: Frame, op: Op, view: View) -> Value:
    layer = frame.owner(op, view)
    if layer.norm is not None or layer.activation == "softmax":
        what = f"{layer.norm.kind} normalisation" if layer.norm is not None else "a softmax"
        raise RuleError([messages.slope_of_norm(op.span, layer.module or layer.name, what)])
    return units.slope(frame.emit, layer, frame.value(op.args[0], view), op["order"])


def _lower_pullback(frame: Frame, op: Op, view: View) -> Value:
    layer = frame.owner(op, view)
    z, back = (frame.value(a, view) for a in op.args)
    return units.pull_back(frame.emit, layer, z, back, op["side"], frame.affine(layer, op["side"]))


def _lower_rotate(frame: Frame, op: Op, view: View) -> Value:
    """Turn images about their middle: each pixel is a sum over all, with weights that vanish but for the four nearest.

    The weights are products of hat functions of row and column: a sum that needs no gathering, and has derivatives of every kind.
    """
    shape = frame.network.input.shape
    if len(shape) != 3:
        raise RuleError([messages.not_an_image(op.span, shape)])
    emit, (height, width) = frame.emit, shape[1:]
    x, angle = (frame.value(a, view) for a in op.args)
    rows, columns = (
        emit.make((label,), torch.arange, size, dtype=emit.dtype) for label, size in (("iy", height), ("ix", width))
    )
    down, right = rows - (height - 1) / 2, columns - (width - 1) / 2
    cosine, sine = emit.pointwise("cos", angle), emit.pointwise("sin", angle)
    row = cosine * down + sine * right + (height - 1) / 2
    column = cosine * right - sine * down + (width - 1) / 2
    near = [
        _hat(at - emit.renamed(places, {label: other}))
        for at, places, label, other in ((row, rows, "iy", "jy"), (column, columns, "ix", "jx"))
    ]
    source = emit.renamed(x, {"iy": "jy", "ix": "jx"})
    labels = emit.sort([*emit.union(source, *near)])
    kept = tuple(label for label in labels if label not in ("jy", "jx"))
    places = {"iy": height, "ix": width, "jy": height, "jx": width, "i": shape[0]}
    return emit.canonical(contract_labels(emit, [near[0] * near[1], source], kept, places))


def _hat(away: Value) -> Value:
    """Return 1 - |u|, or 0 beyond. Where images lie on the pixels themselves its derivative is the mean of both sides, not 0."""
    height = 1.0 - away.emit.pointwise("abs", away)
    return (height + away.emit.pointwise("abs", height)) * 0.5


def _lower_take(frame: Frame, op: Op, view: View) -> Value:
    value = frame.value(op.args[0], view)
    for index, number in op["at"]:
        if index in value.labels:
            axis = value.labels.index(index)
            value = frame.emit.make(
                tuple(x for x in value.labels if x != index), torch.select, value.node, axis, number
            )
    return value


def _lower_insert(frame: Frame, op: Op, view: View) -> Value:
    """Replace fixed components: one component at a time, by stacking along its axis."""
    before, value = (frame.value(a, view) for a in op.args)
    return _inserted(frame, before, value, list(op["at"]))


def _lower_rename(frame: Frame, op: Op, view: View) -> Value:
    table = dict(op["letters"])
    for old, new in list(table.items()):
        if old in ("i", "j"):
            table |= {f"{old}y": f"{new}y", f"{old}x": f"{new}x"}
    return frame.emit.renamed(frame.value(op.args[0], view), table)


def _lower_stop(frame: Frame, op: Op, view: View) -> Value:
    value = frame.value(op.args[0], view)
    return value if value.is_number else frame.emit.make(value.labels, torch.detach, value.node)


def _lower_grad(frame: Frame, op: Op, view: View) -> Value:
    assert view.gradient is not None
    return view.gradient


def _lower_noise(frame: Frame, op: Op, view: View) -> Value:
    name = f"noise{op['site']}.{frame.run_count}.{view.place}"
    labels, shape = _noise_axes(frame, op, view)
    if name not in frame.noise:
        frame.noise[name] = (NoiseSite(name, shape), frame.late_input(name, (*frame.leading, *labels)))
    return frame.emit.canonical(frame.noise[name][1])


def _lower_solve(frame: Frame, op: Op, view: View) -> Value:
    matrix, right = (frame.value(a, view) for a in op.args)
    row, column = op["row"], op["column"]
    rest = tuple(x for x in frame.emit.union(matrix, right) if x not in (row, column))
    a = frame.emit.spread(_along(frame, matrix, (row, column)), (*rest, row, column))
    b = frame.emit.spread(_along(frame, right, (row,)), (*rest, row))
    solution = frame.emit.call(torch.linalg.solve, a, frame.emit.call(torch.unsqueeze, b, -1))
    return frame.emit.canonical(frame.emit.make((*rest, op["column"]), torch.squeeze, solution, -1))


def _along(frame: Frame, value: Value, indices: tuple[str, ...]) -> Value:
    """Give a value every one of these indices: numbers that are all the same have lost them."""
    missing = [x for x in indices if x not in value.labels]
    if not missing:
        return value
    labels = frame.emit.sort([*value.labels, *missing])
    sizes = [frame.emit.sizes[x] if x in missing else size_of(x, [value]) for x in labels]
    return frame.emit.expanded(value, labels, sizes)


def _synapse(frame: Frame, name: str, letters: list[str], view: View, op: Op) -> Value:
    if len(letters) == 1:
        layer = view.layer.name if view.layer is not None else frame.end(view, letters[0])
        value = frame.state.get(f"{name}.{layer}")
        return frame.emit.number(0.0) if value is None else frame.emit.renamed(value, {"j": letters[0]})
    connection = view.connection
    assert connection is not None
    if connection.weights is None:
        return frame.emit.number(1.0)
    value = frame.state[f"{name}.{connection.name}"]
    if letters != ["i", "j"]:
        _require_dense(frame, connection, op)
        value = frame.emit.renamed(value, {"i": letters[0], "j": letters[1]})
    return value


def _require_dense(frame: Frame, connection: Connection, op: Op) -> None:
    if isinstance(connection.weights, Conv):
        raise RuleError(
            [messages.cannot_map(op.span, frame.where(connection), "an index over other neurons of the layer")]
        )


def _neuron(frame: Frame, name: str, letter: str, view: View, op: Op) -> Value:
    side = frame.side(letter)
    if view.layer is not None:
        return frame.relabelled(frame.neurons[(name, view.layer.name)], "j", letter)
    connection = view.connection
    assert connection is not None
    if letter != side:
        _require_dense(frame, connection, op)
    passes = connection.weights is None
    if side == "j":
        letter = "i" if passes and frame.running == "backward" else letter
        return frame.relabelled(frame.neurons[(name, connection.target)], "j", letter)
    letter = "j" if passes and frame.running != "backward" else letter
    return frame.relabelled(frame.seen(name, connection), "i", letter)


def _predicted(frame: Frame, op: Op, view: View) -> Value:
    value = frame.value(op.args[0], view) if op.args else frame.prediction
    assert value is not None
    return frame.full(value, ("n", "j"))


def _inserted(frame: Frame, before: Value, value: Value, at: list[tuple[str, int]]) -> Value:
    index, number = at[0]
    parts = [component(before, index, k) for k in range(frame.emit.sizes[index])]
    parts[number] = value if len(at) == 1 else _inserted(frame, parts[number], value, at[1:])
    labels = frame.emit.union(*parts)
    sizes = {x: size_of(x, parts) for x in labels}
    nodes = [frame.emit.expanded(p, labels, [sizes[x] for x in labels]).node for p in parts]
    axis = sorted([*labels, index], key=frame.emit.rank.__getitem__).index(index)
    stacked = frame.emit.make(frame.emit.sort([*labels, index]), torch.stack, nodes, axis)
    frame.emit.stacks[stacked.key] = (index, tuple(parts))
    return stacked


def _noise_axes(frame: Frame, op: Op, view: View) -> tuple[tuple[str, ...], tuple[int, ...]]:
    declared = tuple(x for x in sorted(op.axes) if x not in ("n", "i", "j", "p"))
    lead = tuple(frame.emit.sizes[x] for x in declared)
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


OPS = {
    "constant": _lower_constant,
    "array": _lower_array,
    "time": _lower_time,
    "genome": _lower_genome,
    "state": _lower_state,
    "input": _lower_input,
    "target": _lower_target,
    "prediction": _lower_prediction,
    "loss": _lower_loss,
    "loss_slope": _lower_loss_slope,
    "extent": _lower_extent,
    "ones": _lower_ones,
    "position": _lower_position,
    "act": _lower_act,
    "slope": _lower_slope,
    "pullback": _lower_pullback,
    "rotate": _lower_rotate,
    "take": _lower_take,
    "insert": _lower_insert,
    "rename": _lower_rename,
    "stop": _lower_stop,
    "grad": _lower_grad,
    "noise": _lower_noise,
    "solve": _lower_solve,
}
