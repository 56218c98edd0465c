"""`# allow: ID` says that a warning is meant: there, and nowhere else."""

from __future__ import annotations

import pytest

from rulec.lints.library import build_variants, lint_library
from rulec.semantics.check import load_library
from rulec.source import Diagnostics, Source

RULE = """rule r

genome
  lr : positive = 0.1
ABOVE
  idle = 2BESIDE

neuron
  x

synapse
  w[i,j] = normal(0, 1)

input i
  x[i] = input[i]

forward i -> j
  x[j] = act(sum[i](w[i,j] * x[i]))

output j
  prediction[j] = x[j]

update i -> j
  w[i,j] -= lr * mean[n](x[i] * x[j])
"""


def found(above: str = "", beside: str = "") -> list[str]:
    text = RULE.replace("ABOVE\n", f"  {above}\n" if above else "").replace("BESIDE", beside)
    problems = Diagnostics()
    library = load_library(Source("r.rule", text), problems)
    ids = [d.id for d in lint_library(library, build_variants(library, problems))]
    assert not problems.errors
    return ids


def test_without_the_comment_it_is_told():
    assert found() == ["dead-entry"]


@pytest.mark.parametrize(
    ("above", "beside"),
    [
        ("", "  # allow: dead-entry"),
        ("", "  # kept for later; allow: dead-entry, unbounded-growth"),
        ("# Kept for later.  allow: dead-entry", ""),
    ],
)
def test_with_the_comment_it_is_not(above, beside):
    assert found(above, beside) == []


@pytest.mark.parametrize(
    ("above", "beside"),
    [
        ("", "  # allow: dead-state"),
        ("", "  # allow dead-entry"),
        ("# allow: unbounded-growth", ""),
        ("# allow: dead-entry-not", ""),
    ],
)
def test_another_comment_allows_nothing(above, beside):
    assert found(above, beside) == ["dead-entry"]
