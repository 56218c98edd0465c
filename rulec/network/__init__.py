"""The network a rule acts on: a graph of layers and connections, from a spec or from a traced `torch.nn.Module`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rulec.network import messages
from rulec.network.graph import Connection, Layer, Network, Shape
from rulec.network.rendering import render_network
from rulec.network.spec import parse_spec
from rulec.source import RuleError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Connection", "Layer", "Network", "network_from", "parse_spec", "render_network"]


def network_from(
    spec_or_module: str | nn.Module | Network, input_shape: Shape | None = None, outputs: int | None = None
) -> Network:
    """Return the network of a spec, of a module (for inputs of `input_shape`, no batch axis), or as given.

    `input_shape` and `outputs` are the task's; a spec may leave its input and output layers to them. Raises
    `RuleError` for whatever cannot be understood or does not fit. Torch is loaded for modules only.
    """
    if isinstance(spec_or_module, Network):
        return spec_or_module
    if isinstance(spec_or_module, str):
        return parse_spec(spec_or_module, input_shape, outputs)
    torch = sys.modules.get("torch")  # a module cannot exist without it
    kind = type(spec_or_module).__name__
    if torch is None or not isinstance(spec_or_module, torch.nn.Module):
        raise RuleError([messages.wrong_spec_type(kind)])
    if input_shape is None:
        raise RuleError([messages.missing_input_shape(f"`{kind}`")])
    from rulec.network.trace import trace_module

    return trace_module(spec_or_module, tuple(input_shape))
