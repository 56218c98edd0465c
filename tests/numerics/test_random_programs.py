"""Random well-typed rules: interpreter = optimised interpreter = fx graph, and passes keep values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import rulec
from rulec.ir.graph import Program
from rulec.ir.passes import runs
from rulec.ir.printer import render_program
from rulec.oracle.interpreter import interpret

FUNCTIONS = ["tanh", "sigmoid", "sin", "softplus", "relu_tanh", "act"]
NETWORKS = [
    "4-5-3:tanh",
    "3-4-4-2:softplus",
    "2x5x5-conv(3)-avgpool-conv(2,stride=2)-3:tanh",
    "1x5x5-conv(4,kernel=2,padding=1)-pool-2:sigmoid",
    "4-6-batchnorm-3:tanh",
]


@st.composite
def value_of(draw: st.DrawFn, atoms: list[str], functions: list[str], depth: int = 2) -> str:
    """An expression over atoms that all live on the same neuron (or synapse)."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from([*atoms, "g", "0.5", "h[0]"] if depth < 2 else atoms))
    kind = draw(st.sampled_from(["+", "-", "*", "f", "^", "where"]))
    inner = value_of(atoms, functions, depth - 1)
    if kind == "f":
        name = draw(st.sampled_from([f for f in functions if f != "act"]))
        return f"{name}({draw(inner)})"
    if kind == "^":
        return f"({draw(inner)})^2"
    if kind == "where":
        return f"where({draw(inner)} < 0.1, {draw(inner)}, {draw(inner)})"
    return f"({draw(inner)} {kind} {draw(inner)})"


@st.composite
def rules(draw: st.DrawFn) -> str:
    """A rule with the three maps in it, and random expressions wherever the language allows any."""

    def pre(own: list[str]) -> str:
        atom = draw(
            st.sampled_from(own)
        )  # at least one, which the rest cannot cancel: rounding would decide max-pooling
        return draw(st.sampled_from([f"({atom} + 0.37 * {{}})", f"{atom} * {{}}"])).format(
            draw(value_of(own, FUNCTIONS))
        )

    def synapse() -> str:
        return pre(["w[i,j]", "v[j,i]"])

    states = draw(st.booleans())
    mixed = "+ sum[i,k](u[i,j,k] * m[k,l] * a[i,k])" if states else ""
    feedback = draw(st.sampled_from(["diff(loss, z[j])", "target[j] - x[j]", "diff(loss, x[j])"]))
    outer = draw(st.sampled_from(["mean[n]", "sum[n]"]))
    statistic = draw(st.sampled_from(["z[j]", "z[j] - mean[n](z[j])", "z[j] / sqrt(var[n](z[j]) + 1)"]))
    return f"""
rule random
index k, l : 2
genome
  g = 0.3
  h[k] = [0.2, -0.7]
  m[k,l] = normal(0, 1)
neuron
  x
  z
  d
  a[k]
synapse
  w[i,j] = normal(0, 1 / sqrt(fan_in))
  v[j,i] = normal(0, 1)
  u[i,j,k] = normal(0, 0.3)
  b[j] = 0.1
input i
  x[i] = input[i]
  a[i,0] = input[i]
forward i -> j
  z[j] = sum[i]({synapse()} * {pre(["x[i]"])}) + b[j]
  a[j,l] = tanh(z[j] {mixed})
  x[j] = act({statistic}) + 0.1 * tanh({pre(["z[j]"])})
output j
  prediction[j] = x[j]
  d[j] = {feedback}
backward i <- j
  d[i] = {pre(["x[i]", "z[i]"])} * sum[j]({synapse()} * {pre(["d[j]", "x[j]"])})
update i -> j
  w[i,j] -= g * {outer}({pre(["x[i]", "a[i,0]", "a[i,1]"])} * {pre(["d[j]", "z[j]"])}) + 0.01 * {synapse()}
  v[j,i] += 0.1 * {outer}({pre(["d[j]", "x[j]"])} * ({pre(["x[i]"])} - 0.1 * x[j] * v[j,i]))
  u[i,j,l] = u[i,j,l] + 0.1 * mean[n](sum[k](a[i,k] * m[k,l]) * a[j,l])
  b[j] -= g * {outer}({pre(["d[j]", "x[j]"])})
"""


def run_all(text: str, network: str, loss: str) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]:
    step = rulec.parse(text).compile(network, loss=loss, dtype="float64")
    genome, state = step.init_genome(1), step.init_state(2)
    generator = torch.Generator().manual_seed(3)
    outputs = step.network.output.shape[0]
    x = torch.randn(3, *step.network.input.shape, dtype=torch.float64, generator=generator)
    y = torch.softmax(torch.randn(3, outputs, dtype=torch.float64, generator=generator), -1)
    new, out = step(genome, state, x, y)
    got = {k: v.numpy() for k, v in new.items() if k not in ("t", "seed")} | {
        "prediction": out.prediction.numpy(),
        "loss": out.loss.numpy(),
    }
    arrays = {k: v.numpy() for k, v in genome.items()}
    start = {k: v.numpy() for k, v in state.items() if k not in ("t", "seed")}
    expected = []
    for program in (step.program, step.optimised):
        result = interpret(program, step.network, loss, arrays, start, x.numpy(), y.numpy())
        expected.append(result.state | {"prediction": result.prediction, "loss": np.asarray(result.loss)})
    return got, expected


@pytest.mark.parametrize("network", NETWORKS)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=rules(), loss=st.sampled_from(["mse", "cross_entropy"]))
def test_interpreter_and_graph_agree(network: str, text: str, loss: str) -> None:
    if "batchnorm" in network and "diff(loss, x[j])" in text:
        text = text.replace("diff(loss, x[j])", "diff(loss, z[j])")
    got, expected = run_all(text, network, loss)
    largest = max(float(np.abs(v).max()) for v in expected[0].values())
    assume(largest < 1e4)  # beyond that a random rule has exploded, and cancellation decides the digits
    for reference in expected:
        for name, value in reference.items():
            np.testing.assert_allclose(
                got[name], value, rtol=1e-9, atol=1e-11 * (1 + largest), err_msg=f"{name} of\n{text}"
            )


@pytest.mark.parametrize("network", ["3-4-2:tanh", "1x4x4-conv(2,kernel=2,padding=1)-avgpool-2:tanh"])
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=rules())
def test_each_pass_keeps_what_a_step_computes(network: str, text: str) -> None:
    step = rulec.parse(text).compile(network, loss="mse", dtype="float64")
    arrays = {name: value.numpy() for name, value in step.init_genome(1).items()}
    state = {name: value.numpy() for name, value in step.init_state(2).items() if name not in ("t", "seed")}
    generator = np.random.default_rng(3)
    x = generator.normal(size=(3, *step.network.input.shape))
    y = generator.normal(size=(3, step.network.output.shape[0]))

    def stepped(program: Program) -> dict[str, np.ndarray]:
        result = interpret(program, step.network, "mse", arrays, state, x, y)
        return result.state | {"prediction": result.prediction, "loss": np.asarray(result.loss)}

    before = stepped(step.program)
    largest = max(float(np.abs(v).max()) for v in before.values())
    assume(largest < 1e4)
    for run in runs(step.program):
        if render_program(run.after) != render_program(run.before):
            after = stepped(run.after)
            for name, value in after.items():
                np.testing.assert_allclose(
                    value,
                    before[name],
                    rtol=1e-9,
                    atol=1e-11 * (1 + largest),
                    err_msg=f"{name} by {run.name} of\n{text}",
                )
