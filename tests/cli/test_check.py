"""`rulec check`: exit codes, what is said where, JSON."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest


def test_a_fine_file_is_summed_up_on_standard_output(rulec, rules):
    answer = rulec("check", rules / "feedback_alignment.rule")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == f"{rules / 'feedback_alignment.rule'}: fine\n  rule feedback_alignment: w, b local\n"


def test_every_definition_is_named_and_classes_are_told_apart(rulec, rules):
    assert (
        "  rule weight_perturbation: xi, xb local; w, b three-factor\n"
        in rulec("check", rules / "weight_perturbation.rule").out
    )
    assert "  outer maml\n" in rulec("check", rules / "outers.rule").out


def test_shipped_rules_are_found_by_name(rulec):
    answer = rulec("check", "hebb")
    assert answer.code == 0
    assert "rule hebb: w local" in answer.out


def test_an_error_goes_to_standard_error_and_exits_1(rulec, wrong, rules):
    answer = rulec("check", rules / "hebb.rule", wrong)
    assert answer.code == 1
    assert answer.err.startswith("error[unreduced-sample]: the update of `w` still carries the sample index `n`\n")
    assert f"--> {wrong}:19:13" in answer.err
    assert "hebb" in answer.out and "wrong" not in answer.out


def test_a_missing_file_is_a_diagnostic(rulec, tmp_path):
    answer = rulec("check", tmp_path / "nothing.rule")
    assert answer.code == 1
    assert "there is no such file" in answer.err and "Traceback" not in answer.err


def test_warnings_are_shown_and_exit_0(rulec, rules, tmp_path):
    path = tmp_path / "marked.rule"
    path.write_bytes(b"\xef\xbb\xbf" + (rules / "sgd.rule").read_bytes())
    answer = rulec("check", path)
    assert answer.code == 0
    assert answer.err.startswith("warning[") and "sgd: w non-local" in answer.out


def test_json_has_every_diagnostic_and_nothing_else(rulec, wrong, rules):
    answer = rulec("check", "--json", rules / "hebb.rule", wrong)
    assert (answer.code, answer.err) == (1, "")
    (record,) = json.loads(answer.out)
    assert record["id"] == "unreduced-sample" and record["severity"] == "error"
    assert record["place"] == {"file": str(wrong), "line": 19, "column": 13, "end_line": 19, "end_column": 24}
    fine = rulec("check", "--json", rules / "hebb.rule")
    assert (fine.code, json.loads(fine.out)) == (0, [])


@pytest.mark.parametrize(
    "variables, coloured",
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colours_are_for_terminals(wrong, variables, coloured):
    """A pseudo-terminal as standard error gets colours unless the environment says no."""
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")} | variables
    main, other = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "rulec.cli.main", "check", wrong],
        env=environment,
        stderr=other,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    os.close(other)
    text = os.read(main, 100_000).decode()
    os.close(main)
    assert "unreduced-sample" in text
    assert ("\033[1;31merror[unreduced-sample]" in text) == coloured
    assert ("\033[" in text) == coloured
