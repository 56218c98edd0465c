"""`rulec eval`: how a learned genome learns, against ordinary optimisers, and on other tasks and networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from rulec.cli.console import bold, say, show_diagnostics
from rulec.cli.threads import use_few_threads
from rulec.meta.baselines import baselines
from rulec.meta.batches import batch_for
from rulec.meta.evaluate import evaluate
from rulec.meta.genome_file import GenomeFile, load_genome
from rulec.meta.outer import on_inner_problem, stored_outer
from rulec.meta.transfer import transfer_table
from rulec.network.graph import Network
from rulec.report.plots import learning_curves
from rulec.report.tables import Row, accuracy_rows, csv_table, markdown_table, text_table, transfer_rows
from rulec.runtime.atomic import write_text
from rulec.runtime.compiled import CompiledRule
from rulec.runtime.rule import load
from rulec.source import fail
from rulec.tasks import Task, task_from
from rulec.tasks.recast import recast


def evaluate_file(
    genome: Path,
    task: str,
    net: str | None,
    rule: str | None,
    against: Sequence[str],
    transfer: Sequence[str],
    out: Path,
    data: Path | None,
    device: str,
    setting: Mapping[str, Any],
    together: bool,
) -> int:
    """Draw accuracy against the number of updates, print and write the tables."""
    path = genome / "genome.safetensors" if genome.is_dir() else genome
    if genome.is_dir() and not path.is_file():
        raise fail(
            "no-genome-file",
            f"{genome} holds no genome",
            notes=("a run writes `genome.safetensors` when it ends",),
            help="name the folder of a finished run, or a genome file",
        )
    pairs = [_pair(text) for text in transfer]
    chosen = task_from(task, data)
    compiled, held = _compiled(path, chosen, net, rule, device)
    use_few_threads(compiled, batch_for(chosen, setting["batch"]))
    show_diagnostics(held.warnings) if held.warnings else None
    outer = stored_outer(held.about)
    chosen = recast(chosen, [c for c in outer.changes if not (c.of_program or c.keys)]) if outer else chosen
    curve = evaluate(compiled, held.genome, chosen, initial=held.initial, together=together, **setting)
    others = baselines(chosen, compiled.network, against, device=device, **setting) if against else []
    learning = {**setting, "updates": tuple(t for t in setting["updates"] if t) or setting["updates"]}
    places = [(task_from(name, data), spec) for name, spec in pairs]
    elsewhere = transfer_table(compiled, held.genome, places, **learning)
    name, trained = compiled.program.name, held.about.get("inner_steps")
    out.mkdir(parents=True, exist_ok=True)
    picture = learning_curves(
        {name: curve},
        out / "accuracy.png",
        baselines=others,
        title=f"{name} on {chosen.name}, {compiled.network.spec}",
        trained_for=trained if isinstance(trained, int) and 0 < trained <= curve.updates[-1] else None,
    )
    say(bold(f"Accuracy on held-out data after so many updates, mean over {curve.episodes} episodes"))
    written = _table(accuracy_rows({name: curve}, others), out / "accuracy")
    say("\n" + bold(f"{name} with 95% intervals of the means") + _told(compiled.network, together))
    written += _table(curve.rows(), out / "intervals", _INTERVALS)
    if elsewhere:
        say("\n" + bold("The same genome elsewhere"))
        written += _table(transfer_rows(elsewhere), out / "transfer")
    say("\n" + "\n".join(map(str, (picture, *written))))
    return 0


def _compiled(
    path: Path, task: Task, net: str | None, rule: str | None, device: str
) -> tuple[CompiledRule, GenomeFile]:
    """Compile the genome's rule as its file says, for the network given or the one it was learned on."""
    about = load_genome(path).about
    text = rule or f"{path.with_suffix('.rule')}:{about['rule']}"
    options = about.get("options")
    compiled = load(text).compile(
        net or str(about["network"]),
        options=options if isinstance(options, dict) else None,
        loss=task.loss,
        device=device,
        input_shape=task.input_shape,
        outputs=task.outputs,
    )
    outer = stored_outer(about)
    compiled = on_inner_problem(compiled, outer) if outer else compiled
    return compiled, load_genome(path, compiled)


_INTERVALS = ("updates", "accuracy", "accuracy_ci95", "loss", "loss_ci95")


def _told(network: Network, together: bool) -> str:
    """Say how a query was predicted where that makes a difference."""
    if not any(layer.norm is not None and layer.norm.kind == "batch" for layer in network.layers):
        return ""
    if together:
        return "\nbatch normalisation saw each query as a whole: transductive (--one-by-one is not)"
    return "\neach sample of a query was predicted in a batch with the support alone: not transductive"


def _table(rows: Sequence[Row], stem: Path, columns: Sequence[str] | None = None) -> list[Path]:
    """Print a table and write it as CSV and as Markdown."""
    say(text_table(rows, columns))
    paths = [stem.with_suffix(".csv"), stem.with_suffix(".md")]
    write_text(paths[0], csv_table(rows, columns))
    write_text(paths[1], markdown_table(rows, columns) + "\n")
    return paths


def _pair(text: str) -> tuple[str, str]:
    """Read `TASK@NET`."""
    task, at, net = text.rpartition("@")
    if not (at and task.strip() and net.strip()):
        raise typer.BadParameter(
            f"`{text}` is not of the form TASK@NET, as in `digits@64-32-10`", param_hint="'--transfer'"
        )
    return task.strip(), net.strip()
