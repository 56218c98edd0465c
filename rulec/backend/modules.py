"""From a lowered graph to something that can be called: a `GraphModule`, plain or through Inductor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from rulec.backend.lowering import Lowered
from rulec.backend.planned import Pool, planned

# `auto`, `kernel` and `triton` are for unrolls; single steps run as with `fx`.
BACKENDS = ("auto", "fx", "inductor", "kernel", "triton")

Graph = Callable[..., tuple[Tensor, ...]]


def graph_module(lowered: Lowered, name: str = "Step") -> fx.GraphModule:
    module = fx.GraphModule(torch.nn.Module(), lowered.graph, class_name=name)
    module.meta = {"outputs": lowered.outputs}  # type: ignore[assignment]
    return module


def executable(lowered: Lowered, backend: str, name: str = "Step") -> Graph:
    """Return the graph as a function of its flat arguments, for one of `BACKENDS`."""
    module = graph_module(lowered, name)
    return torch.compile(module, dynamic=False, fullgraph=True) if backend == "inductor" else module


def without_gradient(module: fx.GraphModule, backend: str, pool: Pool) -> Graph:
    """Return a traced graph as a function that nobody differentiates: in planned memory, or through Inductor."""
    return torch.compile(module, dynamic=False, fullgraph=True) if backend == "inductor" else planned(module, pool)


def arguments(
    lowered: Lowered,
    genome: dict[str, Tensor],
    state: dict[str, Tensor],
    x: Tensor,
    y: Tensor,
    t: Tensor,
    noise: Sequence[Tensor],
) -> list[Any]:
    """Lay the arguments out in the order of the graph's placeholders."""
    return [*(genome[s.name] for s in lowered.genome), *(state[s.name] for s in lowered.state), x, y, t, *noise]
