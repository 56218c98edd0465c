"""The oracle: run a program on a network in float64 numpy, slowly and plainly.

There are no leading axes here: one genome, one replica, one task. Every convolution is unfolded into a dense connection
over places (axis `@`), so each op has a single meaning: broadcast, and reduce over named axes. Nothing is shared with the
compiler but the IR and the network. The files go by the names of those in `backend/` that do the same.

State layout, common to all evaluators: declared indices first, then the neurons or the weights. `w.c1` is state `w` on
connection `c1`, dense (..., inputs, outputs) or convolutional (..., outputs, inputs / groups, height, width); `b.hidden1`
is a state of layer `hidden1`, (..., channels); a kept neuron state `trace.hidden1` is (..., batch, *shape).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rulec.ir.graph import Program
from rulec.network.graph import Network
from rulec.oracle.arrays import Array, combine
from rulec.oracle.blocks import run_program
from rulec.oracle.frame import Frame, NoiseSource, Tensors
from rulec.oracle.losses import sample_loss
from rulec.oracle.nets import NETS
from rulec.oracle.ops import OPS
from rulec.oracle.reductions import REDUCTIONS


@dataclass(frozen=True)
class Result:
    state: dict[str, np.ndarray]
    prediction: np.ndarray  # (batch, outputs)
    loss: float  # mean over the batch


def interpret(
    program: Program,
    network: Network,
    loss: str,
    genome: Tensors,
    state: Tensors,
    x: np.ndarray,
    y: np.ndarray,
    step: int = 1,
    noise: NoiseSource | None = None,
) -> Result:
    """Run one step. `noise(name, shape)` supplies normal numbers for the named site."""
    frame = Frame(program, network, loss, genome, dict(state), x, y, step, noise, OPS | REDUCTIONS | NETS)
    run_program(frame)
    assert frame.prediction is not None
    losses = sample_loss(frame.prediction, Array(("n", "j"), frame.y), loss)
    if frame.weight is not None:
        losses = combine(np.multiply, losses, frame.weight)
    return Result(
        frame.state,
        np.broadcast_to(frame.prediction.spread(("n", "j")), (frame.batch, network.output.shape[0])),
        float(np.mean(np.broadcast_to(losses.spread(("n",)), (frame.batch,)))),
    )
