"""Which backend an unroll runs on when nobody said: a cost model, so that a run repeats itself bit for bit.

Measured on two cores, 10 updates and their gradient (milliseconds, planned memory against generated kernel): BLUR on 2-20-1
6.7 against 0.7, on 64-32-10 with 128 samples 13 against 4.9, on 784-16-10 with four genomes 22 against 16; backprop on
784-128-10 14 against 20. What decides is whether a network's values stay in the cache of the core that works on it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from rulec.backend.kernel.build import compiler_name
from rulec.backend.layout import Slot
from rulec.backend.liveness import carried_states
from rulec.network.graph import Conv

if TYPE_CHECKING:
    from rulec.runtime.compiled import CompiledRule

CACHE = 768 * 1024  # bytes of a core's cache that a network's values may take


@dataclass(frozen=True)
class Choice:
    """A backend for unrolls, and why."""

    backend: str
    reason: str


def chosen_backend(rule: CompiledRule, batch: int) -> Choice:
    """Choose for `batch` samples. On a GPU, whole graphs through Inductor; on a CPU, by the size of one network's values."""
    if rule.device.type == "cuda":
        return Choice("inductor", "on a GPU, operations are fused by Inductor")
    if shutil.which(compiler_name()) is None:
        return Choice("fx", f"kernels need the C++ compiler {compiler_name()}, which is not there")
    if any(isinstance(c.weights, Conv) for c in rule.network.connections):
        return Choice("fx", "no kernels are generated for convolutions")
    size = _bytes(rule, batch)
    told = f"the values of one network take {size / 1024:.0f} kB with {batch} samples"
    if size <= CACHE:
        return Choice("kernel", f"{told}: they stay in a core's cache, {CACHE // 1024} kB, for the whole inner loop")
    return Choice("fx", f"{told}, more than stays in a core's cache ({CACHE // 1024} kB)")


def _bytes(rule: CompiledRule, batch: int) -> int:
    carried = set(carried_states(rule.lowered, rule.lowered_prediction))
    states = sum(_count(slot, batch) for slot in rule.lowered.state if slot.name in carried)
    neurons = sum(prod(layer.shape) for layer in rule.network.layers) * batch
    each = sum(prod(e for e in s.shape if isinstance(e, int)) for s in rule.program.states if s.kind == "neuron")
    return (states + neurons * max(1, each)) * rule.dtype.itemsize


def _count(slot: Slot, batch: int) -> int:
    return prod(batch if size == -1 else size for size in slot.shape)
