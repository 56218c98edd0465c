"""Passes over programs, one a file. `optimise` runs them in order; each keeps every value."""

from __future__ import annotations

from collections.abc import Callable

from rulec.ir.graph import Program
from rulec.ir.passes.contractions import form_contractions
from rulec.ir.passes.fold import fold_constants
from rulec.ir.passes.share import share_subexpressions
from rulec.ir.verifier import verify

Pass = Callable[[Program], Program]

PASSES: tuple[Pass, ...] = (fold_constants, form_contractions, fold_constants, share_subexpressions)


def optimise(program: Program) -> Program:
    """Return the program in the form that the backend lowers."""
    for change in PASSES:
        program = verify(change(program))
    return program
