"""Random specs beside `nn.Sequential` models built from the same choices: same shapes, same function."""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rulec.network import parse_spec
from rulec.network.parameters import forward, initial_parameters

ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "elu": nn.ELU,
    "identity": nn.Identity,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softsign": nn.Softsign,
}


@dataclass
class Choice:
    """A spec, the model that means the same, and the shapes of the model's layers."""

    tokens: list[str]
    modules: list[nn.Module]
    ends: list[int]  # after which modules a layer ends
    shape: tuple[int, ...]


def run(modules: list[nn.Module], shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(nn.Sequential(*modules)(torch.zeros(2, *shape, dtype=torch.float64)).shape[1:])


def norm_of(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[str, nn.Module] | None:
    affine = draw(st.booleans())
    flag = "(affine)" if affine else ""
    batch = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    choices: list[tuple[str, nn.Module] | None] = [
        None,
        (f"batchnorm{flag}", batch(shape[0], affine=affine)),
        (f"layernorm{flag}", nn.LayerNorm(shape, elementwise_affine=affine)),
    ]
    groups = draw(st.sampled_from([n for n in range(1, shape[0] + 1) if shape[0] % n == 0]))
    settings = f"({groups}, affine)" if affine else f"({groups})"
    choices.append((f"groupnorm{settings}", nn.GroupNorm(groups, shape[0], affine=affine)))
    if len(shape) == 3 and shape[1] * shape[2] > 1:
        choices.append((f"instancenorm{flag}", nn.InstanceNorm2d(shape[0], affine=affine)))
    return draw(st.sampled_from(choices))


def add_layer(draw: st.DrawFn, choice: Choice, token: str, weights: nn.Module, hidden: str) -> None:
    """Append weights, perhaps a normalisation, and an activation."""
    modules: list[nn.Module] = [weights.double()]
    shape = run(modules, choice.shape)
    activation = draw(st.sampled_from([None, *ACTIVATIONS]))
    if activation:
        token = f"{token[:-1]}, {activation})" if token.endswith(")") else f"{token}({activation})"
    choice.tokens.append(token)
    norm = norm_of(draw, shape)
    if norm:
        choice.tokens.append(norm[0])
        modules.append(norm[1].double())
    modules.append(ACTIVATIONS[activation or hidden]())
    choice.modules += modules
    choice.ends.append(len(choice.modules))
    choice.shape = shape


def add_conv(draw: st.DrawFn, choice: Choice, hidden: str) -> None:
    channels, height, width = choice.shape
    groups = draw(st.sampled_from([1, 1, *([channels] if channels > 1 else [])]))
    outputs = groups * draw(st.integers(1, 3))
    kernel, stride = draw(st.sampled_from([1, 3, 5])), draw(st.sampled_from([1, 1, 2]))
    padding = draw(st.sampled_from([None, 0, 1, 2]))
    amount = kernel // 2 if padding is None else padding
    if min(height, width) + 2 * amount < kernel:
        padding, amount = None, kernel // 2
    parts = [str(outputs), f"kernel={kernel}", f"stride={stride}", f"groups={groups}"]
    parts += [] if padding is None else [f"padding={padding}"]
    conv = nn.Conv2d(channels, outputs, kernel, stride, amount, groups=groups)
    add_layer(draw, choice, f"conv({', '.join(parts)})", conv, hidden)


def add_pool(draw: st.DrawFn, choice: Choice) -> None:
    kernel = draw(st.integers(1, min(3, *choice.shape[1:])))
    stride = draw(st.integers(1, 3))
    kind, pool = draw(st.sampled_from([("maxpool", nn.MaxPool2d), ("pool", nn.MaxPool2d), ("avgpool", nn.AvgPool2d)]))
    choice.tokens.append(f"{kind}({kernel}, stride={stride})")
    choice.modules.append(pool(kernel, stride))
    choice.shape = run(choice.modules[-1:], choice.shape)


@st.composite
def choices(draw: st.DrawFn) -> tuple[str, Choice]:
    image = draw(st.sampled_from([True, True, True, False]))
    shape = draw(
        st.tuples(*[st.integers(1, 3), st.integers(4, 9), st.integers(4, 9)]) if image else st.tuples(st.integers(2, 9))
    )
    choice = Choice(["x".join(map(str, shape))], [], [], shape)
    hidden = draw(st.sampled_from(list(ACTIVATIONS)))
    for step in draw(st.lists(st.sampled_from(["pool", "conv", "conv", "dense"]), min_size=2, max_size=4)):
        if len(choice.shape) == 3 and step != "dense":
            add_conv(draw, choice, hidden) if step == "conv" else add_pool(draw, choice)
        elif step == "dense":
            add_dense(draw, choice, hidden)
    add_dense(draw, choice, "identity")
    return f"{'-'.join(choice.tokens)}:{hidden}", choice


def add_dense(draw: st.DrawFn, choice: Choice, hidden: str) -> None:
    if len(choice.shape) == 3:
        choice.modules.append(nn.Flatten())
        choice.shape = run(choice.modules[-1:], choice.shape)
    size = draw(st.integers(2, 6))
    add_layer(draw, choice, str(size), nn.Linear(choice.shape[0], size), hidden)


def model_values(choice: Choice, x: Tensor) -> list[Tensor]:
    """Return the value of each layer of the model."""
    values = []
    for number, module in enumerate(choice.modules, 1):
        x = module(x)
        if number in choice.ends:
            values.append(x)
    return values


@given(choices(), st.integers(0, 2**31))
@hypothesis.settings(max_examples=150, deadline=None)
def test_random_specs_mean_their_models(drawn: tuple[str, Choice], seed: int) -> None:
    spec, choice = drawn
    network = parse_spec(spec)
    x = torch.randn(4, *network.input.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = model_values(choice, x)
    assert [layer.shape for layer in network.layers[1:]] == [tuple(value.shape[1:]) for value in values]

    parameters = initial_parameters(network, torch.Generator().manual_seed(seed), torch.float64)
    own = sum(one.numel() for one in parameters.values())
    assert own == sum(one.numel() for module in choice.modules for one in module.parameters())
    fill(choice, parameters, [layer.name for layer in network.layers[1:]])
    torch.testing.assert_close(forward(network, parameters, x), model_values(choice, x)[-1], rtol=0, atol=1e-10)


def fill(choice: Choice, parameters: dict[str, Tensor], layers: list[str]) -> None:
    """Write the network's parameters into the model: the layers and the connections of a chain go in step."""
    start = 0
    for depth, end in enumerate(choice.ends):
        weights, *rest = [one for one in choice.modules[start:end] if list(one.parameters())]
        weight = parameters[f"c{depth + 1}.weight"]
        with torch.no_grad():
            weights.weight.copy_(weight.T if isinstance(weights, nn.Linear) else weight)
            weights.bias.copy_(parameters[f"c{depth + 1}.bias"])
            for norm in rest:
                norm.weight.copy_(parameters[f"{layers[depth]}.scale"].mul_(1.5))
                norm.bias.copy_(parameters[f"{layers[depth]}.shift"].add_(0.5))
        start = end
