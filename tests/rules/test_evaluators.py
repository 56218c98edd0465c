"""The interpreter, the fx graph and Inductor give the same steps: every rule, every option, both losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rulec import RuleError, parse
from rulec.oracle.interpreter import interpret
from rulec.runtime.compiled import CompiledRule
from tests.rules.by_hand.networks import NETS, RULES, choices, compiled_on, gentle
from tests.rules.by_hand.step import Tensors, apart, disturbed, noise_of, random_batches
from tests.shipped import load

CLOSE, STEPS = 1e-10, 3


def losses_of(name: str, net: str) -> tuple[str, ...]:
    """Return the losses to try: for a rule that never reads its loss, the second on one network alone."""
    return ("mse", "cross_entropy") if "loss" in load(name).text or net == "dense" else ("mse",)


CASES = [
    pytest.param(name, options, net, loss, id="-".join([name, *(f"{k}={v}" for k, v in options.items()), net, loss]))
    for name in RULES
    for options in choices(load(name))
    for net in NETS
    for loss in losses_of(name, net)
]


def interpreted(
    compiled: CompiledRule, genome: Tensors, state: Tensors, x: Tensor, y: Tensor, noise: Tensors
) -> tuple[Tensors, Tensor, Tensor]:
    """Run the numpy interpreter on the program as built, before any pass of the compiler."""
    arrays = {key: value.numpy() for key, value in state.items() if key not in ("t", "seed")}
    drawn = {key: value.numpy() for key, value in noise.items()}

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        assert drawn[name].shape == shape
        return drawn[name]

    result = interpret(
        compiled.program,
        compiled.network,
        compiled.loss,
        {key: value.numpy() for key, value in genome.items()},
        arrays,
        x.numpy(),
        y.numpy(),
        int(state["t"]) + 1,
        draw,
    )
    new = {key: torch.from_numpy(np.asarray(value)) for key, value in result.state.items()}
    return new, torch.from_numpy(np.array(result.prediction)), torch.tensor(result.loss, dtype=torch.float64)


def assert_interpreted(compiled: CompiledRule, net: str) -> None:
    genome, state = gentle(compiled.init_genome(0)), disturbed(compiled.init_state(0, batch=6), size=0.2)
    if compiled.program.acts_on_parameters:  # running means of squares
        state = {key: value.abs() if key.startswith("v.") else value for key, value in state.items()}
    for x, y in random_batches(NETS[net].shape, NETS[net].outputs, STEPS):
        noise = noise_of(compiled, state, len(x))
        expected, prediction, loss = interpreted(compiled, genome, state, x, y, noise)
        state, output = compiled(genome, state, x, y)
        assert set(expected) == set(state) - {"t", "seed"}
        assert max(apart(expected[key], state[key]) for key in expected) < CLOSE
        assert apart(prediction, output.prediction) < CLOSE
        assert apart(loss, output.loss) < CLOSE


def refusal(name: str, options: Mapping[str, Any], net: str) -> str | None:
    """Return the id of the diagnostic where a rule has no meaning on a network, or none that the compiler can give it."""
    if name == "sanger" and net in ("conv", "residual"):
        return "cannot-map"  # an order among the neurons of a layer
    if net == "conv" and (options.get("norm_synapse") or options.get("oja")):
        return "cannot-map"  # sums over what one input reaches, in a grouped convolution
    if options.get("layered") and net.startswith("residual"):
        return "ambiguous-per-layer"  # two connections meet, and the rule scales the neuron
    return None


@pytest.mark.parametrize(("name", "options", "net", "loss"), CASES)
def test_interpreter(name: str, options: Mapping[str, Any], net: str, loss: str) -> None:
    expected = refusal(name, options, net)
    if expected is None:
        assert_interpreted(compiled_on(load(name), net, loss=loss, options=options), net)
        return
    with pytest.raises(RuleError) as caught:
        compiled_on(load(name), net, loss=loss, options=options)
    assert caught.value.diagnostics[0].id == expected
    assert caught.value.diagnostics[0].help


PER_LAYER = """
rule scaled "one gain per connection"
genome
  gain per layer = normal(1, 0.3)
neuron
  a
synapse
  w[i,j] = normal(0, 1)
input i
  a[i] = input[i]
forward i -> j
  unit = w[i,j] / sqrt(sum[i](w[i,j]^2) + 0.1)
  a[j] = act(sum[i](gain * unit * a[i]))
output j
  prediction[j] = a[j]
update i -> j
  w[i,j] -= 0.1 * mean[n](a[i] * a[j])
"""


@pytest.mark.parametrize("net", NETS)
def test_what_belongs_to_a_connection_stays_there(net: str) -> None:
    """Where connections meet, a gain or a norm of one of them is not taken out of its sum."""
    assert_interpreted(compiled_on(parse(PER_LAYER), net, loss="mse"), net)


INDUCTOR = [
    ("backprop", "dense", {}),
    ("blur", "dense", {}),
    ("adam", "residual-dense", {}),
    ("node_perturbation", "dense", {}),
    ("backprop", "conv", {}),
]
INDUCTOR_SLOW = [
    ("blur", "residual", {"oja": "weight", "saturate": "yes"}),
    ("forward_forward", "conv", {}),
    ("predictive_coding", "dense", {}),
    ("sanger", "dense", {}),
]


@pytest.mark.inductor
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "net", "options"),
    [*INDUCTOR, *(pytest.param(*case, marks=pytest.mark.experiment) for case in INDUCTOR_SLOW)],
)
def test_inductor(name: str, net: str, options: Mapping[str, Any]) -> None:
    """With a population, in float64: fusing may reorder sums, nothing else."""
    plain, fused = (
        compiled_on(load(name), net, population=2, options=options, loss="mse", backend=b) for b in ("fx", "inductor")
    )
    genome, one = gentle(plain.init_genome(0)), plain.init_state(0)
    other = one
    for x, y in random_batches(NETS[net].shape, NETS[net].outputs, 2):
        one, expected = plain(genome, one, x, y)
        other, output = fused(genome, other, x, y)
        assert max(apart(one[key], other[key]) for key in one if key not in ("t", "seed")) < CLOSE
        assert apart(expected.prediction, output.prediction) < CLOSE
