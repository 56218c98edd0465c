"""Emit what belongs to a layer's neurons: normalisation, activation, and their derivatives."""

from __future__ import annotations

import torch

from rulec.backend.values import Emitter, Value
from rulec.ir.activations import derivative
from rulec.ir.graph import Op
from rulec.network.graph import Layer

Affine = tuple[Value, Value]


def _places(value: Value, side: str) -> list[str]:
    return [x for x in (f"{side}y", f"{side}x") if x in value.labels]


def _mean(emit: Emitter, layer: Layer, value: Value, side: str) -> Value:
    """Average over what the layer's normalisation averages."""
    assert layer.norm is not None
    kind = layer.norm.kind
    if kind == "group":
        return _group_mean(emit, layer, value, side)
    over = {
        "batch": ["n", *_places(value, side)],
        "instance": _places(value, side),
        "layer": [side, *_places(value, side)],
    }[kind]
    return emit.reduce("mean", value, over)


def _group_mean(emit: Emitter, layer: Layer, value: Value, side: str) -> Value:
    assert layer.norm is not None
    axis, groups = value.labels.index(side), layer.norm.groups
    split = emit.call(torch.unflatten, value.node, axis, (groups, layer.shape[0] // groups))
    over = tuple(range(axis + 1, axis + 2 + len(_places(value, side))))
    mean = emit.call(torch.mean, split, over)
    labels = value.labels[: axis + 1]
    return emit.make(labels, torch.repeat_interleave, mean, layer.shape[0] // groups, axis)


def normalise(emit: Emitter, layer: Layer, z: Value, side: str, affine: Affine | None) -> Value:
    if layer.norm is None:
        return z
    unit = _standardised(emit, layer, z, side)
    return unit if affine is None else unit * affine[0] + affine[1]


def _standardised(emit: Emitter, layer: Layer, z: Value, side: str) -> Value:
    assert layer.norm is not None
    centred = z - _mean(emit, layer, z, side)
    return centred * _inverse_deviation(emit, layer, centred, side)


def _inverse_deviation(emit: Emitter, layer: Layer, centred: Value, side: str) -> Value:
    assert layer.norm is not None
    variance = _mean(emit, layer, centred * centred, side)
    spread = variance + layer.norm.eps
    return emit.make(spread.labels, torch.rsqrt, spread.node)


def activate(emit: Emitter, layer: Layer, z: Value, side: str, affine: Affine | None) -> Value:
    unit = normalise(emit, layer, z, side, affine)
    if layer.activation == "softmax":
        return emit.reduce("softmax", unit, [side, *_places(unit, side)])
    return emit.pointwise(layer.activation, unit)


def slope(emit: Emitter, layer: Layer, z: Value, order: int) -> Value:
    """Return the activation's derivative of this order at z, for layers where it is a number per neuron."""
    free, formula = derivative(layer.activation, order)
    return emit_formula(emit, formula, {id(free): z})


def emit_formula(emit: Emitter, formula: Op, made: dict[int, Value]) -> Value:
    """Emit a formula of pointwise ops."""
    if id(formula) not in made:
        if formula.name == "constant":
            made[id(formula)] = emit.number(formula["value"])
        else:
            made[id(formula)] = emit.pointwise(formula.name, *(emit_formula(emit, a, made) for a in formula.args))
    return made[id(formula)]


def pull_back(emit: Emitter, layer: Layer, z: Value, back: Value, side: str, affine: Affine | None) -> Value:
    """Apply the transposed Jacobian of `activate` at z to `back`."""
    unit = normalise(emit, layer, z, side, affine)
    if layer.activation == "softmax":
        over = [side, *_places(unit, side)]
        y = emit.reduce("softmax", unit, over)
        back = y * (back - emit.reduce("sum", y * back, over))
    elif layer.activation != "identity":
        back = back * slope(emit, layer, unit, 1)
    if layer.norm is None:
        return back
    if affine is not None:
        back = back * affine[0]
    bare = _standardised(emit, layer, z, side)
    scale = _inverse_deviation(emit, layer, z - _mean(emit, layer, z, side), side)
    inner = back - _mean(emit, layer, back, side) - bare * _mean(emit, layer, back * bare, side)
    return inner * scale
