"""Modules that are no network of layers and connections: what the user is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from textwrap import dedent

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from rulec.network import network_from
from rulec.network.graph import Shape
from rulec.source import RuleError


def told(module: nn.Module, shape: Shape | None) -> str:
    """Return the message, with line numbers and the list of what is supported left out."""
    with pytest.raises(RuleError) as error:
        network_from(module, shape)
    text = re.sub(r"supported are .*", "supported are ...", str(error.value))
    return re.sub(r"(test_trace_errors\.py):\d+:", r"\1:N:", text)


def module_of(forward: Callable[..., object], **parts: nn.Module | nn.Parameter) -> nn.Module:
    """Make a module with these parts and this forward pass."""
    module = type("Model", (nn.Module,), {"forward": forward})()
    for name, part in parts.items():
        setattr(module, name, part)
    return module


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x)[0]


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.value(x) * torch.sigmoid(self.gate(x))


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return self.fc(x)
        return x


class Overwriting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        z = self.a(x)
        y = F.relu(z, inplace=True)
        return self.b(y + z)


def test_unsupported_modules_are_all_named() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.PReLU(), Attention())
    assert told(module, (4,)) == dedent("""\
        error[unsupported-call]: `1` (PReLU) cannot be mapped to layers and connections
           = note: in the trace: _1 = call_module[1](_0)
           = note: supported are ...
           = help: build it from supported ones, or trace the part of the network without it

        error[unsupported-call]: `2.attention` (MultiheadAttention) cannot be mapped to layers and connections
           = note: in the trace: _2_attention = call_module[2.attention](_1, _1, _1)
           = note: at test_trace_errors.py:N: return self.attention(x, x, x)[0]
           = note: supported are ...
           = help: build it from supported ones, or trace the part of the network without it""")


def test_supported_modules_are_listed() -> None:
    with pytest.raises(RuleError) as error:
        network_from(nn.Sequential(nn.Linear(4, 4), nn.PReLU()), (4,))
    assert (
        "supported are `Linear`, `Conv2d`, `BatchNorm1d`, `BatchNorm2d`, `LayerNorm`, `GroupNorm`, `InstanceNorm2d`, "
        "`ReLU`, `Tanh`, `Sigmoid`, `Softplus`, `ELU`, `LeakyReLU`, `GELU`, `SiLU`, `SELU`, `Softsign`, `Softmax`, "
        "`MaxPool2d`, `AvgPool2d`, `AdaptiveAvgPool2d`, `AdaptiveMaxPool2d`, `Flatten`, `ZeroPad2d`, `Identity`, "
        "`Dropout`, `Dropout2d`\n"
    ) in str(error.value)


def test_unsupported_function() -> None:
    assert told(Gated(), (4,)) == dedent("""\
        error[unsupported-call]: the function `mul` cannot be mapped to layers and connections
           = note: in the trace: mul = call_function[mul](value, sigmoid)
           = note: at test_trace_errors.py:N: return self.value(x) * torch.sigmoid(self.gate(x))
           = note: supported are ...
           = help: build it from supported ones, or trace the part of the network without it""")


def test_control_flow() -> None:
    assert told(Branching(), (4,)) == dedent("""\
        error[untraceable-module]: the forward pass of `Branching` cannot be traced
           = note: symbolically traced variables cannot be used as inputs to control flow
           = note: at test_trace_errors.py:N: if x.sum() > 0:
           = help: keep decisions on values out of `forward`: what it does may depend on settings alone""")


def test_value_read_after_it_was_overwritten() -> None:
    assert told(Overwriting(), (4,)) == dedent("""\
        error[read-after-in-place]: the function `add` reads a value that was overwritten in place
           = note: it was overwritten by the function `relu`
           = note: in the trace: add = call_function[add](relu, a)
           = note: at test_trace_errors.py:N: return self.b(y + z)
           = help: use the result of the overwriting call, or its form with `inplace=False`""")


def test_value_overwritten_by_a_call_whose_result_is_dropped() -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        z = self.a(x)
        flat = z.view(-1, 4)
        flat.relu_()
        return self.b(z)

    text = told(module_of(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 2)), (4,))
    assert text.startswith(
        "error[read-after-in-place]: `b` (Linear) reads a value that was overwritten in place\n"
        "   = note: it was overwritten by the method `relu_`\n"
    )


def test_weights_used_twice() -> None:
    layer, tied = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    assert told(nn.Sequential(layer, nn.ReLU(), layer), (4,)) == dedent("""\
        error[shared-weights]: the weights of `0` (Linear) are used twice
           = note: the module is called twice
           = note: every connection of a rule has synapses of its own
           = note: in the trace: _0_1 = call_module[0](_1)
           = help: give each use a module of its own""")
    assert told(tied, (4,)) == dedent("""\
        error[shared-weights]: the weights of `1` (Linear) are used twice
           = note: they were first used by `0` (Linear)
           = note: every connection of a rule has synapses of its own
           = note: in the trace: _1 = call_module[1](_0)
           = help: give each use a module of its own""")


def test_activations_and_plain_normalisations_may_be_shared() -> None:
    relu, norm = nn.ReLU(), nn.LayerNorm(4, elementwise_affine=False)
    module = nn.Sequential(nn.Linear(4, 4), norm, relu, nn.Linear(4, 4), norm, relu, nn.Linear(4, 4))
    assert [layer.activation for layer in network_from(module, (4,)).layers[1:]] == ["relu", "relu", "identity"]


def test_shapes_that_do_not_fit() -> None:
    text = told(nn.Sequential(nn.Linear(4, 4), nn.Linear(3, 4)), (4,))
    assert re.sub(r"torch says: .*", "torch says: ...", text) == dedent("""\
        error[failed-call]: `1` (Linear) cannot be applied to what reaches it
           = note: it sees shape 4, the batch axis left out
           = note: torch says: ...
           = note: in the trace: _1 = call_module[1](_0)
           = help: give the module's own `input_shape`, or mend the sizes along the way""")


def test_shapes_of_input() -> None:
    assert told(nn.Linear(4, 4), (28, 28)) == dedent("""\
        error[input-rank]: an input has 1 or 3 sizes, not 2
           = help: write `1x28x28`""")
    assert told(nn.Linear(4, 4), None) == dedent("""\
        error[missing-input-shape]: the shape of the input of `Linear` is not known
           = help: give it without the batch axis: `input_shape=(1, 28, 28)`""")


def test_more_than_one_input_or_output() -> None:
    two_in = module_of(lambda self, x, y: self.a(x) + y, a=nn.Linear(4, 4))
    two_out = module_of(lambda self, x: (self.a(x), x), a=nn.Linear(4, 4))
    assert told(two_in, (4,)) == dedent("""\
        error[several-inputs]: `Model` takes more than one input
           = note: they are `x`, `y`
           = help: wrap it in a module whose `forward` takes the data alone""")
    assert told(two_out, (4,)) == dedent("""\
        error[several-outputs]: `Model` does not return one tensor
           = note: it returns a value of type `tuple`
           = help: wrap it in a module whose `forward` returns the prediction alone""")


@pytest.mark.parametrize("module", [nn.ReLU(), nn.Sequential(nn.Flatten()), module_of(lambda self, x: x)])
def test_no_weights(module: nn.Module) -> None:
    assert told(module, (4,)).startswith("error[no-weights]: `")


def test_dropout_in_training() -> None:
    assert told(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.3), nn.Linear(4, 4)), (4,)) == dedent("""\
        error[unsupported-setting]: `1` (Dropout) cannot be mapped: it drops values at random, p = 0.3
           = note: in the trace: _1 = call_module[1](_0)
           = help: set `p=0`, or call `.eval()` on it before tracing""")


def hooked() -> nn.Module:
    layer = nn.Linear(4, 4)
    layer.register_forward_hook(lambda module, inputs, output: output * 2)
    return layer


CONV = nn.Conv2d(1, 2, 3)
SETTINGS: list[tuple[nn.Module, Shape, str]] = [
    (nn.Sequential(nn.LeakyReLU(0.2)), (4,), "`0` (LeakyReLU) cannot be mapped: its `negative_slope` is 0.2"),
    (nn.Sequential(nn.GELU("tanh")), (4,), "`0` (GELU) cannot be mapped: its `approximate` is 'tanh'"),
    (nn.Sequential(nn.ELU(2.0)), (4,), "`0` (ELU) cannot be mapped: its `alpha` is 2.0"),
    (nn.Sequential(nn.Softplus(2)), (4,), "`0` (Softplus) cannot be mapped: its `beta` is 2"),
    (
        nn.Sequential(CONV, nn.Softmax(dim=1)),
        (1, 5, 5),
        "`1` (Softmax) cannot be mapped: softmax is over the features of a dense layer",
    ),
    (nn.Sequential(hooked()), (4,), "`0` (Linear) cannot be mapped: hooks or parametrisations change what it computes"),
    (
        nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4))),
        (4,),
        "`0` (ParametrizedLinear) cannot be mapped: hooks or parametrisations change what it computes",
    ),
    (
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect")),
        (1, 5, 5),
        '`0` (Conv2d) cannot be mapped: it pads by "reflect"',
    ),
    (
        nn.Sequential(CONV, nn.Linear(3, 3)),
        (1, 5, 5),
        "`1` (Linear) cannot be mapped: it sees 3 axes besides the batch",
    ),
    (
        nn.Sequential(CONV, nn.LayerNorm(3)),
        (1, 5, 5),
        "`1` (LayerNorm) cannot be mapped: it normalises only a part of each sample",
    ),
    (nn.Sequential(nn.LayerNorm(4, bias=False)), (4,), "`0` (LayerNorm) cannot be mapped: it has a scale and no shift"),
    (
        nn.Sequential(CONV, nn.MaxPool2d(2, ceil_mode=True)),
        (1, 5, 5),
        "`1` (MaxPool2d) cannot be mapped: it rounds the number of windows up",
    ),
    (
        nn.Sequential(CONV, nn.MaxPool2d(2, 1, dilation=2)),
        (1, 6, 6),
        "`1` (MaxPool2d) cannot be mapped: its windows are dilated",
    ),
    (
        nn.Sequential(CONV, nn.AvgPool2d(2, divisor_override=3)),
        (1, 6, 6),
        "`1` (AvgPool2d) cannot be mapped: it has a divisor of its own",
    ),
    (
        nn.Sequential(CONV, nn.AdaptiveAvgPool2d(2)),
        (1, 5, 5),
        "`1` (AdaptiveAvgPool2d) cannot be mapped: 3x3 places do not divide evenly into 2x2",
    ),
    (
        module_of(lambda self, x: self.a(x).mean(1), a=nn.Linear(4, 4)),
        (4,),
        "the method `mean` cannot be mapped: a mean is taken over height and width alone",
    ),
    (
        module_of(lambda self, x: F.pad(self.a(x), (1, 1), value=1.0), a=CONV),
        (1, 5, 5),
        "the function `pad` cannot be mapped: it pads with other values than zero",
    ),
    (
        module_of(lambda self, x: F.pad(self.a(x), (0, 0, 0, 0, 1, 1)), a=CONV),
        (1, 5, 5),
        "the function `pad` cannot be mapped: it does more than pad height and width",
    ),
    (
        module_of(lambda self, x: F.pad(self.a(x), (-1, 0)), a=CONV),
        (1, 5, 5),
        "the function `pad` cannot be mapped: it does more than pad height and width",
    ),
    (
        module_of(lambda self, x: self.a(x) + 1, a=nn.Linear(4, 4)),
        (4,),
        "the function `add` cannot be mapped: it adds a number",
    ),
    (
        module_of(lambda self, x: 1.5 + self.a(x), a=nn.Linear(4, 4)),
        (4,),
        "the function `add` cannot be mapped: it adds a number",
    ),
    (
        module_of(lambda self, x: torch.add(self.a(x), x, alpha=2), a=nn.Linear(4, 4)),
        (4,),
        "the function `add` cannot be mapped: it scales what it adds",
    ),
    (
        module_of(lambda self, x: self.a(x) + x, a=nn.Linear(4, 1)),
        (4,),
        "the function `add` cannot be mapped: it adds values of different shapes",
    ),
    (
        module_of(lambda self, x: torch.cat([self.a(x), x]), a=nn.Linear(4, 4)),
        (4,),
        "the function `cat` cannot be mapped: it mixes the samples of a batch",
    ),
    (
        module_of(lambda self, x: torch.cat([self.a(x), self.a(x)], 3), a=nn.Identity()),
        (1, 5, 5),
        "the function `cat` cannot be mapped: it joins along another axis than channels or features",
    ),
    (
        module_of(lambda self, x: self.a(x.view(-1, 1, 2, 2)), a=nn.Conv2d(1, 2, 1)),
        (4,),
        "the method `view` cannot be mapped: it is neither a flattening nor the same shape",
    ),
    (
        module_of(lambda self, x: self.a(x.reshape(-1, 4)), a=nn.Linear(4, 4)),
        (1, 4, 4),
        "the method `reshape` cannot be mapped: it mixes the samples of a batch",
    ),
    (
        module_of(lambda self, x: self.a(x.unsqueeze(2)), a=nn.Linear(1, 3)),
        (4,),
        "`a` (Linear) cannot be mapped: a value of shape 4x1 stands where the layers have 4",
    ),
    (
        module_of(lambda self, x: self.a(x).unsqueeze(2), a=nn.Linear(4, 3)),
        (4,),
        "the result cannot be mapped: a value of shape 3x1 stands where the layers have 3",
    ),
    (
        module_of(lambda self, x: self.a(x).softmax(1, dtype=torch.float64), a=nn.Linear(4, 3)),
        (4,),
        "the method `softmax` cannot be mapped: it changes the type of the numbers",
    ),
]


@pytest.mark.parametrize(("module", "shape", "headline"), SETTINGS, ids=[headline for _, _, headline in SETTINGS])
def test_unsupported_settings(module: nn.Module, shape: Shape, headline: str) -> None:
    lines = told(module, shape).splitlines()
    assert lines[0] == f"error[unsupported-setting]: {headline}"
    assert lines[1].startswith("   = note: in the trace: ")
    assert lines[-1].startswith("   = help: ")


CALLS: list[tuple[nn.Module, Shape, str]] = [
    (
        module_of(lambda self, x: self.a(x.transpose(2, 3).flatten(1)), a=nn.Linear(8, 4)),
        (2, 2, 2),
        "the method `transpose`",
    ),
    (
        module_of(lambda self, x: self.a(x) + self.p, a=nn.Linear(4, 4), p=nn.Parameter(torch.ones(4))),
        (4,),
        "the tensor `p`",
    ),
    (module_of(lambda self, x: self.a(x[:, :2]), a=nn.Linear(2, 4)), (4,), "the function `getitem`"),
    (module_of(lambda self, x: self.a(x.nonsense()), a=nn.Linear(4, 4)), (4,), "the method `nonsense`"),
    (module_of(lambda self, x: F.linear(x, self.p), p=nn.Parameter(torch.ones(4, 4))), (4,), "the tensor `p`"),
]


@pytest.mark.parametrize(("module", "shape", "what"), CALLS, ids=[what for _, _, what in CALLS])
def test_unsupported_calls(module: nn.Module, shape: Shape, what: str) -> None:
    assert told(module, shape).startswith(f"error[unsupported-call]: {what} cannot be mapped to layers and connections")
