"""Is an update the gradient of any scalar? It is, on a space without holes, exactly when its Jacobian is symmetric.

What moves is every synapse that the rule changes; data, genome and other synapses stay. The antisymmetry in floats is
||J - J^T|| / ||J|| in the Frobenius norm: 0 for a gradient, 2 for a pure rotation. After Sandler et al. 2021, section 3,
who test a learned rule this way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rulec.ir.graph import Program, walk_blocks
from rulec.network.graph import Network
from rulec.symbolic import messages
from rulec.symbolic.fields import Exact, Field, Floats, Numbers
from rulec.symbolic.inputs import Given, random_inputs, symbolic_inputs
from rulec.symbolic.laws import SECONDS, generality, setting_of, settings_for
from rulec.symbolic.networks import chain
from rulec.symbolic.step import Inputs, Step
from rulec.symbolic.verdict import Claim, Verdict, decide, prove_all

# Two outputs make rotations possible in the last layer, too.
NETWORKS: tuple[Network, ...] = (chain(2, 2, 1), chain(2, 2, 2))


@dataclass(frozen=True)
class Curl:
    """`antisymmetry`: the largest found in floats, whatever was proved."""

    verdict: Verdict
    antisymmetry: float
    seconds: float


def prove_conservative(
    program: Program, *, given: Given | None = None, seconds: float = SECONDS, seed: int = 0
) -> Curl:
    """Prove that the update is a gradient, or refute it. Raises `RuleError` for rules that only pass a gradient on."""
    if program.acts_on_parameters:
        raise messages.no_field(program.name)
    start = time.perf_counter()
    largest: list[float] = [0.0]
    verdict = decide(list(_proofs(program, given)), _trials(program, given, seed, largest), seconds)
    return Curl(verdict, max(largest), time.perf_counter() - start)


def _moving(program: Program, network: Network, inputs: Inputs) -> list[str]:
    """Return the state entries that the update writes."""
    written = {w.name for b in walk_blocks(program.blocks) if b.kind == "update" for w in b.writes}
    return [key for key in inputs.state if key.split(".")[0] in written]


def _updates(over: Field, program: Program, network: Network, loss: str, inputs: Inputs, keys: list[str]) -> Numbers:
    step = Step(over, program, network, loss, inputs)
    return np.concatenate([(step.state[key] - inputs.state[key]).reshape(-1) for key in keys])


def _names(inputs: Inputs, keys: list[str]) -> list[str]:
    return [
        f"{key}[{','.join(map(str, place))}]" if place else key
        for key in keys
        for place in np.ndindex(inputs.state[key].shape)
    ]


def _claims(jacobian: Numbers, names: list[str], scale: float = 1.0) -> list[Claim]:
    """Return one claim per pair: what `a` does to the update of `b` is what `b` does to that of `a`."""
    size = len(names)
    return [
        Claim(
            f"d(change of {names[a]})/d({names[b]}) and its mirror" + (", by the largest" if scale != 1.0 else ""),
            "==",
            jacobian[a, b] / scale,
            jacobian[b, a] / scale,
        )
        for a in range(size)
        for b in range(a + 1, size)
    ]


def _proofs(program: Program, given: Given | None) -> Iterator[Callable[[], str]]:
    for network in NETWORKS:

        def prove(network: Network = network) -> str:
            exact = Exact()
            inputs = symbolic_inputs(exact, program, network, given)
            keys = _moving(program, network, inputs)
            updates = _updates(exact, program, network, "generic", inputs, keys)
            places = np.concatenate([inputs.state[key].reshape(-1) for key in keys])
            jacobian = np.array([[exact.algebra.derivative(u, s) for s in places] for u in updates], object)
            count = prove_all(exact, _claims(jacobian, _names(inputs, keys)))
            return f"{generality(program, network)}: {count} pairs of mixed derivatives are equal"

        yield prove


def _trials(
    program: Program, given: Given | None, seed: int, largest: list[float]
) -> Iterator[Callable[[], tuple[Sequence[Claim], Mapping[str, str], Inputs]]]:
    for number, (network, activation, loss, steps) in enumerate(settings_for(program, NETWORKS)):

        def attempt(
            network: Network = network, activation: str = activation, loss: str = loss, steps: int = steps,
            number: int = number,
        ) -> tuple[Sequence[Claim], Mapping[str, str], Inputs]:  # fmt: skip
            over = Floats(activation)
            inputs = random_inputs(over, program, network, np.random.default_rng([seed, number]), steps, given)
            keys = _moving(program, network, inputs)
            jacobian = _jacobian(over, program, network, loss, inputs, keys)
            values = jacobian.astype(float)
            size = float(np.linalg.norm(values))
            if not np.isfinite(size) or size == 0.0:
                return [], {}, inputs
            largest.append(float(np.linalg.norm(values - values.T)) / size)
            scale = float(np.abs(values).max())
            claims = _claims(jacobian, _names(inputs, keys), scale)
            worst = max(claims, key=lambda c: abs(c.left - c.right), default=None)
            return [] if worst is None else [worst], setting_of(program, network, activation, loss), inputs

        yield attempt


def _jacobian(
    over: Floats, program: Program, network: Network, loss: str, inputs: Inputs, keys: list[str]
) -> Numbers:
    columns = []
    for key in keys:
        for place in np.ndindex(inputs.state[key].shape):

            def again(value: Numbers, key: str = key, place: tuple[int, ...] = place) -> Numbers:
                moved = inputs.state[key].copy()
                moved[place] = value[()]
                changed = replace(inputs, state={**inputs.state, key: moved})
                return _updates(over, program, network, loss, changed, keys)

            at = np.array(inputs.state[key][place], object)
            columns.append(over.gradient(again(at), again, at)[()])
    return np.stack(columns, axis=1)
