"""Specs: what each token means."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rulec.network import network_from, parse_spec
from rulec.network.graph import Connection, Conv, Dense, Flatten, Layer, Leaf, Network, Norm, Pool


def shapes(network: Network) -> list[tuple[int, ...]]:
    return [layer.shape for layer in network.layers]


def test_dense_network_is_this_graph() -> None:
    assert parse_spec("784-128-10") == Network(
        layers=(
            Layer("input", (784,)),
            Layer("hidden1", (128,), "relu", None, "128"),
            Layer("output", (10,), "identity", None, "10"),
        ),
        connections=(
            Connection("c1", Leaf("input"), Dense(784, 128), "hidden1", (784,), True, "128"),
            Connection("c2", Leaf("hidden1"), Dense(128, 10), "output", (128,), True, "10"),
        ),
        spec="784-128-10",
    )


def test_blanks_mean_nothing() -> None:
    spaced = parse_spec(" 1x8x8 - conv( 4 , stride = 2 ) - 10 : tanh ")
    assert spaced.layers[1].activation == "tanh"
    assert [one.weights for one in spaced.connections] == [
        one.weights for one in parse_spec("1x8x8-conv(4,stride=2)-10:tanh").connections
    ]


@pytest.mark.parametrize(
    ("spec", "activations"),
    [
        ("4-8-8-2", ["relu", "relu", "identity"]),
        ("4-8-8-2:tanh", ["tanh", "tanh", "identity"]),
        ("4-8(sin)-8-2(softmax)", ["sin", "relu", "softmax"]),
        ("4-8-8(identity)-2(sigmoid):elu", ["elu", "identity", "sigmoid"]),
        ("1x8x8-conv(4, gelu)-conv(4, activation=selu)-2", ["gelu", "selu", "identity"]),
        ("1x8x8-conv(4)-conv(2)-globalpool", ["relu", "identity", "identity"]),
    ],
)
def test_activations(spec: str, activations: list[str]) -> None:
    assert [layer.activation for layer in parse_spec(spec).layers[1:]] == activations


@pytest.mark.parametrize(
    ("token", "conv"),
    [
        ("conv(6)", Conv(4, 6, (3, 3), (1, 1), (1, 1))),
        ("conv(6, kernel=5)", Conv(4, 6, (5, 5), (1, 1), (2, 2))),
        ("conv(6, kernel=1)", Conv(4, 6, (1, 1))),
        ("conv(6, kernel=5, stride=2, padding=0, groups=2)", Conv(4, 6, (5, 5), (2, 2), (0, 0), (1, 1), 2)),
        ("conv(6, kernel=1x3, stride=2x1)", Conv(4, 6, (1, 3), (2, 1), (0, 1))),
        ("conv(6, dilation=2)", Conv(4, 6, (3, 3), (1, 1), (2, 2), (2, 2))),
        ("conv(channels=6)", Conv(4, 6, (3, 3), (1, 1), (1, 1))),
    ],
)
def test_convolutions(token: str, conv: Conv) -> None:
    assert parse_spec(f"4x12x12-{token}-10").connections[0].weights == conv


def test_padding_of_half_the_kernel_keeps_places() -> None:
    for token in ("conv(6)", "conv(6, kernel=5)", "conv(6, kernel=1)", "conv(6, dilation=3)", "conv(6, kernel=3x7)"):
        assert parse_spec(f"4x12x11-{token}-10").layers[1].shape == (6, 12, 11)


def test_convolutions_in_a_row() -> None:
    network = parse_spec("3x32x32-conv4(16, stride=2)-batchnorm-5")
    assert shapes(network) == [(3, 32, 32), (16, 16, 16), (16, 8, 8), (16, 4, 4), (16, 2, 2), (5,)]
    assert [layer.norm for layer in network.layers] == [None, *[Norm("batch")] * 4, None]
    assert [layer.name for layer in network.layers] == ["input", "hidden1", "hidden2", "hidden3", "hidden4", "output"]
    assert [one.name for one in network.connections] == ["c1", "c2", "c3", "c4", "c5"]


def test_convolutions_in_a_row_with_pooling_are_the_few_shot_backbone() -> None:
    network = parse_spec("1x28x28-conv4(64, pool=2)-batchnorm-5")
    assert [one.input_shape for one in network.connections] == [
        (1, 28, 28),
        (64, 14, 14),
        (64, 7, 7),
        (64, 3, 3),
        (64,),
    ]


@pytest.mark.parametrize(
    ("token", "path", "features"),
    [
        ("pool", Pool(Leaf("hidden1"), "max", (2, 2), (2, 2)), 4 * 4 * 4),
        ("pool(4)", Pool(Leaf("hidden1"), "max", (4, 4), (4, 4)), 4 * 2 * 2),
        ("maxpool(3, stride=2)", Pool(Leaf("hidden1"), "max", (3, 3), (2, 2)), 4 * 3 * 3),
        ("maxpool(3, stride=2, padding=1)", Pool(Leaf("hidden1"), "max", (3, 3), (2, 2), (1, 1)), 4 * 4 * 4),
        ("avgpool(2)", Pool(Leaf("hidden1"), "avg", (2, 2), (2, 2)), 4 * 4 * 4),
        ("avgpool(1x8)", Pool(Leaf("hidden1"), "avg", (1, 8), (1, 8)), 4 * 8),
        ("globalpool", Pool(Leaf("hidden1"), "avg", (8, 8), (8, 8)), 4),
    ],
)
def test_pooling_lies_on_the_path(token: str, path: Pool, features: int) -> None:
    last = parse_spec(f"1x8x8-conv(4)-{token}-10").connections[-1]
    assert last.path == Flatten(path)
    assert (last.input_shape, last.weights) == ((features,), Dense(features, 10))


def test_dense_flattens_by_itself() -> None:
    assert parse_spec("3x4x4-7").connections == parse_spec("3x4x4-flatten-7").connections
    assert parse_spec("3x4x4-7").connections[0].path == Flatten(Leaf("input"))


def test_global_pooling_gives_the_outputs() -> None:
    network = parse_spec("3x8x8-conv(10)-globalpool")
    assert shapes(network) == [(3, 8, 8), (10, 8, 8), (10,)]
    assert network.connections[-1] == Connection(
        "c2", Flatten(Pool(Leaf("hidden1"), "avg", (8, 8), (8, 8))), None, "output", (10,)
    )


@pytest.mark.parametrize(
    ("token", "norm"),
    [
        ("batchnorm", Norm("batch")),
        ("batchnorm(affine)", Norm("batch", affine=True)),
        ("layernorm", Norm("layer")),
        ("instancenorm(affine)", Norm("instance", affine=True)),
        ("groupnorm(4)", Norm("group", groups=4)),
        ("groupnorm(2, affine)", Norm("group", affine=True, groups=2)),
    ],
)
def test_normalisation_belongs_to_the_layer_before(token: str, norm: Norm) -> None:
    network = parse_spec(f"1x8x8-conv(8, tanh)-{token}-pool-10-layernorm")
    assert [layer.norm for layer in network.layers] == [None, norm, Norm("layer")]
    assert network.layers[1].activation == "tanh"


def test_task_gives_what_the_spec_leaves_out() -> None:
    explicit = parse_spec("3x8x8-conv2(4)-5")
    for spec in ("conv2(4)", "?-conv2(4)-?", "3x8x8-conv2(4)", "conv2(4)-5", "?-conv2(4)"):
        network = network_from(spec, (3, 8, 8), 5)
        assert shapes(network) == shapes(explicit)
        assert [one.weights for one in network.connections] == [one.weights for one in explicit.connections]


def test_lone_globalpool_gets_outputs_only_if_they_differ() -> None:
    assert shapes(parse_spec("conv(4)-globalpool", (3, 8, 8), 4))[-2:] == [(4, 8, 8), (4,)]
    assert shapes(parse_spec("conv(4)-globalpool", (3, 8, 8), 6))[-2:] == [(4, 8, 8), (6,)]


def test_input_alone_is_a_linear_classifier() -> None:
    assert shapes(parse_spec("784", outputs=10)) == [(784,), (10,)]


def test_flat_input_of_the_same_size_fits_the_task() -> None:
    assert parse_spec("784-10", (1, 28, 28)).input.shape == (784,)


def test_network_passes_through() -> None:
    network = parse_spec("4-2")
    assert network_from(network) is network


def test_specs_do_without_torch() -> None:
    code = (
        "import sys, rulec.network as n; n.render_network(n.network_from('1x8x8-conv(4)-2')); "
        "print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
