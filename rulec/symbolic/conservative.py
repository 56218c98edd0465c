"""Is an update the gradient of any scalar? It is, on a space without holes, exactly when its Jacobian is symmetric.

What moves is every synapse that the rule changes; data, genome and other synapses stay. The antisymmetry in floats is
||J - J^T|| / ||J|| in the Frobenius norm: 0 for a gradient, 2 for a pure rotation. After Sandler et al. 2021, section 3,
who test a learned rule this way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from rulec.ir.graph import Program, walk_blocks
from rulec.network.graph import Network
from rulec.symbolic import messages
from rulec.symbolic.fields import Exact, Field, Floats, Numbers
from rulec.symbolic.inputs import Given, random_inputs, symbolic_inputs
from rulec.symbolic.laws import SECONDS, Setting, generality, settings_for
from rulec.symbolic.networks import chain
from rulec.symbolic.step import Inputs, Step
from rulec.symbolic.verdict import Claim, Trial, Verdict, decide, prove_all

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


def _moving(program: Program, inputs: Inputs) -> list[str]:
    """Return the state entries that the update writes."""
    written = {w.name for b in walk_blocks(program.blocks) if b.kind == "update" for w in b.writes}
    return [key for key in inputs.state if key.partition(".")[0] in written]


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
        yield partial(_prove, program, given, network)


def _prove(program: Program, given: Given | None, network: Network) -> str:
    exact = Exact()
    inputs = symbolic_inputs(exact, program, network, given)
    keys = _moving(program, inputs)
    updates = _updates(exact, program, network, "generic", inputs, keys)
    places = np.concatenate([inputs.state[key].reshape(-1) for key in keys])
    jacobian = np.array([[exact.algebra.derivative(u, s) for s in places] for u in updates], object)
    count = prove_all(exact, _claims(jacobian, _names(inputs, keys)))
    return f"{generality(program, network)}: {count} pairs of mixed derivatives are equal"


def _trials(program: Program, given: Given | None, seed: int, found: list[float]) -> Iterator[Callable[[], Trial]]:
    for number, setting in enumerate(settings_for(program, NETWORKS)):
        yield partial(_try, program, given, setting, [seed, number], found)


def _try(program: Program, given: Given | None, setting: Setting, seed: list[int], found: list[float]) -> Trial:
    """Try one setting; its antisymmetry is added to `found`."""
    over = Floats(setting.activation)
    inputs = random_inputs(over, program, setting.network, np.random.default_rng(seed), setting.steps, given)
    keys = _moving(program, inputs)
    jacobian = _jacobian(over, program, setting.network, setting.loss, inputs, keys)
    values = jacobian.astype(float)
    size = float(np.linalg.norm(values))
    if not np.isfinite(size) or size == 0.0:
        return Trial((), {}, inputs)
    found.append(float(np.linalg.norm(values - values.T)) / size)
    claims = _claims(jacobian, _names(inputs, keys), float(np.abs(values).max()))
    worst = max(claims, key=lambda c: abs(c.left - c.right), default=None)
    return Trial(() if worst is None else (worst,), setting.shown(program), inputs)


def _jacobian(over: Floats, program: Program, network: Network, loss: str, inputs: Inputs, keys: list[str]) -> Numbers:
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
