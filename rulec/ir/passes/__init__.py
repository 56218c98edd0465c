"""Passes over the IR, one a file. `optimise` runs them in order; each keeps every value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from rulec.ir.graph import Block, Program, map_blocks
from rulec.ir.passes.contractions import form_contractions
from rulec.ir.passes.fold import fold_constants
from rulec.ir.passes.share import share_subexpressions
from rulec.ir.verifier import verify

PASSES: tuple[Callable[[Block], Block], ...] = (fold_constants, form_contractions, fold_constants, share_subexpressions)


def optimise(program: Program) -> Program:
    """Return the program in the form that the backend lowers."""
    per_layer = {e.name for e in program.genome if e.per_layer} | {n.name for n in program.nets if n.per_layer}
    contractions = partial(form_contractions, per_layer=frozenset(per_layer))
    for change in PASSES:
        run = contractions if change is form_contractions else change
        program = verify(replace(program, blocks=map_blocks(program.blocks, run)))
    return program
