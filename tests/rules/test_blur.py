"""`blur.rule` against the published einsums over square synapse tensors, gradients of the genome included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor

from rulec import Rule
from rulec.runtime.compiled import CompiledRule
from tests.rules.by_hand.blur import Choices, Square, square, step
from tests.rules.by_hand.chain import ACTIVATIONS
from tests.rules.by_hand.step import apart
from tests.shipped import load

SIZES, SPECIES, REPLICAS, BATCH, STEPS = (4, 5, 3, 2), 2, 3, 6, 10
CLOSE = 1e-10
Tensors = dict[str, Tensor]


def compiled_blur(states: int = 2, **options: str) -> CompiledRule:
    return compiled_with(load("blur"), states, **options)


def compiled_with(rule: Rule, states: int = 2, **options: str) -> CompiledRule:
    spec, chosen = "-".join(map(str, SIZES)), {"states": states, **options}
    return rule.compile(spec, population=SPECIES, replicas=REPLICAS, loss="mse", dtype="float64", options=chosen)


def genome_of(compiled: CompiledRule) -> Tensors:
    """Return a random genome, small enough that ten steps stay finite, in which no entry has its initial value."""
    generator = torch.Generator().manual_seed(0)
    genome = {}
    for name, value in compiled.init_genome(1).items():
        drawn = torch.randn(value.shape, generator=generator, dtype=value.dtype)
        base = {"synapse_gain": -0.02, "neuron_keep": 0.8, "neuron_gain": 0.7, "synapse_keep": 0.97}.get(name, 0.0)
        size = {"synapse_gain": 0.004, "neuron_keep": 0.1, "neuron_gain": 0.1, "synapse_keep": 0.01}.get(name, 0.7)
        genome[name] = (base + size * drawn).requires_grad_()
    return genome


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    """Each species and replica sees samples of its own."""
    generator = torch.Generator().manual_seed(2)
    for _ in range(STEPS):
        x = torch.randn(SPECIES, REPLICAS, BATCH, SIZES[0], generator=generator, dtype=torch.float64)
        yield x, torch.rand(SPECIES, REPLICAS, BATCH, SIZES[-1], generator=generator, dtype=torch.float64)


def squares(state: Mapping[str, Tensor], choices: Choices) -> list[Square]:
    """Lay a compiled rule's synapses out as published; states come first there and last here."""
    layers = ["hidden1", "hidden2", "output"]
    return [
        square(
            state[f"w.c{at}"].movedim(2, -1),
            state[f"v.c{at}"].movedim(2, -1),
            state[f"b.{layer}"].movedim(2, -1),
            choices,
        )
        for at, layer in enumerate(layers, 1)
    ]


def blocks(layers: list[Square], compared: tuple[str, ...], states: slice) -> Tensors:
    """Return the live blocks of the square tensors, in the layout and under the names of a compiled rule."""
    found = {}
    for at, (name, layer) in enumerate(zip(["hidden1", "hidden2", "output"], layers, strict=True), 1):
        live = {f"w.c{at}": layer.forward, f"v.c{at}": layer.backward.transpose(2, 3), f"b.{name}": layer.bias}
        found |= {key: value.movedim(-1, 2)[:, :, states] for key, value in live.items() if key[0] in compared}
    return found


def assert_published(
    compiled: CompiledRule, choices: Choices, compared: tuple[str, ...] = ("w", "v", "b"), states: slice = slice(None)
) -> None:
    """Run ten steps of both; states, predictions and the gradient of every genome entry must agree.

    The gradient is of a scalar that depends on every compared synapse at the end and on every prediction.
    """
    genome, state = genome_of(compiled), compiled.init_state(0)
    layers = squares(state, choices)
    ours, theirs = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for x, y in batches():
        state, output = compiled(genome, state, x, y)
        layers, prediction = step(genome, layers, x, y, choices)
        assert apart(prediction, output.prediction) < CLOSE
        ours, theirs = ours + ((output.prediction - y) ** 2).sum(), theirs + ((prediction - y) ** 2).sum()
    live = blocks(layers, compared, states)
    for name, value in live.items():
        assert apart(value, state[name][:, :, states]) < CLOSE, name
        ours, theirs = ours + torch.sin(state[name][:, :, states]).sum(), theirs + torch.sin(value).sum()
    assert_same_gradient(genome, ours, theirs)


def assert_same_gradient(genome: Tensors, ours: Tensor, theirs: Tensor) -> None:
    names = list(genome)
    mine = torch.autograd.grad(ours, list(genome.values()), allow_unused=True)
    other = torch.autograd.grad(theirs, list(genome.values()), allow_unused=True)
    for name, a, b in zip(names, mine, other, strict=True):
        a, b = (torch.zeros_like(genome[name]) if g is None else g for g in (a, b))
        assert apart(a, b) < CLOSE, name
    moved = {name for name, g in zip(names, mine, strict=True) if g is not None and (g != 0).any()}
    assert {"forward_mix", "pre", "post", "synapse_keep", "synapse_gain", "neuron_gain"} <= moved


@pytest.mark.parametrize("states", [2, 3, 4])
def test_default_rule(states: int) -> None:
    assert_published(compiled_blur(states), Choices())


@pytest.mark.parametrize("states", [2, 3])
@pytest.mark.parametrize("feedback", ["multiplicative", "second", "replace"])
def test_feedback(states: int, feedback: str) -> None:
    """With smooth activations: the default ones leave little to multiply."""
    compiled = compiled_blur(states, feedback=feedback, up="tanh", down="identity")
    assert_published(compiled, Choices(up=torch.tanh, down=ACTIVATIONS["identity"], feedback=feedback))


@pytest.mark.parametrize(("up", "down", "out"), [("sigmoid", "tanh", "identity"), ("gelu", "softplus", "sigmoid")])
def test_activations(up: str, down: str, out: str) -> None:
    assert_published(
        compiled_blur(3, up=up, down=down, out=out), Choices(ACTIVATIONS[up], ACTIVATIONS[down], ACTIVATIONS[out])
    )


def test_symmetric() -> None:
    """The backward block is the forward one, transposed; the rule's own `v` is not read then."""
    assert_published(compiled_blur(3, symmetric="yes"), Choices(symmetric=True), ("w", "b"))


def test_single() -> None:
    """The first state's synapse stands for all of them."""
    assert_published(compiled_blur(3, single="yes"), Choices(single=True), ("w", "v", "b"), slice(0, 1))


def test_symmetric_and_single() -> None:
    compiled = compiled_blur(2, symmetric="yes", single="yes")
    assert_published(compiled, Choices(symmetric=True, single=True), ("w", "b"), slice(0, 1))


def test_no_bias() -> None:
    assert_published(compiled_blur(3, bias="no"), Choices(bias=False), ("w", "v"))


@pytest.mark.parametrize("average", ["no", "yes"])
@pytest.mark.parametrize("oja", ["activity", "weight"])
def test_oja(oja: str, average: str) -> None:
    assert_published(compiled_blur(3, oja=oja, average=average), Choices(oja=oja, average=average == "yes"))


def test_saturate() -> None:
    assert_published(compiled_blur(3, saturate="yes"), Choices(saturate=True))


def test_saturated_oja() -> None:
    assert_published(compiled_blur(2, saturate="yes", oja="weight"), Choices(saturate=True, oja="weight"))


@pytest.mark.parametrize("states", [2, 3])
def test_norm_neuron(states: int) -> None:
    assert_published(
        compiled_blur(states, norm_neuron="yes", up="tanh", down="tanh"),
        Choices(torch.tanh, torch.tanh, norm_neuron=True),
    )


def test_norm_synapse() -> None:
    assert_published(compiled_blur(3, norm_synapse="yes"), Choices(norm_synapse=True))


def test_norm_synapse_of_the_transposed_weights() -> None:
    """The backward sweep divides by the norm over what it sums over, also where it reads the forward synapse."""
    assert_published(
        compiled_blur(2, norm_synapse="yes", symmetric="yes"), Choices(norm_synapse=True, symmetric=True), ("w", "b")
    )


def test_average() -> None:
    assert_published(compiled_blur(3, average="yes"), Choices(average=True))


def test_signed_labels() -> None:
    assert_published(compiled_blur(2, labels="signed"), Choices(labels="signed"))


def test_normalised_recipe() -> None:
    """It is a choice of the other options, and of where genomes and synapses start."""
    choices = Choices(torch.tanh, torch.tanh, ACTIVATIONS["identity"], norm_neuron=True, average=True, labels="signed")
    assert_published(compiled_blur(3, recipe="normalised"), choices)


def test_layered() -> None:
    """One genome per connection: an axis after the population's."""
    compiled = compiled_blur(3, layered="yes")
    assert compiled.genome_spec["pre"].shape == (3, 3, 3)
    assert_published(compiled, Choices())
