"""What a step costs: counted by hand on a small net, by another counter on real ones."""

from __future__ import annotations

import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rulec.backend.cost import step_cost
from rulec.backend.counting import Cost
from rulec.cli.cost import _scale
from rulec.runtime.compiled import CompiledRule
from rulec.runtime.rule import load


def cost_of(compiled: CompiledRule, batch: int = 64) -> Cost:
    return step_cost(compiled.lowered, compiled.network, compiled.leading, compiled.dtype, batch)


def test_by_hand():
    """hebb on 4-2 with 3 samples: lr, w (8), x (12), y (6) and t are 28 numbers of 4 bytes.

    Products: x w (3 x 4 x 2) and x' y (4 x 3 x 2), two operations each. Elementwise: lr / 3 (1), times that, plus w (8 each); for
    the loss: log-softmax, times y, its sum (6 each), minus (3), mean (3). The most is alive when the loss multiplies by y: the new w
    (8), the prediction, the log-softmax and the product (6 each).
    """
    cost = cost_of(load("hebb").compile("4-2"), batch=3)
    assert cost.products == 2 * 24 + 2 * 24
    assert cost.elementwise == 1 + 2 * 8 + 3 * 6 + 3 + 3
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


# --- The table of all stages -----------------------------------------------------------------


def rows(out: str) -> dict[str, list[str]]:
    """Return the cells of the table by the name of their row, words and numbers apart at two blanks."""
    lines = out.split("\n\n")[1].splitlines()
    return {cells[0]: cells[1:] for cells in (re.split(r"  +", line.strip()) for line in lines)}


def test_the_table_of_blur(rulec):
    answer = rulec("show", "blur", "--net", "784-128-10", "--cost")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("blur on 784-128-10: one step on 64 samples\n\nstage  ")
    table = rows(answer.out)
    assert list(table) == [
        "stage",
        "M",
        "-" * 40,
        "as written",
        "contractions",
        "multiples",
        "absorb",
        "states that no prediction reads left out",
        "what is the same in every step taken out",
        "its reverse",
        "both",
        "both, rewritten",
    ]
    assert table["stage"] == ["products", "elementwise", "moved", "peak", "bound", "unfused"]
    assert all(len(cells) == 6 for name, cells in table.items() if name not in ("M", "-" * 40))
    assert float(table["as written"][0]) == 0 < float(table["absorb"][0])
    moved = [
        float(cells[2])
        for name, cells in table.items()
        if name in ("as written", "contractions", "multiples", "absorb")
    ]
    assert moved == sorted(moved, reverse=True)
    assert all(float(cells[4]) <= float(cells[5]) * 1.01 for cells in list(table.values())[3:])
    assert "Passes that change none of it: fold 1, fold 2, share 1, fold 3, share 2.\n" in answer.out
    assert "v.c1 is not carried: only its own next value reads it.\n" in answer.out
    assert re.search(
        r"A step keeps \d+ kB for its reverse\.\nForward, planned memory is .* of buffers; it took .*s\.\n", answer.out
    )


def test_a_stage_that_cannot_be_lowered_says_why(rulec):
    table = rows(rulec("show", "backprop", "--net", "1x6x6-conv(2)-3", "--cost").out)
    assert table["as written"] == ["this expression cannot be computed on the convolution `conv(2)`"]
    assert len(table["contractions"]) == 6


def test_the_table_is_all_that_is_printed_and_nothing_is_drawn(rulec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = rulec("show", "hebb", "--net", "4-2", "-o", "teach=no", "--cost").out
    assert "Equations" not in out and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "column, expected",
    [
        ([0.0, 79.3e6, 53.5e6], (6, 1)),
        ([107.9e6, 0.568e6], (6, 2)),
        ([571e-6, 8.4e-3], (-3, 2)),
        ([0.0], (0, 0)),
        ([7.0, 12.0], (0, 0)),
    ],
)
def test_units_of_columns(column, expected):
    assert _scale(column) == expected
