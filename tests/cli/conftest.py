"""Run command lines inside the test's own process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rulec.cli.main import run

ROOT = Path(__file__).parents[2]

WRONG = """\
rule wrong

neuron
  x

synapse
  w[i,j] = 0

input i
  x[i] = input[i]

forward i -> j
  x[j] = sum[i](w[i,j] * x[i])

output j
  prediction[j] = x[j]

update i -> j
  w[i,j] -= x[i] * x[j]
"""


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


@pytest.fixture
def rulec(capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Return a function from arguments to the exit code and what was printed."""

    def call(*arguments: object) -> Answer:
        capfd.readouterr()
        code = run([str(a) for a in arguments])
        return Answer(code, *capfd.readouterr())

    return call


@pytest.fixture
def rules() -> Path:
    return ROOT / "rules"


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """A file with exactly one error."""
    path = tmp_path / "wrong.rule"
    path.write_text(WRONG)
    return path
