"""Unrolls that nobody goes back through, as one launch: a Triton kernel takes each network through all its steps on one core of a GPU.

Launches decide where networks are small; here there is one. For evaluation, evolution, and forward mode, in which the tangents of a
state are carried along with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx

from rulec.backend import messages
from rulec.backend.kernel.operations import Unsupported
from rulec.backend.liveness import restricted
from rulec.backend.lowering import Lowered
from rulec.backend.modules import graph_module
from rulec.backend.onchip.build import Launch, load_launcher
from rulec.backend.onchip.source import Array, Loop, Part, Source, loop_source
from rulec.backend.reverse import reversible
from rulec.backend.tangents import with_tangents
from rulec.runtime.unrolls.engine import Data
from rulec.source import RuleError

if TYPE_CHECKING:
    from rulec.runtime.compiled import CompiledRule

Values = Mapping[str, Tensor]
WARPS, EACH = (4, 16), 512  # warps of a program: fewest and most, and the places of the largest block for each


@dataclass(frozen=True)
class Turning:
    """Genome entries that have tangents, and along how many directions; all states have them."""

    moving: tuple[str, ...]
    directions: int


@dataclass(frozen=True)
class OnChip:
    """A kernel, and the names of what it takes."""

    launch: Launch
    source: Source
    genome: tuple[str, ...]
    carried: tuple[str, ...]
    step: Lowered
    query: Lowered | None  # None: the results are the states
    constants: tuple[Tensor, ...]
    turning: Turning | None

    @property
    def warps(self) -> int:
        fewest, most = WARPS
        return min(most, max(fewest, self.source.largest // EACH))


def on_chip(
    rule: CompiledRule, axes: tuple[str, ...], unread: bool, data: Data, predicts: bool, turning: Turning | None = None
) -> OnChip:
    """Generate for data like these: `x` and `y` of a step, and of the query. Raises `RuleError` where no kernel can be generated."""
    states = rule.carried(unread)
    step = restricted(rule.one.lowered, states, states)
    prediction = restricted(rule.one.lowered_prediction, ("prediction",), states)
    parts = (step, prediction) if predicts else (step,)
    shapes = {slot.name: slot.shape for lowered in parts for slot in lowered.genome}
    genome, batch = tuple(shapes), data[0][0].shape[len(axes)]
    carried = tuple(slot.name for slot in step.state)
    own = ("P",) if rule.population is not None else ()
    leading = tuple(rule.leading)
    fixed = [Array(shapes[name], own) for name in genome]
    kept = [Array(_sized(slot.shape, batch), leading) for slot in step.state]
    if turning is not None:
        wide = turning.directions
        fixed += [Array((wide, *shapes[name]), own) for name in turning.moving if name in shapes]
        kept += [Array((wide, *array.sizes), leading) for array in kept]
    make = partial(_part, rule, genome, carried, turning, lead=len(axes))
    loop = Loop(
        make(step, data[0]),
        make(prediction, data[-1]) if predicts else None,
        tuple(fixed),
        tuple(kept),
        _arrays(step, data[0], axes, leading, batch),
        _arrays(prediction, data[-1], axes, leading, data[-1][0].shape[len(axes)]) if predicts else (),
        rule.dtype == torch.float64,
        rule.precision == "tf32",
    )
    try:
        source = loop_source(loop)
    except Unsupported as problem:
        raise RuleError([messages.no_kernel(rule.program.name, str(problem))]) from None
    constants = tuple(value.to(rule.device, rule.dtype) for value in source.constants)
    launch = load_launcher(source.text)
    return OnChip(launch, source, genome, carried, step, prediction if predicts else None, constants, turning)


def unroll_on_chip(
    rule: CompiledRule,
    chip: OnChip,
    axes: tuple[str, ...],
    genome: Values,
    state: Values,
    data: Data,
    query: tuple[Tensor, Tensor] | None,
    tangents: Values | None = None,
) -> tuple[Tensor, ...]:
    """Run the steps; return the carried states after them, or the prediction on `query`.

    With tangents, (directions, ...) of genome entries and initial states, the prediction and its own, (directions, leading..., batch, outputs).
    """
    begin, seed, lead = int(state["t"]), int(state["seed"]), rule.lead_shape
    batch, steps = data[0][0].shape[len(axes)], len(data)
    given = [genome[name] for name in chip.genome]
    start = [state[name].detach() for name in chip.carried]
    results = [torch.empty_like(value, memory_format=torch.contiguous_format) for value in start]
    if chip.turning is not None and tangents is not None:
        depth = 0 if rule.population is None else 1
        given += [tangents[n].movedim(0, depth) for n in chip.turning.moving if n in chip.genome]
        wide = chip.turning.directions
        start += [
            tangents[n].movedim(0, len(lead)) if n in tangents else v.new_zeros(*lead, wide, *v.shape[len(lead) :])
            for n, v in zip(chip.carried, start, strict=True)
        ]
    asked: list[Tensor] = []
    if query is not None and chip.query is not None:
        asked = [*query, *rule.noise_of(chip.query, seed, begin + steps + 1, query[0].shape[len(axes)])]
        made = (*lead, query[0].shape[len(axes)], rule.network.output.shape[0])
        results = [torch.empty(made, dtype=rule.dtype, device=rule.device)]
        if chip.turning is not None:
            results.append(results[0].new_empty(*lead, chip.turning.directions, *made[len(lead) :]))
    noise = [rule.noise_of(chip.step, seed, begin + k + 1, batch) for k in range(steps)]
    each = [torch.stack(values) for values in (*zip(*data, strict=True), *zip(*noise, strict=True))]
    nets = prod(lead)
    scratch = torch.empty(nets * chip.source.memory, dtype=rule.dtype, device=rule.device)
    arrays = [*given, *start, *each, *asked, *chip.constants, *results, scratch]
    counts = [rule.leading.get(letter, 1) for letter in "PTR"]
    chip.launch(nets, chip.warps, *(array.contiguous() for array in arrays), steps, begin, *counts)
    if chip.turning is not None:
        results[1] = results[1].movedim(len(lead), 0)
    return tuple(results)


def _part(
    rule: CompiledRule,
    genome: tuple[str, ...],
    carried: tuple[str, ...],
    turning: Turning | None,
    lowered: Lowered,
    pair: tuple[Tensor, Tensor],
    *,
    lead: int,
) -> Part:
    """Return the graph of one network, and what each of its arguments is."""
    batch = pair[0].shape[lead]
    shapes = [slot.shape for slot in lowered.genome] + [_sized(slot.shape, batch) for slot in lowered.state]
    shapes += [tuple(value.shape[lead:]) for value in pair]
    shapes += [(), *(_sized(site.shape, batch) for site in lowered.noise)]
    examples = [torch.empty(shape, dtype=rule.dtype, device=rule.device) for shape in shapes]
    reads = [("fixed", genome.index(slot.name)) for slot in lowered.genome]
    reads += [("carried", carried.index(slot.name)) for slot in lowered.state]
    reads += [("data", 0), ("data", 1), ("counter", 0)]
    reads += [("data", 2 + k) for k in range(len(lowered.noise))]
    if turning is None:
        return Part(reversible(graph_module(lowered), examples, []).forward, tuple(reads))
    entries, known = [slot.name for slot in lowered.genome], [n for n in turning.moving if n in genome]
    moves = [k for k, name in enumerate(entries) if name in known]
    reads += [("fixed", len(genome) + known.index(entries[k])) for k in moves]
    moves += range(len(entries), len(entries) + len(lowered.state))
    reads += [("carried", len(carried) + carried.index(slot.name)) for slot in lowered.state]
    module: fx.GraphModule = with_tangents(graph_module(lowered), examples, moves, turning.directions)
    return Part(module, tuple(reads))


def _arrays(
    lowered: Lowered, pair: tuple[Tensor, Tensor], axes: tuple[str, ...], leading: tuple[str, ...], batch: int
) -> tuple[Array, ...]:
    """Return the arrays of a step's data, or the query's: `x`, `y`, and noise."""
    given = [Array(tuple(value.shape[len(axes) :]), axes) for value in pair]
    return (*given, *(Array(_sized(site.shape, batch), leading) for site in lowered.noise))


def _sized(shape: Sequence[int], batch: int) -> tuple[int, ...]:
    return tuple(batch if size == -1 else size for size in shape)
