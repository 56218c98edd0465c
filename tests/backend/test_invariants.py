"""What is the same in every step is taken out of it: the genome's own arithmetic, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import rulec
from rulec.backend.invariants import hoisted
from rulec.backend.modules import arguments, graph_module
from rulec.runtime.compiled import CompiledRule
from tests.rules.by_hand.networks import RULES, compiled_on, gentle
from tests.rules.by_hand.step import disturbed
from tests.shipped import load

NETS = ("dense", "conv", "residual")


def given(compiled: CompiledRule) -> list[Tensor]:
    """Return random arguments of the lowered step, in order."""
    torch.manual_seed(1)
    genome, state = gentle(compiled.init_genome(1)), disturbed(compiled.init_state(2, batch=5), size=0.2)
    state = {name: value.abs() if name.startswith("v.") else value for name, value in state.items()}
    lead = compiled.lead_shape
    x = torch.randn(*lead, 5, *compiled.network.input.shape, dtype=torch.float64)
    y = torch.rand(*lead, 5, compiled.network.output.shape[0], dtype=torch.float64)
    noise = compiled.noise_of(compiled.lowered, 0, 1, 5)
    return arguments(compiled.lowered, genome, state, x, y, torch.tensor(3.0, dtype=torch.float64), noise)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", [name for name in RULES if name != "sanger"])
def test_both_parts_together_are_the_step(name: str, net: str):
    compiled = compiled_on(load(name), net, loss="mse", population=2)
    every = given(compiled)
    split, entries = hoisted(compiled.lowered), len(compiled.lowered.genome)
    expected = graph_module(compiled.lowered)(*every)
    results = split.step(*split.before(*every[:entries]), *every[entries:])
    assert len(results) == len(expected) == len(compiled.lowered.outputs)
    for one, other in zip(results, expected, strict=True):
        assert torch.equal(one, other) or torch.allclose(one, other, rtol=1e-13, atol=1e-15, equal_nan=True)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", [name for name in RULES if name != "sanger"])
def test_nothing_of_state_data_time_or_noise_is_taken_out(name: str, net: str):
    """It cannot be: these are no arguments of the first part. And all that could be taken out is."""
    lowered = compiled_on(load(name), net, loss="mse").lowered
    split = hoisted(lowered)
    places = [n.name for n in lowered.graph.find_nodes(op="placeholder")]
    assert [n.name for n in split.before.graph.find_nodes(op="placeholder")] == places[: len(lowered.genome)]
    step = split.step.graph
    moving = {n for n in step.find_nodes(op="placeholder") if n.name in places[len(lowered.genome) :]}
    for node in step.nodes:
        if node.op == "call_function":
            moving |= {node} if moving & set(node.all_input_nodes) else set()
            assert node in moving, node


def test_each_invariant_knows_what_it_depends_on():
    compiled = load("blur").compile("5-4-2")
    split = hoisted(compiled.lowered)
    entries = set(compiled.genome_spec)
    assert len(split.reads) == len(split.step.graph.find_nodes(op="placeholder")) - (
        len(compiled.lowered.state) + 3 + len(compiled.lowered.noise)
    )
    assert frozenset().union(*split.reads) <= entries
    genome = {name: value.requires_grad_() for name, value in compiled.init_genome().items()}
    made = split.before(*(genome[slot.name] for slot in compiled.lowered.genome))
    for value, reads in zip(made, split.reads, strict=True):
        if not reads:
            assert not value.requires_grad
            continue
        found = torch.autograd.grad(value.sum(), list(genome.values()), allow_unused=True, retain_graph=True)
        assert {name for name, slope in zip(genome, found, strict=True) if slope is not None} == reads


def test_a_rule_without_a_genome_has_only_constants_to_take_out():
    rule = rulec.parse(
        "rule plain\nneuron\n  x\nsynapse\n  w[i,j] = 0\ninput i\n  x[i] = input[i]\nforward i -> j\n"
        "  x[j] = act(sum[i](w[i,j] * x[i]))\noutput j\n  prediction[j] = x[j]\nupdate i -> j\n  w[i,j] += mean[n](x[i] * x[j])\n"
    )
    assert all(not reads for reads in hoisted(rule.compile("3-2").lowered).reads)
