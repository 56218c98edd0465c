"""`rulec train`: meta-learn the genome of a rule."""

from __future__ import annotations

import json
import math
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rulec
from rulec.cli.console import bold, complain, say
from rulec.cli.threads import use_few_threads
from rulec.meta.plan import batch_of
from rulec.meta.processes import count, rank
from rulec.meta.result import MetaResult
from rulec.meta.train import Progress, meta_train
from rulec.report.plots import training_curves
from rulec.report.tables import text_table
from rulec.runtime.atomic import write_text
from rulec.runtime.compiled import CompiledRule
from rulec.runtime.rule import Rule
from rulec.semantics.typed import Outer
from rulec.tasks import Task, task_from

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_INTERRUPTED = 130

Show = Callable[[Progress], None]


def train(
    rule: Rule,
    task: str,
    net: str,
    options: Mapping[str, str],
    out: Path,
    outer: Outer,
    data: Path | None,
    compiling: Mapping[str, Any],
    training: Mapping[str, Any],
    arguments: Sequence[str],
) -> int:
    """Train, then print the table of members and where everything is. Returns 130 if it was interrupted."""
    chosen = task_from(task, data)
    compiled = rule.compile(
        net, options=options, loss=chosen.loss, input_shape=chosen.input_shape, outputs=chosen.outputs, **compiling
    )
    use_few_threads(compiled, batch_of(outer, training["batch"], chosen))
    begun = time.monotonic()
    try:
        with _progress(int(training["steps"] or 0)) as (show, every):
            result = meta_train(
                compiled, chosen, outer, out=out, announce=_announce, progress=show, log_every=every, **training
            )
    except KeyboardInterrupt:
        complain(f"interrupted; go on from the last checkpoint with\n  {_resuming(arguments)}")
        return _INTERRUPTED
    if rank() == 0:
        _tell(compiled, chosen, result, outer, out, training, arguments, time.monotonic() - begun)
    if result.interrupted:
        complain(f"interrupted after meta-step {result.steps}; go on with\n  {_resuming(arguments)}")
        return _INTERRUPTED
    return 0


def _tell(
    compiled: CompiledRule,
    task: Task,
    result: MetaResult,
    outer: Outer,
    out: Path,
    training: Mapping[str, Any],
    arguments: Sequence[str],
    seconds: float,
) -> None:
    """Draw the curves, write the record, print the table."""
    curves = training_curves(result.history, out / "training.png", best=result.best) if result.history.rows else None
    record = out / "run.json"
    write_text(
        record,
        json.dumps(
            _record(compiled, task, result, outer, training, arguments, seconds),
            indent=2,
            default=str,
        )
        + "\n",
    )
    _conclude(result, {**result.paths, **({"curves": curves} if curves else {}), "record": record})


def _announce(memory: str) -> None:
    if rank() == 0:
        complain(f"a meta-step keeps {memory}")


def _resuming(arguments: Sequence[str]) -> str:
    launcher = ["torchrun", "...", "-m"] if count() > 1 else []
    return shlex.join([*launcher, "rulec", *(a for a in arguments if a != "--resume"), "--resume"])


def _conclude(result: MetaResult, paths: Mapping[str, Path]) -> None:
    say("\n" + text_table(result.rows()))
    best = result.held_out[result.best]
    at = best.updates.index(result.inner_steps)
    say(
        f"\nbest: member {result.best} by its meta-training score; on held-out data after {result.inner_steps} updates "
        f"{bold(f'{best.accuracy[at]:.3f}')} ± {best.accuracy_sd[at]:.3f} (sd over {best.episodes} episodes, each with data and initial "
        f"synapses of its own; seed {result.seed})"
    )
    if result.through:
        say(f"gradients came back through {result.through}")
    width = max(map(len, paths))
    say("\n" + "\n".join(f"{name.ljust(width)}  {path}" for name, path in paths.items()))


def _record(
    compiled: CompiledRule,
    task: Task,
    result: MetaResult,
    outer: Outer,
    training: Mapping[str, Any],
    arguments: Sequence[str],
    seconds: float,
) -> dict[str, object]:
    """Return what one must know to repeat the run and to trust its numbers."""
    import torch

    return {
        "command": shlex.join(["rulec", *arguments]),
        "rule": compiled.program.name,
        "rule_hash": compiled.rule_hash,
        "options": compiled.program.options,
        "network": compiled.network.spec,
        "loss": compiled.loss,
        "population": compiled.population,
        "replicas": compiled.replicas,
        "task": task.describe(),
        "outer": outer.name,
        "settings": dict(training),
        "inner_steps": result.inner_steps,
        "steps": result.steps,
        "interrupted": result.interrupted,
        "best": result.best,
        "members": result.rows(),
        "seconds": round(seconds, 1),
        "device": str(compiled.device),
        "processes": count(),
        "versions": {"rulec": rulec.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }


# --- Progress --------------------------------------------------------------------------------


@contextmanager
def _progress(steps: int) -> Iterator[tuple[Show, int]]:
    """Yield what shows a `Progress` and how often it wants one: a bar on terminals, lines elsewhere."""
    if rank():
        yield lambda progress: None, 0
        return
    if not sys.stderr.isatty():
        yield _line, max(1, steps // 20) if steps else 10
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("meta-training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[scores]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        place = bar.add_task("", total=steps or None, scores="")
        yield _advance(bar, place), 1


def _advance(bar: Bar, place: TaskID) -> Show:
    def show(progress: Progress) -> None:
        bar.update(place, completed=progress.done, total=progress.steps, scores=_scores(progress))

    return show


def _line(progress: Progress) -> None:
    rate = progress.seconds / max(progress.done, 1)
    complain(
        f"step {progress.done}/{progress.steps}  {_scores(progress)}  {rate * (progress.steps - progress.done):.0f} s left"
    )


def _scores(progress: Progress) -> str:
    """Return loss and accuracy of the best member at this step; those that are not finite do not count."""
    finite = [
        (loss, accuracy) for loss, accuracy in zip(progress.loss, progress.accuracy, strict=True) if math.isfinite(loss)
    ]
    if not finite:
        return "no finite loss"
    loss, accuracy = min(finite)
    among = f" (best of {len(progress.loss)})" if len(progress.loss) > 1 else ""
    return f"loss {loss:.4g}  accuracy {accuracy:.3f}{among}"
