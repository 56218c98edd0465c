"""Lower sums, means and other reductions, within a layer and across connections."""

from __future__ import annotations

from rulec.backend import messages
from rulec.backend.frame import Frame, View, volume
from rulec.backend.maps import CannotMap, ConvMaps
from rulec.backend.paths import neuron_labels
from rulec.backend.products import contract_labels
from rulec.backend.values import Value
from rulec.ir.graph import Op
from rulec.ir.signals import whole_layer
from rulec.network.graph import Connection, Conv
from rulec.source import RuleError


def _across(frame: Frame, op: Op, view: View) -> Value:
    """Evaluate a reduction on each connection of the layer, and add up."""
    assert view.layer is not None
    connections = (
        frame.network.incoming(view.layer.name) if view.side == "j" else frame.network.outgoing(view.layer.name)
    )
    parts = [
        p for c in connections if (p := _back_to_layer(frame, frame.value(op, View(connection=c)), c, view)) is not None
    ]
    if not parts:
        return frame.emit.number(0.0)
    if len(parts) > 1 and not (op.name == "contract" and not set(op["means"]) & {"i", "j"}):
        operator = "mean" if op.name == "contract" else op["operator"]
        raise RuleError([messages.several_connections(op.span, operator, view.layer.name)])
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _back_to_layer(frame: Frame, value: Value, connection: Connection, view: View) -> Value | None:
    if view.side == "j" or not {"i", "q"} & set(value.labels):
        return value
    assert view.layer is not None
    if "q" in value.labels:
        raise RuleError([messages.cannot_map(frame.emit.span, frame.where(connection), "a sum over weights alone")])
    if "n" not in value.labels or len([x for x in value.labels if x in ("i", "iy", "ix")]) != len(
        connection.input_shape
    ):
        value = frame.as_image(value, "i", connection.input_shape)
    return frame.path(connection).adjoint(view.layer.name, value)


def _solid(frame: Frame, op: Op, view: View) -> Value:
    """Return an op's value with every axis that is to be counted: states that were never written are constants."""
    value = frame.value(op, view)
    letters = [x for x in ("i", "j") if x in op.axes]
    if "n" not in op.axes or len(letters) != 1 or (value.is_number and value.node == 0):
        return value
    missing = {x for x in op.axes if x not in value.labels}
    if not missing or (missing == set(letters) and view.connection is not None and view.connection.weights is None):
        return value
    shape = frame.shape_of(letters[0], view)
    declared = [x for x in frame.emit.sort([*value.labels, *op.axes]) if x in frame.emit.sizes]
    ends = neuron_labels(letters[0], shape)
    sizes = [*(frame.emit.sizes[x] for x in declared), frame.batch(), *shape]
    return frame.emit.expanded(value, (*declared, "n", *ends), sizes)


def _reduced(frame: Frame, op: Op, view: View) -> set[str]:
    """Return the labels that a reduction removes: places go with the sample, and with a layer seen as a whole."""
    labels = set(op["indices"])
    lateral = view.side in labels if view.layer is not None else view.connection is not None and whole_layer(op, "j")
    if "n" in labels or lateral:
        labels |= {"iy", "ix", "jy", "jx"}
    return labels


def _lower_reduce(frame: Frame, op: Op, view: View) -> Value:
    value = _solid(frame, op.args[0], view)
    labels = _reduced(frame, op, view)
    if view.connection is not None and isinstance(view.connection.weights, Conv):
        labels = _reduced_on_kernel(frame, op, value, labels, view)
    if op["operator"] == "mean" and "n" in op["indices"] and not op["places"]:
        total = frame.emit.reduce("sum", value, labels)
        return total / _divisor(frame, op["indices"], view)
    return frame.emit.reduce(op["operator"], value, labels)


def _reduced_on_kernel(frame: Frame, op: Op, value: Value, labels: set[str], view: View) -> set[str]:
    assert view.connection is not None
    if "q" in value.labels:
        weights = view.connection.weights
        if "j" in labels and isinstance(weights, Conv) and weights.groups != 1:
            why = f"`{op['operator']}` over the outputs of a grouped convolution"
            raise RuleError([messages.cannot_map(op.span, frame.where(view.connection), why)])
        if "i" in labels:
            labels = labels - {"i"} | {"q", "ky", "kx"}
    elif "i" in labels or ("n" in labels and "iy" in value.labels):
        raise RuleError(
            [
                messages.cannot_map(
                    op.span, frame.where(view.connection), f"`{op['operator']}` over what each weight sees"
                )
            ]
        )
    return labels


def _divisor(frame: Frame, indices: tuple[str, ...], view: View) -> Value:
    total = frame.emit.number(1.0)
    for index in indices:
        count = (
            Value(frame.emit, frame.batch(), ()) if index == "n" else frame.emit.number(float(frame.count(index, view)))
        )
        total = total * count
    return total


def _lower_contract(frame: Frame, op: Op, view: View) -> Value:
    factors = [_solid(frame, a, view) for a in op.args]
    if any(f.is_number and f.node == 0 for f in factors):
        return frame.emit.number(0.0)
    labels = _reduced(frame, op, view)
    lateral = view.connection is not None and set(op["means"]) == {"j"} and whole_layer(op, "j")
    count = _divisor(frame, op["means"], view)
    if op["places"] or lateral:
        count = count * float(_place_count(frame, factors, view))
    return _contracted(frame, op, [*factors, 1.0 / count], labels, view)


def _place_count(frame: Frame, factors: list[Value], view: View) -> int:
    present = {x for f in factors for x in f.labels}
    if view.connection is not None and isinstance(view.connection.weights, Conv) and {"iy", "jy"} & present:
        return volume(frame.network.layer(view.connection.target).shape[1:])
    if view.layer is not None and {"iy", "jy"} & present:
        return volume(view.layer.shape[1:])
    return 1


def _contracted(frame: Frame, op: Op, factors: list[Value], labels: set[str], view: View) -> Value:
    everything = set().union(*(f.labels for f in factors))
    connection = view.connection
    if connection is None or not isinstance(connection.weights, Conv):
        return contract_labels(frame.emit, factors, tuple(everything - labels), frame.places(view))
    if "i" in labels and "q" in everything and "i" not in everything:
        labels = labels | {"q", "ky", "kx"}
    maps = ConvMaps(frame.emit, connection.weights, connection.input_shape)
    keep = everything - labels
    try:
        return maps.contract(factors, tuple(keep))
    except CannotMap as problem:
        raise RuleError([messages.cannot_map(op.span, frame.where(connection), str(problem))]) from None


REDUCTIONS = {
    "across": _across,
    "reduce": _lower_reduce,
    "contract": _lower_contract,
}
