"""The comparisons notice: a sign turned, a derivative dropped, an index of the wrong side, a mean for a sum."""

from __future__ import annotations

import pytest

from rulec import Rule, parse
from tests.rules.by_hand.blur import Choices
from tests.rules.by_hand.step import difference
from tests.rules.by_hand.table import CASES, CHAINS, DENSE
from tests.rules.test_blur import assert_published, compiled_with
from tests.shipped import load

STEPS = {case.rule: case.step for case in reversed(CASES)}  # the default options come first

# Every change leaves a valid rule that means something else.
MUTATIONS: list[tuple[str, str, str]] = [
    ("backprop", "w[i,j] -= lr", "w[i,j] += lr"),
    ("backprop", "b[j] -= lr", "b[j] += lr"),
    ("backprop", "act'(z[i]) * sum[j](w[i,j] * d[j])", "sum[j](w[i,j] * d[j])"),
    ("backprop", "act'(z[i])", "act'(x[i])"),
    ("backprop", "diff(loss, z[j])", "diff(loss, x[j])"),
    ("backprop", "lr * mean[n](x[i] * d[j])", "lr * sum[n](x[i] * d[j])"),
    ("blur_backprop", "a[j,1] = act'(s[j,1])", "a[j,1] = act(s[j,1])"),
    ("blur_backprop", "pre[k,0] * a[i,k]", "pre[k,1] * a[i,k]"),
    ("blur_backprop", "neuron_keep * a[i,1] * sum", "neuron_keep * a[i,0] * sum"),
    ("feedback_alignment", "sum[j](v[j,i] * d[j])", "sum[j](w[i,j] * d[j])"),
    ("feedback_alignment", "w[i,j] -= lr", "w[i,j] += lr"),
    ("direct_feedback_alignment", "act'(z[i]) * sum[o]", "sum[o]"),
    ("direct_feedback_alignment", "w[i,j] -= lr", "w[i,j] += lr"),
    ("sign_symmetry", "sign(w[i,j])", "w[i,j]"),
    ("sign_symmetry", "w[i,j] -= lr", "w[i,j] += lr"),
    ("kolen_pollack", "(1 - decay) * v[j,i]", "(1 + decay) * v[j,i]"),
    ("kolen_pollack", "v[j,i] - lr", "v[j,i] + lr"),
    ("hebb", "w[i,j] += lr", "w[i,j] -= lr"),
    ("hebb", "x[j] = target[j]", "x[j] = -target[j]"),
    ("oja", "x[j] * w[i,j]", "x[i] * w[i,j]"),
    ("oja", "x[i] - x[j]", "x[i] + x[j]"),
    ("sanger", "(m <= j)", "(m < j)"),
    ("sanger", "(m <= j)", "(m >= j)"),
    ("bcm", "(x[j] - theta[j])", "(x[j] + theta[j])"),
    ("bcm", "theta[j] += rate", "theta[j] -= rate"),
    ("node_perturbation", "(noisy - loss) * xi[j] * x[i]", "(loss - noisy) * xi[j] * x[i]"),
    ("node_perturbation", "+ sigma * xi[j]", "- sigma * xi[j]"),
    ("weight_perturbation", "mean[n](noisy - loss) * xi[i,j]", "mean[n](loss - noisy) * xi[i,j]"),
    ("weight_perturbation", "+ sigma * xb[j]", "- sigma * xb[j]"),
    ("predictive_coding", "x[j] -= diff", "x[j] += diff"),
    ("predictive_coding", "act'(x[i]) * sum", "sum"),
    ("predictive_coding", "- e[i])", "+ e[i])"),
    ("predictive_coding", "repeat 20:", "repeat 19:"),
    ("equilibrium_propagation", "w[i,j] += lr / beta", "w[i,j] -= lr / beta"),
    ("equilibrium_propagation", "beta * (target[j] - s[j])", "beta * (target[j] + s[j])"),
    ("equilibrium_propagation", "rho'(s[i]) * (below[i]", "(below[i]"),
    ("equilibrium_propagation", "repeat 6:", "repeat 5:"),
    ("forward_forward", "- negative *", "+ negative *"),
    ("forward_forward", "sigmoid(threshold - g)", "sigmoid(g - threshold)"),
    ("forward_forward", "a[j,c] * act'(z[j,c]) * h[i,c]", "a[j,c] * h[i,c]"),
    ("forward_forward", "goodness[c] +=", "goodness[c] ="),
]


def mutated(name: str, old: str, new: str) -> Rule:
    text = load(name).text
    assert old in text, f"{name} no longer says {old}"
    return parse(text.replace(old, new))


@pytest.mark.parametrize(("name", "old", "new"), MUTATIONS, ids=[f"{n}: {o} -> {w}" for n, o, w in MUTATIONS])
def test_change_is_caught(name: str, old: str, new: str) -> None:
    rule = mutated(name, old, new)
    assert max(difference(rule, STEPS[name], CHAINS[chain]) for chain in DENSE) > 1e-6


BLUR_MUTATIONS: list[tuple[str, str, dict[str, str], Choices]] = [
    ("synapse_gain * dw", "-synapse_gain * dw", {}, Choices()),
    ("pre[k,o] * a[j,k]", "pre[k,o] * a[i,k]", {}, Choices()),
    ("z = sum[l](post[o,l] * a[i,l])", "z = sum[l](post[l,o] * a[i,l])", {}, Choices()),
    ("unit * forward_mix[k,l]", "unit * forward_mix[l,k]", {}, Choices()),
    ("unit * backward_mix[k,l]", "unit * forward_mix[k,l]", {}, Choices()),
    ("synapse_gain * db", "-synapse_gain * db", {}, Choices()),
    ("dv -= sign(synapse_gain)", "dv += sign(synapse_gain)", {"oja": "activity"}, Choices(oja="activity")),
    ("sum[j](v[j,i,o]^2)", "sum[i](v[j,i,o]^2)", {"oja": "weight"}, Choices(oja="weight")),
    ("exp(-abs(v[j,i,o])", "exp(abs(v[j,i,o])", {"saturate": "yes"}, Choices(saturate=True)),
]


@pytest.mark.parametrize(
    ("old", "new", "options", "choices"), BLUR_MUTATIONS, ids=[f"{o} -> {w}" for o, w, _, _ in BLUR_MUTATIONS]
)
def test_change_of_blur_is_caught(old: str, new: str, options: dict[str, str], choices: Choices) -> None:
    with pytest.raises(AssertionError, match="<"):
        assert_published(compiled_with(mutated("blur", old, new), 2, **options), choices)
