"""How far an update reaches, rule by rule, and the piece of text that makes it so.

Reasons in words: feedback alignment is local, since `d` reaches a neuron through synapses `v` of its own that no forward sweep
uses; backpropagation sends `d` back through `w`. Node perturbation needs the loss at every synapse. An optimiser's gradient
depends on the whole network.
"""

from __future__ import annotations

import pytest

from rulec.runtime.rule import load, parse
from rulec.semantics.locality import localities

CLASSES = {
    "adam": {"m": "non-local", "v": "non-local", "w": "non-local"},
    "backprop": {"w[i,j]": "weight transport", "b[j]": "weight transport"},
    "bcm": {"w[i,j]": "local", "theta[j]": "local"},
    "blur": {"w[i,j,o]": "local", "v[j,i,o]": "local", "b[j,o]": "local"},
    "blur_backprop": {"w[i,j]": "weight transport", "b[j]": "weight transport"},
    "direct_feedback_alignment": {"w[i,j]": "three-factor", "b[j]": "three-factor"},
    "equilibrium_propagation": {"w[i,j]": "weight transport", "b[j]": "weight transport"},
    "feedback_alignment": {"w[i,j]": "local", "b[j]": "local"},
    "forward_forward": {"w[i,j]": "non-local", "u[j,c]": "non-local", "b[j]": "non-local"},
    "hebb": {"w[i,j]": "local"},
    "kolen_pollack": {"w[i,j]": "local", "v[j,i]": "local", "b[j]": "local"},
    "learned_optimizer": {"m": "non-local", "v": "non-local", "w": "non-local"},
    "momentum": {"v": "non-local", "w": "non-local"},
    "node_perturbation": {"w[i,j]": "three-factor", "b[j]": "three-factor"},
    "oja": {"w[i,j]": "local"},
    "predictive_coding": {"w[i,j]": "weight transport", "b[j]": "weight transport"},
    "sanger": {"w[i,j]": "non-local"},
    "sgd": {"w": "non-local"},
    "sign_symmetry": {"w[i,j]": "weight transport", "b[j]": "weight transport"},
    "weight_perturbation": {"xi[i,j]": "local", "xb[j]": "local", "w[i,j]": "three-factor", "b[j]": "three-factor"},
}


@pytest.mark.parametrize("name", CLASSES)
def test_class_of_each_shipped_rule(name):
    assert {one.state: one.kind for one in localities(load(name).typed())} == CLASSES[name]


@pytest.mark.parametrize(
    "name, state, text",
    [
        ("backprop", "w[i,j]", "w[i,j]"),
        ("sanger", "w[i,j]", "sum[m]((m <= j) * w[i,m] * x[m])"),
        ("sgd", "w", "grad(loss, w)"),
        ("direct_feedback_alignment", "w[i,j]", "e[o]"),
        ("node_perturbation", "b[j]", "noisy"),
    ],
)
def test_the_reason_points_to_its_cause(name, state, text):
    found = {one.state: one for one in localities(load(name).typed())}
    assert found[state].reasons[0].span.text == text


def test_the_transposed_weights_are_found_in_the_backward_block():
    (w, _) = localities(load("backprop").typed())
    (reason,) = w.reasons
    assert reason.span.source.line(reason.span.line).strip() == "d[i] = act'(z[i]) * sum[j](w[i,j] * d[j])"
    assert reason.text == "`d` came back through `w`, the synapses of the forward sweep"


@pytest.mark.parametrize(
    "options, kinds",
    [
        ({"symmetric": "yes"}, {"w": "weight transport", "v": "weight transport", "b": "weight transport"}),
        ({"oja": "weight"}, {"w": "non-local", "v": "non-local", "b": "non-local"}),
        ({"oja": "activity"}, {"w": "local", "v": "local", "b": "local"}),
        ({"norm_synapse": "yes"}, {"w": "non-local", "v": "non-local", "b": "non-local"}),
    ],
)
def test_options_change_the_class(options, kinds):
    assert {one.state[0]: one.kind for one in localities(load("blur").typed(options))} == kinds


_SKELETON = """\
rule r

genome
  lr = 0.1

neuron
  x
  d

broadcast
  e

synapse
  w[i,j] = normal(0, 1)
  v[j,i] = normal(0, 1)
  s[j] = 0

input i
  x[i] = input[i]

forward i -> j
  x[j] = tanh(sum[i](w[i,j] * x[i]))

output j
  prediction[j] = x[j]
  d[j] = x[j] - target[j]
  e = loss

backward i <- j
  d[i] = {backward}

update i -> j
  {update}
"""


@pytest.mark.parametrize(
    "backward, update, kind",
    [
        ("sum[j](v[j,i] * d[j])", "w[i,j] -= lr * mean[n](x[i] * d[j])", "local"),
        ("sum[j](v[j,i] * d[j])", "v[j,i] = w[i,j]", "weight transport"),  # a copy is transport, too
        ("sum[j](v[j,i] * d[j])", "v[j,i] -= lr * mean[n](x[i] * d[j])", "local"),
        ("sum[j](v[j,i] * d[j])", "w[i,j] -= lr * mean[n](loss * x[i])", "three-factor"),
        ("e * sum[j](v[j,i] * d[j])", "w[i,j] -= lr * mean[n](x[i] * d[j])", "three-factor"),
        ("sum[j](w[i,j] * d[j])", "w[i,j] -= lr * mean[n](e * x[i] * d[j])", "weight transport"),  # the worse of two
        ("sum[j](w[i,j] * d[j])", "w[i,j] -= lr * mean[n](x[i] * x[j])", "local"),  # `d` is not read
        ("sum[j](v[j,i] * d[j])", "w[i,j] -= lr * w[i,j] / sum[i](w[i,j]^2)", "non-local"),
        ("sum[j](v[j,i] * d[j])", "w[i,j] -= lr * mean[n](x[i] * mean[j](d[j]))", "non-local"),
        ("sum[j](v[j,i] * d[j])", "s[j] += lr * mean[n](sum[i](w[i,j] * x[i]))", "non-local"),
        ("sum[j](v[j,i] * d[j]) / sum[j](v[j,i]^2)", "w[i,j] -= lr * mean[n](x[i] * d[j])", "non-local"),
        ("max[j](d[j])", "w[i,j] -= lr * s[j] * mean[n](x[i] * d[j])", "local"),
    ],
)
def test_what_makes_an_update_reach_further(backward, update, kind):
    rule = parse(_SKELETON.format(backward=backward, update=update)).typed()
    assert [one.kind for one in localities(rule)] == [kind]


def test_what_a_local_name_stands_for_is_looked_through():
    update = "g = loss\n  h = g * 2\n  w[i,j] -= lr * mean[n](h * x[i])"
    (w,) = localities(parse(_SKELETON.format(backward="sum[j](v[j,i] * d[j])", update=update)).typed())
    assert (w.kind, w.reasons[0].span.text) == ("three-factor", "loss")


def test_a_third_factor_that_another_state_of_the_synapse_keeps_is_found():
    update = "s[j] = mean[n](e)\n  w[i,j] -= lr * s[j] * mean[n](x[i])"
    found = localities(parse(_SKELETON.format(backward="sum[j](v[j,i] * d[j])", update=update)).typed())
    assert [one.kind for one in found] == ["three-factor", "three-factor"]
