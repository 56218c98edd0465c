"""Hand-written steps by the name of the rule, and chains on which they are defined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.rules.by_hand import feedback, hebbian, perturbation, settling
from tests.rules.by_hand.chain import Chain, conv_chain, dense_chain, max_chain
from tests.rules.by_hand.step import Step

CHAINS: dict[str, Chain] = {
    "dense": dense_chain("tanh", 3),
    "dense-sigmoid-output": dense_chain("softplus", 2, "sigmoid"),
    "conv": conv_chain("gelu", "tanh"),
    "max-pooling": max_chain("tanh"),
}
NO_MAX = ("dense", "dense-sigmoid-output", "conv")
DENSE = ("dense", "dense-sigmoid-output")


@dataclass(frozen=True)
class Case:
    rule: str
    step: Step
    chains: tuple[str, ...] = tuple(CHAINS)
    options: Mapping[str, str] | None = None

    @property
    def id(self) -> str:
        return "-".join([self.rule, *(f"{k}={v}" for k, v in (self.options or {}).items())])


CASES: tuple[Case, ...] = (
    Case("backprop", feedback.backprop),
    Case("blur_backprop", feedback.blur_backprop),
    Case("feedback_alignment", feedback.feedback_alignment),
    Case("sign_symmetry", feedback.sign_symmetry),
    Case("direct_feedback_alignment", feedback.direct_feedback_alignment),
    Case("kolen_pollack", feedback.kolen_pollack),
    Case("hebb", hebbian.hebb(True)),
    Case("hebb", hebbian.hebb(False), options={"teach": "no"}),
    Case("oja", hebbian.oja, DENSE),
    Case("sanger", hebbian.sanger, DENSE),
    Case("bcm", hebbian.bcm, DENSE),
    Case("node_perturbation", perturbation.node_perturbation),
    Case("weight_perturbation", perturbation.weight_perturbation),
    Case("predictive_coding", settling.predictive_coding, NO_MAX),
    Case("equilibrium_propagation", settling.equilibrium_propagation, NO_MAX),
    Case("forward_forward", settling.forward_forward, NO_MAX),
)
