"""Verdicts in words: what `rulec prove` shows, and what a diagnostic says of a law that fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from rulec.ir.graph import Program
from rulec.symbolic.fields import Numbers
from rulec.symbolic.inputs import genome_shapes
from rulec.symbolic.networks import PROVING
from rulec.symbolic.verdict import Counterexample, Verdict


def render_verdict(verdict: Verdict, program: Program) -> list[str]:
    """Return lines: what was proved, the numbers that refute, or why it is undecided and what trials said."""
    lines = list(verdict.work)
    if verdict.kind == "refuted" and verdict.counterexample is not None:
        return render_counterexample(verdict.counterexample, program)
    if verdict.kind == "undecided":
        lines.append(f"not proved: {verdict.reason}")
    if verdict.trials:
        lines.append(f"and in {verdict.trials} trials with random numbers both sides agreed to {verdict.worst:.1e}")
    elif verdict.kind == "undecided":
        lines.append("and no trial with random numbers was defined")
    return lines


def render_counterexample(found: Counterexample, program: Program) -> list[str]:
    """Return what anybody needs to compute both sides again; what the rule does not read is left out."""
    claim, inputs = found.claim, found.inputs
    lines = [f"{claim.about}: left {_number(claim.left)}, right {_number(claim.right)}"]
    if found.setting:
        setting = found.setting
        lines.append(f"on {setting['network']}, activation {setting['activation']}, loss {setting['loss']}, where")
        lines += [f"  x = {_array(inputs.x)}", f"  y = {_array(inputs.y)}"]
    else:
        lines.append("where")
        lines += [f"  gradient of {name} = {_array(value)}" for name, value in inputs.gradient.items()]
    lines.append(f"  t = {_number(inputs.time)}")
    lines += [f"  {name} = {_array(value)}" for name, value in _genome(program, inputs.genome)]
    lines += [f"  {name} = {_array(value)}" for name, value in inputs.state.items()]
    return lines


def _genome(program: Program, genome: Mapping[str, Numbers]) -> Iterator[tuple[str, Numbers]]:
    known = genome_shapes(program, PROVING[0])
    yield from ((name, value) for name, value in genome.items() if name in known)


def _number(value: float) -> str:
    return f"{float(value):.12g}"


def _array(values: Numbers) -> str:
    def shown(part: object) -> str:
        return f"[{', '.join(map(shown, part))}]" if isinstance(part, list) else _number(part)  # type: ignore[arg-type]

    return shown(np.asarray(values, object).tolist())
