"""Graphs of primitive operations: rewritten and run in planned memory, they give what they gave before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from rulec.backend.planned import Pool, planned
from rulec.backend.rewrites import rewritten

SHAPE = (2, 3, 3)

UNARY: list[Callable[[Tensor], Tensor]] = [
    torch.tanh,
    torch.exp,
    torch.relu,
    torch.sigmoid,
    torch.abs,
    lambda a: a.transpose(1, 2),
    lambda a: a.transpose(1, 2).contiguous(),
    lambda a: a.sum(1, keepdim=True).expand(SHAPE),
    lambda a: a.mean((0, 2), keepdim=True) + a,
    lambda a: a[0].expand(SHAPE),
    lambda a: a.reshape(3, 6).t().reshape(SHAPE),
    lambda a: torch.softmax(a, 2),
    lambda a: torch.cumsum(a, 1),  # has no place in the plan
    lambda a: a * 0.5 - 1.0,
    lambda a: torch.where(a > 0, a, a * a),
]
BINARY: list[Callable[[Tensor, Tensor], Tensor]] = [
    torch.add,
    torch.sub,
    torch.mul,
    torch.maximum,
    torch.bmm,
    lambda a, b: a + torch.bmm(a, b),
    lambda a, b: (a * b).sum() + a,
    lambda a, b: torch.stack([a, b]).sum(0),
]

step = st.tuples(st.integers(0, len(UNARY) + len(BINARY) - 1), st.integers(0, 20), st.integers(0, 20))


def program(steps: Sequence[tuple[int, int, int]], results: Sequence[int]) -> Callable[..., list[Tensor]]:
    def run(*arguments: Tensor) -> list[Tensor]:
        values = list(arguments)
        for which, first, second in steps:
            a, b = values[-1 - first % len(values)], values[-1 - second % len(values)]
            bounded = torch.clamp(UNARY[which](a) if which < len(UNARY) else BINARY[which - len(UNARY)](a, b), -3, 3)
            values.append(bounded)
        return [values[-1 - r % len(values)] for r in results]

    return run


def draws(seed: int, count: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(SHAPE, generator=generator, dtype=torch.float64) for _ in range(count)]


def traced(function: Callable[..., list[Tensor]]) -> fx.GraphModule:
    return make_fx(function, tracing_mode="fake")(*draws(0))


@settings(max_examples=80)
@given(st.lists(step, min_size=1, max_size=14), st.lists(st.integers(0, 20), min_size=1, max_size=4))
def test_planned_is_the_same_and_leaves_earlier_results_alone(steps: list[tuple[int, int, int]], results: list[int]):
    function = program(steps, results)
    pool = Pool()
    run = planned(rewritten(traced(function)), pool)
    kept = [(run(*draws(seed)), function(*draws(seed))) for seed in (1, 2, 3)]
    for made, expected in kept:
        for one, other in zip(made, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    for made, _ in kept:
        pool.give(made)
    assert not pool.lent
    again, expected = run(*draws(4)), function(*draws(4))
    for one, other in zip(again, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@settings(max_examples=80)
@given(st.lists(step, min_size=1, max_size=14))
def test_arguments_are_never_written_to(steps: list[tuple[int, int, int]]):
    given_, pool = draws(5), Pool()
    before = [g.clone() for g in given_]
    planned(rewritten(traced(program(steps, [0]))), pool)(*given_)
    for one, other in zip(given_, before, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_memory_is_used_again_from_call_to_call():
    function = program([(0, 0, 0), (15, 0, 1), (19, 0, 1)], [0])
    pool = Pool()
    run = planned(rewritten(traced(function)), pool)
    places = set()
    for seed in range(5):
        (made,) = run(*draws(seed))
        places.add(made.data_ptr())
        pool.give([made])
    assert len(places) == 1


def test_what_is_still_needed_is_not_taken_back():
    pool = Pool()
    run = planned(rewritten(traced(lambda a, b, c: [a + b])), pool)
    (made,) = run(*draws(1))
    pool.give([made], but=[made[0]])
    assert pool.lent
    pool.give([made[0], None, torch.zeros(3)])
    assert not pool.lent


def calls(module: fx.GraphModule) -> list[str]:
    return [str(node.target) for node in module.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize(
    ("function", "has", "lacks"),
    [
        (lambda a, b, c: [torch.tanh(a) + torch.bmm(b, c)], "aten.baddbmm.default", "aten.add.Tensor"),
        (lambda a, b, c: [(a * b).sum()], "aten.dot.default", "aten.mul.Tensor"),
        (lambda a, b, c: [torch.tanh(a.detach()) * torch.tanh(a)], "aten.tanh.default", "aten.detach.default"),
        (lambda a, b, c: [a.transpose(1, 2).transpose(1, 2) + b], "aten.add.Tensor", "aten.transpose.int"),
    ],
)
def test_rewrites(function: Callable[..., list[Tensor]], has: str, lacks: str):
    module = traced(function)
    before = module(*draws(1))
    module = rewritten(module)
    assert has in calls(module) and lacks not in calls(module)
    torch.testing.assert_close(module(*draws(1)), before, rtol=1e-12, atol=1e-12)


def test_equal_operations_are_one():
    assert calls(rewritten(traced(lambda a, b, c: [torch.exp(a) + torch.exp(a)]))).count("aten.exp.default") == 1


def test_random_operations_are_never_one():
    module = rewritten(make_fx(lambda a: [torch.rand_like(a) + torch.rand_like(a)], tracing_mode="fake")(draws(1)[0]))
    assert calls(module).count("aten.rand_like.default") == 2
