"""Run the blocks of a program on a network: sweeps visit layers, updates visit connections or parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import fx

from rulec.backend import messages
from rulec.backend.frame import Frame, View
from rulec.backend.layout import extent_size, layers_with_weights, parameter_slots
from rulec.backend.plain import Plain
from rulec.backend.values import Value
from rulec.ir.graph import Block, Write
from rulec.ir.initial import initial_array
from rulec.ir.signals import schedule, signal_state
from rulec.network.graph import Connection, Conv, Layer
from rulec.semantics.typed import Expr, Extent
from rulec.source import RuleError


def run_program(frame: Frame) -> None:
    """Run the blocks in order; the frame then holds the prediction, and, where it serves the support, the new states.

    For a query nothing is run that comes after the prediction.
    """
    for declared in frame.program.states:
        _start(frame, declared.name)
    blocks = schedule(frame.program.blocks)
    for block, _ in blocks:
        if block.kind == frame.serving:
            _run_data(frame, block)
    if frame.program.acts_on_parameters:
        own = {name[2:]: value for name, value in frame.state.items() if name.startswith("w.")}
        frame.plain = Plain(frame.emit, frame.network, own)
        frame.prediction = frame.plain.forward(frame.x)
    for block, count in blocks if frame.serving == "support" else _up_to_prediction(blocks):
        if block.kind not in ("support", "query"):
            frame.running, frame.run_count = block.kind, count
            _BLOCKS[block.kind](frame, block)


def _up_to_prediction(blocks: Sequence[tuple[Block, int]]) -> Sequence[tuple[Block, int]]:
    places = [k for k, (block, _) in enumerate(blocks) if any(w.name == "prediction" for w in block.writes)]
    return blocks[: places[-1] + 1] if places else ()


def _run_data(frame: Frame, block: Block) -> None:
    """Put in the place of the data what they become; both from what they were."""
    frame.running = block.kind
    views = {"input": View(frame.network.input, "i"), "target": View(frame.network.output, "j")}
    made = {write.name: frame.value(write.value, views[write.name]) for write in block.writes}
    frame.x, frame.y = made.get("input", frame.x), made.get("target", frame.y)


def _run_weight(frame: Frame, block: Block) -> None:
    frame.weight = frame.value(block.writes[0].value, View(frame.network.output, "j"))


def _start(frame: Frame, name: str) -> None:
    """Give a neuron or broadcast state its value at the start of the step."""
    declared = frame.program.state(name)
    if declared.kind == "synapse":
        return
    value = _constant(frame, declared.initial, declared.shape, declared.indices)
    if declared.kind == "broadcast":
        frame.broadcasts[name] = value
        return
    for layer in frame.network.layers:
        frame.neurons[(name, layer.name)] = frame.state[f"{name}.{layer.name}"] if declared.keep else value


def _constant(frame: Frame, initial: Expr, shape: Sequence[Extent], indices: tuple[str, ...]) -> Value:
    array = initial_array(initial, [extent_size(e, frame.network) for e in shape])
    if array.size and (array == array.flat[0]).all():
        return frame.emit.number(float(array.flat[0]))
    return frame.emit.canonical(frame.emit.make(indices, torch.tensor, array.tolist(), dtype=frame.emit.dtype))


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
    view = View(layer, side)
    made = [(write, _named(write, frame.value(write.value, view), layer.name)) for write in block.writes]
    for write, value in made:
        if write.name == "prediction":
            frame.prediction, frame.prediction_span = value, write.span
        elif frame.program.state(write.name).kind == "broadcast":
            frame.broadcasts[write.name] = value
        elif not (layer is frame.network.input and block.kind != "input" and write.name in frame.clamped):
            frame.neurons[(write.name, layer.name)] = frame.relabelled(value, side, "j")


def _named(write: Write, value: Value, place: str) -> Value:
    """Name the node after the state and the layer, so that the generated code reads like the rule."""
    node = value.node
    if isinstance(node, fx.Node) and node.op == "call_function" and "named" not in node.meta:
        node.meta["named"] = True
        node._rename(f"{write.name}_{place}".replace(".", "_"))
    return value


# --- Updates ---------------------------------------------------------------------------------


def _run_update(frame: Frame, block: Block) -> None:
    """Compute every new value from the old ones; writes at the same place share what they compute."""
    views: dict[str, View] = {}
    new: dict[str, Value] = {}
    for write in block.writes:
        if len(write.side.split(",")) == 2:
            for connection in frame.learning:
                view = views.setdefault(connection.name, View(connection=connection))
                value = _kernel(frame, frame.value(write.value, view), connection, write)
                new[f"{write.name}.{connection.name}"] = _named(write, value, f"{connection.name}_new")
        else:
            for layer in layers_with_weights(frame.network):
                if not any(c in frame.learning for c in frame.network.incoming(layer.name)):
                    continue
                view = views.setdefault(f"{layer.name} {write.side}", View(layer=layer, side=write.side))
                value = frame.relabelled(frame.value(write.value, view), write.side, "j")
                new[f"{write.name}.{layer.name}"] = _named(write, value, f"{layer.name}_new")
    _commit(frame, new)


def _kernel(frame: Frame, value: Value, connection: Connection, write: Write) -> Value:
    if isinstance(connection.weights, Conv) and {"iy", "jy"} & set(value.labels):
        raise RuleError([messages.cannot_map(write.span, frame.where(connection), "one value per place")])
    return value


def _run_parameters(frame: Frame, block: Block) -> None:
    assert frame.plain is not None
    gradients = frame.plain.gradients(frame.y, frame.loss_name, frame.weight)
    new: dict[str, Value] = {}
    for slot in parameter_slots(frame.network, "w"):
        own = [slot.connection] if slot.connection else frame.network.incoming(slot.layer.name if slot.layer else "")
        if not any(connection in frame.learning for connection in own):
            continue
        place = slot.name.split(".", 1)[1]
        view = View(parameter=slot, gradient=gradients[place])
        for write in block.writes:
            new[f"{write.name}.{place}"] = _named(write, frame.value(write.value, view), f"{place}_new")
    _commit(frame, new)


def _commit(frame: Frame, new: dict[str, Value]) -> None:
    for name, value in new.items():
        slot = frame.slots[name]
        frame.state[name] = Value(frame.emit, frame.stored(slot, value), (*frame.leading, *slot.labels))


_BLOCKS: dict[str, Callable[[Frame, Block], None]] = {
    "input": _run_input,
    "forward": _run_forward,
    "output": _run_output,
    "backward": _run_backward,
    "update": _run_update,
    "parameters": _run_parameters,
    "weight": _run_weight,
}
