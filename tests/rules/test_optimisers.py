"""`sgd`, `momentum`, `adam` against torch.optim, and the learned optimiser against itself written by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from rulec.runtime.compiled import CompiledRule
from tests.rules.by_hand.chain import LOSSES
from tests.rules.by_hand.modules import MODULES, biases, made, norms, weights
from tests.rules.by_hand.step import Tensors, apart, random_batches
from tests.shipped import load

STEPS = 5
NAMES = (
    "residual-dense",
    "concat-dense",
    "layernorm-dense",
    "residual-conv-batchnorm",
    "residual-conv-groupnorm",
    "concat-conv",
)
both_losses = pytest.mark.parametrize("loss", LOSSES)
on_modules = pytest.mark.parametrize("module", NAMES)

# Adam's rule has 1e-24 inside its root. With s = |m| = sqrt(v) and eps = 1e-8 that changes a step by at most
# lr * s (sqrt(s^2 + 1e-24) - s) / eps^2 < lr * 5e-9, where s is about 1e-12: 2e-11 in five steps of lr = 0.001.
CLOSE = {"sgd": 1e-12, "momentum": 1e-12, "adam": 1e-10}
OPTIMISERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.03),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.03, momentum=0.8),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.001, betas=(0.85, 0.99), eps=1e-8),
}
GENOMES: dict[str, dict[str, float]] = {
    "sgd": {"lr": 0.03},
    "momentum": {"lr": 0.03, "momentum": 0.8},
    "adam": {"lr": 0.001, "beta1": 0.85, "beta2": 0.99, "eps": 1e-8},
}


def parameters(module: nn.Module, compiled: CompiledRule) -> Iterator[tuple[str, Tensor, bool]]:
    """Yield (name in the state, the module's own parameter, whether the state has it transposed): all there are."""
    network = compiled.network
    for connection, weight, turned in weights(module, network):
        yield f"w.{connection}.weight", weight, turned
    for connection, _, bias in biases(module, network):
        yield f"w.{connection}.bias", bias, False
    for layer, scale, shift in norms(module, network):
        yield f"w.{layer}.scale", scale, False
        yield f"w.{layer}.shift", shift, False


def state_from(module: nn.Module, compiled: CompiledRule) -> Tensors:
    state = compiled.init_state(0)
    for name, parameter, turned in parameters(module, compiled):
        value = parameter.T if turned else parameter
        assert state[name].shape == value.shape
        state[name] = value.detach().clone(memory_format=torch.contiguous_format)
    return state


def test_every_parameter_has_a_place() -> None:
    for module_name in NAMES:
        module = made(module_name)
        compiled = load("sgd").compile(module, input_shape=MODULES[module_name].shape, dtype="float64")
        known = list(parameters(module, compiled))
        assert {name for name, _, _ in known} == {name for name in compiled.init_state(0) if name.startswith("w.")}
        assert {id(value) for _, value, _ in known} == {id(value) for value in module.parameters()}


@both_losses
@on_modules
@pytest.mark.parametrize("name", OPTIMISERS)
def test_rule_is_torchs_optimiser(name: str, module: str, loss: str) -> None:
    own, shape = made(module), MODULES[module].shape
    compiled = load(name).compile(own, input_shape=shape, loss=loss, dtype="float64")
    genome = {key: torch.tensor(value, dtype=torch.float64) for key, value in GENOMES[name].items()}
    assert set(genome) == set(compiled.genome_spec)
    state, optimiser = state_from(own, compiled), OPTIMISERS[name](list(own.parameters()))
    first = {key: value.clone() for key, value in state.items()}
    for x, y in random_batches(shape, 3, STEPS):
        prediction = own(x)
        optimiser.zero_grad()
        LOSSES[loss](prediction, y).mean().backward()
        optimiser.step()
        state, output = compiled(genome, state, x, y)
        assert apart(prediction, output.prediction) < CLOSE[name]
        for key, value, turned in parameters(own, compiled):
            assert value.grad is not None
            close = 1e-9 if noise_alone(value.grad) else CLOSE[name]
            assert apart(value.T if turned else value, state[key]) < close, key
    assert max(apart(first[key], state[key]) for key, _, _ in parameters(own, compiled)) > 1e-3


def test_adam_stands_still_without_a_gradient() -> None:
    """A parameter whose gradient is zero does not move, and its derivative by the genome is finite."""
    compiled = load("adam").compile("3-4-2", loss="mse", dtype="float64")
    genome = {key: value.requires_grad_() for key, value in compiled.init_genome(0).items()}
    state = compiled.init_state(0)
    x, y = torch.zeros(5, 3, dtype=torch.float64), torch.ones(5, 2, dtype=torch.float64)
    after, _ = compiled(genome, state, x, y)
    assert apart(after["w.c1.weight"], state["w.c1.weight"]) == 0
    slopes = torch.autograd.grad(
        after["w.c1.weight"].sum() + after["w.c2.bias"].sum(), list(genome.values()), allow_unused=True
    )
    assert all(slope is None or torch.isfinite(slope).all() for slope in slopes)
    assert slopes[0] is not None and slopes[0] != 0


@both_losses
def test_learned_optimizer(loss: str) -> None:
    """Running moments of the gradient, and a net of one hidden layer that sees one parameter at a time."""
    own = made("residual-conv-batchnorm")
    compiled = load("learned_optimizer").compile(own, input_shape=(2, 6, 6), loss=loss, dtype="float64")
    g = {key: value * 0.8 + 0.05 for key, value in compiled.init_genome(3).items()}
    state = state_from(own, compiled)
    moments = {key: (torch.zeros_like(value), torch.zeros_like(value)) for key, value, _ in parameters(own, compiled)}
    for x, y in random_batches((2, 6, 6), 3, STEPS):
        listed = list(parameters(own, compiled))
        slopes = torch.autograd.grad(LOSSES[loss](own(x), y).mean(), [value for _, value, _ in listed])
        state, _ = compiled(g, state, x, y)
        for (key, value, turned), slope in zip(listed, slopes, strict=True):
            moments[key] = (
                g["decay"] * moments[key][0] + (1 - g["decay"]) * slope,
                g["decay"] * moments[key][1] + (1 - g["decay"]) * slope**2,
            )
            with torch.no_grad():
                value -= by_hand(g, value, slope, *moments[key])
            close = 1e-7 if noise_alone(slope) else 1e-10
            assert apart(value.T if turned else value, state[key]) < close, key


def noise_alone(slope: Tensor) -> bool:
    """Tell a gradient of rounding errors, as of a bias in front of a normalisation: steps divide it by about as little."""
    return bool(slope.abs().max() < 1e-13)


def by_hand(g: Tensors, value: Tensor, slope: Tensor, m: Tensor, v: Tensor) -> Tensor:
    size = torch.sqrt(v + 1e-12)
    seen = torch.stack([slope / size, m / size, value], -1)
    hidden = torch.tanh(seen @ g["f.0.weight"] + g["f.0.bias"])
    return g["lr"] * (m / size + g["scale"] * (hidden @ g["f.1.weight"] + g["f.1.bias"])[..., 0])


def test_every_weight_has_a_rate_of_its_own():
    compiled = load("weightwise_sgd").compile("4-3(tanh)-2", loss="mse", dtype="float64")
    state = compiled.init_state(3)
    names = [name.removeprefix("w.") for name in state if name.startswith("w.")]
    for name in names:
        assert bool((state[f"rate.{name}"] == 0.1).all())
        state[f"rate.{name}"] = torch.rand_like(state[f"rate.{name}"])
    x, y = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    leaves = {name: state[f"w.{name}"].clone().requires_grad_() for name in names}
    hidden = torch.tanh(x @ leaves["c1.weight"] + leaves["c1.bias"])
    loss = ((hidden @ leaves["c2.weight"] + leaves["c2.bias"] - y) ** 2).mean()
    slopes = torch.autograd.grad(loss, list(leaves.values()))
    after, out = compiled(compiled.init_genome(), state, x, y)
    torch.testing.assert_close(out.loss, loss.detach())
    for (name, leaf), slope in zip(leaves.items(), slopes, strict=True):
        torch.testing.assert_close(after[f"w.{name}"], leaf.detach() - state[f"rate.{name}"] * slope)
        assert torch.equal(after[f"rate.{name}"], state[f"rate.{name}"])
