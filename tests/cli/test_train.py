"""`rulec train` and `rulec eval`, small but whole: train, interrupt, resume, evaluate, transfer."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

TRAIN = ["train", "backprop", "--task", "digits", "--net", "64-8-10", "--batch", "16", "--inner-steps", "2"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A finished run of 6 meta-steps and two genomes, as another process made it."""
    out = tmp_path_factory.mktemp("run") / "trained"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "rulec.cli.main",
            *TRAIN,
            "--steps",
            "6",
            "--population",
            "2",
            "--seed",
            "3",
            "--out",
            out,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return out, done


def test_a_run_tells_its_progress_on_standard_error(finished):
    memory, *lines = finished[1].stderr.splitlines()
    assert re.fullmatch(r"a meta-step keeps about [\d.]+ MiB \(2 updates\)", memory)
    assert len(lines) == 6
    assert all(
        re.fullmatch(r"step \d/6  loss [\d.]+  accuracy [\d.]+ \(best of 2\)  \d+ s left", line) for line in lines
    )


def test_a_run_ends_with_a_table_and_the_paths(finished):
    out, done = finished
    assert "held-out accuracy @2" in done.stdout and "seed 3" in done.stdout
    paths = {line.split()[0]: Path(line.split()[1]) for line in done.stdout.rstrip().split("\n\n")[-1].splitlines()}
    assert set(paths) == {"genome", "rule", "history", "checkpoint", "curves", "record"}
    assert all(path.is_file() and path.parent == out for path in paths.values())


def test_the_record_says_how_to_repeat_the_run(finished):
    out, done = finished
    record = json.loads((out / "run.json").read_text())
    assert shlex.split(record["command"])[:-1] == [
        "rulec",
        *TRAIN,
        "--steps",
        "6",
        "--population",
        "2",
        "--seed",
        "3",
        "--out",
    ]
    assert (
        record["task"]["name"] == "digits"
        and record["settings"]["seed"] == 3
        and record["steps"] == 6
        and not record["interrupted"]
    )
    assert f"{record['members'][record['best']]['held-out accuracy @2']:.3f}" in done.stdout


def test_a_folder_with_a_run_is_not_overwritten(rulec, finished):
    answer = rulec(*TRAIN, "--steps", "6", "--out", finished[0])
    assert answer.code == 1 and answer.err.startswith("error[folder-in-use]")


def test_longer_with_resume_is_the_same_as_at_once(rulec, finished, tmp_path):
    settings = ["--population", "2", "--seed", "3"]
    assert rulec(*TRAIN, *settings, "--steps", "2", "--out", tmp_path / "a").code == 0
    assert rulec(*TRAIN, *settings, "--steps", "6", "--out", tmp_path / "a", "--resume").code == 0
    resumed, whole = (load_file(folder / "genome.safetensors") for folder in (tmp_path / "a", finished[0]))
    assert resumed["lr"].item() == whole["lr"].item()


CUT = Path(__file__).parents[1] / "lints" / "bad" / "flow" / "gradient-cut-any-rule.rule"


def test_what_no_gradient_reaches_is_told_before_training(rulec, tmp_path):
    settings = ["--task", "digits", "--net", "64-10", "--outer", "tuned", "--out", tmp_path / "run"]
    answer = rulec("train", f"{CUT}:sure", *settings)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == CUT.with_suffix(".expected").read_text().replace(CUT.name, str(CUT))
    assert not (tmp_path / "run").exists()


def test_warnings_about_the_outer_step_are_shown_unless_they_are_allowed(rulec, tmp_path, monkeypatch):
    from rulec.lints import registry
    from rulec.lints.lint import Lint
    from rulec.source import Diagnostic

    def found(outer, variant):
        yield Diagnostic("slow-step", f"`{outer.name}` is slow", outer.span, severity="warning")

    monkeypatch.setattr(registry, "LINTS", (Lint("slow-step", "Slow.", find_outer=found),))
    path = tmp_path / "mine.rule"
    text = (Path(__file__).parents[2] / "rules" / "outers.rule").read_text()
    path.write_text(text)
    settings = [*TRAIN, "--steps", "0", "--outer", f"{path}:adam"]
    answer = rulec(*settings, "--out", tmp_path / "a")
    assert answer.code == 0 and answer.err.startswith("warning[slow-step]: `adam` is slow\n --> ")
    path.write_text(text.replace("outer adam ", "# allow: slow-step\nouter adam "))
    answer = rulec(*settings, "--out", tmp_path / "b")
    assert answer.code == 0 and "slow-step" not in answer.err


def _read_all(terminal: int) -> str:
    """Read a terminal until its other end is closed."""
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            piece = b""
        if not piece:
            os.close(terminal)
            return shown.decode()
        shown += piece


def test_an_interrupted_run_on_a_terminal(tmp_path):
    """It shows a bar, finishes its step on Ctrl-C, exits with 130 and says how to go on."""
    out = tmp_path / "b"
    main, other = pty.openpty()
    run = subprocess.Popen(
        [sys.executable, "-m", "rulec.cli.main", *TRAIN, "--steps", "100000", "--out", out],
        stdout=subprocess.DEVNULL,
        stderr=other,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "150", "OMP_NUM_THREADS": "1"},
    )
    os.close(other)
    deadline = time.monotonic() + 60
    while not list(out.glob("checkpoint-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    run.send_signal(signal.SIGINT)
    told = _read_all(main)
    assert run.wait(timeout=60) == 130
    assert "meta-training" in told and "/100000" in told and "accuracy" in told and "step 1/" not in told
    assert "interrupted after meta-step" in told and "Traceback" not in told
    assert shlex.split(told.splitlines()[-1]) == ["rulec", *TRAIN, "--steps", "100000", "--out", str(out), "--resume"]
    assert json.loads((out / "run.json").read_text())["interrupted"] is True


EVAL = ["--task", "digits", "--episodes", "3", "--batch", "16", "--updates", "0,1,3"]


@pytest.fixture
def evaluated(rulec, finished, tmp_path):
    answer = rulec(
        "eval",
        finished[0],
        *EVAL,
        "--against",
        "sgd,adam",
        "--transfer",
        "digits@64-5-10,digits(classes=0-1)@64-2",
        "--out",
        tmp_path / "ev",
    )
    assert (answer.code, answer.err) == (0, "")
    return answer, tmp_path / "ev"


def test_an_evaluation_prints_and_writes_tables_and_a_picture(evaluated):
    answer, out = evaluated
    assert {path.name for path in out.iterdir()} == {
        "accuracy.png",
        "accuracy.csv",
        "accuracy.md",
        "intervals.csv",
        "intervals.md",
        "transfer.csv",
        "transfer.md",
    }
    assert all(str(path) in answer.out for path in out.iterdir())
    with (out / "accuracy.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["learner"].split()[0] for row in rows] == ["backprop", "sgd", "adam"]
    for row in rows:
        assert {"@0", "@1", "@3"} < set(row)
        assert (
            f"{float(row['@3']):.3f}" in answer.out and f"{float(row['@3']):.3f}" in (out / "accuracy.md").read_text()
        )
    assert float(rows[1]["@3"]) > float(rows[1]["@0"])  # a tuned optimiser learns
    with (out / "transfer.csv").open() as file:
        assert [(row["task"], row["network"]) for row in csv.DictReader(file)] == [
            ("digits", "64-5-10"),
            ("digits(classes=0-1)", "64-2"),
        ]


def test_a_genome_file_and_another_network_do_as_well(rulec, finished, tmp_path):
    answer = rulec(
        "eval", finished[0] / "genome.safetensors", *EVAL, "--net", "64-4-10", "--rule", "backprop", "--out", tmp_path
    )
    assert answer.code == 0
    assert answer.out.splitlines()[3].startswith("backprop")


def test_another_rule_is_told_apart(rulec, finished, tmp_path):
    answer = rulec("eval", finished[0], *EVAL, "--rule", "kolen_pollack", "--out", tmp_path)
    assert answer.code == 1 and "decay" in answer.err and answer.err.startswith("error[")


def test_an_unfinished_folder_has_no_genome(rulec, tmp_path):
    answer = rulec("eval", tmp_path, *EVAL, "--out", tmp_path / "x")
    assert answer.code == 1 and "error[no-genome-file]" in answer.err and not (tmp_path / "x").exists()
