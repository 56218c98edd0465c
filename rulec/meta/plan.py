"""From the arguments of `meta_train` to a problem, a method and a start: everything is checked here, before the first step."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace

import torch
from torch import Tensor

from rulec.meta import messages
from rulec.meta.batches import batch_for
from rulec.meta.evaluate import as_members, check_fit
from rulec.meta.hypergradients import Hypergradient, Settings, hypergradient_of
from rulec.meta.hypergradients.choice import chosen
from rulec.meta.hypergradients.memory import held_by
from rulec.meta.outer import check_inner, fitted, outer_from, with_rate
from rulec.meta.parameters import Free, parameters_of, shared_initial
from rulec.meta.problem import Problem
from rulec.meta.seeds import derived_seed
from rulec.meta.turns import Held, networks_at_once
from rulec.runtime.compiled import CompiledRule, Genome
from rulec.runtime.domains import inside
from rulec.semantics.typed import OptionValue, Outer
from rulec.source import RuleError
from rulec.tasks.recast import recast
from rulec.tasks.registry import task_from
from rulec.tasks.task import Task

CLIP = 10.0
STEPS = 500


@dataclass(frozen=True)
class Plan:
    """A problem, how to step through it, and where to begin; `identity` tells runs apart."""

    problem: Problem
    method: Hypergradient
    free: Free
    steps: int
    identity: dict[str, str]
    held: Held  # by each network during a meta-step
    why: str = ""  # why it is this hypergradient, where the outer step names none


def plan(
    compiled: CompiledRule,
    task: str | Task,
    outer: str | Outer,
    options: Mapping[str, OptionValue] | None,
    start: Genome | None,
    *,
    steps: int | None,
    seed: int,
    batch: int | None,
    query: int | None,
    inner_steps: int | None,
    lr: float | None,
    clip: float | None,
    memory: int | None,
    patience: int,
) -> Plan:
    """Check and settle everything. Raises `RuleError`."""
    outer = with_rate(outer_from(outer, compiled, options), lr)
    check_inner(outer, compiled.program)
    task = task_from(task)
    check_fit(compiled, task)
    clip = float(_chosen(clip, outer, "clip", CLIP))
    if not clip > 0:
        raise RuleError([messages.not_positive(None, "clip", clip)])
    like = fitted(outer, compiled)
    outer, why = chosen(
        outer,
        like,
        parameters_of(outer, like),
        outer.steps if inner_steps is None else inner_steps,
        batch_of(outer, batch, task),
        memory,
    )
    method = hypergradient_of(outer, Settings(clip, _count("patience", patience, 1), compiled.population))
    step = replace(fitted(outer, compiled), population=method.members(compiled.population))
    genome = _started(start, step, outer, seed)
    parameters = parameters_of(outer, step)
    updates = _count("inner_steps", outer.steps if inner_steps is None else inner_steps, method.least_updates)
    changes = [change for change in outer.changes if not change.of_program]
    problem = Problem(
        step,
        recast(task, [change for change in changes if not change.keys]),
        recast(task, changes, outer.keys),
        outer,
        parameters,
        genome,
        seed,
        updates,
        _horizon(outer, updates),
        batch_of(outer, batch, task),
        None if query is None else _count("query", query, 1),
        None if memory is None else _count("memory", memory, 1),
    )
    free = parameters.free(genome, shared_initial(step, parameters.initial, derived_seed("initial", seed)))
    free = {name: value.detach() for name, value in free.items()}
    held = held_by(method, free, outer, step, updates, problem.batch, _asked(problem))
    at_once = networks_at_once(step, problem.batch, held, problem.memory)
    count = _count("steps", _chosen(steps, outer, "generations", STEPS), 0)
    return Plan(
        replace(problem, at_once=at_once),
        method,
        free,
        count,
        _identity(problem, clip, patience, genome),
        held,
        why,
    )


def _asked(problem: Problem) -> int:
    """Return the samples of a query, as the task draws them."""
    drawn = problem.lessons.episode(seed=0, steps=0, batch=problem.batch, tasks=1, query=problem.query)
    return drawn.query_x.shape[1]


def _chosen(given: OptionValue | None, outer: Outer, name: str, default: OptionValue) -> OptionValue:
    return given if given is not None else outer.settings.get(name, default)


def batch_of(outer: Outer, given: int | None, task: Task) -> int:
    """Return the samples of an update: given, or those of the outer step, or of the task. Raises `RuleError`."""
    wanted = given if given is not None else outer.settings.get("batch")
    return batch_for(task, None if wanted is None else _count("batch", wanted, 1))


def _count(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise RuleError([messages.wrong_number(name, value, least)])
    return value


def _horizon(outer: Outer, updates: int) -> int:
    """Return after how many updates an inner loop begins anew. Raises `RuleError` if that is no whole number of meta-steps."""
    if outer.horizon is None:
        return updates
    if updates == 0 or outer.horizon % updates:
        raise RuleError([messages.horizon_differs(outer.inner.span, outer.horizon, updates)])
    return outer.horizon


def _check_inside(start: Genome, step: CompiledRule) -> None:
    """Check that all numbers of a given genome, (members, ...), lie in their domains. Raises `RuleError`."""
    spans = {entry.name: entry.span for entry in step.program.genome}
    found = []
    for name, spec in step.genome_spec.items():
        outside = (~inside(start[name], spec.domain)).nonzero()
        if len(outside):
            place = tuple(outside[0].tolist())
            member = place[0] if len(start[name]) > 1 else None
            value = float(start[name][place])
            found.append(messages.start_outside(spans.get(name), name, value, member, spec.domain))
    if found:
        raise RuleError(found)


def _started(start: Genome | None, step: CompiledRule, outer: Outer, seed: int) -> Genome:
    """Return the genomes at the start, (members, ...): drawn or given, with the values that the `inner` clause sets."""
    drawn = step.init_genome(seed)
    own = {entry.name for entry in outer.own}
    begun = {name: value for name, value in drawn.items() if name.split(".")[0] in own} | (start or {})
    genome = as_members(step, drawn if start is None else begun)
    count = step.population or 1
    for name, value in genome.items():
        if len(value) not in (1, count):
            raise RuleError([messages.wrong_start(name, value.shape, (count, *value.shape[1:]))])
    if start is not None:
        _check_inside(genome, step)
    for name, value in genome.items():
        genome[name] = value.expand(count, *value.shape[1:]).clone()
        if start is None and name in outer.inner.settings:
            genome[name].fill_(float(outer.inner.settings[name]))
    return genome


def _identity(problem: Problem, clip: float, patience: int, genome: Genome) -> dict[str, str]:
    """Return what two runs must share to be the same run, however long."""
    step = problem.step
    network = hashlib.sha256(repr((step.network.layers, step.network.connections)).encode()).hexdigest()[:12]
    parts: dict[str, object] = {
        "rule": step.program.name,
        "rule hash": step.rule_hash,
        "options": json.dumps(step.program.options, sort_keys=True),
        "network": f"{step.network.spec} ({network})",
        "loss": step.loss,
        "population": step.population,
        "tasks": step.tasks,
        "replicas": step.replicas,
        "dtype": step.dtype,
        "task": json.dumps(problem.task.describe(), sort_keys=True, default=str),
        "outer": spelled(problem.outer),
        "seed": problem.seed,
        "inner_steps": problem.inner_steps,
        "batch": problem.batch,
        "query": problem.query,
        "clip": clip if math.isfinite(clip) else "none",
        "patience": patience,
        "start": _digest(genome),
        **({} if step.precision == "full" else {"precision": step.precision}),
    }
    return {name: str(value) for name, value in parts.items()}


def spelled(value: object) -> str:
    """Return a text of a value that is the same in every process: sets, whose order is not, are sorted."""
    if is_dataclass(value) and not isinstance(value, type):
        parts = [f"{f.name}={spelled(getattr(value, f.name))}" for f in fields(value) if f.compare]
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(spelled, value)))}}}"
    if isinstance(value, tuple):
        return f"({', '.join(map(spelled, value))})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {spelled(item)}' for key, item in value.items())}}}"
    return repr(value)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    content = hashlib.sha256()
    for name in sorted(tensors):
        content.update(name.encode())
        content.update(tensors[name].detach().to("cpu", torch.float64).contiguous().numpy().tobytes())
    return content.hexdigest()[:12]
