"""The end of meta-training: score every member, choose the best, look at held-out data, write the genome."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from rulec.meta.checkpoint import Checkpoint, checkpoints_in
from rulec.meta.evaluate import Curve, Setting, curve_of, measure
from rulec.meta.genome_file import save_genome
from rulec.meta.objective import Judged, scored
from rulec.meta.plan import Plan, spelled
from rulec.meta.problem import Problem
from rulec.meta.result import MetaResult
from rulec.runtime.compiled import Genome, State
from rulec.semantics.typed import Outer


def conclude(made: Plan, done: Checkpoint, folder: Path | None, episodes: int, interrupted: bool) -> MetaResult:
    """Choose the best member by fresh meta-training episodes alone; held-out data have no say."""
    problem, free = made.problem, done.search.free
    genomes, initial = problem.parameters.genome(free, problem.fixed), problem.parameters.initial_state(free)
    retired = tuple(None if at < 0 else at for at in made.method.retired(done.search).tolist())
    scores = _scores(problem, genomes, initial, episodes)
    ranked = [
        math.inf if gone is not None or not math.isfinite(s) else s for s, gone in zip(scores, retired, strict=True)
    ]
    best = min(range(len(ranked)), key=ranked.__getitem__)
    curves = _held_out(problem, genomes, initial, episodes)
    chosen, chosen_initial = (
        {name: value[best].clone() for name, value in part.items()} for part in (genomes, initial)
    )
    bad = tuple(int(n) for n in done.history.bad_steps) if done.history.rows else (0,) * len(scores)
    paths = _write(made, done, folder, chosen, chosen_initial, best, scores, curves) if folder is not None else {}
    return MetaResult(
        chosen,
        genomes,
        chosen_initial,
        best,
        scores,
        curves,
        done.history,
        retired,
        bad,
        done.done,
        problem.horizon,
        problem.seed,
        problem.outer.name,
        interrupted,
        paths,
        f"{problem.outer.through.name}{' with checkpoint' if problem.outer.checkpoint else ''}: {made.why}"
        if made.why
        else "",
    )


def _scores(problem: Problem, genomes: Genome, initial: State, episodes: int) -> tuple[float, ...]:
    setting = Setting((problem.horizon,), episodes, problem.batch, problem.query, problem.seed, held_out=False)
    found = measure(problem.step, genomes, problem.task, setting, initial)
    objectives = [o for o in problem.outer.objectives if o.on == "query"]
    scores = [
        scored(objectives, {"query": Judged(*pair)}) for pair in zip(found.loss[0].T, found.accuracy[0].T, strict=True)
    ]
    return tuple(torch.stack([score.objective for score in scores]).mean(0).tolist())


def _held_out(problem: Problem, genomes: Genome, initial: State, episodes: int) -> tuple[Curve, ...]:
    updates = tuple(sorted({0, problem.horizon}))
    found = measure(
        problem.step,
        genomes,
        problem.task,
        Setting(updates, episodes, problem.batch, problem.query, problem.seed),
        initial,
    )
    return tuple(
        curve_of(found, member, problem.task, problem.step.network.spec) for member in range(found.accuracy.shape[1])
    )


def _write(
    made: Plan,
    done: Checkpoint,
    folder: Path,
    genome: Genome,
    initial: State,
    best: int,
    scores: tuple[float, ...],
    curves: tuple[Curve, ...],
) -> dict[str, Path]:
    problem, history = made.problem, done.history
    about: dict[str, object] = {
        "task": problem.task.describe(),
        "outer": spelled(problem.outer),
        "seed": problem.seed,
        "steps": done.done,
        "inner_steps": problem.horizon,
        **_outer_of(problem.outer),
        "batch": problem.batch,
        "member": best,
        "score": _number(scores[best]),
        "held_out": curves[best].rows(),
        "curve": {
            name: [_number(v) for v in values[:, best].tolist()] if len(values) else []
            for name, values in (("loss", history.loss), ("accuracy", history.accuracy))
        },
    }
    path = save_genome(folder / "genome.safetensors", genome, problem.step, initial=initial, about=about)
    return {
        "genome": path,
        "rule": path.with_suffix(".rule"),
        "history": folder / "history.jsonl",
        "checkpoint": checkpoints_in(folder)[-1],
    }


def _outer_of(outer: Outer) -> dict[str, object]:
    """Return what an evaluation must know of an outer step that changes the inner problem: its text and its options."""
    if not outer.changes_inner_problem and not outer.changes:
        return {}
    names = [one.name for one in outer.own]
    return {"outer_text": outer.span.text, "outer_options": outer.options, "outer_entries": names}


def _number(value: float) -> float | None:
    """JSON has no word for what is not finite."""
    return value if math.isfinite(value) else None
