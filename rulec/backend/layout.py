"""Names, shapes and axis labels of everything that goes in and out of a compiled step.

Leading axes (population, task, replica) stand in front of every shape given here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rulec.ir.graph import Program
from rulec.network.graph import Connection, Conv, Dense, Layer, Network
from rulec.semantics.typed import Extent, State


@dataclass(frozen=True)
class Slot:
    """One tensor: `labels` name its axes; -1 in `shape` is the batch."""

    name: str  # "w.c1", "b.hidden1", "lr", "f.0.weight"
    labels: tuple[str, ...]
    shape: tuple[int, ...]
    state: State | None = None
    connection: Connection | None = None
    layer: Layer | None = None


def extent_size(extent: Extent, network: Network) -> int:
    return extent if isinstance(extent, int) else network.output.shape[0]


def genome_slots(program: Program, network: Network) -> list[Slot]:
    """Entries first, then the weights of nets. Per-layer ones have a first axis with one place per connection."""
    count = len(network.connections)
    slots = []
    for entry in program.genome:
        shape = tuple(extent_size(e, network) for e in entry.shape)
        slots.append(Slot(entry.name, entry.indices, ((count, *shape) if entry.per_layer else shape)))
    for net in program.nets:
        lead = (count,) if net.per_layer else ()
        for k, (inputs, outputs) in enumerate(zip(net.sizes[:-1], net.sizes[1:], strict=True)):
            slots.append(Slot(f"{net.name}.{k}.weight", (), (*lead, inputs, outputs)))
            slots.append(Slot(f"{net.name}.{k}.bias", (), (*lead, outputs)))
    return slots


def weight_labels(connection: Connection) -> tuple[tuple[str, ...], tuple[int, ...]]:
    weights = connection.weights
    if isinstance(weights, Conv):
        return ("j", "q", "ky", "kx"), (weights.outputs, weights.inputs // weights.groups, *weights.kernel)
    assert isinstance(weights, Dense)
    return ("i", "j"), (weights.inputs, weights.outputs)


def layers_with_weights(network: Network) -> list[Layer]:
    return [layer for layer in network.layers if any(c.weights for c in network.incoming(layer.name))]


def parameter_slots(network: Network, prefix: str, state: State | None = None) -> list[Slot]:
    """The network's own parameters, or a state with one value for each of them."""
    slots: list[Slot] = []
    for connection in network.weighted:
        _, shape = weight_labels(connection)
        slots.append(Slot(f"{prefix}.{connection.name}.weight", _anonymous(len(shape)), shape, state, connection))
        if connection.bias:
            assert connection.weights is not None
            bias = (connection.weights.outputs,)
            slots.append(Slot(f"{prefix}.{connection.name}.bias", ("p0",), bias, state, connection))
    for layer in network.layers:
        if layer.norm is not None and layer.norm.affine:
            shape = layer.shape if layer.norm.kind == "layer" else layer.shape[:1]
            for name in ("scale", "shift"):
                slots.append(Slot(f"{prefix}.{layer.name}.{name}", _anonymous(len(shape)), shape, state, None, layer))
    return slots


def _anonymous(count: int) -> tuple[str, ...]:
    return tuple(f"p{k}" for k in range(count))


def state_slots(program: Program, network: Network) -> list[Slot]:
    slots: list[Slot] = []
    if program.acts_on_parameters:
        slots += parameter_slots(network, "w")
    else:
        slots += [s for s in parameter_slots(network, "network") if s.layer is not None]
    for state in program.states:
        slots += list(_slots_of(state, network))
    return slots


def _slots_of(state: State, network: Network) -> Iterator[Slot]:
    shape = tuple(extent_size(e, network) for e in state.shape)
    if state.kind == "neuron" and state.keep:
        for layer in network.layers:
            places = ("j",) if len(layer.shape) == 1 else ("j", "jy", "jx")
            yield Slot(
                f"{state.name}.{layer.name}",
                (*state.indices, "n", *places),
                (*shape, -1, *layer.shape),
                state,
                None,
                layer,
            )
    elif state.kind == "synapse" and state.sides == "p":
        yield from parameter_slots(network, state.name, state)
    elif state.kind == "synapse" and len(state.sides) == 2:
        for connection in network.weighted:
            labels, own = weight_labels(connection)
            yield Slot(f"{state.name}.{connection.name}", (*state.indices, *labels), (*shape, *own), state, connection)
    elif state.kind == "synapse":
        for layer in layers_with_weights(network):
            yield Slot(
                f"{state.name}.{layer.name}", (*state.indices, "j"), (*shape, layer.shape[0]), state, None, layer
            )
