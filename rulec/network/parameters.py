"""A network's own parameters as plain tensors, named after connections and layers.

`<connection>.weight` is (inputs, outputs) for dense connections, so that `x @ w` applies it, and (outputs, inputs /
groups, height, width) for convolutions; `<connection>.bias` is (outputs,). `<layer>.scale` and `<layer>.shift` belong
to an affine normalisation: one value per channel, or per element for the kind `layer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from rulec.network import messages
from rulec.network.forward import forward
from rulec.network.graph import Connection, Dense, Layer, Network
from rulec.network.sizes import fan_in, norm_shape, weights_shape
from rulec.source import RuleError

__all__ = ["forward", "initial_parameters", "parameters_from", "parameters_to"]


def initial_parameters(
    network: Network, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Draw weights from normal(0, 1 / sqrt(fan_in)); biases and shifts are 0, scales 1.

    The tensors live on the device of `generator`.
    """
    device = generator.device if generator is not None else torch.device("cpu")
    parameters: dict[str, Tensor] = {}
    for connection in network.weighted:
        assert connection.weights is not None
        weight = torch.empty(weights_shape(connection.weights), dtype=dtype, device=device)
        parameters[f"{connection.name}.weight"] = weight.normal_(0.0, fan_in(connection) ** -0.5, generator=generator)
        if connection.bias:
            parameters[f"{connection.name}.bias"] = torch.zeros(connection.weights.outputs, dtype=dtype, device=device)
    for layer in _affine_layers(network):
        assert layer.norm is not None
        shape = norm_shape(layer.norm, layer.shape)
        parameters[f"{layer.name}.scale"] = torch.ones(shape, dtype=dtype, device=device)
        parameters[f"{layer.name}.shift"] = torch.zeros(shape, dtype=dtype, device=device)
    return parameters


def parameters_from(module: nn.Module, network: Network) -> dict[str, Tensor]:
    """Copy the parameters of the module that `network` was traced from; raise `RuleError` for another module."""
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in _views(module, network)
    }


def parameters_to(module: nn.Module, network: Network, parameters: Mapping[str, Tensor]) -> None:
    """Write `parameters` back into the module that `network` was traced from, in place."""
    with torch.no_grad():
        for name, tensor in _views(module, network):
            tensor.copy_(parameters[name])


def _views(module: nn.Module, network: Network) -> Iterator[tuple[str, Tensor]]:
    """Yield the module's parameters under the network's names, as views in the network's layout."""
    for connection in network.weighted:
        weight = _parameter(module, connection.module, "weight", _stored_shape(connection))
        yield f"{connection.name}.weight", weight.T if isinstance(connection.weights, Dense) else weight
        if connection.bias:
            assert connection.weights is not None
            yield (
                f"{connection.name}.bias",
                _parameter(module, connection.module, "bias", (connection.weights.outputs,)),
            )
    for layer in _affine_layers(network):
        assert layer.norm is not None
        shape = norm_shape(layer.norm, layer.shape)
        yield f"{layer.name}.scale", _parameter(module, layer.norm.module, "weight", shape)
        yield f"{layer.name}.shift", _parameter(module, layer.norm.module, "bias", shape)


def _stored_shape(connection: Connection) -> tuple[int, ...]:
    """Return the shape in which torch stores the weights."""
    assert connection.weights is not None
    shape = weights_shape(connection.weights)
    return shape[::-1] if isinstance(connection.weights, Dense) else shape


def _parameter(module: nn.Module, path: str, name: str, shape: tuple[int, ...]) -> Tensor:
    owner = dict(module.named_modules()).get(path)
    tensor = getattr(owner, name, None)
    if not isinstance(tensor, Tensor) or tuple(tensor.shape) != shape:
        where = f"{path}.{name}" if path else name
        raise RuleError([messages.foreign_module(where, f"`{type(module).__name__}`", shape)])
    return tensor


def _affine_layers(network: Network) -> tuple[Layer, ...]:
    return tuple(layer for layer in network.layers if layer.norm is not None and layer.norm.affine)
