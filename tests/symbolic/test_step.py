"""The step that proofs are about is the step that the oracle takes, and exact values agree with both."""

from __future__ import annotations

import numpy as np
import pytest

from rulec.ir.build import build
from rulec.oracle.arrays import CURVATURES, POINTWISE, SLOPES
from rulec.oracle.interpreter import interpret
from rulec.oracle.plain import plain_gradient
from rulec.semantics.check import shipped_rules
from rulec.symbolic.fields import Exact, Floats
from rulec.symbolic.inputs import PARAMETERS, draw, random_inputs, symbolic_inputs
from rulec.symbolic.networks import PROVING, proving_networks
from rulec.symbolic.step import Inputs, Step
from tests.shipped import load

RULES = sorted(path.stem for path in shipped_rules().glob("*.rule") if path.stem != "outers")
NETWORKS = proving_networks("tanh")


def floats(arrays):
    return {name: np.asarray(value, float) for name, value in arrays.items()}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.spec)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_the_step_is_that_of_the_oracle(name, network, loss):
    program = build(load(name).typed())
    rng = np.random.default_rng(7)
    if program.acts_on_parameters:
        inputs = parameters_of(program, network, rng, loss)
    else:
        inputs = random_inputs(Floats("tanh"), program, network, rng)
    step = Step(Floats("tanh"), program, network, loss, inputs)
    expected = interpret(
        program,
        network,
        loss,
        floats(inputs.genome),
        floats(inputs.state),
        np.asarray(inputs.x, float),
        np.asarray(inputs.y, float),
        1,
        lambda site, shape: np.asarray(inputs.noise(site, shape), float),
    )
    assert set(step.state) == set(expected.state)
    for key, value in expected.state.items():
        np.testing.assert_allclose(np.asarray(step.state[key], float), value, rtol=1e-10, atol=1e-10, err_msg=key)
    if not program.acts_on_parameters:
        np.testing.assert_allclose(np.asarray(step.prediction, float), expected.prediction, rtol=1e-10, atol=1e-10)


def parameters_of(program, network, rng, loss):
    """Give a rule on parameters those of the network, with the gradient that the oracle finds."""
    start = random_inputs(Floats("tanh"), program, network, rng)
    shapes = {f"{c.name}.weight": (c.input_shape[0], network.layer(c.target).shape[0]) for c in network.connections}
    names = ["w", *(s.name for s in program.states if s.kind == "synapse")]
    state = {
        f"{name}.{key}": draw(rng, shape) if name == "w" else np.zeros(shape).astype(object)
        for name in names
        for key, shape in shapes.items()
    }
    gradient = plain_gradient(network, floats(state), np.asarray(start.x, float), np.asarray(start.y, float), loss)
    return Inputs(
        start.genome, state, start.x, start.y, 1.0, start.noise, {k: v.astype(object) for k, v in gradient.items()}
    )


SETTLING = ("predictive_coding", "equilibrium_propagation")  # dozens of rounds: exact values explode


@pytest.mark.parametrize("name", [name for name in RULES if name not in SETTLING])
def test_exact_values_become_those_of_floats_when_numbers_are_put_in(name):
    program, network = build(load(name).typed()), PROVING[0]
    exact = Exact()
    symbolic = symbolic_inputs(exact, program, network)
    numbers = random_inputs(Floats("tanh"), program, network, np.random.default_rng(3))
    step = Step(exact, program, network, "mse", symbolic)
    known = {symbolic.time: numbers.time}
    for symbols, values in pairs(symbolic, numbers):
        known |= dict(zip(symbols.reshape(-1), np.asarray(values, float).reshape(-1), strict=True))
    for symbol in list(exact.algebra.symbols.values()):
        if symbol.name.startswith("noise"):
            site, _, place = symbol.name.partition("[")
            shape = next(v.shape for k, v in drawn(symbolic, exact).items() if k == site)
            known[symbol] = float(numbers.noise(site, shape)[tuple(int(k) for k in place.rstrip("]").split(",") if k)])
    floating = Step(Floats("tanh"), program, network, "mse", numbers)
    for key, value in floating.state.items():
        for place in list(np.ndindex(value.shape))[:3]:
            got = exact.algebra.evaluate(exact.number(step.state[key][place]), known, function)
            assert got == pytest.approx(float(value[place]), rel=1e-9, abs=1e-9), (key, place)


def pairs(symbolic: Inputs, numbers: Inputs):
    yield symbolic.x, numbers.x
    yield symbolic.y, numbers.y
    for name in ("genome", "state", "gradient"):
        for key, value in getattr(symbolic, name).items():
            yield value, getattr(numbers, name)[key]


def drawn(symbolic: Inputs, exact: Exact):
    found: dict[str, list[tuple[int, ...]]] = {}
    for symbol in exact.algebra.symbols.values():
        if symbol.name.startswith("noise"):
            site, _, place = symbol.name.partition("[")
            found.setdefault(site, []).append(tuple(int(k) for k in place.rstrip("]").split(",") if k))
    return {
        site: np.zeros(tuple(max(p[k] for p in places) + 1 for k in range(len(places[0]))))
        for site, places in found.items()
    }


def function(name: str, *arguments: float) -> float:
    base = name.rstrip("'")
    if base == "generic":
        tables = (POINTWISE, SLOPES, CURVATURES)
        return float(tables[len(name) - len(base)]["tanh"](np.float64(arguments[0])))
    if name == "inverse":
        return 1 / arguments[0]
    if name == "power":
        return arguments[0] ** arguments[1]
    return float(POINTWISE[name](*map(np.float64, arguments)))


def test_rules_on_parameters_know_nothing_of_the_network():
    program = build(load("sgd").typed())
    exact = Exact()
    inputs = symbolic_inputs(exact, program, PROVING[0])
    step = Step(exact, program, PROVING[0], "mse", inputs)
    (name,) = PARAMETERS
    change = step.state[f"w.{name}"] - inputs.state[f"w.{name}"]
    for got, slope in zip(change, inputs.gradient[name], strict=True):
        assert exact.algebra.is_zero(got + inputs.genome["lr"][()] * slope)
