"""The generated kernel of an unroll: every network's whole inner loop runs on one core, as far as it fits in its cache.

The step is lowered for a single network; population, tasks and replicas are a loop around it, shared by threads. Small products
are loops of the kernel, large ones calls of the library that PyTorch brings along.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from rulec.backend import messages
from rulec.backend.kernel.build import lend_products, load_library, matrix_library, remembered
from rulec.backend.kernel.operations import Unsupported
from rulec.backend.kernel.source import Part, Plan, kernel_source
from rulec.backend.liveness import restricted
from rulec.backend.lowering import Lowered
from rulec.backend.modules import graph_module
from rulec.backend.reverse import reversible
from rulec.runtime.unrolls.engine import Form
from rulec.runtime.unrolls.schedule import Costs
from rulec.source import RuleError

if TYPE_CHECKING:
    from rulec.runtime.compiled import CompiledRule


@dataclass(frozen=True)
class Kernel:
    """The compiled driver, and the names of what it takes."""

    library: ctypes.CDLL
    genome: tuple[str, ...]
    learned: tuple[bool, ...]
    carried: tuple[str, ...]
    step: Lowered
    query: Lowered
    source: str
    sizes: Sizes
    spare: list[Tensor] = field(default_factory=list)  # memory that earlier calls worked in

    def borrow(self, count: int, dtype: torch.dtype) -> Tensor:
        """Return memory for so many numbers; the caller may append it to `spare` when it is done."""
        fitting = [m for m in self.spare if m.numel() >= count]
        if not fitting:
            return torch.empty(count, dtype=dtype)
        best = min(fitting, key=torch.Tensor.numel)
        self.spare[:] = [m for m in self.spare if m is not best]
        return best


class Sizes(NamedTuple):
    """Numbers of one network: what a thread works in, and what is kept."""

    scratch: int
    state: int
    residuals: int
    prediction: int

    @property
    def costs(self) -> Costs:
        return Costs(self.state, self.residuals)


def kernel_for(rule: CompiledRule, form: Form, data: Sequence[Tensor], query: Sequence[Tensor]) -> Kernel:
    """Generate and compile, or take both from what an earlier start left on disk. `data` and `query` are `x` and `y` of a step and of the prediction, with the axes of `form`."""
    step, prediction, states = rule.one.lowered, rule.one.lowered_prediction, rule.carried(form.unread)
    whole = restricted(step, states, states), restricted(prediction, ("prediction",), states)
    genome = tuple(dict.fromkeys(slot.name for lowered in whole for slot in lowered.genome))
    learned = tuple(name in form.learned for name in genome)
    told = (
        *(str(lowered.graph) for lowered in whole),
        sorted(form.learned),
        (form.axes, form.reverse, form.unread, form.straight),
        (rule.dtype, matrix_library() is not None),
        [tuple(d.shape[len(form.axes) :]) for d in (*data, *query)],
        [(slot.name, slot.shape) for lowered in whole for slot in (*lowered.genome, *lowered.state)],
    )
    source = remembered(repr(told), lambda: _source(rule, form, whole, data, query, genome, learned))
    library = load_library(source)
    if matrix_library() is not None:
        lend_products(library, rule.dtype == torch.float64)
    found = (ctypes.c_int64 * 4)()
    library.sizes(found)
    return Kernel(library, genome, learned, tuple(slot.name for slot in whole[0].state), *whole, source, Sizes(*found))


def _source(
    rule: CompiledRule,
    form: Form,
    whole: tuple[Lowered, Lowered],
    data: Sequence[Tensor],
    query: Sequence[Tensor],
    genome: tuple[str, ...],
    learned: tuple[bool, ...],
) -> str:
    """Trace, differentiate and generate. Raises `RuleError` for operations that no kernel is generated for."""
    lead = len(form.axes)
    batch = data[0].shape[lead]
    parts = [
        _part(rule, form, lowered, given, lead, genome) for lowered, given in zip(whole, (data, query), strict=True)
    ]
    sizes = {slot.name: prod(slot.shape) for lowered in whole for slot in lowered.genome}
    plan = Plan(
        parts[0],
        parts[1],
        tuple(sizes[name] for name in genome),
        learned,
        tuple(prod(batch if s == -1 else s for s in slot.shape) for slot in whole[0].state),
        _data_sizes(whole[0], data, lead),
        _data_sizes(whole[1], query, lead),
        query[0].shape[lead] * rule.network.output.shape[0],
        rule.network.output.shape[0],
        rule.dtype == torch.float64,
        matrix_library() is not None,
    )
    try:
        return kernel_source(plan)
    except Unsupported as problem:
        raise RuleError([messages.no_kernel(rule.program.name, str(problem))]) from None


def _part(
    rule: CompiledRule, form: Form, lowered: Lowered, data: Sequence[Tensor], lead: int, genome: tuple[str, ...]
) -> Part:
    batch = data[0].shape[lead]
    shapes: list[tuple[int, ...]] = [slot.shape for slot in lowered.genome]
    shapes += [tuple(batch if s == -1 else s for s in slot.shape) for slot in lowered.state]
    wrt = [k for k, slot in enumerate(lowered.genome) if slot.name in form.learned]
    if form.reverse and not (form.straight and "prediction" not in lowered.outputs):
        wrt += range(len(lowered.genome), len(shapes))
    shapes += [tuple(d.shape[lead:]) for d in data]
    shapes.append(())
    shapes += [tuple(batch if s == -1 else s for s in site.shape) for site in lowered.noise]
    reverse = reversible(graph_module(lowered), [torch.empty(shape, dtype=rule.dtype) for shape in shapes], wrt)
    return Part(lowered, reverse, tuple(genome.index(slot.name) for slot in lowered.genome))


def _data_sizes(lowered: Lowered, data: Sequence[Tensor], lead: int) -> tuple[int, ...]:
    batch = data[0].shape[lead]
    noise = [prod(batch if s == -1 else s for s in site.shape) for site in lowered.noise]
    return (*(prod(d.shape[lead:]) for d in data), *noise)
