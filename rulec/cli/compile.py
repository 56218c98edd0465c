"""`rulec compile`: a rule and a network to one training step, with every stage on the way at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rulec.cli.console import say, show_diagnostics
from rulec.cli.trees import render_tree
from rulec.ir.passes import optimise
from rulec.ir.printer import render_program
from rulec.runtime.rule import Rule, load

if TYPE_CHECKING:
    import torch

    from rulec.semantics.typed import OptionValue

    Options = Mapping[str, OptionValue]
    Chosen = str | Mapping[str, torch.Tensor] | None  # named values, or the numbers of a genome

_BATCH = 64  # samples for which the reverse of a step is traced

_WITHOUT_NET: dict[str, Callable[[Rule, Options, Chosen], str]] = {
    "ast": lambda rule, options, genome: render_tree(rule.library.rules[rule.name]),
    "typed": lambda rule, options, genome: render_tree(
        rule.typed(options, genome if isinstance(genome, str) else None)
    ),
    "ir": lambda rule, options, genome: render_program(rule.program(options, genome)),
    "ir-opt": lambda rule, options, genome: render_program(optimise(rule.program(options, genome))),
}


def compile_file(
    file: str,
    net: str | None,
    options: Mapping[str, str],
    genome: str | None,
    emit: str | None,
    out: Path | None,
    settings: Mapping[str, Any],
) -> int:
    """Compile, print the stage that is asked for, and write the step to a folder.

    `genome` names values of the file, or is a genome file or the folder of a run: its numbers are folded in, with the options
    that it was learned with, unless others are given, and for its network if no other is named.
    """
    rule = load(file)
    chosen: Chosen = genome
    every: Options = options
    if genome is not None and _is_file(genome, rule):
        about, chosen = _numbers(genome, rule)
        every = {**about.get("options", {}), **options}
        net = net or about.get("network")
    if emit in _WITHOUT_NET:
        say(_WITHOUT_NET[emit](rule, every, chosen).rstrip("\n"))
        if out is None:
            return 0
    if emit == "passes":
        say_account(rule, net, every, chosen, settings)
        if out is None:
            return 0
    if net is None:
        raise typer.BadParameter("the network is needed for this, as in `--net 784-128-10`", param_hint="'--net'")
    compiled = rule.compile(net, options=every, genome=chosen, **settings)
    if emit == "fx":
        say(str(compiled.lowered.graph).strip())
    elif emit == "py":
        from rulec.runtime.bundle import standalone_source

        say(standalone_source(compiled).rstrip("\n"))
    if out is not None:
        from rulec.runtime.bundle import write_bundle

        say("\n".join(str(path) for path in write_bundle(compiled, out)))
    elif emit is None:
        say(_summary(rule, compiled))
    return 0


def say_account(rule: Rule, net: str | None, options: Options, genome: Chosen, settings: Mapping[str, Any]) -> None:
    """Print what the passes changed, with a network up to the graphs of an unroll."""
    from rulec.backend.stages import Setting
    from rulec.cli.passes import say_passes

    if net is None:
        say_passes(rule.program(options, genome), None)
        return
    compiled = rule.compile(net, options=options, genome=genome, **settings)
    say_passes(compiled.program, Setting(compiled.network, compiled.loss, compiled.dtype, _BATCH, compiled.leading))


def _is_file(genome: str, rule: Rule) -> bool:
    """Whether a genome is given as a file or a folder, and not by a name that the rule's file has."""
    path = Path(genome)
    return genome not in rule.library.presets and (path.suffix == ".safetensors" or path.is_dir())


def _numbers(genome: str, rule: Rule) -> tuple[dict[str, Any], Mapping[str, torch.Tensor]]:
    """Read a genome file: what it says of itself, and the numbers."""
    from rulec.meta import messages
    from rulec.meta.genome_file import load_genome

    path = Path(genome) / "genome.safetensors" if Path(genome).is_dir() else Path(genome)
    held = load_genome(path)
    if held.about.get("rule_hash") != rule.hash:
        show_diagnostics([messages.other_rule_hash(path, str(held.about.get("rule_hash")), rule.hash, rule.name)])
    own = held.about.get("outer_entries")  # of the outer step, not of the rule
    numbers = {n: v for n, v in held.genome.items() if not isinstance(own, list) or n.split(".")[0] not in own}
    return dict(held.about), numbers


def _summary(rule: Rule, compiled: Any) -> str:
    from rulec.backend.cost import step_cost
    from rulec.cli.show import render_cost

    operations = sum(node.op == "call_function" for node in compiled.lowered.graph.nodes)
    cost = step_cost(compiled.lowered, compiled.network, compiled.leading, compiled.dtype)
    lines = [
        f"{rule.name} on {compiled.network.spec}: {operations} operations; for a step on {cost.batch} samples",
        render_cost(cost),
        "print a stage with --emit, write the step to a folder with --out",
    ]
    return "\n".join((lines[0], *("  " + line for line in lines[1].split("\n")), lines[2]))
