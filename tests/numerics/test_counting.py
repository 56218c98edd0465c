"""Sums whose terms do not vary with what is summed over: neurons are counted at each connection, samples with their places.

The oracle evaluates the program as it was built, term by term, and is compared with itself after the passes and with the graph.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import rulec
from rulec.oracle.interpreter import interpret
from tests.rules.by_hand.networks import DenseResidual

RULE = """
rule counting
genome
  g = 0.3
  e per layer = 0.07
neuron
  x
  z
  d
synapse
  w[i,j] = normal(0, 1 / sqrt(fan_in))
  b[j] = 0.1
input i
  x[i] = 0.1 * input[i]
forward i -> j
  z[j] = {forward} + b[j]
  x[j] = tanh(z[j])
output j
  prediction[j] = x[j]
  d[j] = diff(loss, z[j])
backward i <- j
  d[i] = {backward}
update i -> j
  w[i,j] -= g * {update}
  b[j] -= g * {bias}
"""
PLAIN = {
    "forward": "sum[i](w[i,j] * x[i])",
    "backward": "sum[j](w[i,j] * d[j])",
    "update": "mean[n](x[i] * d[j])",
    "bias": "mean[n](d[j])",
}
SUMS = [
    ("forward", "sum[i](0.1 * x[i]^0)"),
    ("forward", "sum[i](0 * x[i] + 0.1)"),
    ("forward", "sum[i](0.1 + w[i,j] * x[i])"),
    ("forward", "sum[i](w[i,j] * x[i] - 0.1 * x[j])"),
    ("forward", "sum[i](e + w[i,j] * x[i])"),
    ("forward", "sum[i](0 * x[i] + e)"),
    ("update", "mean[n](1 + x[i] * d[j])"),
    ("update", "sum[n](0.1 * w[i,j] + x[i] * d[j])"),
    ("update", "mean[n](0 * x[i] * d[j] + 1)"),
    ("update", "sum[n](0 * d[j] + 1)"),
    ("update", "sum[i,n](x[i] * d[j])"),
    ("bias", "sum[n](0 * d[j] + 1)"),
    ("bias", "mean[n](0 * d[j] + 1)"),
    ("bias", "sum[i](0 * w[i,j] + 0.1)"),
    ("bias", "sum[i](0.1 * w[i,j] + 0.1)"),
]
DENSE = [
    ("forward", "mean[i](0 * x[i] + 0.1)"),
    ("forward", "norm[i](0 * x[i] + 0.1)"),
    ("forward", "max[i](0 * x[i] + 0.1)"),
    ("backward", "sum[j](0 * d[j] + 0.1)"),
    ("backward", "sum[j](0.1 + w[i,j] * d[j])"),
    ("backward", "sum[j](w[i,j] * d[j] - 0.1 * x[i])"),
    ("backward", "sum[j](e + w[i,j] * d[j])"),
    ("update", "sum[i,n](1 + x[i] * d[j])"),
]


def compare(place: str, value: str, network: object, shape: tuple[int, ...] | None = None) -> None:
    step = rulec.parse(RULE.format(**{**PLAIN, place: value})).compile(
        network, loss="mse", dtype="float64", **({} if shape is None else {"input_shape": shape})
    )
    genome, state = step.init_genome(1), step.init_state(2)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(3, *step.network.input.shape, dtype=torch.float64, generator=generator)
    y = torch.randn(3, step.network.output.shape[0], dtype=torch.float64, generator=generator)
    new, out = step(genome, state, x, y)
    start = {name: tensor.numpy() for name, tensor in state.items() if name not in ("t", "seed")}
    numbers = {name: tensor.numpy() for name, tensor in genome.items()}
    for program in (step.program, step.optimised):
        expected = interpret(program, step.network, "mse", numbers, start, x.numpy(), y.numpy())
        np.testing.assert_allclose(out.prediction.numpy(), expected.prediction, rtol=1e-10, atol=1e-12)
        for name, array in expected.state.items():
            np.testing.assert_allclose(new[name].numpy(), array, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(("place", "value"), SUMS + DENSE)
def test_dense(place: str, value: str):
    compare(place, value, "4-5-3:tanh")


@pytest.mark.parametrize(("place", "value"), SUMS)
def test_convolutions(place: str, value: str):
    compare(place, value, "2x4x4-conv(2,kernel=2)-3:softplus")


@pytest.mark.parametrize(
    ("place", "value"), [one for one in SUMS + DENSE if one[0] != "forward" or one[1].startswith("sum")]
)
def test_several_connections(place: str, value: str):
    compare(place, value, DenseResidual(), (3,))
