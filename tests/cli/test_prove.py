"""`rulec prove`: what it prints, its exit codes, and how it answers questions that make no sense."""

from __future__ import annotations

import re

import pytest


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_a_proof_shows_its_work(rulec):
    answer = rulec("prove", "kolen_pollack")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert re.fullmatch(
        r"proved: kolen_pollack: contraction : update\(w\) - update\(v\) == -decay \* \(w\[i,j\] - v\[j,i\]\)   \([\d.]+ s\)",
        lines[0],
    )
    assert lines[1] == "  2-2-1, any activation, any loss: 6 equations hold"
    assert lines[-1].startswith("  and in 16 trials with random numbers both sides agreed to ")


def test_a_refutation_exits_1_with_numbers(rulec):
    answer = rulec("prove", "hebb", "--equals", "oja", "-o", "teach=no")
    assert answer.code == 1
    assert answer.out.startswith("refuted: hebb equals oja")
    assert "left " in answer.out and "w.c1 = [[" in answer.out


def test_several_laws_and_the_named_genome(rulec):
    answer = rulec(
        "prove", "sgd", "--law", "update(w) == -lr * grad(loss, w)", "--law", "update(w) == lr * grad(loss, w)"
    )
    assert answer.code == 1
    assert "proved: sgd: law1" in answer.out and "refuted: sgd: law2" in answer.out


def test_a_rule_without_laws_says_what_to_ask(rulec):
    answer = rulec("prove", "adam")
    assert answer.code == 1 and "--law" in answer.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["prove", "backprop", "--law", "update(w) = 1"], 1, "--law:"),
        (["prove", "backprop", "--law", "update(q) == 1"], 1, "`q`"),
        (["prove", "backprop", "--law", "update(w) == lambda"], 1, "error["),
        (["prove", "backprop", "--at", "lr"], 2, "--at lr=0.1"),
        (["prove", "backprop", "--at", "lr=much"], 2, "`much` is not a number"),
        (["prove", "backprop", "--at", "rate=1"], 1, "error[unknown-match]"),
        (["prove", "backprop", "--activation", "thanh"], 2, "no activation"),
        (["prove", "backprop", "--equals", "backprop", "--map", "w:w"], 1, "error[malformed-match]"),
        (["prove", "backprop", "--equals", "sgd"], 1, "error[not-comparable]"),
        (["prove", "sgd", "--conservative"], 1, "error[no-field]"),
        (["prove", "backprop", "--genome", "none"], 1, "error["),
        (["prove", "backprop", "--equals", "backprop", "-o", "equals.teach=no"], 1, "teach"),
        (["prove", "nowhere.rule"], 1, "nowhere.rule"),
    ],
)
def test_what_cannot_be_asked_is_answered_by_a_diagnostic(rulec, arguments, code, said):
    answer = rulec(*arguments)
    assert answer.code == code, answer.err
    assert said in re.sub(r"[│\s]+", " ", answer.err)
    assert "Traceback" not in answer.err
