"""The network's own forward pass, as its definition reads: the reference for everything faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from rulec.network.graph import Add, Concat, Connection, Dense, Flatten, Layer, Leaf, Network, Norm, Pad, Path, Pool

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda z: z,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "elu": F.elu,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "selu": F.selu,
    "softsign": F.softsign,
    "relu_tanh": lambda z: torch.relu(torch.tanh(z)),
    "sin": torch.sin,
    "square": torch.square,
    "softmax": lambda z: torch.softmax(z, dim=1),
}


def forward(network: Network, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Return the network's output for `x` of shape (batch, *input): activation(norm(sum of contributions))."""
    values = {network.input.name: x}
    for layer in network.layers[1:]:
        contributions = [_contribution(one, parameters, values) for one in network.incoming(layer.name)]
        values[layer.name] = _neurons(layer, parameters, sum(contributions[1:], contributions[0]))
    return values[network.output.name]


def _contribution(connection: Connection, parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Tensor:
    x = follow_path(connection.path, values)
    weights = connection.weights
    if weights is None:
        return x
    w, b = parameters[f"{connection.name}.weight"], parameters.get(f"{connection.name}.bias")
    if isinstance(weights, Dense):
        return x @ w if b is None else x @ w + b
    return F.conv2d(x, w, b, weights.stride, weights.padding, weights.dilation, weights.groups)


def _neurons(layer: Layer, parameters: Mapping[str, Tensor], z: Tensor) -> Tensor:
    if layer.norm is not None:
        z = normalise(layer.norm, z)
        if layer.norm.affine:
            z = z * _per_channel(parameters[f"{layer.name}.scale"], z) + _per_channel(
                parameters[f"{layer.name}.shift"], z
            )
    return _ACTIVATIONS[layer.activation](z)


def normalise(norm: Norm, z: Tensor) -> Tensor:
    """Return (z - mean) / sqrt(variance + eps), the statistics over the axes that the kind says."""
    if norm.kind == "group":
        grouped = z.reshape(len(z), norm.groups, -1)
        return normalise(Norm("layer", norm.eps), grouped.flatten(0, 1)).reshape(z.shape)
    places = tuple(range(2, z.dim()))
    axes = {"batch": (0, *places), "layer": (1, *places), "instance": places}[norm.kind]
    mean = z.mean(axes, keepdim=True)
    variance = z.var(axes, correction=0, keepdim=True)
    return (z - mean) / torch.sqrt(variance + norm.eps)


def _per_channel(value: Tensor, z: Tensor) -> Tensor:
    """Append axes for the places to a value per channel; one per element stays as it is."""
    return value if value.dim() == z.dim() - 1 else value[:, None, None]


def follow_path(path: Path, values: Mapping[str, Tensor]) -> Tensor:
    """Return what comes out of a path, given the values of the layers at its leaves."""
    if isinstance(path, Leaf):
        return values[path.layer]
    if isinstance(path, Concat):
        return torch.cat([follow_path(one, values) for one in path.sources], dim=1)
    if isinstance(path, Add):
        parts = [follow_path(one, values) for one in path.sources]
        return sum(parts[1:], parts[0])
    x = follow_path(path.source, values)
    if isinstance(path, Flatten):
        return x.flatten(1)
    if isinstance(path, Pad):
        return F.pad(x, path.amounts)
    return _pool(path, x)


def _pool(pool: Pool, x: Tensor) -> Tensor:
    if pool.kind == "max":
        return F.max_pool2d(x, pool.kernel, pool.stride, pool.padding)
    return F.avg_pool2d(x, pool.kernel, pool.stride, pool.padding, count_include_pad=pool.count_include_pad)
