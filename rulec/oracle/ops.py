"""Evaluate the ops of the IR, one function each; reductions and nets have files of their own."""

from __future__ import annotations

import numpy as np

from rulec.ir.graph import Op
from rulec.network.graph import Conv, Weights
from rulec.oracle.arrays import CURVATURES, SLOPES, Array, scalar, union
from rulec.oracle.frame import Frame, NoiseSource, View
from rulec.oracle.geometry import dense_kernel
from rulec.oracle.losses import loss_slope, sample_loss
from rulec.oracle.units import activate, from_images, pull_back, slope, to_images
from rulec.semantics.typed import State

# --- Numbers, sizes and the genome -----------------------------------------------------------


def _constant(frame: Frame, op: Op, view: View) -> Array:
    return scalar(op["value"])


def _time(frame: Frame, op: Op, view: View) -> Array:
    return scalar(frame.step)


def _extent(frame: Frame, op: Op, view: View) -> Array:
    return scalar(frame.count(op["index"], view))


def _ones(frame: Frame, op: Op, view: View) -> Array:
    """A one per neuron: of a whole layer also at every place; at a connection as often as its weights meet it."""
    index = op["index"]
    if view.layer is not None:
        features, *places = view.layer.shape
        return Array((index, "@"), np.ones((features, int(np.prod(places)))))
    if view.connection is not None and view.connection.weights is None:
        return scalar(1.0)  # without weights a neuron meets itself
    return Array((index,), np.ones(frame.count(index, view)))


def _position(frame: Frame, op: Op, view: View) -> Array:
    return Array((op["index"],), np.arange(frame.count(op["index"], view), dtype=float))


def _array(frame: Frame, op: Op, view: View) -> Array:
    return Array(op["indices"], np.array(op["values"], dtype=float))


def _genome(frame: Frame, op: Op, view: View) -> Array:
    entry = next(e for e in frame.program.genome if e.name == op["name"])
    data = frame.genome[entry.name]
    if entry.per_layer:
        data = data[frame.connection_number(view)]
    return _indexed(Array(entry.indices, np.asarray(data)), entry.indices, op["indices"])


# --- States ----------------------------------------------------------------------------------


def _state(frame: Frame, op: Op, view: View) -> Array:
    name, side, indices = op["name"], op["side"], op["indices"]
    if view.parameter:
        return Array(("p",), frame.state[f"{name}.{view.parameter}"].reshape(-1))
    declared = frame.program.state(name)
    if declared.kind == "broadcast":
        value = frame.broadcasts[name]
    elif declared.kind == "neuron":
        value = _neuron(frame, declared, side, view)
    else:
        value = _synapse(frame, declared, side.split(","), view)
    return _indexed(value, declared.indices, indices)


def _neuron(frame: Frame, declared: State, letter: str, view: View) -> Array:
    if view.layer is not None:
        return frame.neurons[(declared.name, view.layer.name)].renamed({"j": letter})
    connection = view.connection
    assert connection is not None
    if frame.side(letter) == "j":
        value = frame.neurons[(declared.name, connection.target)]
    else:
        value = frame.seen(declared.name, declared.indices, connection)
    visited = "i" if frame.running == "backward" else "j"
    if connection.weights is None and frame.side(letter) != visited:
        letter = visited  # without weights a neuron meets itself: both ends go by the letter of the layer visited
    return value.renamed({"j": letter})


def _synapse(frame: Frame, declared: State, letters: list[str], view: View) -> Array:
    """Return weights with the axes of both neurons, or the values that belong to one of them."""
    if len(letters) == 1:
        layer = view.layer.name if view.layer is not None else frame.end(view, letters[0])
        value = frame.state.get(f"{declared.name}.{layer}")
        return scalar(0.0) if value is None else Array((*declared.indices, *letters), value)
    connection = view.connection
    assert connection is not None
    if connection.weights is None:
        return scalar(1.0)
    data = frame.state[f"{declared.name}.{connection.name}"]
    if isinstance(connection.weights, Conv):
        data = dense_kernel(connection.weights, data)
    return Array((*declared.indices, *letters), data)


def _indexed(value: Array, own: tuple[str, ...], indices: tuple[str | int, ...]) -> Array:
    """Read a value whose declared indices are `own` with other letters, or at fixed components."""
    for name, index in zip(own, indices, strict=True):
        if isinstance(index, int):
            value = value.component(name, index)
    return value.renamed({name: index for name, index in zip(own, indices, strict=True) if isinstance(index, str)})


# --- Data, prediction and loss ---------------------------------------------------------------


def _input(frame: Frame, op: Op, view: View) -> Array:
    shape = frame.network.input.shape
    return from_images(frame.x.reshape(frame.batch, *shape), ("n", op["letter"], "@"), (), shape)


def _target(frame: Frame, op: Op, view: View) -> Array:
    return Array(("n", op["letter"]), frame.y)


def _rotate(frame: Frame, op: Op, view: View) -> Array:
    """Turn images about their middle, pixel by pixel: each takes from the four places around where it comes from."""
    shape = frame.network.input.shape
    images = to_images(frame.value(op.args[0], view).renamed({"i": "j"}), shape, frame.batch, ())
    angle = float(frame.value(op.args[1], view).spread(()))
    _, height, width = shape
    turned = np.zeros((frame.batch, *shape))
    for y, x in np.ndindex(height, width):
        down, right = y - (height - 1) / 2, x - (width - 1) / 2
        row = np.cos(angle) * down + np.sin(angle) * right + (height - 1) / 2
        column = np.cos(angle) * right - np.sin(angle) * down + (width - 1) / 2
        for r in (int(np.floor(row)), int(np.floor(row)) + 1):
            for c in (int(np.floor(column)), int(np.floor(column)) + 1):
                if 0 <= r < height and 0 <= c < width:
                    turned[:, :, y, x] += (1 - abs(row - r)) * (1 - abs(column - c)) * images[:, :, r, c]
    return from_images(turned, ("n", "i", "@"), (), shape)


def _prediction(frame: Frame, op: Op, view: View) -> Array:
    assert frame.prediction is not None
    return frame.prediction.renamed({"j": op["letter"]})


def _loss(frame: Frame, op: Op, view: View) -> Array:
    return sample_loss(_predicted(frame, op, view), Array(("n", "j"), frame.y), frame.loss)


def _loss_slope(frame: Frame, op: Op, view: View) -> Array:
    return loss_slope(_predicted(frame, op, view), Array(("n", "j"), frame.y), frame.loss)


def _predicted(frame: Frame, op: Op, view: View) -> Array:
    prediction = frame.value(op.args[0], view) if op.args else frame.prediction
    assert prediction is not None
    return prediction


def _grad(frame: Frame, op: Op, view: View) -> Array:
    assert view.gradient is not None
    return view.gradient


# --- Noise -----------------------------------------------------------------------------------


def _noise(frame: Frame, op: Op, view: View) -> Array:
    """Read the normal numbers of this site: one for each element of a parameter, weight, neuron or broadcast."""
    assert frame.noise is not None, "this rule draws noise"
    name = f"noise{op['site']}.{frame.run_count}.{view.place}"
    if "p" in op.axes:
        return Array(("p",), frame.noise(name, frame.state[f"w.{view.parameter}"].shape).reshape(-1))
    front = tuple(a for a in sorted(op.axes) if a not in ("n", "i", "j"))
    sizes = tuple(frame.extent_size(frame.program.extents[a]) for a in front)
    if {"i", "j"} <= op.axes:
        assert view.connection is not None and view.connection.weights is not None
        return Array((*front, "i", "j"), _weight_noise(frame.noise, name, sizes, view.connection.weights))
    if "n" in op.axes:
        front, sizes = (*front, "n"), (*sizes, frame.batch)
    letter = next((a for a in ("i", "j") if a in op.axes), None)
    if letter is None:
        return Array(front, frame.noise(name, sizes))
    assert view.layer is not None
    shape = view.layer.shape if "n" in op.axes else view.layer.shape[:1]
    data = frame.noise(name, (*sizes, *shape))
    if len(shape) == 1:
        return Array((*front, letter), data)
    return Array((*front, letter, "@"), data.reshape(*sizes, shape[0], -1))


def _weight_noise(noise: NoiseSource, name: str, sizes: tuple[int, ...], weights: Weights) -> np.ndarray:
    if isinstance(weights, Conv):
        kernel = (weights.outputs, weights.inputs // weights.groups, *weights.kernel)
        return dense_kernel(weights, noise(name, (*sizes, *kernel)))
    return noise(name, (*sizes, weights.inputs, weights.outputs))


# --- Activations -----------------------------------------------------------------------------


def _act(frame: Frame, op: Op, view: View) -> Array:
    layer = frame.owner(op, view)
    return activate(layer, frame.value(op.args[0], view), op["side"], frame.affine(layer))


def _slope(frame: Frame, op: Op, view: View) -> Array:
    table = {1: SLOPES, 2: CURVATURES}[op["order"]]
    return slope(frame.owner(op, view), frame.value(op.args[0], view), table)


def _pullback(frame: Frame, op: Op, view: View) -> Array:
    layer = frame.owner(op, view)
    z, back = (frame.value(a, view) for a in op.args)
    return pull_back(layer, z, back, op["side"], frame.affine(layer))


# --- Components, letters and equations -------------------------------------------------------


def _take(frame: Frame, op: Op, view: View) -> Array:
    value = frame.value(op.args[0], view)
    for index, number in op["at"]:
        value = value.component(index, number)
    return value


def _insert(frame: Frame, op: Op, view: View) -> Array:
    """Replace fixed components."""
    before, value = (frame.value(a, view) for a in op.args)
    fixed = dict(op["at"])
    axes = tuple(dict.fromkeys((*before.axes, *value.axes, *fixed)))
    sizes = [
        frame.count(x, view) if x in fixed else max(a.size(x) for a in (before, value) if x in a.axes) for x in axes
    ]
    data = np.broadcast_to(before.spread(axes), sizes).copy()
    data[tuple(fixed.get(x, slice(None)) for x in axes)] = value.spread(tuple(x for x in axes if x not in fixed))
    return Array(axes, data)


def _rename(frame: Frame, op: Op, view: View) -> Array:
    return frame.value(op.args[0], view).renamed(dict(op["letters"]))


def _stop(frame: Frame, op: Op, view: View) -> Array:
    return frame.value(op.args[0], view)


def _solve(frame: Frame, op: Op, view: View) -> Array:
    matrix, right = (frame.value(a, view) for a in op.args)
    rest = tuple(a for a in union(matrix, right) if a not in (op["row"], op["column"]))
    a = matrix.spread((*rest, op["row"], op["column"]))
    b = right.spread((*rest, op["row"]))
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-1])
    size = frame.count(op["row"], view)  # a side all of whose numbers are equal may lack an axis
    solution = np.linalg.solve(np.broadcast_to(a, (*lead, size, size)), np.broadcast_to(b, (*lead, size))[..., None])
    return Array((*rest, op["column"]), solution[..., 0])


OPS = {
    "constant": _constant,
    "array": _array,
    "time": _time,
    "extent": _extent,
    "ones": _ones,
    "position": _position,
    "genome": _genome,
    "state": _state,
    "input": _input,
    "target": _target,
    "rotate": _rotate,
    "prediction": _prediction,
    "loss": _loss,
    "loss_slope": _loss_slope,
    "grad": _grad,
    "noise": _noise,
    "act": _act,
    "slope": _slope,
    "pullback": _pullback,
    "take": _take,
    "insert": _insert,
    "rename": _rename,
    "stop": _stop,
    "solve": _solve,
}
