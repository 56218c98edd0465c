"""Lower a program and a network to an fx graph: one step, all layers, all leading axes, no loops."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from rulec.backend import messages
from rulec.backend.blocks import run_program
from rulec.backend.frame import Frame, NoiseSite
from rulec.backend.layout import Slot
from rulec.backend.nets import NETS
from rulec.backend.ops import OPS
from rulec.backend.reductions import REDUCTIONS
from rulec.ir.graph import Program
from rulec.network.graph import Network
from rulec.source import RuleError


@dataclass(frozen=True)
class Lowered:
    """A graph and the meaning of its arguments and results, in order."""

    graph: fx.Graph
    genome: tuple[Slot, ...]
    state: tuple[Slot, ...]
    noise: tuple[NoiseSite, ...]
    outputs: tuple[str, ...]  # state names, then "prediction" and "loss"


def lower_step(
    program: Program,
    network: Network,
    loss: str,
    leading: dict[str, int],
    dtype: torch.dtype,
    data: Collection[str] | None = None,
) -> Lowered:
    """Return the graph of one whole step: genome, state, x, y, t, noise to new state, prediction and mean loss (weighted, if it is).

    `data` are the leading axes that `x` and `y` have; what they lack is computed once for all along it.
    """
    frame = _run(program, network, loss, leading, dtype, data, "support")
    prediction = _prediction(frame)
    losses = frame.loss(prediction) if frame.weight is None else frame.loss(prediction) * frame.weight
    mean_loss = frame.emit.reduce("mean", frame.full(losses, ("n",)), ("n",))
    states = [frame.stored(slot, frame.state[slot.name]) for slot in frame.state_slots]
    return _finish(frame, [*states, prediction.node, mean_loss.node], [*frame.state, "prediction", "loss"])


def lower_prediction(
    program: Program,
    network: Network,
    loss: str,
    leading: dict[str, int],
    dtype: torch.dtype,
    data: Collection[str] | None = None,
) -> Lowered:
    """Return the graph of the prediction alone. Raises `RuleError` if it depends on the target."""
    frame = _run(program, network, loss, leading, dtype, data, "query")
    lowered = _finish(frame, [_prediction(frame).node], ["prediction"])
    if frame.y.node.users:
        raise RuleError([messages.prediction_reads_target(frame.prediction_span, program.name)])
    return lowered


def _run(
    program: Program,
    network: Network,
    loss: str,
    leading: dict[str, int],
    dtype: torch.dtype,
    data: Collection[str] | None,
    serving: str,
) -> Frame:
    frame = Frame(program, network, loss, leading, dtype, OPS | REDUCTIONS | NETS, data, serving)
    run_program(frame)
    return frame


def _prediction(frame: Frame) -> Any:
    assert frame.prediction is not None
    return frame.full(frame.prediction, ("n", "j"))


def _finish(frame: Frame, results: list[Any], names: list[str]) -> Lowered:
    graph = frame.emit.graph
    graph.output(tuple(results))
    graph.eliminate_dead_code()
    graph.lint()
    noise = tuple(site for site, _ in frame.noise.values())
    return Lowered(graph, tuple(frame.genome_slots), tuple(frame.state_slots), noise, tuple(names))
