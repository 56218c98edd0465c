"""Weights to and from a module: whatever the state predicts, the module computes by itself, and the other way round."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import rulec
from rulec.runtime.compiled import CompiledRule
from rulec.runtime.modules import module_from_state, state_from_module
from tests.shipped import load

CLOSE = 1e-10
WITHOUT_BIASES = """
rule plain
neuron
  x
synapse
  w[i,j] = normal(0, 1)
input i
  x[i] = input[i]
forward i -> j
  x[j] = act(sum[i](w[i,j] * x[i]))
output j
  prediction[j] = x[j]
update i -> j
  w[i,j] += 0.1 * mean[n](x[i] * x[j])
"""


class Residual(nn.Module):
    """Convolutions with a branch, pooling, and a dense head."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(n, 4, 3, padding=1, bias=bias) for n in (2, 4))
        self.head = nn.Linear(4 * 2 * 2, 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.first(x))
        h = functional.relu(h + self.second(h))
        return self.head(functional.max_pool2d(h, 2).flatten(1))


class Meeting(nn.Module):
    """Two connections with weights, each with a bias, meet at one layer."""

    def __init__(self, second: bool = True) -> None:
        super().__init__()
        self.left, self.right, self.last = nn.Linear(5, 4), nn.Linear(5, 4, bias=second), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.left(x) + self.right(x)))


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 3))


MODULES = {"residual": (Residual, (2, 4, 4)), "meeting": (Meeting, (5,)), "normalised": (normalised, (5,))}
CASES = [(rule, name) for rule in ("backprop", "feedback_alignment", "sgd", "adam") for name in MODULES]


def made(name: str, seed: int = 0) -> tuple[nn.Module, tuple[int, ...]]:
    """Return a module in double precision whose every parameter is drawn, and the shape of its input."""
    torch.manual_seed(seed)
    module, shape = MODULES[name][0]().double(), MODULES[name][1]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.2, 0.3)
    return module, shape


def compiled(rule: str, module: nn.Module, shape: tuple[int, ...], **settings: object) -> CompiledRule:
    parsed = rulec.parse(rule) if "\n" in rule else load(rule)
    return parsed.compile(module, input_shape=shape, **{"dtype": "float64", **settings})


def apart(step: CompiledRule, state: dict[str, Tensor], module: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return float((step.predict(step.init_genome(), state, x) - module(x)).abs().max())


@pytest.mark.parametrize(("rule", "name"), CASES)
def test_a_state_begins_where_the_module_is(rule: str, name: str):
    module, shape = made(name)
    step = compiled(rule, module, shape)
    x, drawn = torch.randn(6, *shape, dtype=torch.float64), step.init_state(0)
    assert apart(step, drawn, module, x) > 1e-2
    assert apart(step, state_from_module(step, module, drawn), module, x) < CLOSE


@pytest.mark.parametrize(("rule", "name"), CASES)
def test_the_module_ends_where_the_state_is(rule: str, name: str):
    module, shape = made(name)
    step = compiled(rule, module, shape)
    x, y = torch.randn(6, *shape, dtype=torch.float64), torch.arange(6) % 3
    state = state_from_module(step, module, step.init_state(0))
    before = module(x).detach()
    for _ in range(3):
        state, _ = step(step.init_genome(), state, x, y)
    assert module_from_state(step, state, module) is module
    assert not torch.allclose(module(x), before, atol=1e-4)
    assert apart(step, state, module, x) < CLOSE


def test_one_step_is_that_of_torch():
    module, shape = made("meeting")
    step = compiled("backprop", module, shape)
    x, y = torch.randn(6, *shape, dtype=torch.float64), torch.arange(6) % 3
    state, _ = step(
        {"lr": torch.tensor(0.3, dtype=torch.float64)}, state_from_module(step, module, step.init_state(0)), x, y
    )
    expected = copy.deepcopy(module)
    gradients = torch.autograd.grad(functional.cross_entropy(expected(x), y), list(expected.parameters()))
    found = module_from_state(step, state, module)
    with torch.no_grad():
        names = [name for name, _ in expected.named_parameters()]
        for name, parameter, gradient in zip(names, expected.parameters(), gradients, strict=True):
            parameter -= 0.3 * gradient
            if name.endswith("weight"):
                assert torch.allclose(parameter, found.get_parameter(name), atol=CLOSE)
    # Both biases are added to the same neurons: the rule learns one for the two.
    moved = found.left.bias + found.right.bias
    assert torch.allclose(moved, expected.left.bias + expected.right.bias + 0.3 * gradients[1], atol=CLOSE)


def test_nothing_else_is_touched():
    module, shape = made("residual")
    step = compiled("feedback_alignment", module, shape)
    drawn = step.init_state(3)
    weights = {name: value.clone() for name, value in drawn.items()}
    state = state_from_module(step, module, drawn)
    assert all(torch.equal(drawn[name], weights[name]) for name in drawn)
    kept = [name for name in drawn if torch.equal(state[name], drawn[name])]
    assert kept == [name for name in drawn if name.startswith("v.") or name in ("t", "seed")]
    with torch.no_grad():
        module.first.weight.zero_()
    assert state["w.c1"].abs().min() > 0  # copies, not views


def test_each_side_keeps_its_precision():
    module, shape = Residual(), (2, 4, 4)
    assert module.first.weight.dtype == torch.float32
    step = compiled("backprop", module, shape, dtype="float64")
    state = state_from_module(step, module, step.init_state(0))
    assert state["w.c1"].dtype == torch.float64
    assert module_from_state(step, state, module).first.weight.dtype == torch.float32


# --- What has no place -----------------------------------------------------------------------


def refused(step: CompiledRule, module: nn.Module, state: dict[str, Tensor], *, back: bool = True) -> str:
    """Return the id with which both ways are refused; the module stays as it was."""
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(rulec.RuleError) as caught:
        module_from_state(step, state, module) if back else state_from_module(step, module, state)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.help
    return diagnostic.id


@pytest.mark.parametrize("back", [True, False])
def test_a_population_does_not_fit_into_a_module(back: bool):
    module, shape = made("meeting")
    step = compiled("backprop", module, shape, population=2)
    assert refused(step, module, step.init_state(0), back=back) == "several-networks"


@pytest.mark.parametrize("back", [True, False])
def test_synapses_with_several_values_are_no_weights(back: bool):
    module, shape = made("meeting")
    step = compiled("blur", module, shape)
    assert refused(step, module, step.init_state(0), back=back) == "no-module-weights"


@pytest.mark.parametrize("back", [True, False])
def test_another_module_is_told(back: bool):
    module, shape = made("meeting")
    step = compiled("backprop", module, shape)
    assert refused(step, made("residual")[0], step.init_state(0), back=back) == "foreign-module"


def test_biases_that_the_rule_does_not_know():
    module, shape = made("residual")
    step = compiled(WITHOUT_BIASES, module, shape)
    assert refused(step, module, step.init_state(0), back=False) == "bias-without-place"
    bare = Residual(bias=False).double()
    step = compiled(WITHOUT_BIASES, bare, shape)
    state, x = state_from_module(step, bare, step.init_state(0)), torch.randn(6, *shape, dtype=torch.float64)
    assert apart(step, state, bare, x) < CLOSE


def test_biases_that_the_module_does_not_have():
    module, shape = Residual(bias=False), (2, 4, 4)
    step = compiled("backprop", module, shape)
    state = step.init_state(0)
    module_from_state(step, state, module)  # all zero: nothing is lost
    state["b.first"] = torch.ones(4)
    assert refused(step, module, state) == "bias-without-place"


def test_one_bias_of_two_is_enough():
    module = Meeting(second=False).double()
    step = compiled("backprop", module, (5,))
    state = {**step.init_state(0), "b.left": torch.ones(4, dtype=torch.float64)}
    x = torch.randn(6, 5, dtype=torch.float64)
    assert apart(step, state, module_from_state(step, state, module), x) < CLOSE


def test_a_state_that_lacks_something():
    module, shape = made("meeting")
    step = compiled("sgd", module, shape)
    state = step.init_state(0)
    assert refused(step, module, {n: v for n, v in state.items() if n != "w.c1.weight"}) == "missing-entry"
    assert refused(step, module, {**state, "w.c1.weight": torch.zeros(5, 5)}) == "wrong-shape"
