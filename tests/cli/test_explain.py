"""`rulec explain`: lints have explanations; of every other id it shows what is said under it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rulec.cli.explain import filled, headline, known_ids, sayings
from rulec.lints.registry import LINTS


@pytest.mark.parametrize("id", [lint.id for lint in LINTS])
def test_a_lint_is_explained(rulec, id):
    answer = rulec("explain", id)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"{id}\n\n")
    assert len(answer.out.splitlines()) > 5


def test_without_an_id_all_lints_are_listed_on_a_line_each(rulec):
    answer = rulec("explain")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == sorted(lint.id for lint in LINTS)
    assert all(len(line) <= 140 for line in lines)


@pytest.mark.parametrize(
    "id, said",
    [
        ("unreduced-sample", "the update of `...` still carries the sample index `n`"),
        ("unknown-task", "An error about the task and its data:\n  there is no task `...`"),
        ("out-of-memory", "there is not enough memory for this"),
        ("not-text", "`...` is not UTF-8 text"),
    ],
)
def test_other_ids_show_what_is_said_under_them(rulec, id, said):
    answer = rulec("explain", id)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"{id}\n\nA") and said in answer.out


def test_wordings_under_one_id_are_all_shown(rulec):
    out = rulec("explain", "not-a-function").out
    assert "`...` is no function" in out and "option `...` is `...`, which is no function" in out


def test_every_id_of_the_package_has_something_to_show():
    ids = known_ids()
    assert len(ids) > 150 and ids == sorted(set(ids))
    explained = {lint.id for lint in LINTS}
    shown = {id: list(sayings(id)) for id in ids if id not in explained}
    assert all(shown.values())
    assert {one.severity for said in shown.values() for one in said} == {"error", "warning"}


@pytest.mark.parametrize("given, meant", [("unreduced-sampel", "unreduced-sample"), ("dead-entri", "dead-entry")])
def test_an_id_that_nothing_has_is_a_mistake_with_a_guess(rulec, given, meant):
    answer = rulec("explain", given)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith(f"error[unknown-diagnostic]: no finding has the id `{given}`\n")
    assert f"did you mean `{meant}`?" in answer.err


def test_nothing_near_gets_no_guess(rulec):
    answer = rulec("explain", "grammar")
    assert answer.code == 1 and "did you mean" not in answer.err and "lists the findings" in answer.err


def test_what_looks_like_a_path_is_told_to_be_none(rulec):
    assert "no genome or folder of a run at `runs/none`" in rulec("explain", "runs/none").err


def test_its_own_id_can_be_explained(rulec):
    assert "no finding has the id `...`" in rulec("explain", "unknown-diagnostic").out


def test_help_is_short_and_has_an_example(rulec):
    answer = rulec("explain", "--help")
    assert answer.code == 0 and "Example: rulec explain " in answer.out and "ID|GENOME" in answer.out


def test_lines_are_filled_and_examples_left_alone():
    text = "One sentence that goes\non. Another one.\n\n    a  =  b\n\nThe end, with `a b c` in it."
    assert filled(text) == "One sentence that goes on. Another one.\n\n    a  =  b\n\nThe end, with `a b c` in it."
    assert filled("x " * 49 + "`a b c`") == " ".join("x" * 49) + "\n`a b c`"
    assert headline(text) == "One sentence that goes on"


def test_nothing_heavy_is_loaded():
    code = "import sys; from rulec.cli.main import run; run(['explain', 'target-leak']); print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"
