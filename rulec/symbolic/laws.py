"""Prove the laws of a rule on small networks with generic activations and a generic loss, or refute them by numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from rulec.ir.graph import Law, Program
from rulec.network.graph import Network
from rulec.symbolic.algebra import GENERIC
from rulec.symbolic.fields import Exact, Floats
from rulec.symbolic.inputs import Given, random_inputs, symbolic_inputs
from rulec.symbolic.networks import PROVING, chain
from rulec.symbolic.step import Step
from rulec.symbolic.verdict import Claim, Trial, Verdict, claims_between, decide, prove_all

SECONDS = 20.0
LOSSES = ("mse", "cross_entropy")
ACTIVATIONS = ("tanh", "softplus")
_PARAMETERS = (chain(1, 1),)  # rules on parameters know no network


@dataclass(frozen=True)
class Proof:
    """The verdict on one law."""

    law: Law
    verdict: Verdict
    seconds: float


def networks_for(program: Program, networks: Sequence[Network] | None = None) -> Sequence[Network]:
    return _PARAMETERS if program.acts_on_parameters else PROVING if networks is None else networks


def generality(program: Program, network: Network) -> str:
    """Say what a proof on a network holds for."""
    if program.acts_on_parameters:
        return "any parameter"
    kinds = sorted({layer.activation for layer in network.layers[1:-1]})
    return f"{network.spec}, {'any' if GENERIC in kinds else '/'.join(kinds)} activation, any loss"


def prove_laws(
    program: Program,
    *,
    given: Given | None = None,
    networks: Sequence[Network] | None = None,
    seconds: float = SECONDS,
    seed: int = 0,
) -> Iterator[Proof]:
    """Yield a proof, a refutation or an honest `undecided` for each law of the program.

    `given`: genome entries that have numbers; all others are arbitrary within their domains.
    """
    for law in program.laws:
        start = time.perf_counter()
        proofs = list(_proofs(program, law, given, networks))
        verdict = decide(proofs, _trials(program, law, given, networks, seed), seconds)
        yield Proof(law, verdict, time.perf_counter() - start)


def _claims(step: Step, law: Law) -> list[Claim]:
    return [
        claim
        for sides in step.sides(law)
        for claim in claims_between(f"{law.name} at {sides.place}", law.relation, sides.left, sides.right)
    ]


def _proofs(
    program: Program, law: Law, given: Given | None, networks: Sequence[Network] | None
) -> Iterator[Callable[[], str]]:
    for network in networks_for(program, networks):
        yield partial(_prove, program, law, given, network)


def _prove(program: Program, law: Law, given: Given | None, network: Network) -> str:
    exact = Exact()
    step = Step(exact, program, network, "generic", symbolic_inputs(exact, program, network, given))
    count = prove_all(exact, _claims(step, law))
    kind = "equations" if law.relation == "==" else "inequalities"
    return f"{generality(program, network)}: {count} {kind} hold"


def _trials(
    program: Program, law: Law, given: Given | None, networks: Sequence[Network] | None, seed: int
) -> Iterator[Callable[[], Trial]]:
    for number, setting in enumerate(settings_for(program, networks)):
        yield partial(_try, program, law, given, setting, [seed, number])


def _try(program: Program, law: Law, given: Given | None, setting: Setting, seed: list[int]) -> Trial:
    over = Floats(setting.activation)
    rng = np.random.default_rng(seed)
    inputs = random_inputs(over, program, setting.network, rng, setting.steps, given)
    step = Step(over, program, setting.network, setting.loss, inputs)
    return Trial(_claims(step, law), setting.shown(program), inputs)


@dataclass(frozen=True)
class Setting:
    """What a claim is tried on; `steps` of the rule lead to the state. `activation` stands for a generic one."""

    network: Network
    activation: str
    loss: str
    steps: int

    def shown(self, program: Program) -> dict[str, str]:
        if program.acts_on_parameters:
            return {}
        named = {layer.activation for layer in self.network.layers[1:-1]} - {GENERIC}
        activation = "/".join(sorted(named)) or self.activation
        return {"network": self.network.spec, "activation": activation, "loss": self.loss}


def settings_for(program: Program, networks: Sequence[Network] | None = None) -> Iterator[Setting]:
    for steps in (0, 2):
        for network in networks_for(program, networks):
            for activation in ACTIVATIONS:
                for loss in LOSSES:
                    if loss == "mse" or network.output.shape[0] > 1:
                        yield Setting(network, activation, loss, steps)
