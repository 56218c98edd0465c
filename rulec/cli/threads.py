"""How many threads a job should have, where the user does not say."""

from __future__ import annotations

import math
import os

import torch

from rulec.backend.layout import state_slots
from rulec.runtime.compiled import CompiledRule

# Below about this many numbers, threads wait for one another longer than they work: 64-32-10 with eight genomes
# (40,000 numbers) trained three to six times slower with two threads than with one.
SMALL = 1_000_000
_SAID = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def use_few_threads(compiled: CompiledRule, batch: int) -> None:
    """Use one thread on the processor if all synapses together are few, unless the environment says how many.

    The threads of a generated kernel do not wait for one another, and stay.
    """
    if compiled.device.type != "cpu" or any(name in os.environ for name in _SAID):
        return
    if compiled.backend_for(batch) == "kernel":
        return
    slots = state_slots(compiled.program, compiled.network)
    if math.prod(compiled.lead_shape) * sum(math.prod(slot.shape) for slot in slots) < SMALL:
        torch.set_num_threads(1)
