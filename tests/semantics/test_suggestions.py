"""Typical slips in the shipped rules: the help names what was meant, nearly always."""

from __future__ import annotations

import pytest

from rulec.semantics.check import check_source, shipped_rules
from rulec.semantics.messages import nearest
from rulec.source import Source

# (rule, what stands there, what was typed, what was meant): the first place where it stands is changed.
SLIPS = [
    ("backprop", "lr * mean", "l * mean", "lr"),
    ("backprop", "lr * mean", "lrr * mean", "lr"),
    ("backprop", "lr * mean", "rl * mean", "lr"),
    ("backprop", "lr * mean", "Lr * mean", "lr"),
    ("backprop", "prediction[j] =", "predction[j] =", "prediction"),
    ("backprop", "prediction[j] =", "predictions[j] =", "prediction"),
    ("backprop", "= input[i]", "= inptu[i]", "input"),
    ("backprop", "diff(loss", "diff(los", "loss"),
    ("backprop", "diff(loss", "dif(loss", "diff"),
    ("backprop", "diff(loss", "diff(lsos", "loss"),
    ("backprop", "act(z[j])", "atc(z[j])", "act"),
    ("backprop", "act(z[j])", "Act(z[j])", "act"),
    ("backprop", "mean[n](x[i] * d[j])", "maen[n](x[i] * d[j])", "mean"),
    ("backprop", "mean[n](x[i] * d[j])", "mea[n](x[i] * d[j])", "mean"),
    ("backprop", "sum[i](", "smu[i](", "sum"),
    ("backprop", "normal(0", "norml(0", "normal"),
    ("backprop", "sqrt(fan_in)", "sqr(fan_in)", "sqrt"),
    ("backprop", "sqrt(fan_in)", "sqrt(fanin)", "fan_in"),
    ("backprop", "sqrt(fan_in)", "sqrt(fan_inn)", "fan_in"),
    ("backprop", ": positive", ": postive", "positive"),
    ("backprop", "x[i] * d[j]", "X[i] * d[j]", "x"),
    ("backprop", "x[i] * d[j]", "x[i] * D[j]", "d"),
    ("bcm", ": unit", ": unti", "unit"),
    ("bcm", "rate * (mean", "rat * (mean", "rate"),
    ("bcm", "x[j] - theta[j]", "x[j] - tehta[j]", "theta"),
    ("adam", "(1 - beta1^t)", "(1 - betal^t)", "beta1"),
    ("adam", "grad(loss, w)", "gard(loss, w)", "grad"),
    ("adam", "grad(loss, w)", "grad(Loss, w)", "loss"),
    ("adam", "+ eps)", "+ esp)", "eps"),
    ("momentum", "momentum * v", "momentm * v", "momentum"),
    ("momentum", "momentum * v", "momentun * v", "momentum"),
    ("equilibrium_propagation", "rho = sigmoid", "rho = sigmod", "sigmoid"),
    ("equilibrium_propagation", "rho(s[i])", "roh(s[i])", "rho"),
    ("equilibrium_propagation", "below[j] - s[j]", "bellow[j] - s[j]", "below"),
    ("forward_forward", "sigmoid(threshold - g)", "sigmiod(threshold - g)", "sigmoid"),
    ("forward_forward", "(threshold - g)", "(treshold - g)", "threshold"),
    ("forward_forward", "negative * (1", "negativ * (1", "negative"),
    ("forward_forward", "target[c]", "traget[c]", "target"),
    ("node_perturbation", "(noisy - loss)", "(niosy - loss)", "noisy"),
    ("node_perturbation", "sigma * xi[j]", "simga * xi[j]", "sigma"),
    ("node_perturbation", "= noise", "= nosie", "noise"),
    ("predictive_coding", "rate * (act", "rtae * (act", "rate"),
    ("kolen_pollack", "(1 - decay)", "(1 - deacy)", "decay"),
    ("hebb", "if teach", "if teech", "teach"),
    ("outers", "through unroll", "through  unrol", "unroll"),
    ("outers", "inner sgd(", "inner sdg(", "sgd"),
    ("outers", "from sgd.rule", "from sdg.rule", "sgd.rule"),
    ("outers", "use sgd", "use sdg", "sgd"),
    ("outers", "clip = 10", "clp = 10", "clip"),
    ("outers", "minimize loss", "minimize lss", "loss"),
]


def helps(rule: str, stands: str, typed: str) -> list[str]:
    text = (shipped_rules() / f"{rule}.rule").read_text(encoding="utf-8")
    assert stands in text, f"{rule}.rule no longer says `{stands}`"
    found = check_source(Source(f"{rule}.rule", text.replace(stands, typed, 1)), shipped_rules())
    assert found.errors, f"`{typed}` in {rule}.rule is not told"
    return [diagnostic.help for diagnostic in found.errors]


def test_nine_in_ten_slips_are_recognised():
    wrong = [slip for slip in SLIPS if f"did you mean `{slip[3]}`?" not in helps(*slip[:3])]
    assert len(wrong) <= len(SLIPS) // 10, wrong


def test_one_slip_is_told_once():
    several = [slip for slip in SLIPS if len(helps(*slip[:3])) > 1]
    assert len(several) <= len(SLIPS) // 10, several


@pytest.mark.parametrize("name", ["q", "y", "dw", "velocity", "gain", "h2"])
def test_what_is_near_nothing_gets_no_guess(name: str):
    assert nearest(name, ["w", "x", "z", "d", "lr", "states", "prediction", "input", "loss", "t"]) is None


def test_the_nearest_of_several_is_taken():
    assert nearest("forward_mixx", ["backward_mix", "forward_mix", "forward_max"]) == "forward_mix"
    assert nearest("beta3", ["beta1", "beta2"]) == "beta1"
    assert nearest("W", ["w", "W_"]) == "w"
