"""What each pass does to a small rule, as text: `passes/*.rule`, and what is expected of them beside.

The first line of a rule names the passes that come before, a bar, and the one that is looked at. Expected are the
program before that one, and the account of what it changed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rulec.ir.account import account
from rulec.ir.build import build
from rulec.ir.graph import Op, Program, change_blocks, rewrite_block
from rulec.ir.passes.absorb import absorb_factors
from rulec.ir.passes.components import take_apart
from rulec.ir.passes.contractions import form_contractions
from rulec.ir.passes.equal import store_once
from rulec.ir.passes.fold import fold_constants
from rulec.ir.passes.losses import settle_losses
from rulec.ir.passes.multiples import collect_multiples
from rulec.ir.passes.pullback import pull_back_activations
from rulec.ir.passes.share import share_subexpressions
from rulec.ir.passes.specialise import specialise
from rulec.ir.passes.terms import gather_terms
from rulec.ir.passes.unread import drop_unread
from rulec.ir.printer import render_program
from rulec.ir.verifier import verify
from rulec.semantics.check import load_library
from rulec.semantics.rules import check_rule
from rulec.source import Diagnostics, Source

FOLDER = Path(__file__).parent / "passes"
CASES = sorted(path.stem for path in FOLDER.glob("*.rule"))

GENOME = {"mix": ((0.0, 2.0), (0.0, 0.0)), "gain": 1.0, "keep": 0.0}  # folded in by `specialise`


def specialised(program: Program) -> Program:
    return specialise(program, GENOME)


def unpulled(program: Program) -> Program:
    """Write transposed Jacobians as the products that they were before `build` found them."""

    def change(op: Op) -> Op:
        if op.name != "pullback":
            return op
        z, back = op.args
        return Op("slope", (z,), (("side", op["side"]), ("order", 1)), z.axes) * back

    return change_blocks(program, lambda block: rewrite_block(block, change))


CHANGES: dict[str, Callable[[Program], Program]] = {
    "absorb": absorb_factors,
    "components": take_apart,
    "contractions": form_contractions,
    "equal": store_once,
    "fold": fold_constants,
    "losses": settle_losses,
    "multiples": collect_multiples,
    "pullback": pull_back_activations,
    "share": share_subexpressions,
    "specialise": specialised,
    "terms": gather_terms,
    "unread": drop_unread,
}


def program_of(text: str) -> Program:
    found = Diagnostics()
    (node,) = load_library(Source("printed.rule", text), found).rules.values()
    rule = check_rule(node, found)
    found.raise_errors()
    assert rule is not None
    return build(rule)


def told(text: str) -> str:
    """Return the program before the pass that a text names in its first line, and what that pass changed."""
    names = text.partition("\n")[0].removeprefix("#").replace("|", " ").split()
    program = program_of(text)
    for name in names[:-1]:
        program = verify((CHANGES | {"unpulled": unpulled})[name](program))
    (entry,) = account(program, (CHANGES[names[-1]],))
    return "\n".join([render_program(program), *(entry.changes or ("nothing changed",)), ""])


@pytest.mark.parametrize("case", CASES)
def test_what_a_pass_does(case: str, update_golden: bool):
    found, expected = told((FOLDER / f"{case}.rule").read_text()), FOLDER / f"{case}.expected"
    if update_golden:
        expected.write_text(found)
    assert found == expected.read_text()


@pytest.mark.parametrize("case", [case for case in CASES if "-not-" in case])
def test_a_pass_that_must_not_fire_changes_nothing_of_that_kind(case: str):
    assert told((FOLDER / f"{case}.rule").read_text()).endswith("nothing changed\n")


def test_every_pass_has_a_text():
    files = {path.stem for path in (Path(__file__).parents[2] / "rulec" / "ir" / "passes").glob("*.py")} - {"__init__"}
    assert files == set(CHANGES) == {case.partition("-")[0] for case in CASES}
