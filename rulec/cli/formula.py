"""`rulec explain GENOME`: a learned rule as formulas, as short as it can be and still learn as well."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rulec.cli.console import bold, say, show_diagnostics
from rulec.meta.formula import Formula, Setting, formula
from rulec.meta.genome_file import GenomeFile, load_genome
from rulec.meta.pruning import Criterion
from rulec.report.tables import csv_table, text_table
from rulec.runtime.atomic import write_text
from rulec.runtime.compiled import CompiledRule
from rulec.runtime.rule import Rule, load, parse
from rulec.semantics.equations import render_equations, render_latex
from rulec.source import fail
from rulec.tasks import Task, task_from


def explain_genome(
    genome_path: Path,
    rule_text: str | None = None,
    *,
    task: str | None = None,
    net: str | None = None,
    data: Path | None = None,
    out: Path | None = None,
    accuracy_loss: float = 0.01,
    tolerance: float | None = None,
    episodes: int = 8,
    seed: int = 0,
    device: str = "cpu",
) -> int:
    """Print what a genome has learned, and write `learned.rule`, `learned.tex` and `terms.csv` beside it or into `out`.

    `genome_path` is a genome file or the folder of a run; `rule_text` a rule file or name, by default the text beside the
    genome; `task` and `net` are those of the run by default. The numbers may be changed as long as the accuracy falls by no
    more than `accuracy_loss` and, if `tolerance` is given, the weight updates change by no more than this part of them.
    """
    path = genome_path / "genome.safetensors" if genome_path.is_dir() else genome_path
    about = load_genome(path).about
    rule = load(rule_text or f"{path.with_suffix('.rule')}:{about['rule']}")
    chosen = task_from(task or _task_name(about, path), data)
    compiled, held = _compiled(rule, path, about, chosen, net, device)
    show_diagnostics(held.warnings) if held.warnings else None
    updates, batch = (about.get(name) for name in ("inner_steps", "batch"))
    setting = Setting(
        updates if isinstance(updates, int) and updates > 0 else Setting.updates,
        batch if isinstance(batch, int) else Setting.batch,
        episodes,
        seed,
    )
    learned = formula(
        rule,
        compiled,
        held.genome,
        chosen,
        options=compiled.program.options,
        initial=held.initial,
        setting=setting,
        criterion=Criterion(accuracy_loss, tolerance),
    )
    _show(learned, held)
    _write(learned, out or path.parent)
    return 0


def _task_name(about: Mapping[str, object], path: Path) -> str:
    task = about.get("task")
    if isinstance(task, dict) and isinstance(task.get("name"), str):
        return str(task["name"])
    raise fail("no-task", f"{path} does not say which task it was learned on", help="name it: `--task digits`")


def _compiled(
    rule: Rule, path: Path, about: Mapping[str, object], task: Task, net: str | None, device: str
) -> tuple[CompiledRule, GenomeFile]:
    """Compile the rule as the genome's file says, for the network given or the one it was learned on."""
    options = about.get("options")
    compiled = rule.compile(
        net or str(about["network"]),
        options=options if isinstance(options, dict) else None,
        loss=task.loss,
        device=device,
        input_shape=task.input_shape,
        outputs=task.outputs,
    )
    return compiled, load_genome(path, compiled)


def _show(learned: Formula, held: GenomeFile) -> None:
    typed = parse(learned.text).typed()
    say(bold("What was learned"))
    say("\n".join(f"  {line}".rstrip() for line in render_equations(typed).split("\n")))
    say("\n" + bold("Its numbers, by how much the weight updates change without them"))
    say(text_table([term.row() for term in learned.terms]))
    updates = learned.before.updates[-1]
    before, after = learned.before.at(updates), learned.after.at(updates)
    say("\n" + bold("What simpler numbers cost"))
    say(
        text_table(
            [
                {"accuracy after": f"{updates} updates", "learned": a, "simpler": b, "data": data}
                for a, b, data in ((*learned.trained, "meta-training"), (before, after, "held out"))
            ]
        )
    )
    zeros = sum(term.after == 0.0 for term in learned.terms)
    say(f"{zeros} of {len(learned.terms)} numbers are zero; the weight updates change by {learned.effect:.1%}")
    if learned.kept:
        say(f"what the formulas still take from the genome: {', '.join(learned.kept)}")
    if held.initial:
        say(f"learned initial values are not part of the formulas: {', '.join(held.initial)}")


def _write(learned: Formula, folder: Path) -> None:
    """Write the rule, its equations for a paper, and the table of numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    typed = parse(learned.text).typed()
    paths = [folder / name for name in ("learned.rule", "learned.tex", "terms.csv")]
    texts = (learned.text, render_latex(typed) + "\n", csv_table([term.row() for term in learned.terms]))
    for path, text in zip(paths, texts, strict=True):
        write_text(path, text)
    say("\n" + "\n".join(map(str, paths)))
