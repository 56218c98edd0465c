"""The network's own parameters: their layout, their initial values, the way back into the module."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rulec.network import network_from, parse_spec
from rulec.network.parameters import forward, initial_parameters, parameters_from, parameters_to
from rulec.source import RuleError


def small_module() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 3),
        nn.LayerNorm(3),
        nn.Tanh(),
        nn.Linear(3, 2),
    ).double()


def test_names_and_shapes() -> None:
    network = parse_spec("2x4x4-conv(6, groups=2)-batchnorm(affine)-5-layernorm(affine)-3")
    parameters = initial_parameters(network, torch.Generator().manual_seed(0), torch.float64)
    assert {name: tuple(one.shape) for name, one in parameters.items()} == {
        "c1.weight": (6, 1, 3, 3),
        "c1.bias": (6,),
        "c2.weight": (96, 5),
        "c2.bias": (5,),
        "c3.weight": (5, 3),
        "c3.bias": (3,),
        "hidden1.scale": (6,),
        "hidden1.shift": (6,),
        "hidden2.scale": (5,),
        "hidden2.shift": (5,),
    }
    assert {one.dtype for one in parameters.values()} == {torch.float64}


def test_scale_of_layer_normalisation_is_per_element() -> None:
    parameters = initial_parameters(parse_spec("2x4x4-conv(3)-layernorm(affine)-2"))
    assert parameters["hidden1.scale"].shape == (3, 4, 4)


def test_initial_values() -> None:
    network = parse_spec("4x16x16-conv(64, kernel=5, groups=2)-batchnorm(affine)-64")
    parameters = initial_parameters(network, torch.Generator().manual_seed(1))
    for name, fan in (("c1.weight", 2 * 25), ("c2.weight", 64 * 256)):
        weight = parameters[name]
        assert abs(float(weight.mean())) < 4 / (weight.numel() * fan) ** 0.5
        assert float(weight.std()) == pytest.approx(fan**-0.5, rel=4 / (2 * weight.numel()) ** 0.5)
    assert torch.equal(parameters["hidden1.scale"], torch.ones(64))
    assert not any(parameters[name].any() for name in ("c1.bias", "c2.bias", "hidden1.shift"))


def test_seed_decides() -> None:
    network = parse_spec("4-3-2")
    one, same, other = (initial_parameters(network, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(one["c1.weight"], same["c1.weight"])
    assert not torch.equal(one["c1.weight"], other["c1.weight"])


def test_dense_weights_are_inputs_by_outputs() -> None:
    module = nn.Linear(3, 2)
    parameters = parameters_from(module, network_from(module, (3,)))
    assert torch.equal(parameters["c1.weight"], module.weight.detach().T)
    assert parameters["c1.weight"].is_contiguous()


def test_parameters_are_copies() -> None:
    module = small_module()
    parameters = parameters_from(module, network_from(module, (2, 4, 4)))
    before = parameters["c2.weight"].clone()
    with torch.no_grad():
        module[4].weight.zero_()
    assert torch.equal(parameters["c2.weight"], before)
    assert not any(one.requires_grad for one in parameters.values())


def test_way_back_into_the_module() -> None:
    module = small_module()
    network = network_from(module, (2, 4, 4))
    generator = torch.Generator().manual_seed(3)
    drawn = {
        name: torch.randn(one.shape, generator=generator, dtype=torch.float64)
        for name, one in parameters_from(module, network).items()
    }
    parameters_to(module, network, drawn)
    returned = parameters_from(module, network)
    assert returned.keys() == drawn.keys()
    assert all(torch.equal(returned[name], drawn[name]) for name in drawn)
    x = torch.randn(6, 2, 4, 4, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(module(x), forward(network, drawn, x), rtol=0, atol=1e-12)
    assert all(one.requires_grad for one in module.parameters())


def test_gradients_flow_through_forward() -> None:
    module = small_module()
    network = network_from(module, (2, 4, 4))
    parameters = {name: one.requires_grad_() for name, one in parameters_from(module, network).items()}
    x = torch.randn(6, 2, 4, 4, dtype=torch.float64)
    forward(network, parameters, x).square().sum().backward()
    module(x).square().sum().backward()
    expected = [one.grad for one in module.parameters()]
    found = [
        parameters[name].grad
        for name in (
            "c1.weight",
            "layer0.scale",
            "layer0.shift",
            "c2.weight",
            "c2.bias",
            "layer4.scale",
            "layer4.shift",
            "c3.weight",
            "c3.bias",
        )
    ]
    for mine, torchs in zip(found, expected, strict=True):
        assert mine is not None and torchs is not None
        transposed = mine.T if mine.dim() == 2 else mine
        torch.testing.assert_close(transposed, torchs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("module", [nn.Linear(3, 2), nn.Sequential(nn.Linear(5, 2))])
def test_parameters_of_another_module(module: nn.Module) -> None:
    network = network_from(nn.Sequential(nn.Linear(3, 2)), (3,))
    with pytest.raises(RuleError) as error:
        parameters_from(module, network)
    assert str(error.value) == (
        f"error[foreign-module]: `{type(module).__name__}` has no tensor `0.weight` of shape 2x3\n"
        "   = note: the network was traced from another module, or comes from a spec\n"
        "   = help: give the module that the network was traced from"
    )
