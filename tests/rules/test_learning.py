"""Rules that are meant to learn from targets do: training loss and accuracy on two hundred digits, after few steps."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from tests.shipped import load

NET = "64-32-10 : tanh"


@dataclass(frozen=True)
class Learner:
    """What to run, the share of the first loss that may be left, and the least accuracy; chance is 0.1."""

    rule: str
    share: float
    least: float
    genome: dict[str, float]
    net: str = NET
    loss: str = "cross_entropy"
    steps: int = 30
    scale: float = 1.0  # of the inputs
    options: dict[str, str] = field(default_factory=dict)


LEARNERS = [
    Learner("backprop", 0.25, 0.9, {"lr": 0.5}),
    Learner("blur_backprop", 0.25, 0.9, {"synapse_gain": -0.5}),
    Learner("sgd", 0.25, 0.9, {"lr": 0.5}),
    Learner("momentum", 0.25, 0.9, {"lr": 0.1}),
    Learner("adam", 0.25, 0.9, {"lr": 0.02}),
    Learner("learned_optimizer", 0.25, 0.9, {"lr": 0.01}),
    Learner("feedback_alignment", 0.4, 0.85, {"lr": 0.5}),
    Learner("direct_feedback_alignment", 0.4, 0.85, {"lr": 0.5}),
    Learner("sign_symmetry", 0.4, 0.85, {"lr": 0.5}),
    Learner("kolen_pollack", 0.4, 0.85, {"lr": 0.5}),
    Learner("predictive_coding", 0.5, 0.85, {"lr": 0.5}),
    Learner("equilibrium_propagation", 0.5, 0.85, {"lr": 2.0}, "64-10", "mse", 60, 8.0),
    Learner("equilibrium_propagation", 0.25, 0.85, {"lr": 0.5}, "64-32-10", "mse", 60, options={"rho": "tanh"}),
    Learner("forward_forward", 0.9, 0.8, {"lr": 0.1}, "64-64-10", "mse", 60),
    Learner("node_perturbation", 0.8, 0.5, {"lr": 0.1}, "64-10"),
    Learner("weight_perturbation", 0.6, 0.7, {"lr": 0.03}, "64-10", steps=300),
    Learner("hebb", 5.0, 0.85, {"lr": 0.3}, "64-10", "mse"),  # weights only grow, so that the outputs overshoot
]


def digits(count: int = 200) -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images[:count]) / 16
    return x - x.mean(0), torch.from_numpy(labels[:count])


@pytest.mark.parametrize("learner", LEARNERS, ids=[f"{one.rule}-{one.net}" for one in LEARNERS])
def test_rule_learns(learner: Learner) -> None:
    x, y = digits()
    compiled = load(learner.rule).compile(learner.net, loss=learner.loss, dtype="float64", options=learner.options)
    given = {key: torch.tensor(value, dtype=torch.float64) for key, value in learner.genome.items()}
    genome, state, losses = compiled.init_genome(0) | given, compiled.init_state(0), []
    for _ in range(learner.steps):
        state, output = compiled(genome, state, learner.scale * x, y)
        losses.append(float(output.loss))
    predicted = compiled.predict(genome, state, learner.scale * x).argmax(1)
    assert losses[-1] < learner.share * losses[0]
    assert (predicted == y).double().mean() > learner.least
