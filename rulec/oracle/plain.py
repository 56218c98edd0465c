"""The network's own forward pass and its gradient, in numpy: what `grad(loss, w)` means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rulec.network.graph import Connection, Conv, Dense, Layer, Network
from rulec.oracle.arrays import Array, combine
from rulec.oracle.geometry import PathMap, dense_kernel, fold, sparse_kernel, unfold
from rulec.oracle.units import Affine, activate, from_images, normalise, pull_back, to_images

Tensors = Mapping[str, np.ndarray]


@dataclass
class _Trace:
    """What the forward pass leaves for the backward pass: images per layer, before and after activation."""

    before: dict[str, np.ndarray] = field(default_factory=dict)
    after: dict[str, np.ndarray] = field(default_factory=dict)
    paths: dict[str, PathMap] = field(default_factory=dict)


def plain_prediction(network: Network, state: Tensors, x: np.ndarray) -> np.ndarray:
    """Return (batch, outputs); the parameters stand in the state as `w.c1.weight`, `w.c1.bias`, ..."""
    return _forward(network, state, x).after[network.output.name]


def plain_gradient(
    network: Network, state: Tensors, x: np.ndarray, y: np.ndarray, loss: str, weight: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return the gradient of the mean loss for every parameter, by name without `w.`; `weight`: of each sample's loss."""
    trace = _forward(network, state, x)
    prediction = trace.after[network.output.name]
    if loss == "mse":
        slope = 2 * (prediction - y) / y.shape[1]
    else:
        e = np.exp(prediction - prediction.max(axis=1, keepdims=True))
        slope = e / e.sum(axis=1, keepdims=True) * y.sum(axis=1, keepdims=True) - y
    slope = slope if weight is None else slope * weight[:, None]
    back = {layer.name: np.zeros_like(trace.after[layer.name]) for layer in network.layers}
    back[network.output.name] = slope / len(x)
    gradient: dict[str, np.ndarray] = {}
    for layer in reversed(network.layers[1:]):
        delta = _through_layer(layer, trace, back[layer.name], state, gradient)
        for connection in network.incoming(layer.name):
            _through_connection(connection, trace, delta, state, gradient, back)
    return {name: gradient[name] for name in _names(network)}


def _names(network: Network) -> list[str]:
    names: list[str] = []
    for connection in network.weighted:
        names += [f"{connection.name}.weight"] + ([f"{connection.name}.bias"] if connection.bias else [])
    for layer in network.layers:
        names += [f"{layer.name}.scale", f"{layer.name}.shift"] if layer.norm and layer.norm.affine else []
    return names


def _affine(layer: Layer, state: Tensors) -> Affine | None:
    if layer.norm is None or not layer.norm.affine:
        return None
    return state[f"w.{layer.name}.scale"], state[f"w.{layer.name}.shift"]


def _letters(image: np.ndarray, layer: Layer) -> Array:
    return from_images(image, ("n", "j", "@"), (), layer.shape)


def _forward(network: Network, state: Tensors, x: np.ndarray) -> _Trace:
    trace = _Trace()
    trace.after[network.input.name] = x.reshape(len(x), *network.input.shape)
    for layer in network.layers[1:]:
        total = np.zeros((len(x), *layer.shape))
        for connection in network.incoming(layer.name):
            trace.paths[connection.name] = PathMap(connection.path, trace.after)
            total = total + _send(connection, trace.paths[connection.name].apply(trace.after), state, layer)
        trace.before[layer.name] = total
        trace.after[layer.name] = to_images(
            activate(layer, _letters(total, layer), "j", _affine(layer, state)), layer.shape, len(x), ()
        )
    return trace


def _send(connection: Connection, seen: np.ndarray, state: Tensors, layer: Layer) -> np.ndarray:
    if connection.weights is None:
        return seen
    weight = state[f"w.{connection.name}.weight"]
    if isinstance(connection.weights, Dense):
        out = seen @ weight
    else:
        out = np.moveaxis(unfold(connection.weights, seen) @ dense_kernel(connection.weights, weight), 1, 2)
        out = out.reshape(len(seen), *layer.shape)
    if connection.bias:
        out = out + state[f"w.{connection.name}.bias"].reshape(-1, *[1] * (len(layer.shape) - 1))
    return out


def _through_layer(
    layer: Layer, trace: _Trace, back: np.ndarray, state: Tensors, gradient: dict[str, np.ndarray]
) -> np.ndarray:
    z, e = _letters(trace.before[layer.name], layer), _letters(back, layer)
    affine = _affine(layer, state)
    if affine is not None:
        plain = Layer(layer.name, layer.shape, layer.activation)  # the same activation, after the normalisation
        inner = pull_back(plain, normalise(layer, z, "j", affine), e, "j")
        per_unit = combine(np.multiply, inner, normalise(layer, z, "j"))
        shape = affine[0].shape
        for name, value in ((f"{layer.name}.scale", per_unit), (f"{layer.name}.shift", inner)):
            image = to_images(value, layer.shape, len(back), ())
            axes = (0,) if len(shape) == len(layer.shape) else (0, *range(2, image.ndim))
            gradient[name] = image.sum(axis=axes)
    return to_images(pull_back(layer, z, e, "j", affine), layer.shape, len(back), ())


def _through_connection(
    connection: Connection,
    trace: _Trace,
    delta: np.ndarray,
    state: Tensors,
    gradient: dict[str, np.ndarray],
    back: dict[str, np.ndarray],
) -> None:
    path = trace.paths[connection.name]
    seen = path.apply(trace.after)
    arriving = delta
    if connection.bias:
        gradient[f"{connection.name}.bias"] = delta.sum(axis=(0, *range(2, delta.ndim)))
    if isinstance(connection.weights, Dense):
        gradient[f"{connection.name}.weight"] = seen.T @ delta
        arriving = delta @ state[f"w.{connection.name}.weight"].T
    elif isinstance(connection.weights, Conv):
        flat = np.moveaxis(delta.reshape(len(delta), delta.shape[1], -1), 1, 2)
        patches = unfold(connection.weights, seen)
        gradient[f"{connection.name}.weight"] = sparse_kernel(
            connection.weights, np.einsum("npi,npj->ij", patches, flat)
        )
        kernel = dense_kernel(connection.weights, state[f"w.{connection.name}.weight"])
        arriving = fold(connection.weights, flat @ kernel.T, *connection.input_shape[1:])
    for source in connection.sources:
        back[source] = back[source] + path.adjoint(source, arriving, trace.after)
