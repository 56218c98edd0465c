"""Which backend an unroll runs on when nobody said: a cost model, so that a run repeats itself bit for bit.

On a CPU a generated kernel was ahead of planned memory wherever one could be generated (10 updates and their gradient on two cores,
milliseconds, planned memory against kernel: BLUR on 2-20-1 6.7 against 0.7; on 784-128-10 with four networks 79 against 55; backprop
on 784-128-10 with two networks 22 against 13, on 784-512-256-10 with four 267 against 186), provided that a library lends its large
products. A network has one core for all but its large products, so there must be networks for at least half of the cores (for all, with
convolutions: single ones ran at about one speed on one core), unless the values of one are few.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch

from rulec.backend.kernel.build import compiler_name, matrix_library
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
        told = "on a GPU, operations are fused by Inductor, and unrolls without a way back are one Triton kernel where that was measured to be faster"
        return Choice("inductor", told)
    if rule.precision == "bf16":
        return Choice("fx", "kernels multiply in full precision")
    if shutil.which(compiler_name()) is None:
        return Choice("fx", f"kernels need the C++ compiler {compiler_name()}, which is not there")
    size, nets, threads = _bytes(rule, batch), prod(rule.lead_shape), torch.get_num_threads()
    told = f"the values of one network take {size / 1024:.0f} kB with {batch} samples"
    if size <= CACHE:
        return Choice("kernel", f"{told}: they stay in a core's cache, {CACHE // 1024} kB, for the whole inner loop")
    if matrix_library() is None:
        return Choice("fx", f"{told}, and no library lends kernels its large products")
    images = any(isinstance(c.weights, Conv) for c in rule.network.connections)
    if (nets if images else 2 * nets) >= threads:
        return Choice(
            "kernel", f"{told}; every core has networks of its own, and large products are those of PyTorch's library"
        )
    return Choice("fx", f"{told}, and {nets} of them would leave most of the {threads} cores idle")


def _bytes(rule: CompiledRule, batch: int) -> int:
    carried = set(carried_states(rule.lowered, rule.lowered_prediction))
    states = sum(_count(slot, batch) for slot in rule.lowered.state if slot.name in carried)
    neurons = sum(prod(layer.shape) for layer in rule.network.layers) * batch
    each = sum(prod(e for e in s.shape if isinstance(e, int)) for s in rule.program.states if s.kind == "neuron")
    return (states + neurons * max(1, each)) * rule.dtype.itemsize


def _count(slot: Slot, batch: int) -> int:
    return prod(batch if size == -1 else size for size in slot.shape)
