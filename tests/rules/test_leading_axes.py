"""A step over population, tasks and replicas is the same as single steps one by one."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from rulec.backend.modules import arguments, graph_module
from rulec.runtime.arguments import input_of, target_of
from rulec.runtime.compiled import CompiledRule, Output
from tests.rules.by_hand.networks import NETS, NOISY, RULES, compiled_on, gentle
from tests.rules.by_hand.step import Tensors, apart, disturbed, noise_of
from tests.shipped import load

AXES = {"population": 2, "tasks": 3, "replicas": 2}
CASES = [
    (name, net)
    for name in RULES
    for net in ("dense", "conv", "residual")
    if name != "sanger" or net == "dense"  # an order among neurons has no meaning on a convolution
]


def stepped_with(
    compiled: CompiledRule, genome: Tensors, state: Tensors, x: Tensor, y: Tensor, noise: list[Tensor]
) -> tuple[Tensors, Output]:
    """Take a step with given noise: what single steps would draw for themselves differs from that of many."""
    t = state["t"] + 1
    data = input_of(compiled, x), target_of(compiled, y), t.to(compiled.dtype)
    results = graph_module(compiled.lowered)(*arguments(compiled.lowered, genome, state, *data, noise))
    new = dict(zip(compiled.lowered.outputs[:-2], results[:-2], strict=True))
    return new | {"t": t, "seed": state["seed"]}, Output(results[-2], results[-1])


def data(axes: dict[str, int], shape: tuple[int, ...], outputs: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lead = tuple(axes.values())
    x = torch.randn(*lead, 5, *shape, generator=generator, dtype=torch.float64)
    return x, torch.softmax(torch.randn(*lead, 5, outputs, generator=generator, dtype=torch.float64), -1)


def at(values: Tensors, place: tuple[int, ...]) -> Tensors:
    return {
        key: value[place] if value.ndim >= len(place) and key not in ("t", "seed") else value
        for key, value in values.items()
    }


def positive_moments(state: Tensors) -> Tensors:
    """Keep running means of squares, which the rules of parameters call `v`, above zero."""
    return {key: value.abs() if key.startswith("v.") else value for key, value in state.items()}


def assert_same(name: str, net: str, axes: dict[str, int]) -> None:
    rule = load(name)
    many, single = compiled_on(rule, net, loss="mse", **axes), compiled_on(rule, net, loss="mse")
    genome, state = gentle(many.init_genome(0)), positive_moments(disturbed(many.init_state(0), size=0.2))
    places = list(itertools.product(*(range(size) for size in axes.values())))
    population = "population" in axes
    apiece = {place: at(state, place) for place in places}
    for seed in range(2):
        x, y = data(axes, NETS[net].shape, NETS[net].outputs, seed)
        noise = noise_of(many, state, 5)
        state, output = many(genome, state, x, y)
        for place in places:
            own = at(genome, place[:1]) if population else genome
            drawn = [value[place] for value in noise.values()]
            apiece[place], alone = stepped_with(single, own, apiece[place], x[place], y[place], drawn)
            for key in set(state) - {"t", "seed"}:
                assert apart(apiece[place][key], state[key][place]) < 1e-12, (key, place)
            assert apart(alone.prediction, output.prediction[place]) < 1e-12
            assert apart(alone.loss, output.loss[place]) < 1e-12


@pytest.mark.parametrize(("name", "net"), CASES)
def test_all_axes(name: str, net: str) -> None:
    assert_same(name, net, AXES)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", ["backprop", "blur", "adam", "forward_forward", "direct_feedback_alignment", *NOISY])
def test_one_axis(name: str, axis: str) -> None:
    assert_same(name, "dense", {axis: 3})


@pytest.mark.parametrize("name", NOISY)
def test_population_shares_noise_and_nothing_else_does(name: str) -> None:
    many = compiled_on(load(name), "dense", population=2, tasks=2, replicas=2, loss="mse")
    for noise in noise_of(many, many.init_state(0), 5).values():
        assert torch.equal(noise[0], noise[1])
        apart_by = [(noise[0, 0, 0] - noise[0, t, r]).abs().max() for t, r in ((0, 1), (1, 0), (1, 1))]
        assert min(apart_by) > 0.01
