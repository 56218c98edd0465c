"""The graphs of an unroll: one step, the prediction, and the vector-Jacobian product of each, compiled once.

Nothing else is compiled, so compiling takes as long for 500 steps as for 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from rulec.backend.invariants import Hoisted, hoisted
from rulec.backend.liveness import carried_states, restricted
from rulec.backend.lowering import Lowered
from rulec.backend.modules import Graph, without_gradient
from rulec.backend.planned import Pool
from rulec.backend.reverse import Reversible, reversible

if TYPE_CHECKING:
    from rulec.runtime.compiled import CompiledRule

Memory = int | Literal["least"] | None  # bytes to keep for the way back; None: everything
Data = Sequence[tuple[Tensor, Tensor]]  # x and y of each step, with all leading axes


@dataclass(frozen=True)
class Form:
    """What the graphs of an unroll depend on besides the rule."""

    axes: tuple[str, ...]  # leading axes along which the data differ
    reverse: bool  # whether there is a way back
    learned: frozenset[str]  # genome entries that want a gradient
    unread: bool  # whether states that no prediction reads are carried, too
    straight: bool  # whether the Jacobian of the state is taken to be the identity


@dataclass(frozen=True)
class Stage:
    """A step, or the prediction: arguments are its invariants, the carried states, x, y, t and noise."""

    hoisted: Hoisted
    forward: Graph
    backward: Graph
    reverse: Reversible
    first: int  # the place of its invariants among those of all stages

    @property
    def lowered(self) -> Lowered:
        return self.hoisted.lowered

    @property
    def invariants(self) -> slice:
        return slice(self.first, self.first + len(self.hoisted.reads))


@dataclass(frozen=True)
class Engine:
    """The stages of an unroll; they take the same states."""

    step: Stage
    prediction: Stage
    pool: Pool

    @property
    def carried(self) -> list[str]:
        return [slot.name for slot in self.step.lowered.state]


def engine_for(rule: CompiledRule, form: Form, data: Sequence[Tensor], query: Sequence[Tensor]) -> Engine:
    """Compile for data like these: `x` and `y` of a step, and of the query."""
    step, prediction = rule.lowered_for("step", form.axes), rule.lowered_for("prediction", form.axes)
    states = step.outputs[:-2] if form.unread else carried_states(step, prediction)
    parts = hoisted(restricted(step, states, states)), hoisted(restricted(prediction, ("prediction",), states))
    pool = Pool()
    return Engine(
        _stage(rule, form, parts[0], 0, data, pool),
        _stage(rule, form, parts[1], len(parts[0].reads), query, pool),
        pool,
    )


def _stage(rule: CompiledRule, form: Form, part: Hoisted, first: int, data: Sequence[Tensor], pool: Pool) -> Stage:
    lead = (rule.population,) if rule.population is not None else ()
    lowered, batch = part.lowered, data[0].shape[len(form.axes)]
    backend = rule.backend_for(batch)
    entries = [torch.ones((*lead, *slot.shape), dtype=rule.dtype, device=rule.device) for slot in lowered.genome]
    counter, noise = torch.zeros((), dtype=rule.dtype, device=rule.device), rule.noise_of(lowered, 0, 0, batch)
    likes = [
        *(made.contiguous() for made in part.before(*entries)),
        *empty_states(rule, lowered, batch),
        *data,
        counter,
        *noise,
    ]
    examples = [torch.empty_strided(e.shape, e.stride(), dtype=e.dtype, device=e.device) for e in likes]
    wrt = [k for k, reads in enumerate(part.reads) if reads & form.learned]
    if form.reverse and not (form.straight and "prediction" not in lowered.outputs):
        wrt += range(len(part.reads), len(part.reads) + len(lowered.state))
    reverse = reversible(part.step, examples, wrt, halved=rule.precision == "bf16")
    return Stage(
        part,
        without_gradient(reverse.forward, backend, pool),
        without_gradient(reverse.backward, backend, pool),
        reverse,
        first,
    )


def empty_states(rule: CompiledRule, lowered: Lowered, batch: int) -> list[Tensor]:
    shapes = [(*rule.lead_shape, *(batch if s == -1 else s for s in slot.shape)) for slot in lowered.state]
    return [torch.zeros(shape, dtype=rule.dtype, device=rule.device) for shape in shapes]
