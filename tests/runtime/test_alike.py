"""States that are stored once while they are equal: an unroll against calling the rule in a loop, and the claim itself against numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import rulec
from rulec.ir.passes import optimise
from rulec.ir.passes.equal import equal_states, store_once
from rulec.runtime.compiled import CompiledRule, Genome, State

RULE = """rule twins "A synapse and a kept trace, each of them twice"
genome
  lr : positive = 0.1
  keep : unit = 0.9
neuron
  x
  d
  keep p = 0
  keep q = 0
synapse
  w[i,j] = normal(0, 1 / sqrt(fan_in))
  v[j,i] = w
input i
  x[i] = input[i]
forward i -> j
  p[j] = keep * p[j] + (1 - keep) * sum[i](w[i,j] * x[i])
  q[j] = sum[i](v[j,i] * x[i]) * (1 - keep) + q[j] * keep
  x[j] = act(p[j] + 0.5 * q[j])
output j
  prediction[j] = x[j]
  d[j] = diff(loss, x[j])
backward i <- j
  d[i] = sum[j](v[j,i] * d[j]) + p[i]
update i -> j
  w[i,j] -= lr * mean[n](x[i] * d[j])
  v[j,i] -= mean[n](d[j] * x[i]) * lr
"""


class Case:
    def __init__(self, axes: dict[str, int], net: str) -> None:
        torch.manual_seed(1)
        self.rule: CompiledRule = rulec.parse(RULE).compile(net, loss="mse", dtype="float64", backend="fx", **axes)
        shape = self.rule.network.input.shape
        self.x = torch.randn(3, 5, *shape, dtype=torch.float64)
        self.y = torch.randn(3, 5, *self.rule.network.output.shape, dtype=torch.float64)

    def looped(self, genome: Genome, state: State) -> State:
        for x, y in zip(self.x, self.y, strict=True):
            state, _ = self.rule(genome, state, x, y)
        return state

    def answers(self, kind: str, state: State, wanted: tuple[str, ...]) -> tuple[State, list[Tensor]]:
        """Return the states after all steps, and the gradients of the genome and of these states through them."""
        genome = {name: value.clone().requires_grad_() for name, value in self.rule.init_genome().items()}
        state = {name: value.clone().requires_grad_(name in wanted) for name, value in state.items()}
        if kind == "loop":
            final = self.looped(genome, state)
        else:
            final = self.rule.unroll(genome, state, self.x, self.y)
        leaves = [*genome.values(), *(state[name] for name in wanted)]
        total = sum(v.square().sum() * k for k, v in enumerate(final.values(), 1) if v.is_floating_point())
        return final, list(torch.autograd.grad(total, leaves))


CASES = [({}, "4-6-5-3:tanh"), ({"population": 2, "replicas": 3}, "4-6-5-3:tanh"), ({}, "1x5x5-conv(2)-3:tanh")]


@pytest.mark.parametrize(("axes", "net"), CASES)
@pytest.mark.parametrize("given", ["alike", "different", "wanted"])
def test_an_unroll_means_what_its_steps_mean(given: str, axes: dict[str, int], net: str):
    """Whatever the caller hands in: equal states, one of which an element is changed, or one that wants a gradient."""
    case = Case(axes, net)
    state = case.rule.init_state(3, batch=5)
    if given == "different":
        state["v.c2"].view(-1)[-1] += 0.5
    wanted = ("v.c2",) if given == "wanted" else ()
    expected, slopes = case.answers("loop", state, wanted)
    found, pulled = case.answers("unroll", state, wanted)
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)
    for slope, other in zip(slopes, pulled, strict=True):
        torch.testing.assert_close(other, slope, rtol=1e-9, atol=1e-11)
    once = case.rule.once(True)
    assert once is not None and bool(once.rule.graphs.engines) == (given == "alike")


def test_without_what_nobody_reads_and_to_the_prediction():
    case = Case({}, "4-6-5-3:tanh")
    genome, state = case.rule.init_genome(), case.rule.init_state(3, batch=5)
    expected = case.looped(genome, state)
    found = case.rule.unroll(genome, state, case.x, case.y, unread=False)
    assert set(found) == {*case.rule.carried(False), "t", "seed"}
    assert all(torch.allclose(found[name], expected[name], rtol=1e-10) for name in case.rule.carried(False))
    asked = case.rule.lesson(genome, state, case.x, case.y, case.x[0])
    torch.testing.assert_close(asked, case.rule.predict(genome, expected, case.x[0]), rtol=1e-10, atol=1e-12)
    again = case.rule.unroll(genome, found, case.x, case.y, unread=False)  # what an unroll returns is alike again
    assert len(case.rule.graphs.engines) == 0
    torch.testing.assert_close(again["v.c2"], case.looped(genome, expected)["v.c2"], rtol=1e-10, atol=1e-12)


def test_the_results_do_not_share_memory():
    case = Case({}, "4-6-5-3:tanh")
    final = case.rule.unroll(case.rule.init_genome(), case.rule.init_state(3, batch=5), case.x, case.y)
    final["v.c2"].zero_()
    assert final["w.c2"].abs().max() > 0


PLAIN = """rule several "Four synapses"
neuron
  x
  d
synapse
  w[i,j] = normal(0, 1)
  u[i,j] = normal(0, 1)
  v[j,i] = normal(0, 1)
  a[i,j] = normal(0, 1)
input i
  x[i] = input[i]
forward i -> j
  x[j] = act(sum[i](w[i,j] * x[i]) + sum[i](u[i,j] * x[i]))
output j
  prediction[j] = x[j]
  d[j] = diff(loss, x[j])
backward i <- j
  d[i] = sum[j](v[j,i] * d[j]) + sum[j](a[i,j] * d[j])
"""
UPDATES = (
    "{own} - 0.1 * mean[n](x[i] * d[j])",
    "{own} - mean[n](d[j] * x[i]) * 0.1",
    "0.9 * {own} + 0.1 * {other}",
    "{other} * 0.1 + {own} * 0.9",
    "{own} + 0.1 * {other} * noise",
    "{other}",
)
NAMES = ("w[i,j]", "u[i,j]", "v[j,i]", "a[i,j]")


@st.composite
def programs(draw: st.DrawFn) -> str:
    written = [
        f"  {name} = " + draw(st.sampled_from(UPDATES)).format(own=name, other=draw(st.sampled_from(NAMES)))
        for name in NAMES
    ]
    return "\n".join([PLAIN + "update i -> j", *written, ""])


@settings(max_examples=30, deadline=None)
@given(programs())
def test_states_that_are_said_to_stay_equal_do(text: str):
    """On random updates; and the program that stores them once gives what all of them give."""
    rule = rulec.parse(text).compile("3-4-2", loss="mse", dtype="float64", backend="fx")
    same = equal_states(rule.optimised)
    torch.manual_seed(1)
    x, y = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    genome, state = rule.init_genome(), rule.init_state(2)
    for name, twin in same.items():
        state |= {f"{name}.{c}": state[f"{twin}.{c}"].clone() for c in ("c1", "c2")}
    once = replace(rule, optimised=store_once(rule.optimised))
    merged = {name: value for name, value in state.items() if name.partition(".")[0] not in same}
    for _ in range(3):
        state, output = rule(genome, state, x, y)
        merged, other = once(genome, merged, x, y)
        torch.testing.assert_close(other.prediction, output.prediction, rtol=1e-10, atol=1e-12)
        for name, twin in same.items():
            assert all(torch.allclose(state[f"{name}.{c}"], state[f"{twin}.{c}"], rtol=1e-10) for c in ("c1", "c2"))
    assert not equal_states(once.optimised)


def test_all_that_stay_equal_are_found():
    assert equal_states(optimise(rulec.parse(RULE).program())) == {"q": "p", "v": "w"}
