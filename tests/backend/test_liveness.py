"""What is carried from step to step for the sake of later predictions, and what is left out."""

from __future__ import annotations

import pytest
import torch

import rulec
from rulec.backend.liveness import carried_states, restricted, unread_states
from rulec.backend.modules import graph_module
from rulec.runtime.compiled import CompiledRule
from tests.rules.by_hand.networks import RULES, compiled_on
from tests.shipped import load


def carried(compiled: CompiledRule) -> set[str]:
    return set(carried_states(compiled.lowered, compiled.lowered_prediction))


def unread(compiled: CompiledRule) -> dict[str, tuple[str, ...]]:
    return unread_states(compiled.lowered, compiled.lowered_prediction)


def test_nothing_goes_back_into_the_input_layer_of_blur():
    compiled = load("blur").compile("5-4-3-2")
    every = {f"{name}.c{k}" for name in "wv" for k in (1, 2, 3)} | {"b.hidden1", "b.hidden2", "b.output"}
    assert carried(compiled) == every - {"v.c1"}
    assert unread(compiled) == {"v.c1": ("v.c1",)}


def test_backprop_carries_everything():
    compiled = load("backprop").compile("5-4-2")
    assert carried(compiled) == {"w.c1", "w.c2", "b.hidden1", "b.output"}
    assert unread(compiled) == {}


def test_feedback_that_is_never_set_is_no_state_of_the_step():
    """Only the feedback synapses above the first layer are read, and only they are arguments of the step that is left."""
    compiled = load("feedback_alignment").compile("5-4-2")
    names = carried(compiled)
    left = restricted(compiled.lowered, names, names)
    feedback = {name for name in compiled.init_state() if name.split(".")[0] not in ("w", "b", "t", "seed")}
    assert {slot.name for slot in left.state} & feedback == names & feedback == {"v.c2"} == feedback - {"v.c1"}


def test_a_state_that_others_read_which_nobody_reads_says_so():
    rule = """
rule traced
neuron
  x
synapse
  w[i,j] = 0
  m[i,j] = 0
  trace[i,j] = 0
input i
  x[i] = input[i]
forward i -> j
  x[j] = act(sum[i](w[i,j] * x[i]))
output j
  prediction[j] = x[j]
update i -> j
  trace[i,j] = 0.9 * trace[i,j] + m[i,j]
  m[i,j] = 0.9 * m[i,j] + mean[n](x[i] * x[j])
  w[i,j] += 0.1 * mean[n](x[i] * x[j])
"""
    compiled = rulec.parse(rule).compile("3-2")
    assert carried(compiled) == {"w.c1"}
    assert unread(compiled) == {"m.c1": ("m.c1", "trace.c1"), "trace.c1": ("trace.c1",)}


@pytest.mark.parametrize("name", RULES)
def test_the_carried_states_are_those_of_the_whole_step(name: str):
    """The step without the others gives what the whole step gives, and so does the prediction afterwards."""
    compiled = compiled_on(load(name), "dense", loss="mse")
    names = carried(compiled)
    left = restricted(compiled.lowered, names)
    genome, state = compiled.init_genome(1), compiled.init_state(2, batch=5)
    x, y = torch.randn(5, 4, dtype=torch.float64), torch.rand(5, 3, dtype=torch.float64)
    whole, _ = compiled(genome, state, x, y)
    noise = dict(zip(compiled.lowered.noise, compiled.noise_of(compiled.lowered, 2, 1, 5), strict=True))
    given = [
        *(genome[s.name] for s in left.genome),
        *(state[s.name] for s in left.state),
        x,
        y,
        torch.tensor(1.0).double(),
    ]
    results = graph_module(left)(*given, *(noise[site] for site in left.noise))
    for output, value in zip(left.outputs, results, strict=True):
        torch.testing.assert_close(value, whole[output], rtol=1e-12, atol=1e-14)
    assert set(left.outputs) == names


def test_arguments_that_nothing_reads_are_gone_unless_they_are_named():
    compiled = load("blur").compile("5-4-2")
    lowered = compiled.lowered_prediction
    assert {slot.name for slot in restricted(lowered, ("prediction",)).state} < {slot.name for slot in lowered.state}
    assert "v.c1" in {slot.name for slot in restricted(lowered, ("prediction",), ("v.c1",)).state}
    places = restricted(lowered, ("prediction",)).graph.find_nodes(op="placeholder")
    assert len(places) >= 3  # x, y and t are always there
