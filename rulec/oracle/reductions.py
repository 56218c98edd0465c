"""Evaluate sums, means and other reductions, within a layer and across connections."""

from __future__ import annotations

from math import prod

import numpy as np

from rulec.ir.graph import Op
from rulec.ir.signals import whole_layer
from rulec.network.graph import Connection, Conv
from rulec.network.sizes import weighted_shape
from rulec.oracle.arrays import Array, combine, reduce_axes, scalar
from rulec.oracle.frame import Frame, View
from rulec.oracle.geometry import fold
from rulec.oracle.units import from_images

# --- Within a layer or a connection ----------------------------------------------------------


def _reduce(frame: Frame, op: Op, view: View) -> Array:
    value = frame.value(op.args[0], view)
    axes = _reduced(op, value, view)
    if op["operator"] == "mean" and "n" in op["indices"]:
        return _mean_over_samples(op, value, axes)
    return reduce_axes(op["operator"], value, axes)


def _mean_over_samples(op: Op, value: Array, axes: tuple[str, ...]) -> Array:
    """A statistic averages over places too; a change of a shared synapse adds them up."""
    count = np.prod([value.size(a) for a in axes if a != "@" or op["places"]])
    return combine(lambda total: total / count, reduce_axes("sum", value, axes))


def _contract(frame: Frame, op: Op, view: View) -> Array:
    """Sum the product of all factors, and divide by the sizes of the indices that it averages over."""
    factors = [frame.value(a, view) for a in op.args]
    product = combine(lambda *data: np.prod(np.broadcast_arrays(*data), axis=0), *factors)
    axes = _reduced(op, product, view)
    divisor = float(np.prod([product.size(index) for index in op["means"] if index in product.axes]))
    if "@" in axes and op["means"] and (op["places"] or "n" not in op["indices"]):
        divisor *= product.size("@")
    return combine(lambda total: total / divisor, reduce_axes("sum", product, axes))


def _reduced(op: Op, value: Array, view: View) -> tuple[str, ...]:
    """Return the axes to reduce: places go with the sample, and with the neurons of a layer seen as a whole."""
    indices = op["indices"]
    axes = [i for i in indices if i in value.axes]
    lateral = view.side in indices if view.layer is not None else whole_layer(op, "j")
    if "@" in value.axes and ("n" in indices or lateral):
        axes.append("@")
    return tuple(axes)


# --- Across connections ----------------------------------------------------------------------


def _across(frame: Frame, op: Op, view: View) -> Array:
    """Evaluate a reduction on each connection of the layer, and add up."""
    assert view.layer is not None
    if view.side == "j":
        connections = frame.network.incoming(view.layer.name)
    else:
        connections = frame.network.outgoing(view.layer.name)
    parts = [_back_to_layer(frame, frame.value(op, View(connection=c)), c, view) for c in connections]
    if not parts:
        return scalar(0.0)
    operator = "sum" if op.name == "contract" else op["operator"]
    if len(parts) > 1 and operator != "sum":
        raise NotImplementedError(f"`{operator}` over several connections")
    total = parts[0]
    for part in parts[1:]:
        total = combine(np.add, total, part)
    return total


def _back_to_layer(frame: Frame, value: Array, connection: Connection, view: View) -> Array:
    """Carry what is summed at the weights back along the path to the presynaptic layer."""
    if view.side == "j" or "i" not in value.axes:
        return value
    assert view.layer is not None
    rest = tuple(a for a in value.axes if a not in ("n", "@", "i"))
    data = np.broadcast_to(
        value.spread(("n", "@", "i", *rest)),
        (frame.batch, _places(connection), value.size("i"), *(value.size(a) for a in rest)),
    )
    if isinstance(connection.weights, Conv):
        seen = fold(connection.weights, data, *connection.input_shape[1:])
    else:
        seen = _unplaced(data, connection.input_shape)
    like = {name: np.zeros((frame.batch, *frame.network.layer(name).shape)) for name in connection.sources}
    image = frame.path(connection).adjoint(view.layer.name, seen, like)
    return from_images(image, ("n", "i", "@"), rest, view.layer.shape)


def _places(connection: Connection) -> int:
    """Return at how many places the weights stand: a convolution at each place of its result."""
    if isinstance(connection.weights, Conv):
        return prod(weighted_shape(connection.weights, connection.input_shape)[1:])
    return prod(connection.input_shape[1:]) if connection.weights is None else 1


def _unplaced(data: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(n, places, features, ...) to images (n, features, height, width, ...), or (n, features, ...) without places."""
    if len(shape) == 1:
        return data[:, 0]
    moved = np.moveaxis(data, 1, 2)
    return moved.reshape(moved.shape[0], *shape, *moved.shape[3:])


REDUCTIONS = {
    "across": _across,
    "reduce": _reduce,
    "contract": _contract,
}
