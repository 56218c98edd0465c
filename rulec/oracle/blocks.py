"""Run the blocks of a program on a network: sweeps visit layers, updates visit connections or parameters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rulec.ir.graph import Block, Write
from rulec.ir.initial import initial_array
from rulec.ir.signals import clamped_states, schedule, signal_state
from rulec.network.graph import Connection, Conv, Layer
from rulec.oracle.arrays import Array
from rulec.oracle.frame import Frame, View
from rulec.oracle.geometry import dense_kernel, sparse_kernel
from rulec.oracle.plain import plain_gradient, plain_prediction
from rulec.oracle.units import from_images, to_images
from rulec.semantics.typed import State


def run_program(frame: Frame) -> None:
    """Run every block in order; the frame then holds the new states and the prediction."""
    for declared in frame.program.states:
        _start(frame, declared)
    blocks = schedule(frame.program.blocks)
    for block, _ in blocks:
        if block.kind == "support":
            _run_data(frame, block)
    if frame.program.acts_on_parameters:
        frame.prediction = Array(("n", "j"), plain_prediction(frame.network, frame.state, frame.x))
    for block, count in blocks:
        if block.kind not in ("support", "query"):
            frame.running, frame.run_count = block.kind, count
            _BLOCKS[block.kind](frame, block)
    for declared in frame.program.states:
        if declared.kind == "neuron" and declared.keep:
            _store_kept(frame, declared)


def _run_data(frame: Frame, block: Block) -> None:
    """Put in the place of the data what they become; both from what they were."""
    frame.running = block.kind
    inputs, outputs = frame.network.input, frame.network.output
    made = {
        write.name: frame.value(write.value, View(inputs, "i") if write.name == "input" else View(outputs, "j"))
        for write in block.writes
    }
    if "input" in made:
        image = to_images(made["input"].renamed({"i": "j"}), inputs.shape, frame.batch, ())
        frame.x = np.broadcast_to(image, (frame.batch, *inputs.shape))
    if "target" in made:
        frame.y = np.broadcast_to(made["target"].spread(("n", "j")), frame.y.shape)


def _run_weight(frame: Frame, block: Block) -> None:
    frame.weight = frame.value(block.writes[0].value, View(frame.network.output, "j"))


def _learning(frame: Frame) -> list[Connection]:
    """Return the connections that learn."""
    weighted, within = frame.network.weighted, frame.program.within
    return [c for k, c in enumerate(weighted) if within is None or k in within.places(len(weighted))]


# --- Neuron states before and after the step -------------------------------------------------


def _start(frame: Frame, declared: State) -> None:
    """Give a neuron or broadcast state its value at the start of the step."""
    if declared.kind == "synapse":
        return
    sizes = [frame.extent_size(e) for e in declared.shape]
    value = Array(declared.indices, initial_array(declared.initial, sizes))
    if declared.kind == "broadcast":
        frame.broadcasts[declared.name] = value
        return
    for layer in frame.network.layers:
        kept = frame.state.get(f"{declared.name}.{layer.name}") if declared.keep else None
        start = value if kept is None else _read_kept(kept, declared.indices, layer)
        frame.neurons[(declared.name, layer.name)] = _whole(frame, start, layer)


def _read_kept(data: np.ndarray, indices: tuple[str, ...], layer: Layer) -> Array:
    if len(layer.shape) == 1:
        return Array((*indices, "n", "j"), data)
    return Array((*indices, "n", "j", "@"), data.reshape(*data.shape[: len(indices) + 2], -1))


def _store_kept(frame: Frame, declared: State) -> None:
    sizes = [frame.extent_size(e) for e in declared.shape]
    for layer in frame.network.layers:
        value = frame.neurons[(declared.name, layer.name)].spread((*declared.indices, "n", "j", "@"))
        full = np.broadcast_to(value, (*sizes, frame.batch, layer.shape[0], int(np.prod(layer.shape[1:]))))
        frame.state[f"{declared.name}.{layer.name}"] = full.reshape(*sizes, frame.batch, *layer.shape).copy()


def _whole(frame: Frame, value: Array, layer: Layer) -> Array:
    """Give a neuron value one number per sample and neuron, so that sums count every one."""
    rest = tuple(a for a in value.axes if a not in ("n", "j", "@"))
    return from_images(to_images(value, layer.shape, frame.batch, rest), ("n", "j", "@"), rest, layer.shape)


# --- Sweeps ----------------------------------------------------------------------------------


def _run_input(frame: Frame, block: Block) -> None:
    _visit(frame, block, frame.network.input, "i")


def _run_output(frame: Frame, block: Block) -> None:
    _visit(frame, block, frame.network.output, "j")


def _run_forward(frame: Frame, block: Block) -> None:
    if signal_state(block) is not None:
        frame.signal = signal_state(block)
        frame.paths.clear()
    for layer in frame.network.layers[1:]:
        _visit(frame, block, layer, "j")


def _run_backward(frame: Frame, block: Block) -> None:
    for layer in reversed(frame.network.layers[:-1]):
        _visit(frame, block, layer, "i")


def _visit(frame: Frame, block: Block, layer: Layer, side: str) -> None:
    """Compute every new value of a layer from the old ones. Sweeps leave what `input` has set."""
    view = View(layer, side)
    clamped = clamped_states(frame.program) if layer is frame.network.input and block.kind != "input" else ()
    made = [(write, frame.value(write.value, view)) for write in block.writes]
    for write, value in made:
        if write.name == "prediction":
            frame.prediction = value
        elif frame.program.state(write.name).kind == "broadcast":
            frame.broadcasts[write.name] = value
        elif write.name not in clamped:
            frame.neurons[(write.name, layer.name)] = _whole(frame, value.renamed({side: "j"}), layer)


# --- Updates ---------------------------------------------------------------------------------


def _run_update(frame: Frame, block: Block) -> None:
    """Compute every new value from the old ones, of synapses that join two neurons or belong to one."""
    new: dict[str, np.ndarray] = {}
    for write in block.writes:
        if len(write.side.split(",")) == 2:
            for connection in _learning(frame):
                new[f"{write.name}.{connection.name}"] = _new_weights(frame, write, connection)
        else:
            for layer in {c.target: frame.network.layer(c.target) for c in _learning(frame)}.values():
                new[f"{write.name}.{layer.name}"] = _new_per_neuron(frame, write, layer)
    frame.state.update(new)


def _new_weights(frame: Frame, write: Write, connection: Connection) -> np.ndarray:
    indices = frame.program.state(write.name).indices
    before = frame.state[f"{write.name}.{connection.name}"]
    matrix = frame.value(write.value, View(connection=connection)).spread((*indices, "i", "j"))
    if not isinstance(connection.weights, Conv):
        return np.broadcast_to(matrix, before.shape).copy()
    return sparse_kernel(connection.weights, np.broadcast_to(matrix, dense_kernel(connection.weights, before).shape))


def _new_per_neuron(frame: Frame, write: Write, layer: Layer) -> np.ndarray:
    indices = frame.program.state(write.name).indices
    before = frame.state[f"{write.name}.{layer.name}"]
    value = frame.value(write.value, View(layer, write.side))
    return np.broadcast_to(value.spread((*indices, write.side)), before.shape).copy()


def _run_parameters(frame: Frame, block: Block) -> None:
    """Compute every new value from the old ones; a parameter is flat, with the axis `p`."""
    new: dict[str, np.ndarray] = {}
    weight = None if frame.weight is None else np.broadcast_to(frame.weight.spread(("n",)), (frame.batch,))
    learning = {name for c in _learning(frame) for name in (c.name, c.target)}
    for name, gradient in plain_gradient(frame.network, frame.state, frame.x, frame.y, frame.loss, weight).items():
        if name.split(".")[0] not in learning:
            continue
        view = View(parameter=name, gradient=Array(("p",), gradient.reshape(-1)))
        for write in block.writes:
            flat = np.broadcast_to(frame.value(write.value, view).spread(("p",)), gradient.size)
            new[f"{write.name}.{name}"] = flat.reshape(gradient.shape).copy()
    frame.state.update(new)


_BLOCKS: dict[str, Callable[[Frame, Block], None]] = {
    "input": _run_input,
    "forward": _run_forward,
    "output": _run_output,
    "backward": _run_backward,
    "update": _run_update,
    "parameters": _run_parameters,
    "weight": _run_weight,
}
