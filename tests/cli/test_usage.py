"""What makes no sense exits with 2 and says what would; help is short and has an example."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COMMANDS = ("check", "fmt", "show", "compile", "train", "eval")


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["chek", "a.rule"], "check"),
        (["check", "--jsn", "a.rule"], "--json"),
        (["train", "hebb", "--task", "digits", "--net", "64-10", "--out", "x", "--popluation", "4"], "--population"),
        (["check"], "FILE"),
        (["fmt"], "FILE"),
        (["train", "hebb", "--net", "64-10", "--out", "x"], "--task"),
        (["compile", "hebb", "--emit", "irr"], "ir-opt"),
        (["compile", "hebb"], "--net 784-128-10"),
        (["show", "hebb", "-o", "teach"], "`teach` is not of the form name=value"),
        (["show", "hebb", "-o", "=3"], "not of the form"),
        (["show", "hebb", "-o", "teach=no", "-o", "teach=yes"], "`teach` is given twice"),
        (["train", "hebb", "--task", "digits", "--net", "64-10", "--out", "x", "--population", "0"], "population"),
        (["eval", "x", "--task", "digits", "--out", "y", "--updates", "3,2"], "rising"),
        (["eval", "x", "--task", "digits", "--out", "y", "--updates", "one"], "rising"),
    ],
)
def test_usage_mistakes_exit_2(rulec, arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = rulec(*arguments)
    assert answer.code == 2
    assert said in answer.err and "Traceback" not in answer.err and answer.out == ""
    assert not list(tmp_path.iterdir())


def test_a_transfer_without_a_network_is_a_usage_mistake(rulec, tmp_path):
    (tmp_path / "genome.safetensors").write_bytes(b"")
    answer = rulec("eval", tmp_path, "--task", "digits", "--out", tmp_path, "--transfer", "digits")
    assert answer.code == 2 and "TASK@NET" in answer.err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_short_and_has_an_example_that_names_the_command(rulec, command):
    answer = rulec(command, "--help")
    assert answer.code == 0
    assert f"Example: rulec {command} " in answer.out
    assert len(answer.out.splitlines()) <= 42


def test_the_top_page_names_all_commands(rulec):
    answer = rulec("--help")
    assert answer.code == 0
    assert [
        line.split()[0]
        for line in answer.out.split("Commands:\n")[1].splitlines()
        if line.startswith("  ") and line[2] != " "
    ][:6] == list(COMMANDS)
    assert rulec("-h").out == answer.out


def test_version(rulec):
    import rulec as package

    assert rulec("--version").out == f"rulec {package.__version__}\n"


@pytest.mark.parametrize(
    "arguments, id",
    [
        (["show", "hebb", "-o", "tech=no"], "unknown-option"),
        (["show", "nothing.rule"], "cannot-read"),
        (["compile", "hebb", "--net", "20-x-5"], "unknown-layer"),
        (["train", "hebb", "--task", "digit", "--net", "64-10", "--out", "x"], "unknown-task"),
        (["train", "hebb", "--task", "digits", "--net", "20-10", "--out", "x"], "[input-mismatch]"),
        (["train", "hebb", "--task", "digits", "--net", "64-10", "--out", "x", "--outer", "adm"], "unknown-outer"),
        (["eval", "nothing", "--task", "digits", "--out", "x"], "no-genome-file"),
    ],
)
def test_mistakes_in_what_is_named_are_diagnostics(rulec, arguments, id, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = rulec(*arguments)
    assert answer.code == 1
    assert answer.err.startswith("error[") and id in answer.err and "Traceback" not in answer.err


def test_characters_that_the_stream_cannot_hold_are_replaced(rules, tmp_path):
    path = tmp_path / "Nøkland.rule"
    path.write_text((rules / "hebb.rule").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "rulec.cli.main", "check", path],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert b"/N?kland.rule: fine" in done.stdout
