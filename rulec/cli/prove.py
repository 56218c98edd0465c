"""`rulec prove`: laws, equivalence with another rule, and whether an update is a gradient, with the work shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from rulec.cli.console import say
from rulec.ir.build import build
from rulec.ir.graph import Program
from rulec.runtime.rule import Rule, load
from rulec.source import Source
from rulec.syntax import ast, parse_source

if TYPE_CHECKING:
    from rulec.symbolic.verdict import Verdict


@dataclass(frozen=True)
class Question:
    """What is to be proved, as the command line has it."""

    file: str
    equals: str | None
    laws: Sequence[str]
    conservative: bool
    options: Mapping[str, str]
    genome: str | None
    declared: bool
    at: Mapping[str, str]
    matches: str
    activation: str | None
    seconds: float | None
    seed: int


def prove(question: Question) -> int:
    """Answer; return 0 if everything is proved, 1 otherwise."""
    rule = _with_laws(load(question.file), question.laws)
    own, other = _split_options(question.options)
    program = build(rule.typed(own, question.genome))
    if question.equals is not None:
        return _equal(question, program, build(load(question.equals).typed(other)))
    if question.conservative:
        return _conservative(question, program)
    return _laws(question, program)


def _split_options(options: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """`equals.teach=no` is an option of the rule compared with, all others are of the first."""
    prefix = "equals."
    other = {name.removeprefix(prefix): value for name, value in options.items() if name.startswith(prefix)}
    return {name: value for name, value in options.items() if not name.startswith(prefix)}, other


def _with_laws(rule: Rule, laws: Sequence[str]) -> Rule:
    """Add the laws of the command line, or with none of them keep the rule's own."""
    if not laws:
        return rule
    nodes: list[ast.Law] = []
    for number, law in enumerate(laws, start=1):
        name = f"law{number}" if len(laws) > 1 else "law"
        source = Source("--law", f"rule r\n\nlaws\n  {name} : {law}\n")
        module, found, _ = parse_source(source)
        found.raise_errors()
        for section in module.definitions[0].sections:  # type: ignore[union-attr]
            nodes += section.laws if isinstance(section, ast.Laws) else ()
    node = rule.library.rules[rule.name]
    kept = tuple(s for s in node.sections if not isinstance(s, ast.Laws))
    changed = replace(node, sections=(*kept, ast.Laws(tuple(nodes), span=node.span)))
    return replace(rule, library=replace(rule.library, rules={**rule.library.rules, rule.name: changed}))


def _numbers(at: Mapping[str, str]) -> dict[str, float]:
    found = {}
    for name, value in at.items():
        try:
            found[name] = float(value)
        except ValueError:
            raise typer.BadParameter(f"`{value}` is not a number, as in `--at {name}=0`", param_hint="'--at'") from None
    return found


def _given(question: Question, program: Program) -> dict[str, object]:
    """Return the genome entries that have numbers."""
    from rulec.symbolic import messages
    from rulec.symbolic.inputs import declared_genome

    given: dict[str, object] = {}
    if question.declared or question.genome is not None:
        given |= declared_genome(program)
    known = {entry.name for entry in program.genome}
    for name, value in _numbers(question.at).items():
        if name not in known:
            raise messages.unknown_match(name, program.name, known)
        given[name] = value
    return given


def _networks(question: Question) -> list[object] | None:
    if question.activation is None:
        return None
    from rulec.semantics.operators import ACTIVATIONS
    from rulec.symbolic.networks import proving_networks

    if question.activation not in ACTIVATIONS:
        raise typer.BadParameter(
            f"`{question.activation}` is no activation; there are {', '.join(ACTIVATIONS)}", param_hint="'--activation'"
        )
    return list(proving_networks(question.activation))


def _laws(question: Question, program: Program) -> int:
    from rulec.symbolic.laws import SECONDS, prove_laws

    if not program.laws:
        say(f"{program.name} states no laws; give one with --law, or ask for --equals or --conservative")
        return 1
    failed = False
    seconds = SECONDS if question.seconds is None else question.seconds
    proofs = prove_laws(
        program,
        given=_given(question, program),  # type: ignore[arg-type]
        networks=_networks(question),  # type: ignore[arg-type]
        seconds=seconds,
        seed=question.seed,
    )
    for proof in proofs:
        text = proof.law.span.text if proof.law.span else proof.law.name
        failed |= _show(f"{program.name}: {text}", proof.verdict, program, proof.seconds)
    return int(failed)


def _equal(question: Question, first: Program, second: Program) -> int:
    from rulec.symbolic.equivalence import SECONDS, parse_matches, prove_equal

    found = prove_equal(
        first,
        second,
        parse_matches(question.matches),
        at=_numbers(question.at),
        networks=_networks(question),  # type: ignore[arg-type]
        seconds=3 * SECONDS if question.seconds is None else question.seconds,
        seed=question.seed,
    )
    return int(_show(f"{first.name} equals {second.name}", found.verdict, first, found.seconds))


def _conservative(question: Question, program: Program) -> int:
    from rulec.symbolic.conservative import SECONDS, prove_conservative

    curl = prove_conservative(
        program,
        given=_given(question, program),  # type: ignore[arg-type]
        seconds=SECONDS if question.seconds is None else question.seconds,
        seed=question.seed,
    )
    failed = _show(f"the update of {program.name} is a gradient", curl.verdict, program, curl.seconds)
    say(f"  antisymmetry of the Jacobian in floats: {curl.antisymmetry:.1e} (0 for a gradient, 2 for a pure rotation)")
    return int(failed)


def _show(claim: str, verdict: Verdict, program: Program, seconds: float) -> bool:
    """Print a verdict with its work; return whether it is anything but a proof."""
    from rulec.symbolic.rendering import render_verdict

    say(f"{verdict.kind}: {claim}   ({seconds:.1f} s)")
    say("\n".join(f"  {line}" for line in render_verdict(verdict, program)))
    return verdict.kind != "proved"
