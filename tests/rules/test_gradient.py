"""`backprop` and two-state BLUR with the chain-rule genome are gradient descent, as torch's autograd has it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rulec import RuleError
from rulec.runtime.compiled import CompiledRule
from tests.rules.by_hand.chain import LOSSES, Chain, conv_chain, dense_chain, max_chain, spread
from tests.rules.by_hand.modules import MODULES, biases, made, norms, weights
from tests.rules.by_hand.step import Tensors, apart, disturbed, random_batches
from tests.shipped import load

RULES = {"backprop": ("lr", 1.0), "blur_backprop": ("synapse_gain", -1.0)}  # the entry that is the rate, and its sign
RATE, CLOSE = 0.05, 1e-12
NAMES = ("tanh", "sigmoid", "gelu", "softplus", "relu", "silu")

both_rules = pytest.mark.parametrize("name", RULES)
both_losses = pytest.mark.parametrize("loss", LOSSES)
pytestmark = pytest.mark.filterwarnings(
    "ignore:Using padding='same' with even kernel lengths"
)  # one of the modules does


def genome_of(compiled: CompiledRule, name: str) -> Tensors:
    entry, sign = RULES[name]
    return compiled.init_genome(0) | {entry: torch.tensor(sign * RATE, dtype=torch.float64)}


# --- Networks from specs ----------------------------------------------------------------------


def predicted(chain: Chain, state: Tensors, x: Tensor) -> Tensor:
    for k, link in enumerate(chain.links, 1):
        z = link.send(state[f"w.c{k}"], x)
        x = link.act(z + spread(state[f"b.{link.layer}"], z.ndim))
    return x


def descended(chain: Chain, state: Tensors, x: Tensor, y: Tensor, loss: str) -> tuple[Tensors, Tensor]:
    state = {key: value.detach().requires_grad_() for key, value in state.items()}
    prediction = predicted(chain, state, x)
    slopes = torch.autograd.grad(LOSSES[loss](prediction, y).mean(), list(state.values()))
    return {
        key: value.detach() - RATE * slope for (key, value), slope in zip(state.items(), slopes, strict=True)
    }, prediction


def assert_descends(name: str, chain: Chain, loss: str) -> None:
    compiled = load(name).compile(chain.spec, loss=loss, dtype="float64")
    state = disturbed(compiled.init_state(0))
    own = {key: value for key, value in state.items() if key not in ("t", "seed")}
    for x, y in random_batches(chain.input_shape, chain.outputs, 3):
        before = own
        state, output = compiled(genome_of(compiled, name), state, x, y)
        own, prediction = descended(chain, own, x, y, loss)
        assert apart(prediction, output.prediction) < CLOSE
        assert max(apart(own[key], state[key]) for key in own) < CLOSE
        assert max(apart(own[key], before[key]) for key in own) > 1e-4


@both_rules
@both_losses
@pytest.mark.parametrize(("act", "depth"), [(act, depth) for act in NAMES for depth in (2, 3, 4)] + [("tanh", 1)])
def test_dense(name: str, loss: str, act: str, depth: int) -> None:
    assert_descends(name, dense_chain(act, depth), loss)


@both_rules
@both_losses
@pytest.mark.parametrize("last", ["tanh", "sigmoid", "softplus"])
def test_output_with_an_activation(name: str, loss: str, last: str) -> None:
    assert_descends(name, dense_chain("tanh", 3, last), loss)


@both_rules
@both_losses
@pytest.mark.parametrize("act", NAMES)
def test_strides_groups_and_average_pooling(name: str, loss: str, act: str) -> None:
    assert_descends(name, conv_chain(act), loss)


@both_rules
@both_losses
@pytest.mark.parametrize("act", NAMES)
def test_padding_and_max_pooling(name: str, loss: str, act: str) -> None:
    assert_descends(name, max_chain(act), loss)


# --- Traced modules ---------------------------------------------------------------------------


def state_from(module: nn.Module, compiled: CompiledRule) -> Tensors:
    state = compiled.init_state(0)
    for connection, weight, turned in weights(module, compiled.network):
        state[f"w.{connection}"] = (
            (weight.T if turned else weight).detach().clone(memory_format=torch.contiguous_format)
        )
    for _, layer, bias in biases(module, compiled.network):
        state[f"b.{layer}"] = bias.detach().clone()
    for layer, scale, shift in norms(module, compiled.network):
        state[f"network.{layer}.scale"], state[f"network.{layer}.shift"] = (
            scale.detach().clone(),
            shift.detach().clone(),
        )
    return state


def assert_module_descends(name: str, module: nn.Module, shape: tuple[int, ...], loss: str) -> None:
    compiled = load(name).compile(module, input_shape=shape, loss=loss, dtype="float64")
    state, network = state_from(module, compiled), compiled.network
    learned = [weight for _, weight, _ in weights(module, network)] + [bias for _, _, bias in biases(module, network)]
    for x, y in random_batches(shape, 3, 3):
        prediction = module(x)
        slopes = torch.autograd.grad(LOSSES[loss](prediction, y).mean(), learned)
        assert max(slope.abs().max() for slope in slopes) > 1e-3
        with torch.no_grad():
            for parameter, slope in zip(learned, slopes, strict=True):
                parameter -= RATE * slope
        state, output = compiled(genome_of(compiled, name), state, x, y)
        assert apart(prediction, output.prediction) < CLOSE
        for connection, weight, turned in weights(module, network):
            assert apart(weight.T if turned else weight, state[f"w.{connection}"]) < CLOSE, connection
        for _, layer, bias in biases(module, network):
            assert apart(bias, state[f"b.{layer}"]) < CLOSE, layer


@both_losses
@pytest.mark.parametrize("module", MODULES)
def test_backprop_on_a_module(module: str, loss: str) -> None:
    assert_module_descends("backprop", made(module), MODULES[module].shape, loss)


@both_losses
@pytest.mark.parametrize("module", [name for name, traced in MODULES.items() if not traced.norm])
def test_blur_on_a_module(module: str, loss: str) -> None:
    assert_module_descends("blur_backprop", made(module), MODULES[module].shape, loss)


@pytest.mark.parametrize("module", [name for name, traced in MODULES.items() if traced.norm])
def test_blur_needs_a_slope_per_neuron(module: str) -> None:
    """Its second state is act'(z) alone, which a normalised layer does not have."""
    with pytest.raises(RuleError) as caught:
        load("blur_backprop").compile(made(module), input_shape=MODULES[module].shape, dtype="float64")
    found = caught.value.diagnostics[0]
    assert found.id == "no-slope"
    assert found.span is not None and found.span.text == "act'(s[j,1])"
    assert found.help
