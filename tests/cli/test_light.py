"""Checking and formatting start fast, and without torch."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_HEAVY = ("torch", "numpy", "sympy", "matplotlib", "sklearn", "rich")


@pytest.fixture(autouse=True)
def own_proofs(tmp_path, monkeypatch):
    """Proofs are kept in the user's cache; a test begins with none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def python(code: str) -> tuple[str, float]:
    """Return the last line of a process, and its processor time, which does not grow when others use the machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout.strip().rpartition("\n")[2], after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def loaded(*arguments: str) -> tuple[set[str], float]:
    """Return what of the heavy packages a command loads in a process of its own, and its processor time."""
    code = f"import sys; from rulec.cli.main import run; run({list(arguments)!r}); print('loaded', *{set(_HEAVY)} & set(sys.modules))"
    line, took = python(code)
    first, *heavy = line.split()
    assert first == "loaded"
    return set(heavy), took


@pytest.mark.parametrize(
    "arguments",
    [
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
    assert loaded(*arguments)[0] == set()


def test_check_takes_less_than_a_second_once_its_laws_are_proved():
    """Sympy proves them once, and without torch; then nothing heavy is loaded."""
    heavy, took = loaded("check", "rules/backprop.rule")
    assert "sympy" in heavy and "torch" not in heavy and took < 5.0
    heavy, took = loaded("check", "rules/backprop.rule")
    assert not heavy and took < 1.0


def test_proofs_need_no_torch():
    assert "torch" not in loaded("prove", "oja")[0]


@pytest.mark.parametrize("path", sorted((ROOT / "rules").glob("*.rule")), ids=lambda path: path.stem)
def test_every_shipped_file_is_checked_within_five_seconds(path, rulec):
    """What a process of its own needs before it begins, the other tests count."""
    start = time.process_time()
    assert rulec("check", path).code == 0
    assert time.process_time() - start < 5.0


def test_import_takes_less_than_a_third_of_a_second():
    assert python("import rulec")[1] < 0.3
