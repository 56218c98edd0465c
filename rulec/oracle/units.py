"""What belongs to a layer's neurons: normalisation and activation, their derivatives, and the shapes of images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rulec.network.graph import Layer, Shape
from rulec.oracle.arrays import POINTWISE, SLOPES, Array, combine, reduce_axes

Affine = tuple[np.ndarray, np.ndarray]  # scale and shift per channel, or per element for layer normalisation


def to_images(value: Array, shape: Shape, batch: int, rest: tuple[str, ...]) -> np.ndarray:
    """Neuron values (n, j, @, rest) in any order to (batch, *shape, *rest)."""
    rest_sizes = [value.size(a) if a in value.axes else 1 for a in rest]
    places = int(np.prod(shape[1:]))
    data = np.broadcast_to(value.spread(("n", "j", "@", *rest)), (batch, shape[0], places, *rest_sizes))
    return data.reshape(batch, *shape, *rest_sizes)


def from_images(images: np.ndarray, letters: tuple[str, str, str], rest: tuple[str, ...], shape: Shape) -> Array:
    """The inverse: `letters` names sample, neuron and place; dense layers have no place."""
    n = images.shape[0]
    sizes = images.shape[1 + len(shape) :]
    if len(shape) == 1:
        return Array((*letters[:2], *rest), images)
    return Array((*letters, *rest), images.reshape(n, shape[0], -1, *sizes))


def _statistics(layer: Layer, z: Array, letter: str) -> tuple[Array, Callable[[Array], Array]]:
    """Return z grouped as its normalisation wants it, and the mean over what it averages."""
    kind = layer.norm.kind if layer.norm else "none"
    if kind == "batch":
        axes: tuple[str, ...] = tuple(a for a in ("n", "@") if a in z.axes)
        return z, lambda a: reduce_axes("mean", a, axes)
    if kind == "instance":
        return z, lambda a: reduce_axes("mean", a, ("@",))
    if kind == "layer":
        axes = tuple(a for a in (letter, "@") if a in z.axes)
        return z, lambda a: reduce_axes("mean", a, axes)
    assert layer.norm is not None and kind == "group"
    groups = layer.norm.groups

    def mean(a: Array) -> Array:
        rest = tuple(x for x in a.axes if x not in (letter, "@"))
        full = a.spread((*rest, letter, "@"))
        split = full.reshape(*full.shape[:-2], groups, -1).mean(axis=-1)
        return Array((*rest, letter), np.repeat(split, full.shape[-2] // groups, axis=-1))

    return z, mean


def normalise(layer: Layer, z: Array, letter: str, affine: Affine | None = None) -> Array:
    if layer.norm is None:
        return z
    _, mean = _statistics(layer, z, letter)
    centred = combine(np.subtract, z, mean(z))
    variance = mean(combine(np.square, centred))
    eps = layer.norm.eps
    unit = combine(lambda c, v: c / np.sqrt(v + eps), centred, variance)
    return unit if affine is None else combine(lambda u, s, b: u * s + b, unit, *_affine(layer, letter, affine))


def _affine(layer: Layer, letter: str, affine: Affine) -> tuple[Array, Array]:
    def shaped(a: np.ndarray) -> Array:
        return Array((letter,), a) if a.ndim == 1 else Array((letter, "@"), a.reshape(a.shape[0], -1))

    return shaped(affine[0]), shaped(affine[1])


def _softmax(z: Array, letter: str) -> Array:
    return reduce_axes("softmax", z, tuple(a for a in (letter, "@") if a in z.axes))


def activate(layer: Layer, z: Array, letter: str, affine: Affine | None = None) -> Array:
    unit = normalise(layer, z, letter, affine)
    return _softmax(unit, letter) if layer.activation == "softmax" else combine(POINTWISE[layer.activation], unit)


def slope(layer: Layer, z: Array, table: dict[str, Callable[[np.ndarray], np.ndarray]]) -> Array:
    assert layer.norm is None and layer.activation in table, "no derivative per neuron"
    return combine(table[layer.activation], z)


def pull_back(layer: Layer, z: Array, back: Array, letter: str, affine: Affine | None = None) -> Array:
    """Apply the transposed Jacobian of `activate` at z to `back`."""
    unit = normalise(layer, z, letter, affine)
    if layer.activation == "softmax":
        y = _softmax(unit, letter)
        axes = tuple(a for a in (letter, "@") if a in y.axes)
        inner = reduce_axes("sum", combine(np.multiply, y, back), axes)
        back = combine(lambda y, b, s: y * (b - s), y, back, inner)
    else:
        back = combine(lambda s, b: s * b, combine(SLOPES[layer.activation], unit), back)
    if layer.norm is None:
        return back
    if affine is not None:
        back = combine(np.multiply, back, _affine(layer, letter, affine)[0])
    _, mean = _statistics(layer, z, letter)
    bare = normalise(layer, z, letter)
    variance = mean(combine(np.square, combine(np.subtract, z, mean(z))))
    eps = layer.norm.eps
    along = mean(combine(np.multiply, back, bare))
    return combine(lambda b, m, u, a, v: (b - m - u * a) / np.sqrt(v + eps), back, mean(back), bare, along, variance)
