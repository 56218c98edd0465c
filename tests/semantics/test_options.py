"""Options: what they may be, what they choose, and what is said about words that are no choice."""

from __future__ import annotations

import pytest

from rulec.semantics import typed as t
from rulec.semantics.check import check_source, load_library, variants
from rulec.semantics.rules import check_rule
from rulec.source import Diagnostics, Source

RULE = """rule several
option states = 2
option more = states * 3
option rate = 0.5
option phi = tanh
option bias = yes
option mode : plain | signed | none = plain
index k : more

genome
  lr per layer if mode == signed = rate
  if bias
    offset = 1

neuron
  x
  if not bias and mode == none
    lost

synapse
  w[i,j] = 0

input i
  x[i] = input[i]

forward i -> j
  x[j] = phi(sum[i](w[i,j] * x[i])) + (offset if bias else 0)

output j
  prediction[j] = x[j]

update i -> j
  if mode == plain
    w[i,j] = 1
  elif mode == signed
    w[i,j] = 2
  else
    w[i,j] = 3
"""


def chosen(**options: t.OptionValue) -> t.Rule:
    found = Diagnostics()
    library = load_library(Source("several.rule", RULE), found)
    rule = check_rule(library.rules["several"], found, options)
    found.raise_errors()
    assert rule is not None
    return rule


def refused(**options: t.OptionValue) -> tuple[str, str]:
    found = Diagnostics()
    library = load_library(Source("several.rule", RULE), found)
    assert check_rule(library.rules["several"], found, options) is None
    (diagnostic,) = found.errors
    return diagnostic.id, diagnostic.help


def written(rule: t.Rule) -> float:
    update = rule.blocks[-1]
    assert isinstance(update, t.Block)
    value = update.body[0].value
    assert isinstance(value, t.Constant)
    return value.value


def test_defaults_may_depend_on_options_above():
    assert chosen().extents == {"k": 6}
    assert chosen(states=4).extents == {"k": 12}
    assert chosen(more=5).extents == {"k": 5}


@pytest.mark.parametrize(("mode", "value"), [("plain", 1), ("signed", 2), ("none", 3)])
def test_choices_choose_statements(mode: str, value: float):
    rule = chosen(mode=mode)
    assert written(rule) == value
    assert rule.genome[0].per_layer is (mode == "signed")


def test_choices_choose_declarations():
    assert [entry.name for entry in chosen().genome] == ["lr", "offset"]
    assert [entry.name for entry in chosen(bias=False).genome] == ["lr"]
    assert [state.name for state in chosen(bias="no", mode="none").states] == ["x", "lost", "w"]


def test_an_option_is_an_activation_where_it_is_called():
    forward = chosen(phi="sigmoid").blocks[1]
    assert isinstance(forward, t.Block)
    assert "'sigmoid'" in repr(forward.body[0].value)


def test_values_from_the_command_line_are_read():
    assert chosen(states="4", bias="no", rate="1e-3").options == {
        "states": 4, "more": 12, "rate": 0.001, "phi": "tanh", "bias": False, "mode": "plain",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "help"),
    [
        ({"states": 2.5}, "give a whole number"),
        ({"states": True}, "give a whole number"),
        ({"rate": "fast"}, "give a finite number"),
        ({"rate": float("inf")}, "give a finite number"),
        ({"rate": "nan"}, "give a finite number"),
        ({"bias": 1}, "give `yes` or `no`"),
        ({"phi": "tahn"}, "did you mean `tanh`?"),
        ({"mode": "signd"}, "did you mean `signed`?"),
    ],
    ids=str,
)
def test_a_value_of_the_wrong_kind_is_told(options: dict[str, t.OptionValue], help: str):
    assert refused(**options) == ("wrong-option-value", help)


def test_an_option_that_is_not_there_is_told():
    assert refused(stats=3) == ("unknown-option", "did you mean `states`?")
    assert refused(depth=3) == ("unknown-option", "leave it out, or declare it in the rule: `option depth = ...`")


def test_an_extent_from_an_option_is_checked():
    assert refused(states=-1)[0] == "bad-extent"


def test_every_single_choice_is_a_variant():
    library = load_library(Source("several.rule", RULE), Diagnostics())
    assert list(variants(library.rules["several"])) == [{}, {"bias": "no"}, {"mode": "signed"}, {"mode": "none"}]


def test_a_mistake_in_a_branch_that_is_not_the_default_is_told():
    text = RULE.replace("    w[i,j] = 2\n", "    w[i,j] = x[j]\n")
    assert [d.id for d in check_source(Source("several.rule", text)).errors] == ["unreduced-sample"]


def test_a_name_read_only_under_another_choice_is_not_unused():
    text = RULE.replace("  if mode == plain\n    w[i,j] = 1\n", "  g = 5\n  if mode == plain\n    w[i,j] = 1\n")
    assert [d.id for d in check_source(Source("several.rule", text)).errors] == ["unused-local"]
    text = text.replace("    w[i,j] = 3\n", "    w[i,j] = g\n")
    assert not check_source(Source("several.rule", text)).errors


@pytest.mark.parametrize(
    ("condition", "id"),
    [
        ("mode == sined", "wrong-option-value"),
        ("sined == mode", "wrong-option-value"),
        ("mode", "choice-as-condition"),
        ("not phi", "choice-as-condition"),
        ("bias == maybe", "wrong-option-value"),
        ("states == two", "not-constant"),
        ("bias and biass", "not-constant"),
        ("rate > offset", "not-constant"),
        ("t == 1", "not-constant"),
        ("1 / (states - states) > 0", "constant-division-by-zero"),
    ],
)
def test_a_condition_that_could_never_hold_is_told(condition: str, id: str):
    text = RULE.replace("if mode == plain", f"if {condition}")
    assert {d.id for d in check_source(Source("several.rule", text)).errors} == {id}


@pytest.mark.parametrize("condition", ["mode != plain", "bias == no", "states >= 2 and not bias", "phi == relu", "yes",
                                       "max(states, more) - 2 == 2 ^ 2", "mode == plain or mode == signed"])  # fmt: skip
def test_a_condition_on_options_is_understood(condition: str):
    text = RULE.replace("if mode == plain", f"if {condition}")
    assert not check_source(Source("several.rule", text)).errors
