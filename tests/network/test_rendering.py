"""The table of a network."""

from __future__ import annotations

from textwrap import dedent

from torch import nn

from rulec.network import network_from, parse_spec, render_network
from rulec.network.graph import Add, Concat, Leaf, Pad, Pool
from rulec.network.rendering import render_path


def test_table_of_a_spec() -> None:
    spec = "2x8x8-conv(4, groups=2, stride=2)-groupnorm(2, affine)-maxpool(3, stride=1)-5(tanh)-3"
    assert render_network(parse_spec(spec)) == dedent(f"""\
        network {spec}
        layer    shape  norm             activation  connection  from                             weights                                              parameters
        input    2x8x8                   identity
        hidden1  4x4x4  group(2) affine  relu        c1          input                            conv 2 -> 4, 3x3, stride 2x2, padding 1x1, groups 2          40
        hidden2  5                       tanh        c2          flatten(max 3x3 / 1x1(hidden1))  dense 16 -> 5                                                85
        output   3                       identity    c3          hidden2                          dense 5 -> 3                                                 18
        151 parameters""")


def test_parameters_are_counted_as_torch_counts_them() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3, groups=3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 7, bias=False),
        nn.LayerNorm(7),
        nn.Linear(7, 2),
    )
    count = sum(one.numel() for one in module.parameters())
    assert render_network(network_from(module, (3, 4, 4))).endswith(f"\n{count} parameters")


def test_paths() -> None:
    a, b = Leaf("a"), Leaf("b")
    path = Concat((Add((a, b)), Pad(Pool(b, "avg", (2, 3), (2, 3)), (1, 0, 2, 0))))
    assert render_path(path) == "concat(a + b, pad(avg 2x3(b), 1 0 2 0))"
