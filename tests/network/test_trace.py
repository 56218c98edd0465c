"""Traced modules: the network computes what the module computes, and has the structure it should have."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rulec.network import network_from
from rulec.network.graph import Add, Concat, Conv, Flatten, Layer, Leaf, Network, Norm, Pad, Pool, Shape
from rulec.network.parameters import forward, parameters_from


def traced(module: nn.Module, shape: Shape) -> Network:
    """Trace a module, after checking that the network computes the same in float64 with every parameter at random."""
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.1, 0.5)
    network = network_from(module, shape)
    x = torch.randn(5, *shape, dtype=torch.float64)
    parameters = parameters_from(module, network)
    assert sum(one.numel() for one in parameters.values()) == sum(one.numel() for one in module.parameters())
    expected = module(x)
    # Sums in another order differ by roundings of their largest terms: the tolerance is relative to those.
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(forward(network, parameters, x.clone()), expected, rtol=0, atol=1e-12 * scale)
    return network


def summary(network: Network) -> list[tuple[str, Shape, str, list[object]]]:
    return [
        (layer.name, layer.shape, layer.activation, [one.path for one in network.incoming(layer.name)])
        for layer in network.layers[1:]
    ]


# --- Whole architectures ---------------------------------------------------------------------


def test_multilayer_perceptron() -> None:
    network = traced(
        nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 3)), (6,)
    )
    assert summary(network) == [
        ("layer0", (5,), "tanh", [Leaf("input")]),
        ("layer2", (4,), "relu", [Leaf("layer0")]),
        ("output", (3,), "identity", [Leaf("layer2")]),
    ]
    assert [one.bias for one in network.connections] == [True, False, True]
    assert [one.module for one in network.connections] == ["0", "2", "4"]
    assert network.spec == "Sequential"


def test_lone_layer() -> None:
    network = traced(nn.Linear(3, 2), (3,))
    assert summary(network) == [("output", (2,), "identity", [Leaf("input")])]
    assert (network.spec, network.connections[0].module) == ("Linear", "")


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 3, 5, padding=2)
        self.conv2 = nn.Conv2d(3, 4, 5)
        self.fc1 = nn.Linear(4, 8)
        self.fc2 = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.avg_pool2d(torch.tanh(self.conv2(x)), kernel_size=(2, 2))
        x = x.view(x.size(0), -1)
        return self.fc2(F.dropout(self.fc1(x).sigmoid(), training=False))


def test_convolutional_network() -> None:
    network = traced(LeNet(), (1, 12, 12))
    assert summary(network) == [
        ("conv1", (3, 12, 12), "relu", [Leaf("input")]),
        ("conv2", (4, 2, 2), "tanh", [Pool(Leaf("conv1"), "max", (2, 2), (2, 2))]),
        ("fc1", (8,), "sigmoid", [Flatten(Pool(Leaf("conv2"), "avg", (2, 2), (2, 2)))]),
        ("output", (10,), "identity", [Leaf("fc1")]),
    ]


class Block(nn.Module):
    """The basic block of He et al. 2016, as torchvision writes it: one ReLU module, in place, and `+=`."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


def test_residual_network() -> None:
    module = nn.Sequential(
        OrderedDict(
            stem=nn.Sequential(
                nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
            ),
            layer1=nn.Sequential(Block(4, 4)),
            layer2=nn.Sequential(Block(4, 8, 2)),
            pool=nn.AdaptiveAvgPool2d((1, 1)),
            flatten=nn.Flatten(),
            fc=nn.Linear(8, 5),
        )
    )
    stem = Pool(Leaf("stem_0"), "max", (3, 3), (2, 2), (1, 1))
    network = traced(module, (3, 8, 8))
    assert summary(network) == [
        ("stem_0", (4, 8, 8), "relu", [Leaf("input")]),
        ("layer1_0_conv1", (4, 4, 4), "relu", [stem]),
        ("layer1_0_conv2", (4, 4, 4), "identity", [Leaf("layer1_0_conv1")]),
        ("layer1_0_relu", (4, 4, 4), "relu", [Leaf("layer1_0_conv2"), stem]),
        ("layer2_0_conv1", (8, 2, 2), "relu", [Leaf("layer1_0_relu")]),
        ("layer2_0_conv2", (8, 2, 2), "identity", [Leaf("layer2_0_conv1")]),
        ("layer2_0_downsample_0", (8, 2, 2), "identity", [Leaf("layer1_0_relu")]),
        ("layer2_0_relu", (8, 2, 2), "relu", [Leaf("layer2_0_conv2"), Leaf("layer2_0_downsample_0")]),
        ("output", (5,), "identity", [Flatten(Pool(Leaf("layer2_0_relu"), "avg", (2, 2), (2, 2)))]),
    ]
    assert network.layer("layer1_0_conv2").norm == Norm("batch", affine=True, module="layer1.0.bn2")


def test_tracing_leaves_the_module_alone() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    network_from(module, (1, 4, 4))
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])


class PreActivation(nn.Module):
    """He et al. 2016b: normalisation and activation before the weights; the sum stays as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(2, 4, 3, padding=1)
        self.bn1, self.conv1 = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.bn2, self.conv2 = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(x)
        out = self.conv1(F.relu(self.bn1(x)))
        x = x + self.conv2(F.relu(self.bn2(out)))
        return self.fc(x.mean(dim=(2, 3)))


def test_residual_network_with_preactivation() -> None:
    network = traced(PreActivation(), (2, 5, 5))
    assert summary(network) == [
        ("conv0", (4, 5, 5), "identity", [Leaf("input")]),
        ("bn1", (4, 5, 5), "relu", [Leaf("conv0")]),
        ("conv1", (4, 5, 5), "relu", [Leaf("bn1")]),
        ("conv2", (4, 5, 5), "identity", [Leaf("conv0"), Leaf("conv1")]),
        ("output", (3,), "identity", [Flatten(Pool(Leaf("conv2"), "avg", (5, 5), (5, 5)))]),
    ]
    assert [one.weights is None for one in network.connections] == [False, True, False, True, False, False]


class DenselyConnected(nn.Module):
    """Huang et al. 2017: every layer reads the concatenation of all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(2 + 3 * depth, 3, 3, padding=1) for depth in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(2 + 3 * depth) for depth in range(3))
        self.transition = nn.Conv2d(11, 4, 1)
        self.fc = nn.Linear(4 * 3 * 3, 6)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for conv, norm in zip(self.convs, self.norms, strict=True):
            features.append(conv(F.relu(norm(torch.cat(features, 1)))))
        x = F.avg_pool2d(self.transition(torch.cat(features, dim=-3)), 2)
        return self.fc(torch.flatten(x, 1))


def test_densely_connected_network() -> None:
    network = traced(DenselyConnected(), (2, 6, 6))
    convs = tuple(Leaf(f"convs_{depth}") for depth in range(3))
    last = network.connections[-2]
    assert last.path == Concat((Leaf("input"), *convs))
    assert (last.input_shape, last.weights) == ((11, 6, 6), Conv(11, 4, (1, 1)))
    assert network.incoming("norms_2")[0].path == Concat((Leaf("input"), *convs[:2]))
    assert network.connections[-2].sources == ("input", "convs_0", "convs_1", "convs_2")


def test_depthwise_grouped_and_dilated_convolutions() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3, groups=3, padding=(1, 0)),
        nn.ReLU(),
        nn.Conv2d(6, 4, 1, groups=2),
        nn.ReLU(),
        nn.Conv2d(4, 4, (3, 1), stride=(2, 1), dilation=(2, 1), padding="valid"),
        nn.Flatten(),
        nn.Linear(4 * 2 * 5, 2),
    )
    network = traced(module, (3, 7, 7))
    assert [one.weights for one in network.connections[:3]] == [
        Conv(3, 6, (3, 3), (1, 1), (1, 0), (1, 1), 3),
        Conv(6, 4, (1, 1), groups=2),
        Conv(4, 4, (3, 1), (2, 1), (0, 0), (2, 1)),
    ]


def test_sum_of_weights_is_one_layer_with_several_connections() -> None:
    class Merge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(torch.relu(self.a(x) + self.b(torch.sin(x))))

    network = traced(Merge(), (4,))
    assert summary(network) == [
        ("sin", (4,), "sin", [Leaf("input")]),
        ("a", (3,), "relu", [Leaf("input"), Leaf("sin")]),
        ("output", (2,), "identity", [Leaf("a")]),
    ]
    assert [one.name for one in network.incoming("a")] == ["c2", "c3"]


def test_sum_of_finished_layers_read_by_weights_lies_on_the_path() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(x + self.a(x).relu())

    assert traced(Sum(), (4,)).connections[-1].path == Add((Leaf("input"), Leaf("a")))


def test_signal_read_twice_is_settled_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            z = self.a(x)
            return self.b(torch.tanh(z) + z + z)

    network = traced(Twice(), (4,))
    assert summary(network)[:2] == [("a", (4,), "identity", [Leaf("input")]), ("tanh", (4,), "tanh", [Leaf("a")])]
    assert network.connections[-1].path == Add((Leaf("tanh"), Leaf("a"), Leaf("a")))


def test_names_are_unique_and_keep_clear_of_input_and_output() -> None:
    module = nn.Sequential(
        OrderedDict(
            output=nn.Linear(3, 3),
            act=nn.Tanh(),
            input=nn.Sequential(nn.Linear(3, 3), nn.Tanh()),
            input_0=nn.Linear(3, 3),
            relu=nn.ReLU(),
            last=nn.Linear(3, 2),
        )
    )
    assert [one.name for one in traced(module, (3,)).layers] == ["input", "output_2", "input_0", "input_0_2", "output"]


def test_module_that_ends_in_an_activation_or_on_a_path() -> None:
    assert traced(nn.Sequential(nn.Linear(3, 2), nn.Softmax(dim=1)), (3,)).output == Layer(
        "output", (2,), "softmax", None, "0"
    )
    network = traced(nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten()), (1, 3, 3))
    assert network.connections[-1].path == Flatten(Leaf("layer0"))
    assert (network.output.shape, network.connections[-1].weights) == ((8,), None)


# --- Forms of one thing ----------------------------------------------------------------------

Form = Callable[[Tensor], Tensor]


class Between(nn.Module):
    """A form between a convolution with ReLU and a dense layer."""

    def __init__(self, form: Form | nn.Module, features: int) -> None:
        super().__init__()
        self.conv, self.form, self.fc = nn.Conv2d(2, 4, 3, padding=1), form, nn.Linear(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.form(torch.relu(self.conv(x))).flatten(1))


WHOLE = Pool(Leaf("conv"), "avg", (6, 6), (6, 6))
PATHS: list[tuple[Form | nn.Module, Flatten]] = [
    (nn.MaxPool2d(2), Flatten(Pool(Leaf("conv"), "max", (2, 2), (2, 2)))),
    (nn.MaxPool2d(3, stride=2, padding=1), Flatten(Pool(Leaf("conv"), "max", (3, 3), (2, 2), (1, 1)))),
    (nn.MaxPool2d(2, ceil_mode=True), Flatten(Pool(Leaf("conv"), "max", (2, 2), (2, 2)))),
    (lambda x: F.max_pool2d(x, 3, 1), Flatten(Pool(Leaf("conv"), "max", (3, 3), (1, 1)))),
    (lambda x: torch.max_pool2d(x, 2), Flatten(Pool(Leaf("conv"), "max", (2, 2), (2, 2)))),
    (nn.AvgPool2d((2, 3)), Flatten(Pool(Leaf("conv"), "avg", (2, 3), (2, 3)))),
    (nn.AvgPool2d(3, 1, 1, count_include_pad=False), Flatten(Pool(Leaf("conv"), "avg", (3, 3), (1, 1), (1, 1), False))),
    (nn.AvgPool2d(3, 1, 1), Flatten(Pool(Leaf("conv"), "avg", (3, 3), (1, 1), (1, 1)))),
    (lambda x: F.avg_pool2d(x, x.shape[2:]), Flatten(WHOLE)),
    (lambda x: F.avg_pool2d(x, x.size()[-1]), Flatten(WHOLE)),
    (nn.AdaptiveAvgPool2d(1), Flatten(WHOLE)),
    (nn.AdaptiveAvgPool2d((2, None)), Flatten(Pool(Leaf("conv"), "avg", (3, 1), (3, 1)))),
    (lambda x: F.adaptive_avg_pool2d(x, (3, 2)), Flatten(Pool(Leaf("conv"), "avg", (2, 3), (2, 3)))),
    (nn.AdaptiveMaxPool2d(2), Flatten(Pool(Leaf("conv"), "max", (3, 3), (3, 3)))),
    (lambda x: F.adaptive_max_pool2d(x, 1), Flatten(Pool(Leaf("conv"), "max", (6, 6), (6, 6)))),
    (lambda x: x.mean([2, 3]), Flatten(WHOLE)),
    (lambda x: x.mean(dim=(-1, -2), keepdim=True), Flatten(WHOLE)),
    (lambda x: torch.mean(x, (3, 2)), Flatten(WHOLE)),
    (lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1), Flatten(WHOLE)),
    (lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(), Flatten(WHOLE)),
    (lambda x: F.adaptive_avg_pool2d(x, 1).view(-1, 4), Flatten(WHOLE)),
    (lambda x: x.reshape(x.shape[0], -1), Flatten(Leaf("conv"))),
    (lambda x: x.view(x.size(0), 4 * 36), Flatten(Leaf("conv"))),
    (lambda x: torch.flatten(x, start_dim=1), Flatten(Leaf("conv"))),
    (nn.Flatten(), Flatten(Leaf("conv"))),
    (nn.ZeroPad2d((1, 2, 0, 3)), Flatten(Pad(Leaf("conv"), (1, 2, 0, 3)))),
    (nn.ZeroPad2d(1), Flatten(Pad(Leaf("conv"), (1, 1, 1, 1)))),
    (lambda x: F.pad(x, (1, 2)), Flatten(Pad(Leaf("conv"), (1, 2, 0, 0)))),
    (lambda x: F.pad(x, [0, 1, 2, 0], "constant", 0), Flatten(Pad(Leaf("conv"), (0, 1, 2, 0)))),
    (lambda x: torch.cat((x, x), dim=1), Flatten(Concat((Leaf("conv"), Leaf("conv"))))),
    (
        lambda x: torch.cat([F.max_pool2d(x, 2), F.avg_pool2d(x, 2)], 1),
        Flatten(Concat((Pool(Leaf("conv"), "max", (2, 2), (2, 2)), Pool(Leaf("conv"), "avg", (2, 2), (2, 2))))),
    ),
    (lambda x: torch.add(x, x), Flatten(Add((Leaf("conv"), Leaf("conv"))))),
    (lambda x: x.add(x), Flatten(Add((Leaf("conv"), Leaf("conv"))))),
    (lambda x: sum([x, x]), Flatten(Add((Leaf("conv"), Leaf("conv"))))),  # type: ignore[arg-type, return-value]
    (nn.Identity(), Flatten(Leaf("conv"))),
    (nn.Dropout(0.0), Flatten(Leaf("conv"))),
    (nn.Dropout2d(0.5).eval(), Flatten(Leaf("conv"))),
    (lambda x: x.contiguous().clone(), Flatten(Leaf("conv"))),
]


@pytest.mark.parametrize(("form", "path"), PATHS)
def test_operations_between_layers(form: Form | nn.Module, path: Flatten) -> None:
    with torch.no_grad():
        features = form(torch.zeros(2, 4, 6, 6)).flatten(1).shape[1]
    network = traced(Between(form, features), (2, 6, 6))
    assert network.connections[-1].path == path
    assert len(network.layers) == 3


ACTIVATIONS: list[tuple[str, Form | nn.Module]] = [
    ("relu", nn.ReLU()),
    ("relu", nn.ReLU(inplace=True)),
    ("relu", F.relu),
    ("relu", torch.relu),
    ("relu", lambda x: x.relu()),
    ("relu", lambda x: x.relu_()),
    ("relu", lambda x: F.relu(x, True)),
    ("relu", F.relu_),
    ("tanh", nn.Tanh()),
    ("tanh", F.tanh),
    ("tanh", lambda x: x.tanh()),
    ("sigmoid", nn.Sigmoid()),
    ("sigmoid", torch.sigmoid),
    ("sigmoid", lambda x: x.sigmoid_()),
    ("softplus", nn.Softplus()),
    ("softplus", F.softplus),
    ("elu", nn.ELU()),
    ("elu", F.elu),
    ("leaky_relu", nn.LeakyReLU()),
    ("leaky_relu", lambda x: F.leaky_relu(x, inplace=True)),
    ("gelu", nn.GELU()),
    ("gelu", F.gelu),
    ("silu", nn.SiLU()),
    ("silu", F.silu),
    ("selu", nn.SELU()),
    ("selu", F.selu),
    ("softsign", nn.Softsign()),
    ("softsign", F.softsign),
    ("sin", torch.sin),
    ("sin", lambda x: x.sin()),
    ("softmax", nn.Softmax(dim=-1)),
    ("softmax", lambda x: F.softmax(x, dim=1)),
    ("softmax", lambda x: x.softmax(1)),
]


class Around(nn.Module):
    def __init__(self, form: Form | nn.Module) -> None:
        super().__init__()
        self.a, self.form, self.b = nn.Linear(3, 6), form, nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.form(self.a(x)))


@pytest.mark.parametrize(("name", "form"), ACTIVATIONS)
def test_activations(name: str, form: Form | nn.Module) -> None:
    network = traced(Around(form), (3,))
    assert [(layer.name, layer.activation) for layer in network.layers[1:]] == [("a", name), ("output", "identity")]


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        (nn.BatchNorm2d(4), Norm("batch", 1e-5, True, 1, "1")),
        (nn.BatchNorm2d(4, eps=0.01, affine=False), Norm("batch", 0.01, False, 1, "1")),
        (nn.BatchNorm2d(4, track_running_stats=False).eval(), Norm("batch", 1e-5, True, 1, "1")),
        (nn.LayerNorm((4, 3, 3)), Norm("layer", 1e-5, True, 1, "1")),
        (nn.LayerNorm((4, 3, 3), elementwise_affine=False), Norm("layer", 1e-5, False, 1, "1")),
        (nn.GroupNorm(2, 4), Norm("group", 1e-5, True, 2, "1")),
        (nn.InstanceNorm2d(4), Norm("instance", 1e-5, False, 1, "1")),
        (nn.InstanceNorm2d(4, affine=True), Norm("instance", 1e-5, True, 1, "1")),
    ],
)
def test_normalisations(norm: nn.Module, expected: Norm) -> None:
    network = traced(nn.Sequential(nn.Conv2d(2, 4, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(36, 2)), (2, 5, 5))
    assert network.layer("layer0") == Layer("layer0", (4, 3, 3), "relu", expected, "0")


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(6), nn.LayerNorm(6), nn.GroupNorm(3, 6)])
def test_normalisations_of_features(norm: nn.Module) -> None:
    network = traced(nn.Sequential(nn.Linear(4, 6), norm, nn.Tanh(), nn.Linear(6, 2)), (4,))
    assert len(network.layers) == 3


def test_normalisation_after_an_activation_or_of_the_input_is_a_layer_of_its_own() -> None:
    module = nn.Sequential(
        nn.BatchNorm1d(3), nn.Linear(3, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.LayerNorm(6), nn.Linear(6, 2)
    )
    network = traced(module, (3,))
    assert [(layer.name, layer.norm.kind if layer.norm else None, layer.activation) for layer in network.layers] == [
        ("input", None, "identity"),
        ("layer0", "batch", "identity"),
        ("layer1", None, "relu"),
        ("layer3", "batch", "identity"),
        ("layer4", "layer", "identity"),
        ("output", None, "identity"),
    ]


@pytest.mark.parametrize(("kernel", "pad"), [(3, None), ((3, 1), None), (2, (0, 1, 0, 1)), ((4, 3), (1, 1, 1, 2))])
def test_same_padding(kernel: int | tuple[int, int], pad: tuple[int, int, int, int] | None) -> None:
    conv = nn.Conv2d(1, 2, kernel, padding="same")
    network = traced(nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(2 * 30, 2)), (1, 5, 6))
    assert network.connections[0].path == (Leaf("input") if pad is None else Pad(Leaf("input"), pad))
    assert network.layers[1].shape == (2, 5, 6)


class Wide(nn.Conv2d):
    """A convolution with other defaults, as people write them; it computes as its parent does."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 5, padding=2)


def test_subclass_with_the_code_of_its_parent_is_its_parent() -> None:
    network = traced(nn.Sequential(Wide(1, 2), nn.Flatten(), nn.Linear(32, 2)), (1, 4, 4))
    assert network.connections[0].weights == Conv(1, 2, (5, 5), (1, 1), (2, 2))


class Settings(nn.Module):
    """What `forward` decides by settings is decided while tracing; unused branches are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.unused = nn.Linear(3, 3), nn.Linear(3, 2), nn.MultiheadAttention(3, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None, *, twice: bool = False) -> Tensor:
        if mask is not None:
            x = x * mask
        x = torch.relu(self.a(x))
        self.unused(x, x, x)
        return self.b(x + x if twice else x)


def test_settings_of_forward_are_decided_while_tracing() -> None:
    network = network_from(Settings(), (3,))
    assert summary(network) == [("a", (3,), "relu", [Leaf("input")]), ("output", (2,), "identity", [Leaf("a")])]


def test_unit_axes_may_come_and_go() -> None:
    class Units(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).unsqueeze(-1).squeeze(-1).tanh())

    assert len(traced(Units(), (3,)).layers) == 3


def test_convolutional_output() -> None:
    assert traced(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 3)), (1, 6, 6)).output.shape == (3, 2, 2)
