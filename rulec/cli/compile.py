"""`rulec compile`: a rule and a network to one training step, with every stage on the way at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from rulec.cli.console import say
from rulec.cli.trees import render_tree
from rulec.ir.passes import optimise
from rulec.ir.printer import render_program
from rulec.runtime.rule import Rule, load

_WITHOUT_NET: dict[str, Callable[[Rule, Mapping[str, str], str | None], str]] = {
    "ast": lambda rule, options, genome: render_tree(rule.library.rules[rule.name]),
    "typed": lambda rule, options, genome: render_tree(rule.typed(options, genome)),
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
    """Compile, print the stage that is asked for, and write the step to a folder."""
    rule = load(file)
    if emit in _WITHOUT_NET:
        say(_WITHOUT_NET[emit](rule, options, genome).rstrip("\n"))
        if out is None:
            return 0
    if net is None:
        raise typer.BadParameter("the network is needed for this, as in `--net 784-128-10`", param_hint="'--net'")
    compiled = rule.compile(net, options=options, genome=genome, **settings)
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
