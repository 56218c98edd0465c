"""Unrolls in forward mode: the prediction and its derivatives along given directions of genome and initial states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rulec.backend.liveness import carried_states, restricted
from rulec.backend.lowering import Lowered
from rulec.backend.modules import Graph, graph_module, without_gradient
from rulec.backend.planned import Pool
from rulec.backend.tangents import with_tangents
from rulec.runtime.unrolls.engine import Data, empty_states

if TYPE_CHECKING:
    from rulec.runtime.compiled import CompiledRule


@dataclass(frozen=True)
class TangentStage:
    """The step or the prediction: arguments are genome entries, states, x, y, t, noise, and tangents of `moving` and of all states."""

    lowered: Lowered
    graph: Graph


@dataclass(frozen=True)
class TangentEngine:
    step: TangentStage
    prediction: TangentStage
    moving: tuple[str, ...]  # genome entries that have tangents
    pool: Pool

    @property
    def carried(self) -> list[str]:
        return [slot.name for slot in self.step.lowered.state]


def tangent_engine(
    rule: CompiledRule, axes: tuple[str, ...], moving: tuple[str, ...], directions: int, data: Data
) -> TangentEngine:
    """Trace and plan for batches like the first (a step's) and the last (the query) of the data."""
    step, prediction = rule.lowered_for("step", axes), rule.lowered_for("prediction", axes)
    states, pool = carried_states(step, prediction), Pool()

    def stage(whole: Lowered, outputs: Sequence[str], pair: tuple[Tensor, Tensor]) -> TangentStage:
        lowered = restricted(whole, tuple(outputs), states)
        batch = pair[0].shape[len(axes)]
        lead = (rule.population,) if rule.population is not None else ()
        entries = [torch.ones((*lead, *slot.shape), dtype=rule.dtype, device=rule.device) for slot in lowered.genome]
        counter = torch.zeros((), dtype=rule.dtype, device=rule.device)
        noise = [n.contiguous() for n in rule.noise_of(lowered, 0, 0, batch)]
        examples = [
            *entries,
            *empty_states(rule, lowered, batch),
            *(torch.empty_like(d) for d in pair),
            counter,
            *noise,
        ]
        moves = [k for k, slot in enumerate(lowered.genome) if slot.name in moving]
        moves += range(len(entries), len(entries) + len(lowered.state))
        module = with_tangents(graph_module(lowered), examples, moves, directions)
        return TangentStage(lowered, without_gradient(module, "inductor" if rule.device.type == "cuda" else "fx", pool))

    return TangentEngine(stage(step, states, data[0]), stage(prediction, ("prediction",), data[-1]), moving, pool)


def unroll_with_tangents(
    rule: CompiledRule,
    engine: TangentEngine,
    genome: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    tangents: Mapping[str, Tensor],
    data: Data,
    query: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Return the prediction (leading..., batch, outputs) and its tangents (directions, leading..., batch, outputs).

    `tangents` holds those of the engine's moving entries, and of the initial states that move: (directions, *shape of the value) each.
    """
    directions = next(iter(tangents.values())).shape[0]
    now = [state[name].detach().contiguous() for name in engine.carried]
    turning = [
        tangents[n].contiguous() if n in tangents else v.new_zeros(directions, *v.shape)
        for n, v in zip(engine.carried, now, strict=True)
    ]
    begin, seed = int(state["t"]), int(state["seed"])

    def run(stage: TangentStage, t: int, pair: tuple[Tensor, Tensor]) -> list[Tensor]:
        batch = pair[0].shape[-1 - len(rule.network.input.shape)]
        counter = torch.full((), float(t), dtype=rule.dtype, device=rule.device)
        noise = [n.contiguous() for n in rule.noise_of(stage.lowered, seed, t, batch)]
        entries = [genome[slot.name].detach().contiguous() for slot in stage.lowered.genome]
        own = [tangents[slot.name].contiguous() for slot in stage.lowered.genome if slot.name in engine.moving]
        return list(stage.graph(*entries, *now, *pair, counter, *noise, *own, *turning))

    for k, pair in enumerate(data, 1):
        made = run(engine.step, begin + k, pair)
        engine.pool.give([*now, *turning])
        now, turning = made[: len(now)], made[len(now) :]
    prediction, tangent = run(engine.prediction, begin + len(data) + 1, query)
    result = prediction.clone(), tangent.clone()
    engine.pool.give([*now, *turning, prediction, tangent])
    return result
