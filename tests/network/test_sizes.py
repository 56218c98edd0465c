"""Shapes and counts against torch, which knows them independently."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rulec.network import parse_spec
from rulec.network.graph import Add, Concat, Connection, Conv, Flatten, Leaf, Pad, Pool
from rulec.network.sizes import (
    fan_in,
    fan_out,
    parameter_count,
    path_shape,
    weighted_shape,
    weights_shape,
    window_count,
)


@given(
    size=st.integers(1, 30),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 4),
    dilation=st.integers(1, 3),
)
@settings(max_examples=300, deadline=None)
def test_window_count_is_that_of_a_sliding_window(
    size: int, kernel: int, stride: int, padding: int, dilation: int
) -> None:
    last = size + 2 * padding - dilation * (kernel - 1)
    assert max(0, window_count(size, kernel, stride, padding, dilation)) == len(range(0, max(0, last), stride))


@pytest.mark.parametrize(
    ("outputs", "inputs", "groups", "kernel"),
    [
        (6, 4, 1, (3, 5)),
        (6, 4, 2, (1, 1)),
        (4, 4, 4, (3, 3)),
    ],
)
def test_convolution_sizes_are_those_of_torch(outputs: int, inputs: int, groups: int, kernel: tuple[int, int]) -> None:
    module = nn.Conv2d(inputs, outputs, kernel, stride=2, groups=groups)
    conv = Conv(inputs, outputs, kernel, (2, 2), groups=groups)
    connection = Connection("c1", Leaf("input"), conv, "output", (inputs, 9, 9), True)
    weight = module.weight
    assert weights_shape(conv) == weight.shape
    assert (fan_in(connection), fan_out(connection)) == (
        weight[0].numel(),
        weight.shape[0] // groups * weight[0, 0].numel(),
    )
    assert parameter_count(connection) == sum(one.numel() for one in module.parameters())
    assert weighted_shape(conv, (inputs, 9, 9)) == module(torch.zeros(1, inputs, 9, 9)).shape[1:]


def test_dense_fans_are_inputs_and_outputs() -> None:
    connection = parse_spec("7-3").connections[0]
    assert (fan_in(connection), fan_out(connection), parameter_count(connection)) == (7, 3, 24)


def test_connection_without_weights_counts_one_value() -> None:
    connection = parse_spec("3x8x8-conv(10)-globalpool").connections[-1]
    assert (fan_in(connection), fan_out(connection), parameter_count(connection)) == (1, 1, 0)


def test_path_shapes() -> None:
    network = parse_spec("3x8x6-conv(5)-2")
    leaf, image = Leaf("hidden1"), Leaf("input")
    assert path_shape(network, leaf) == (5, 8, 6)
    assert path_shape(network, Concat((leaf, image, leaf))) == (13, 8, 6)
    assert path_shape(network, Add((leaf, leaf))) == (5, 8, 6)
    assert path_shape(network, Pad(leaf, (1, 2, 3, 4))) == (5, 15, 9)
    assert path_shape(network, Pool(leaf, "max", (3, 2), (2, 1), (1, 0))) == (5, 4, 5)
    assert path_shape(network, Flatten(Pool(leaf, "avg", (2, 2), (2, 2)))) == (60,)
