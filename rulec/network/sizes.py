"""Shapes and counts that follow from a network's structure alone."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from rulec.network.graph import (
    Add,
    Concat,
    Connection,
    Dense,
    Flatten,
    Leaf,
    Network,
    Norm,
    Pad,
    Path,
    Pool,
    Shape,
    Weights,
)

Pair = tuple[int, int]  # height, width


def window_count(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Return how many windows fit along one axis; zero or less if the kernel is larger than the padded input."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def shape_of(path: Path, shapes: Mapping[str, Shape]) -> Shape:
    """Return the shape of a path's value, given the shapes of the layers at its leaves."""
    if isinstance(path, Leaf):
        return shapes[path.layer]
    if isinstance(path, Concat):
        parts = [shape_of(source, shapes) for source in path.sources]
        return (sum(part[0] for part in parts), *parts[0][1:])
    if isinstance(path, Add):
        return shape_of(path.sources[0], shapes)
    shape = shape_of(path.source, shapes)
    if isinstance(path, Flatten):
        return (prod(shape),)
    if isinstance(path, Pad):
        left, right, top, bottom = path.amounts
        return (shape[0], shape[1] + top + bottom, shape[2] + left + right)
    return pooled_shape(shape, path)


def pooled_shape(shape: Shape, pool: Pool) -> Shape:
    return (shape[0], *_windows(shape, pool.kernel, pool.stride, pool.padding, (1, 1)))


def _windows(shape: Shape, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Shape:
    axes = zip(shape[1:], kernel, stride, padding, dilation, strict=True)
    return tuple(window_count(size, *window) for size, *window in axes)


def path_shape(network: Network, path: Path) -> Shape:
    return shape_of(path, {layer.name: layer.shape for layer in network.layers})


def weighted_shape(weights: Weights, shape: Shape) -> Shape:
    """Return the shape of what `weights` make of an input of `shape`."""
    if isinstance(weights, Dense):
        return (weights.outputs,)
    return (weights.outputs, *_windows(shape, weights.kernel, weights.stride, weights.padding, weights.dilation))


def weights_shape(weights: Weights) -> Shape:
    """Return the shape of the weight tensor: (inputs, outputs), or (outputs, inputs / groups, height, width)."""
    if isinstance(weights, Dense):
        return (weights.inputs, weights.outputs)
    return (weights.outputs, weights.inputs // weights.groups, *weights.kernel)


def norm_shape(norm: Norm, shape: Shape) -> Shape:
    """Return the shape of the scale and shift of a layer of `shape`: one per element (`layer`) or per channel."""
    return shape if norm.kind == "layer" else shape[:1]


def fan_in(connection: Connection) -> int:
    """Return how many values of the presynaptic side each postsynaptic neuron sums; 1 without weights."""
    weights = connection.weights
    if weights is None:
        return 1
    if isinstance(weights, Dense):
        return weights.inputs
    return weights.inputs // weights.groups * prod(weights.kernel)


def fan_out(connection: Connection) -> int:
    """Return how many weights leave each presynaptic value, strides and borders aside; 1 without weights."""
    weights = connection.weights
    if weights is None:
        return 1
    if isinstance(weights, Dense):
        return weights.outputs
    return weights.outputs // weights.groups * prod(weights.kernel)


def parameter_count(connection: Connection) -> int:
    """Return the number of weights and biases of a connection."""
    weights = connection.weights
    if weights is None:
        return 0
    return prod(weights_shape(weights)) + (weights.outputs if connection.bias else 0)
