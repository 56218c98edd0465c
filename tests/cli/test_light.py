"""Checking and formatting start fast, and without torch."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_HEAVY = ("torch", "numpy", "sympy", "matplotlib", "sklearn", "rich")


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
    ],
)
def test_nothing_heavy_is_loaded(arguments):
    code = f"import sys; from rulec.cli.main import run; run({arguments!r}); print('loaded', *sorted({set(_HEAVY)} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded"


def test_check_takes_less_than_a_second():
    assert seconds("-m", "rulec.cli.main", "check", "rules/backprop.rule") < 1.0


def test_import_takes_less_than_a_third_of_a_second():
    assert seconds("-c", "import rulec") < 0.3
