"""Evaluate calls of nets: small multilayer perceptrons whose weights are genome entries."""

from __future__ import annotations

import numpy as np

from rulec.ir.graph import Op
from rulec.oracle.arrays import POINTWISE, Array, union
from rulec.oracle.frame import Frame, View


def _net(frame: Frame, op: Op, view: View) -> Array:
    net = next(n for n in frame.program.nets if n.name == op["name"])
    columns = _features(frame, op, view)
    axes = union(*columns)
    hidden = np.stack(np.broadcast_arrays(*(c.spread(axes) for c in columns)), axis=-1)
    for layer in range(len(net.sizes) - 1):
        weight, bias = (frame.genome[f"{net.name}.{layer}.{part}"] for part in ("weight", "bias"))
        if net.per_layer:
            number = frame.connection_number(view)
            weight, bias = weight[number], bias[number]
        hidden = hidden @ weight + bias
        if layer < len(net.sizes) - 2:
            hidden = POINTWISE[net.activation](hidden)
    if isinstance(op["index"], str):
        return Array((*axes, op["index"]), hidden)
    return Array(axes, hidden[..., op["index"] or 0])


def _features(frame: Frame, op: Op, view: View) -> list[Array]:
    """Return the inputs of a net: an argument is one, or all components along an index."""
    columns: list[Array] = []
    for index, argument in zip(op["features"], op.args, strict=True):
        value = frame.value(argument, view)
        columns += [value] if index is None else [value.component(index, k) for k in range(value.size(index))]
    return columns


NETS = {
    "net": _net,
}
