"""Passes over programs, one a file. `optimise` runs them in order; each keeps every value."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rulec.ir.graph import Program
from rulec.ir.passes.absorb import absorb_factors
from rulec.ir.passes.contractions import form_contractions
from rulec.ir.passes.fold import fold_constants
from rulec.ir.passes.multiples import collect_multiples
from rulec.ir.passes.share import share_subexpressions
from rulec.ir.verifier import verify

Pass = Callable[[Program], Program]

PASSES: tuple[Pass, ...] = (
    fold_constants,
    form_contractions,
    fold_constants,
    share_subexpressions,
    collect_multiples,
    absorb_factors,
    fold_constants,
    share_subexpressions,
)


@dataclass(frozen=True)
class Run:
    """One run of a pass: the name of its file, numbered where it runs several times; what it is for; what it did."""

    name: str
    about: str
    before: Program
    after: Program


def runs(program: Program, passes: Sequence[Pass] = PASSES) -> Iterator[Run]:
    """Run passes one after another, and yield each as it is done; the verifier looks at every program."""
    names = [change.__module__.rpartition(".")[2] for change in passes]
    seen = Counter[str]()
    for name, change in zip(names, passes, strict=True):
        seen[name] += 1
        number = f" {seen[name]}" if names.count(name) > 1 else ""
        about = (sys.modules[change.__module__].__doc__ or "").partition("\n")[0]
        run = Run(name + number, about, program, verify(change(program)))
        yield run
        program = run.after


def optimise(program: Program) -> Program:
    """Return the program in the form that the backend lowers."""
    for run in runs(program):
        program = run.after
    return program
