"""docs/theorems.md is true: every command there gives the answer of its section, and a wrong sign is found out."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path

import pytest

import rulec
from rulec.cli.main import run
from rulec.ir.build import build
from rulec.semantics.locality import localities
from rulec.symbolic.equivalence import parse_matches, prove_equal
from rulec.symbolic.laws import prove_laws
from tests.shipped import load

ROOT = Path(__file__).parents[2]


def commands(section: str) -> list[str]:
    text = (ROOT / "docs/theorems.md").read_text(encoding="utf-8")
    part = text.split(f"## {section}\n", 1)[1].split("\n## ")[0]
    return re.findall(r"`rulec (prove [^`]*)`", part)


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def answer(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    started = time.perf_counter()
    code = run(shlex.split(command))
    assert time.perf_counter() - started < 60
    return code, capsys.readouterr().out


@pytest.mark.parametrize("command", commands("Proved"))
def test_what_is_said_to_be_proved_is(command: str, capsys: pytest.CaptureFixture[str]):
    code, text = answer(command, capsys)
    assert code == 0 and text.startswith("proved:") and "undecided" not in text and "refuted" not in text


@pytest.mark.parametrize("command", commands("Refuted"))
def test_what_is_said_to_be_refuted_is_by_numbers(command: str, capsys: pytest.CaptureFixture[str]):
    code, text = answer(command, capsys)
    assert code == 1 and text.startswith("refuted:")
    assert re.search(r"left -?[\d.]+(e-?\d+)?, right -?[\d.]+", text) and ("x = " in text or "gradient of" in text)


# Where one sign of a rule is turned, what was proved of it must be refuted.
MUTATED_LAWS = [
    ("backprop", "w[i,j] -= lr", "w[i,j] += lr"),
    ("backprop", "* sum[j](w[i,j] * d[j])", "* -sum[j](w[i,j] * d[j])"),
    ("backprop", "d[j] = diff(loss, z[j])", "d[j] = -diff(loss, z[j])"),
    ("kolen_pollack", "w[i,j] = (1 - decay)", "w[i,j] = (1 + decay)"),
    ("kolen_pollack", "v[j,i] = (1 - decay) * v[j,i] - lr", "v[j,i] = (1 - decay) * v[j,i] + lr"),
    ("oja", "x[i] - x[j] * w[i,j]", "x[i] + x[j] * w[i,j]"),
    ("oja", "w[i,j] += lr", "w[i,j] -= lr"),
]


@pytest.mark.parametrize(("name", "right", "wrong"), MUTATED_LAWS, ids=[f"{n}: {w}" for n, _, w in MUTATED_LAWS])
def test_a_wrong_sign_breaks_the_law(name: str, right: str, wrong: str):
    text = load(name).text
    assert text.count(right) == 1
    program = build(rulec.parse(text.replace(right, wrong)).typed())
    assert "refuted" in {proof.verdict.kind for proof in prove_laws(program)}


MUTATED_EQUALS = [
    ("blur_backprop", "backprop", "a[0]=x,synapse_gain=-lr", "* w[i,j] + synapse_gain", "* w[i,j] - synapse_gain", {}),
    ("blur_backprop", "backprop", "a[0]=x,synapse_gain=-lr", "neuron_keep * a[i,1] *", "-neuron_keep * a[i,1] *", {}),
    ("blur_backprop", "backprop", "a[0]=x,synapse_gain=-lr", "+ b[j] *", "- b[j] *", {}),
    ("momentum", "sgd", "", "w -= lr * v", "w += lr * v", {"momentum": 0.0}),
    ("momentum", "sgd", "", "momentum * v + grad", "momentum * v - grad", {"momentum": 0.0}),
    ("adam", "sign", "", "w -= lr", "w += lr", {"beta1": 0.0, "beta2": 0.0, "eps": 0.0}),
    ("adam", "sign", "", "(1 - beta1) * g", "(beta1 - 1) * g", {"beta1": 0.0, "beta2": 0.0, "eps": 0.0}),
    ("hebb", "hebb", "", "w[i,j] += lr", "w[i,j] -= lr", {}),
]


@pytest.mark.parametrize(
    ("name", "other", "matches", "right", "wrong", "at"),
    MUTATED_EQUALS,
    ids=[f"{m[0]}: {m[4]}" for m in MUTATED_EQUALS],
)
def test_a_wrong_sign_breaks_the_equivalence(name, other, matches, right, wrong, at):
    text = load(name).text
    assert text.count(right) == 1
    first = build(rulec.parse(text.replace(right, wrong)).typed())
    second = build(load(ROOT / "examples/theorems/sign_descent.rule" if other == "sign" else other).typed())
    found = prove_equal(first, second, parse_matches(matches), at=at)
    assert found.verdict.kind == "refuted"


def test_the_table_of_localities_is_true():
    """docs/theorems.md lists every shipped rule with the class of its updates, and why."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for path in sorted((ROOT / "rules").glob("*.rule")):
        if path.stem == "outers":
            continue
        for one in localities(load(path).typed()):
            why = "; ".join(dict.fromkeys(reason.text for reason in one.reasons if reason.kind == one.kind))
            rows.setdefault((path.stem, one.kind, why), []).append(f"`{one.state}`")
    expected = [f"| {name} | {', '.join(states)} | {kind} | {why} |" for (name, kind, why), states in rows.items()]
    text = (ROOT / "docs/theorems.md").read_text(encoding="utf-8").split("## What a synapse must know", 1)[1]
    assert [line for line in text.splitlines() if line.startswith("| ")][2:] == expected
