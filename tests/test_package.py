"""The package as a whole: light to import, one version, one home for every public name."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rulec
from rulec.source import RuleError


def test_import_loads_nothing_heavy():
    heavy = {"torch", "numpy", "sympy", "lark", "networkx", "sklearn", "matplotlib"}
    code = f"import sys, rulec; dir(rulec); rulec.__version__; print(*sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == ""


def test_public_names_come_from_their_homes():
    assert rulec.RuleError is RuleError
    for name in set(rulec.__all__) - {"__version__"}:
        assert getattr(rulec, name) is getattr(importlib.import_module(rulec._HOMES[name]), name)
        assert name in dir(rulec)


def test_other_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = rulec.lod


def test_the_version_stands_in_one_place():
    root = Path(__file__).parents[1]
    assert re.fullmatch(r"\d+\.\d+\.\d+", rulec.__version__)
    assert rulec.__version__ not in (root / "pyproject.toml").read_text().split("dependencies")[0]
    assert f"## {rulec.__version__}" in (root / "CHANGELOG.md").read_text()
