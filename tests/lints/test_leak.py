"""Predictions that depend on the target are found before anything is compiled, and only those."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rulec
from rulec.ir.build import build
from rulec.lints.leak import target_leak
from rulec.lints.library import build_variants
from rulec.lints.lint import Variant
from rulec.semantics.check import check_library, load_library
from rulec.source import Diagnostics, RuleError, Source, render_text

BAD = sorted((Path(__file__).parent / "bad" / "leak").glob("*.rule"))


def told(name: str, text: str) -> Diagnostics:
    found = Diagnostics()
    library = load_library(Source(name, text), found)
    check_library(library, found)
    build_variants(library, found)
    return found


@pytest.mark.parametrize("path", BAD, ids=[path.stem for path in BAD])
def test_bad_programs(path: Path, update_golden: bool):
    text = render_text(told(path.name, path.read_text(encoding="utf-8")).sorted()) + "\n"
    expected = path.with_suffix(".expected")
    if update_golden:
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", BAD, ids=[path.stem for path in BAD])
def test_the_compiled_rule_says_the_same(path: Path):
    (found,) = told(path.name, path.read_text(encoding="utf-8")).errors
    with pytest.raises(RuleError) as error:
        predicts(path.read_text(encoding="utf-8"))
    (late,) = error.value.diagnostics
    assert (late.id, late.message, late.label, late.help) == (found.id, found.message, found.label, found.help)


def predicts(text: str) -> object:
    """Lower the prediction alone. Raises `RuleError` if it depends on the target."""
    return rulec.parse(text).compile("2-3-3-2", loss="mse", dtype="float64").lowered_prediction


def test_clamped_outputs_that_nothing_below_sees_are_no_leak():
    leaky = """rule leaky
neuron
  x
  z
synapse
  w[i,j] = 0
input i
  x[i] = input[i]
repeat 5:
  forward i -> j
    z[j] = sum[i](w[i,j] * x[i])
    x[j] = 0.5 * x[j] + 0.5 * tanh(z[j])
  output j
    prediction[j] = z[j]
    x[j] = target[j]
update i -> j
  w[i,j] += mean[n](x[i] * x[j])
"""
    assert not len(told("leaky", leaky))
    assert predicts(leaky)
    back = "  backward i <- j\n    x[i] += 0.1 * sum[j](w[i,j] * x[j])\nupdate i -> j"
    assert [d.id for d in told("leaky", leaky.replace("update i -> j", back)).errors] == ["target-leak"]


# --- Against the compiled prediction ---------------------------------------------------------

READS = {
    "forward": [
        "x[j]",
        "y[j]",
        "a[j,0]",
        "a[j,1]",
        "s",
        *(f"sum[i](w[i,j] * {v})" for v in ("x[i]", "y[i]", "a[i,1]")),
    ],
    "output": ["x[j]", "y[j]", "a[j,0]", "a[j,1]", "target[j]", "s"],
    "backward": [
        "x[i]",
        "y[i]",
        "a[i,0]",
        "a[i,1]",
        "s",
        *(f"sum[j](w[i,j] * {v})" for v in ("x[j]", "y[j]", "a[j,0]")),
    ],
    "update": ["w[i,j]", "mean[n](x[i] * y[j])", "mean[n](x[j])"],
}
WRITES = {
    "forward": ["x[j]", "y[j]", "a[j,0]"],
    "output": ["x[j]", "y[j]", "a[j,1]", "prediction[j]", "prediction[j]"],
    "backward": ["x[i]", "y[i]", "a[i,1]"],
    "update": ["w[i,j]"],
}
HEADS = {"forward": "forward i -> j", "output": "output j", "backward": "backward i <- j", "update": "update i -> j"}


@st.composite
def blocks(draw: st.DrawFn, depth: str = "") -> str:
    text = ""
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["forward", "output", "output", "backward", "update", "repeat"]))
        if kind == "repeat":
            text += "" if depth else f"repeat {draw(st.integers(1, 3))}:\n{draw(blocks('  '))}"
            continue
        text += f"{depth}{HEADS[kind]}\n"
        for target in draw(st.lists(st.sampled_from(WRITES[kind]), min_size=1, max_size=2)):
            value = " + ".join(draw(st.lists(st.sampled_from(READS[kind]), min_size=1, max_size=2)))
            text += f"{depth}  {target} = 0.5 * ({value})\n"
        if kind == "output" and draw(st.booleans()):
            text += f"{depth}  s = mean[n,j](x[j])\n"
    return text


RULE = """rule random
index k : 2
neuron
  x
  y
  a[k]
synapse
  w[i,j] = normal(0, 1)
broadcast
  s
input i
  x[i] = input[i]
  y[i] = input[i]
{blocks}output j
  {last}
update i -> j
  w[i,j] += mean[n](x[i] * x[j])
"""


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=blocks(), last=st.sampled_from(["prediction[j] = x[j]", "prediction[j] = a[j,0]", "x[j] = target[j]"]))
def test_a_leak_is_found_where_the_compiled_prediction_has_one(body: str, last: str):
    text = RULE.format(blocks=body, last=last)
    try:
        rule = rulec.parse(text).typed()
    except RuleError:
        return  # no prediction, or one that is not known yet
    leak = target_leak(Variant(rule, build(rule)))
    try:
        predicts(text)
    except RuleError as error:
        assert [d.id for d in error.diagnostics] == ["target-leak"] and leak is not None, text
    else:
        assert leak is None, text
