"""The findings themselves: every id has a bad program, many mistakes are told one by one, and none twice."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from rulec.semantics import messages, outer_messages
from rulec.semantics.check import check_source, load_library
from rulec.semantics.rules import check_rule
from rulec.source import Diagnostics, Source

TESTS = Path(__file__).parents[1]
BAD = {
    path.stem: path.read_text(encoding="utf-8")
    for folder in ("bad", "ir/bad")
    for path in (TESTS / folder).glob("*.expected")
}
IDS = sorted(
    set(re.findall(r'Diagnostic\(\s*"([a-z-]+)"', inspect.getsource(messages) + inspect.getsource(outer_messages)))
)

WITHOUT_A_PLACE = {"unknown-option"}  # about what a command line gives, not about a file: see test_options


@pytest.mark.parametrize("id", sorted(set(IDS) - WITHOUT_A_PLACE))
def test_every_id_has_a_bad_program_of_its_name(id: str):
    assert id in BAD
    assert set(re.findall(r"^error\[([a-z-]+)\]", BAD[id], re.MULTILINE)) == {id}


def test_eight_mistakes_are_eight_findings():
    assert len(re.findall(r"^error", BAD["eight-mistakes"], re.MULTILINE)) == 8


def test_the_example_of_the_tone():
    assert BAD["unreduced-sample"] == (
        "error[unreduced-sample]: the update of `w` still carries the sample index `n`\n"
        "  --> unreduced-sample.rule:20:18\n"
        "   |\n"
        "20 |   w[i,j] -= lr * x[i] * d[j]\n"
        "   |                  ^^^^^^^^^^^ one value per sample\n"
        "   = note: synapse states have no sample axis; neuron states have one\n"
        "   = help: average over the batch: `mean[n](x[i] * d[j])`\n"
    )


RULE = """rule plain

neuron
  x

synapse
  w[i,j] = 0

input i
  x[i] = input[i]

forward i -> j
  x[j] = act(sum[i](w[i,j] * x[i]))

output j
  prediction[j] = x[j]

update i -> j
  w[i,j] += mean[n](x[i] * x[j])
"""


@pytest.mark.parametrize(
    ("stands", "written", "count"),
    [
        ("neuron\n  x\n", "neuron\n  y\n", 1),  # x is declared nowhere, and read in four blocks
        ("neuron\n  x\n", "neuron\n  x[j]\n", 1),
        ("  w[i,j] = 0\n", "  w[i,j]\n", 1),
        ("  w[i,j] = 0\n", "  w = 0\n", 1),
        ("input i\n", "input j\n", 1),
        ("output j\n", "output i\n", 1),
        ("forward i -> j", "forward j -> i", 1),
        ("  prediction[j] = x[j]", "  prediction[j] = y[j]", 1),
        ("  prediction[j] = x[j]", "  predicton[j] = x[j]", 1),
        ("update i -> j", "update", 1),
        ("update i -> j\n  w[i,j]", "update i -> j\n  w", 1),
        ("x[i] = input[i]", "x[i] = input[j]", 1),
        ("rule plain\n", "rule plain\n\nindex k : m\n\ngenome\n  a[k] = 0\n  b[k] = 0\n", 1),
        ("rule plain\n", "rule plain\n\ngenome\n  a[k] = 0\n  b[k,l] = 0\n", 2),
        ("rule plain\n", "rule plain\n\ngenome\n  w = 0\n  x = 0\n", 2),
    ],
)
def test_one_mistake_is_told_once(stands: str, written: str, count: int):
    assert stands in RULE
    found = check_source(Source("plain.rule", RULE.replace(stands, written, 1))).errors
    assert len(found) == count, [d.message for d in found]


def test_indices_may_stand_below_what_uses_them():
    text = RULE.replace("neuron\n  x\n", "neuron\n  x\n  a[k]\n").replace("input i\n", "index k : 2\n\ninput i\n", 1)
    assert not check_source(Source("plain.rule", text)).errors


def test_a_local_name_of_another_block_is_explained():
    text = RULE.replace("  x[j] = act(", "  size = mean[i](x[i])\n  x[j] = size + act(").replace(
        "+= mean", "+= size * mean"
    )
    (found,) = check_source(Source("plain.rule", text)).errors
    assert found.id == "unknown-name"
    assert found.notes == ("a local name, assigned on line 13: it ends with its block",)


def test_an_option_may_name_a_reduction():
    source = Source(
        "r.rule",
        "rule r\n\noption f : max | min = max\n\nneuron\n  x\n\nsynapse\n  b[j] = 0\n\n"
        "input i\n  x[i] = input[i]\n\nforward i -> j\n  x[j] = f[i](x[i])\n\n"
        "output j\n  prediction[j] = x[j]\n\nupdate i -> j\n  b[j] += mean[n](x[j])\n",
    )
    found = Diagnostics()
    library = load_library(source, found)
    rule = check_rule(library.rules["r"], found)
    assert rule is not None and not found.errors
    reduction = next(b for b in rule.blocks if b.kind == "forward").body[0].value
    assert reduction.operator == "max"


@pytest.mark.parametrize(
    ("line", "id"), [("  a = 2\n  x[j] = a[0]", "wrong-index-count"), ("  x[j] = 1", "not-a-reduction")]
)
def test_indices_are_never_dropped_in_silence(line: str, id: str):
    initial = " = normal[j](0, 1)" if id == "not-a-reduction" else ""
    text = f"rule r\n\nneuron\n  x\n\nsynapse\n  b[j]{initial}\n\ninput i\n  x[i] = input[i]\n\n"
    text += f"forward i -> j\n{line}\n\noutput j\n  prediction[j] = x[j]\n"
    assert id in {d.id for d in check_source(Source("r.rule", text)).errors}
