"""The scripts under examples/ run from the root of the repository and do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rulec
from rulec.meta.genome_file import load_genome
from tests.docs.blocks import ROOT


def run(script: str, *arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, f"examples/{script}", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def accuracies(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\b[01]\.\d{3}\b", text)]


def test_a_rule_is_written_mended_and_learns():
    said = run("01_write_a_rule.py")
    assert said.startswith("error[unreduced-sample]")
    untrained, *_, learned = accuracies(said)
    assert untrained < 0.25 and learned > 0.6


@pytest.mark.slow
def test_a_genome_is_learned_and_used_on_a_module(tmp_path: Path):
    """A second run goes on from the first: there is nothing left to do."""
    arguments = ("--steps", "30", "--out", str(tmp_path / "run"))
    said = run("02_meta_learn_it.py", *arguments)
    declared, learned = accuracies(said.split("\n\n")[-1])
    assert learned > declared + 0.03
    for name in ("learning.png", "training.png"):
        assert (tmp_path / "run" / name).stat().st_size > 5000
    file = load_genome(tmp_path / "run" / "genome.safetensors")
    assert set(file.genome) == {"rate", "follow", "keep", "decay"}

    again = run("02_meta_learn_it.py", *arguments)
    assert "meta-step" in said and "meta-step" not in again
    assert again.splitlines()[-8:] == said.splitlines()[-8:]

    said = run("03_your_own_module.py", "--genome", str(tmp_path / "run" / "genome.safetensors"))
    before, after = accuracies(said)
    assert before < 0.25 and after > 0.85


def test_a_module_learns_with_the_named_genome(tmp_path: Path):
    said = run("03_your_own_module.py", "--genome", str(tmp_path / "none.safetensors"))
    before, after = accuracies(said)
    assert "genome learned" in said and before < 0.25 and after > 0.85


def test_the_named_genome_is_not_the_declared_one():
    rule = rulec.load(ROOT / "examples" / "mixture.rule")
    declared, learned = (rule.compile("4-3-2", genome=name).init_genome() for name in (None, "learned"))
    assert all(not torch.equal(declared[name], learned[name]) for name in declared)
