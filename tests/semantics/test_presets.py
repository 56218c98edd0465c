"""Named genome values: they take the place of the rule's own, and are checked as those are."""

from __future__ import annotations

import pytest

from rulec.semantics import typed as t
from rulec.semantics.check import check_preset, check_source, load_library
from rulec.source import Diagnostics, Source

RULE = """rule hebb
option layered = no
option decaying = no
index k, l : 2

genome per layer if layered
  lr : positive = 0.1
  mu[k,l] = eye
  if decaying
    decay : unit = 0.5

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
  w[i,j] += lr * mu[0,1] * mean[n](x[i] * x[j]) - (decay * w[i,j] if decaying else 0)

genome tuned for hebb "values found elsewhere"
"""


def tuned(body: str, **options: t.OptionValue) -> t.Rule:
    found = Diagnostics()
    library = load_library(Source("hebb.rule", RULE + body), found)
    rule = check_preset(library.presets["tuned"], library, found, options)
    found.raise_errors()
    assert rule is not None
    return rule


def test_values_take_the_place_of_the_rules_own():
    lr, mu = tuned("  lr = 2\n  mu = [[1, 2], [3, 4]]\n").genome
    assert isinstance(lr.initial, t.Constant)
    assert (lr.initial.value, lr.domain.name) == (2, "positive")
    assert isinstance(mu.initial, t.Matrix)
    assert (mu.initial.values, mu.shape) == ((1, 2, 3, 4), (2, 2))


def test_what_is_not_named_stays():
    lr, mu = tuned("  lr = 2\n").genome
    assert isinstance(mu.initial, t.Identity)
    assert not lr.per_layer


def test_options_still_choose():
    assert all(entry.per_layer for entry in tuned("  lr = 2\n", layered=True).genome)
    decay = tuned("  decay = 0.25\n", decaying=True).genome[-1]
    assert isinstance(decay.initial, t.Constant)
    assert decay.initial.value == 0.25


def test_a_value_that_only_another_choice_uses_is_fine():
    assert [entry.name for entry in tuned("  decay = 0.25\n").genome] == ["lr", "mu"]


@pytest.mark.parametrize(
    ("body", "id"),
    [
        ("  lr = 0\n", "outside-domain"),
        ("  lr = -1\n", "outside-domain"),
        ("  lr = eye\n", "initial-shape"),
        ("  mu = [1, 2]\n", "initial-shape"),
        ("  mu = [[1, 2], [3]]\n", "ragged-array"),
        ("  mu = lr\n", "not-initial"),
        ("  w = 0\n", "unknown-entry"),
        ("  lr = 1\n  lr = 2\n", "duplicate-name"),
        ("  lr\n", "preset-without-value"),
        ("  lr : unit = 1\n", "preset-declaration"),
        ("  lr per layer = 1\n", "preset-declaration"),
    ],
)
def test_mistakes_are_told_at_the_value(body: str, id: str):
    (found,) = check_source(Source("hebb.rule", RULE + body)).errors
    assert found.id == id
    assert found.span is not None
    assert found.span.line > RULE.count("\n")


def test_a_wrong_rule_does_not_make_its_values_wrong_too():
    text = RULE.replace("mean[n](x[i] * x[j])", "x[i] * x[j]") + "  lr = 2\n"
    assert [d.id for d in check_source(Source("hebb.rule", text)).errors] == ["unreduced-sample"]
