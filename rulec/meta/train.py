"""Meta-learn the genome of a rule: `meta_train`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rulec.meta import messages
from rulec.meta.checkpoint import Checkpoint, checkpoints_in, load_checkpoint, save_checkpoint
from rulec.meta.conclusion import conclude
from rulec.meta.evaluate import Setting, measure
from rulec.meta.history import History
from rulec.meta.hypergradients.interface import Search
from rulec.meta.hypergradients.memory import told_memory
from rulec.meta.interrupt import Interruption
from rulec.meta.plan import Plan, plan
from rulec.meta.processes import Team, team_for
from rulec.meta.result import MetaResult
from rulec.meta.seeds import derived_seed
from rulec.meta.sharing import check_enough
from rulec.meta.tensorboard import event_writer, write_row
from rulec.runtime.atomic import write_bytes
from rulec.runtime.compiled import CompiledRule, Genome
from rulec.semantics.typed import OptionValue, Outer
from rulec.source import RuleError
from rulec.tasks.task import Task

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for whoever shows it. Lists have a place per member; `seconds` counts from the start of the call."""

    done: int
    steps: int
    loss: list[float]
    accuracy: list[float]
    held_out_accuracy: list[float] | None
    seconds: float


@dataclass(frozen=True)
class Habits:
    """How often things are done that do not change the result."""

    log_every: int
    held_out_every: int
    save_every: int
    episodes: int
    progress: Callable[[Progress], None] | None
    events: SummaryWriter | None


def meta_train(
    compiled: CompiledRule,
    task: str | Task,
    outer: str | Outer = "adam",
    *,
    steps: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    batch: int | None = None,
    query: int | None = None,
    inner_steps: int | None = None,
    lr: float | None = None,
    clip: float | None = None,
    memory: int | None = None,
    options: Mapping[str, OptionValue] | None = None,
    start: Genome | None = None,
    resume: bool = False,
    patience: int = 10,
    announce: Callable[[str], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
    log_every: int = 10,
    held_out_every: int = 0,
    save_every: int = 50,
    episodes: int = 16,
    tensorboard: bool = False,
) -> MetaResult:
    """Meta-learn the genomes of a compiled rule on the meta-training part of a task.

    Each of `steps` meta-steps draws fresh synapses and fresh data, lets every member of the population make `inner_steps` weight
    updates on the support, judges it on the query, and moves its genome as the outer step says. `outer` is the name of one in the
    rule's file or shipped, `FILE:NAME`, or a typed one; `batch`, `inner_steps`, `lr` and `clip` take the place of its own numbers.
    `memory` is the most, in bytes, that inner loops keep for their way back (about; `None`: everything); the result is the same but for its last digits.
    `start` gives genomes to begin with. With `out`, checkpoints, the history and the best genome are written there, and `resume`
    goes on from the last checkpoint, bit for bit as if there had been no break. The first Ctrl-C ends after the step under way.

    Where torchrun started this program, its processes share the tasks of each meta-step, or else the members and candidates. All of them
    return the same result, the first one writes the files, and what torchrun starts again resumes by itself.

    `announce` gets a line on what a meta-step will keep in memory before the first one, `progress` where the run stands.

    Raises `RuleError` for everything that does not fit, and if no member is left (`all-members-diverged`).
    """
    team = team_for(compiled.device)
    made = plan(
        compiled,
        task,
        outer,
        options,
        start,
        steps=steps,
        seed=seed,
        batch=batch,
        query=query,
        inner_steps=inner_steps,
        lr=lr,
        clip=clip,
        memory=memory,
        patience=patience,
    )
    made = _divided(made, team)
    resume = resume or (team.again and out is not None and bool(checkpoints_in(Path(out))))
    folder = _folder(out, resume, tensorboard)
    begun = _begin(made, folder, resume)
    if announce is not None:
        announce(told_memory(made))
    folder = folder if team.first else None
    with ExitStack() as stack:
        events = stack.enter_context(event_writer(folder)) if tensorboard and folder is not None else None
        if folder is not None and not resume:
            save_checkpoint(folder, begun)  # at once, so that there is always something to resume
        habits = Habits(log_every, held_out_every, save_every, episodes, progress, events)
        done = _run(made, begun, folder, habits, stack.enter_context(Interruption(team.size > 1)))
        if folder is not None:
            _save_end(folder, begun, done)
    _check_left(made, done.search, patience)
    return conclude(made, done, folder, episodes, done.done < made.steps)


def _divided(made: Plan, team: Team) -> Plan:
    check_enough(made.problem, made.method.tried(made.free), team)
    return replace(made, problem=replace(made.problem, team=team))


def _folder(out: str | Path | None, resume: bool, tensorboard: bool) -> Path | None:
    if out is None:
        if resume or tensorboard:
            raise RuleError([messages.folder_missing("resume" if resume else "tensorboard")])
        return None
    folder = Path(out)
    if not resume and folder.is_dir() and checkpoints_in(folder):
        raise RuleError([messages.folder_in_use(folder)])
    return folder


def _begin(made: Plan, folder: Path | None, resume: bool) -> Checkpoint:
    """Return the state of the run at its start, the same in every process; none writes before all have looked at the folder."""
    if resume:
        assert folder is not None
        begun = load_checkpoint(folder, made.identity, made.problem.step.device)
    else:
        begun = Checkpoint(0, made.method.begin(made.problem, made.free), History(), made.identity)
    made.problem.team.check_same(derived_seed("run", begun.done, repr(sorted(made.identity.items()))))
    return begun


def _run(made: Plan, begun: Checkpoint, folder: Path | None, habits: Habits, interruption: Interruption) -> Checkpoint:
    search, history, done = begun.search, begun.history, begun.done
    started = time.monotonic()
    team = made.problem.team
    while done < made.steps and not team.any(interruption.asked) and not _none_left(made, search):
        search, row = made.method.step(made.problem, search, done)
        history.rows.append(row)
        done += 1
        shown = _held_out(made, search, habits) if _due(done, habits.held_out_every) else None
        if shown is not None:
            history.held_out_at.append(done)
            history.held_out_rows.append(shown)
        if habits.progress is not None and (_due(done, habits.log_every) or done == made.steps):
            habits.progress(
                Progress(
                    done,
                    made.steps,
                    row.loss.tolist(),
                    row.accuracy.tolist(),
                    None if shown is None else shown[1].tolist(),
                    time.monotonic() - started,
                )
            )
        if habits.events is not None and (_due(done, habits.log_every) or shown is not None):
            write_row(habits.events, history.record(done - 1))
        if folder is not None and _due(done, habits.save_every) and done < made.steps:
            save_checkpoint(folder, Checkpoint(done, search, history, made.identity))
    return Checkpoint(done, search, history, made.identity)


def _due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


def _none_left(made: Plan, search: Search) -> bool:
    return bool((made.method.retired(search) >= 0).all())


def _check_left(made: Plan, search: Search, patience: int) -> None:
    if _none_left(made, search):
        raise RuleError([messages.all_retired(made.method.retired(search).tolist(), patience)])


def _held_out(made: Plan, search: Search, habits: Habits) -> Tensor:
    """Return loss and accuracy on held-out data after all updates of an inner loop: (2, members)."""
    problem = made.problem
    setting = Setting((problem.horizon,), habits.episodes, problem.batch, problem.query, problem.seed)
    genome = problem.parameters.genome(search.free, problem.fixed)
    found = measure(problem.step, genome, problem.task, setting, problem.parameters.initial_state(search.free))
    return torch.stack([found.loss[0].mean(1), found.accuracy[0].mean(1)])


def _save_end(folder: Path, begun: Checkpoint, done: Checkpoint) -> None:
    if done.done != begun.done:
        save_checkpoint(folder, done)
    lines = (json.dumps(record) + "\n" for record in done.history.records())
    write_bytes(folder / "history.jsonl", "".join(lines).encode())
