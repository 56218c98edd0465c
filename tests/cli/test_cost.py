"""What a step costs: counted by hand on a small net, by another counter on real ones."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rulec.backend.cost import Cost, step_cost
from rulec.runtime.compiled import CompiledRule
from rulec.runtime.rule import load


def cost_of(compiled: CompiledRule, batch: int = 64) -> Cost:
    return step_cost(compiled.lowered, compiled.network, compiled.leading, compiled.dtype, batch)


def test_by_hand():
    """hebb on 4-2 with 3 samples: lr, w (8), x (12), y (6) and t are 28 numbers of 4 bytes.

    Products: x w (3 x 4 x 2) and x' y (4 x 3 x 2), two operations each. Elementwise: dividing by 3, times lr, plus w (8 each); for
    the loss: log-softmax, times y, its sum (6 each), minus (3), mean (3). The most is alive when the loss multiplies by y: the new w
    (8), the prediction, the log-softmax and the product (6 each).
    """
    cost = cost_of(load("hebb").compile("4-2"), batch=3)
    assert cost.products == 2 * 24 + 2 * 24
    assert cost.elementwise == 3 * 8 + 3 * 6 + 3 + 3
    assert cost.arguments == 28 * 4
    assert cost.peak == 4 * (28 + 8 + 3 * 6)


def test_products_of_backprop_by_hand():
    """Two maps forward, one back (not to the input), two outer products."""
    cost = cost_of(load("backprop").compile("784-128-10"))
    assert cost.products == 2 * 64 * (2 * 784 * 128 + 3 * 128 * 10)
    assert cost.operations == cost.products + cost.elementwise


@pytest.mark.parametrize(
    "name, net",
    [
        ("backprop", "12-7-5"),
        ("blur", "12-7-5"),
        ("adam", "12-7-5"),
        ("sanger", "12-7-5"),
        ("backprop", "2x8x8-conv(3)-pool-5"),
        ("feedback_alignment", "1x6x6-conv(2)-conv(3)-4"),
    ],
)
@pytest.mark.parametrize("population", [None, 3])
def test_products_are_those_of_a_real_run(name, net, population):
    compiled = load(name).compile(net, population=population)
    x = torch.randn(9, *compiled.network.input.shape)
    y = torch.randint(compiled.network.output.shape[0], (9,))
    genome, state = compiled.init_genome(), compiled.init_state()
    with FlopCounterMode(display=False) as counter:
        compiled(genome, state, x, y)
    assert cost_of(compiled, 9).products == counter.get_total_flops() > 0


def test_a_population_costs_as_many_times_as_it_has_members():
    alone, many = (cost_of(load("backprop").compile("20-10-5", population=p), 8) for p in (1, 6))
    assert many.products == 6 * alone.products
    assert many.elementwise == 6 * alone.elementwise


def test_the_data_are_shared_by_a_population():
    alone, many = (cost_of(load("hebb").compile("20-5", population=p), 8) for p in (1, 6))
    data = 4 * (8 * 20 + 8 * 5 + 1)
    assert many.arguments - data == 6 * (alone.arguments - data)


def test_counting_takes_no_memory_for_data():
    """A batch of this size would need terabytes."""
    cost = cost_of(load("backprop").compile("1000-1000-10"), batch=10**9)
    assert cost.peak > 4 * 10**12


def test_traffic_counts_what_is_read_and_written():
    """sgd's update alone: at least w and its gradient are read, and the new w written."""
    compiled = load("sgd").compile("200-100")
    assert cost_of(compiled, 1).traffic >= 3 * 4 * 200 * 100
    assert cost_of(compiled, 1).peak < cost_of(compiled, 1).traffic
