"""Checking and formatting start fast, and without torch."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_HEAVY = ("torch", "numpy", "sympy", "matplotlib", "sklearn", "rich")


@pytest.fixture(autouse=True)
def own_proofs(tmp_path, monkeypatch):
    """Proofs are kept in the user's cache; a test begins with none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def seconds(*arguments: str) -> float:
    """Return the processor time of a process, which does not grow when others are at work on the machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "rules/backprop.rule"],
        ["check", "--json", "rules/blur.rule"],
        ["check", "rules/outers.rule"],
        ["fmt", "--check", "rules/backprop.rule"],
        ["--help"],
        ["train", "--help"],
        ["show", "backprop", "-o", "nonsense"],
        [
            *("train", "tests/lints/bad/flow/gradient-cut-outer.rule", "--outer", "tuned"),
            *("--task", "digits", "--net", "64-10", "--out", "nowhere"),
        ],
    ],
)
def test_nothing_heavy_is_loaded(arguments):
    if arguments == ["check", "rules/backprop.rule"]:  # sympy proves its law once
        seconds("-m", "rulec.cli.main", *arguments)
    code = f"import sys; from rulec.cli.main import run; run({arguments!r}); print('loaded', *sorted({set(_HEAVY)} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded"


def test_check_takes_less_than_a_second_once_its_laws_are_proved():
    assert seconds("-m", "rulec.cli.main", "check", "rules/backprop.rule") < 5.0
    assert seconds("-m", "rulec.cli.main", "check", "rules/backprop.rule") < 1.0


@pytest.mark.parametrize("arguments", [["check", "rules/backprop.rule"], ["prove", "oja"]])
def test_proofs_need_no_torch(arguments):
    code = f"import sys; from rulec.cli.main import run; run({arguments!r}); print('loaded', *sorted({{'torch'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded"


@pytest.mark.parametrize("path", sorted((ROOT / "rules").glob("*.rule")), ids=lambda path: path.stem)
def test_every_shipped_file_is_checked_within_five_seconds(path):
    assert seconds("-m", "rulec.cli.main", "check", str(path)) < 5.0


def test_import_takes_less_than_a_third_of_a_second():
    assert seconds("-c", "import rulec") < 0.3
