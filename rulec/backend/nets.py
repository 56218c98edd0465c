"""Lower calls of nets: small multilayer perceptrons whose weights are genome entries."""

from __future__ import annotations

import torch

from rulec.backend.frame import Frame, View
from rulec.backend.values import Value, component, size_of
from rulec.ir.graph import Op


def _lower_net(frame: Frame, op: Op, view: View) -> Value:
    net = next(n for n in frame.program.nets if n.name == op["name"])
    weights = [
        (
            _net_weight(frame, f"{net.name}.{k}.weight", net.per_layer, view),
            _net_weight(frame, f"{net.name}.{k}.bias", net.per_layer, view),
        )
        for k in range(len(net.sizes) - 1)
    ]
    hidden = _features(frame, op, view)
    labels = hidden.labels[:-1]
    for k, (weight, bias) in enumerate(weights):
        hidden = _affine_map(frame, hidden, weight, bias)
        if k < len(weights) - 1:
            hidden = frame.emit.pointwise(net.activation, hidden)
    if isinstance(op["index"], str):
        return frame.emit.canonical(Value(frame.emit, hidden.node, (*labels, op["index"])))
    return frame.emit.make(labels, torch.select, hidden.node, -1, op["index"] or 0)


def _net_weight(frame: Frame, name: str, per_layer: bool, view: View) -> Value:
    value = frame.genome[name]
    return frame.of_connection(value, name, view) if per_layer else value


def _features(frame: Frame, op: Op, view: View) -> Value:
    """Stack the inputs of a net along a last axis, labelled `*`."""
    columns: list[Value] = []
    for index, argument in zip(op["features"], op.args, strict=True):
        value = frame.value(argument, view)
        columns += [value] if index is None else [component(value, index, k) for k in range(frame.emit.sizes[index])]
    labels = frame.emit.union(*columns)
    if "P" in frame.leading and "P" not in labels:
        labels = ("P", *labels)
    sizes = [size_of(x, [c for c in columns if x in c.labels] or columns) for x in labels]
    nodes = [frame.emit.expanded(c, labels, sizes).node for c in columns]
    return frame.emit.make((*labels, "*"), torch.stack, nodes, -1)


def _affine_map(frame: Frame, hidden: Value, weight: Value, bias: Value) -> Value:
    """Multiply the last axis with a weight matrix that may have a population axis."""
    emit = frame.emit
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


NETS = {
    "net": _lower_net,
}
