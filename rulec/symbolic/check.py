"""Check the laws of a file, as `rulec check` does: each is proved, or told. Proofs are kept by content.

A proof depends on the program, its laws and this version of rulec alone, so it is looked up by their hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import rulec
from rulec.ir.graph import Program, walk_blocks, walk_ops
from rulec.ir.printer import render_program
from rulec.source import Diagnostic
from rulec.source.cache import cache_folder, keep
from rulec.symbolic import messages


def check_laws(program: Program, seconds: float | None = None) -> Iterator[Diagnostic]:
    """Yield an error for each law that is refuted, and a warning for each that is undecided."""
    if not program.laws:
        return
    known = _known(program)
    verdicts = known if known is not None else _judged(program, seconds)
    for law in program.laws:
        kind, lines = verdicts[law.name]
        if kind == "refuted":
            yield messages.law_refuted(law, program.options, tuple(lines))
        elif kind == "undecided":
            yield messages.law_undecided(law, program.options, tuple(lines))


def _judged(program: Program, seconds: float | None) -> dict[str, tuple[str, list[str]]]:
    from rulec.symbolic.laws import SECONDS, prove_laws  # sympy is half a second, and most files are known
    from rulec.symbolic.rendering import render_verdict

    found: dict[str, tuple[str, list[str]]] = {
        proof.law.name: (proof.verdict.kind, render_verdict(proof.verdict, program))
        for proof in prove_laws(program, seconds=SECONDS if seconds is None else seconds)
    }
    if all(kind != "undecided" for kind, _ in found.values()):  # what ran out of time may do better next time
        _keep(program, found)
    return found


# --- Proofs that are kept --------------------------------------------------------------------


def _file(program: Program) -> Path:
    """Return where the proofs of a program are kept. Its printed form rounds numbers: they are added in full."""
    roots = [w.value for b in walk_blocks(program.blocks) for w in b.writes]
    roots += [side for law in program.laws for side in (law.left, law.right)]
    constants = [op["value"] for op in walk_ops(roots) if op.name == "constant"]
    text = "\n".join(map(repr, (rulec.__version__, constants, program.genome, program.states, render_program(program))))
    return cache_folder("proofs") / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _known(program: Program) -> dict[str, tuple[str, list[str]]] | None:
    try:
        found = json.loads(_file(program).read_text(encoding="utf-8"))
        return {law.name: (str(found[law.name][0]), list(found[law.name][1])) for law in program.laws}
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None


def _keep(program: Program, found: dict[str, tuple[str, list[str]]]) -> None:
    keep(_file(program), json.dumps(found).encode())
