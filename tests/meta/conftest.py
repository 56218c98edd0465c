"""Small problems that all tests of meta-learning share."""

from __future__ import annotations

import pytest
import torch

import rulec
from rulec.meta.plan import plan
from rulec.tasks.digits import digits as digits_task
from rulec.tasks.registry import task_from

MANY = """
rule many "entries of every domain and shape, and a net"

index k, l : 2

genome
  lr : positive = 0.2
  keep_ : unit = 0.9
  gain : interval(-2, 2) = 0.7
  shift = 0.1
  eta : positive per layer = 0.5
  mix[k,l] = [[1, 0.2], [-0.1, 0.8]]
  net f : 2 -> 3 -> 1 (tanh)

neuron
  x[k]
  z
  d

synapse
  w[i,j] = normal(0, 1 / sqrt(fan_in))
  m[i,j] = 0

input i
  x[i,k] = input[i]

forward i -> j
  z[j] = sum[i,k,l](w[i,j] * mix[k,l] * x[i,l]) / 2 + shift
  x[j,k] = tanh(gain * z[j])

output j
  prediction[j] = z[j]
  d[j] = diff(loss, z[j])

backward i <- j
  d[i] = act'(z[i]) * sum[j](w[i,j] * d[j])

update i -> j
  m[i,j] = keep_ * m[i,j] + mean[n](x[i,0] * d[j])
  w[i,j] -= lr * eta * (m[i,j] + 0.1 * f(m[i,j], w[i,j]))
"""


# `boom` breaks a genome on purpose: the square root has no value below zero, and no derivative at zero.
FRAGILE = """
rule fragile "backprop whose learning rate is multiplied by the root of a number that may be negative"

genome
  lr : positive = 0.1
  boom = 1

neuron
  x
  z
  d

synapse
  w[i,j] = normal(0, 1 / sqrt(fan_in))

input i
  x[i] = input[i]

forward i -> j
  z[j] = sum[i](w[i,j] * x[i])
  x[j] = act(z[j])

output j
  prediction[j] = x[j]
  d[j] = diff(loss, z[j])

backward i <- j
  d[i] = act'(z[i]) * sum[j](w[i,j] * d[j])

update i -> j
  w[i,j] -= lr * sqrt(boom) * mean[n](x[i] * d[j])
"""


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits():
    return digits_task(pixels="standard")


@pytest.fixture(scope="session")
def functions():
    return task_from("functions")


@pytest.fixture(scope="session")
def backprop():
    return rulec.load("backprop")


@pytest.fixture(scope="session")
def many():
    return rulec.parse(MANY)


def planned(compiled, task, outer="adam", **given):
    """A plan with small numbers."""
    settings = {
        "steps": 5,
        "seed": 0,
        "batch": 16,
        "query": None,
        "inner_steps": 3,
        "lr": None,
        "clip": None,
        "memory": None,
        "patience": 10,
    }
    start, options = given.pop("start", None), given.pop("options", None)
    return plan(compiled, task, outer, options, start, **{**settings, **given})
