"""What one step costs, counted on the lowered graph."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode

from rulec.backend.counting import Cost, graph_cost
from rulec.backend.layout import Slot
from rulec.backend.lowering import Lowered
from rulec.network.graph import Network


def step_cost(
    lowered: Lowered, network: Network, leading: Mapping[str, int], dtype: torch.dtype, batch: int = 64
) -> Cost:
    """Count the work of one step on `batch` samples."""
    module = fx.GraphModule(torch.nn.Module(), lowered.graph)
    return graph_cost(module, step_arguments(lowered, network, leading, dtype, batch), batch)


def step_arguments(
    lowered: Lowered, network: Network, leading: Mapping[str, int], dtype: torch.dtype, batch: int
) -> list[Tensor]:
    """Return arguments without data, in the order of the placeholders; data are shared by the leading axes, as in a run."""
    lead = tuple(leading.values())
    population = (leading["P"],) if "P" in leading else ()

    def sized(slot: Slot, front: tuple[int, ...]) -> Tensor:
        return torch.empty((*front, *(batch if size == -1 else size for size in slot.shape)), dtype=dtype)

    with FakeTensorMode(allow_non_fake_inputs=True):
        entries = [sized(slot, population) for slot in lowered.genome]
        states = [sized(slot, lead) for slot in lowered.state]
        shapes = (network.input.shape, network.output.shape[:1])
        data = [torch.empty((batch, *shape), dtype=dtype).expand(*lead, batch, *shape) for shape in shapes]
        noise_shapes = [tuple(batch if size == -1 else size for size in site.shape) for site in lowered.noise]
        noise = [torch.empty((*lead, *shape), dtype=dtype) for shape in noise_shapes]
        return [*entries, *states, *data, torch.empty((), dtype=dtype), *noise]
