"""What a step costs at each stage: by hand, against measurements, and that no pass makes it worse."""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rulec.backend.cost import step_arguments, step_cost
from rulec.backend.counting import Call, Cost
from rulec.backend.modules import graph_module
from rulec.backend.planned import Pool, planned, planned_bytes
from rulec.backend.roofline import Machine, bound, measured, unfused_bound
from rulec.backend.stages import Setting, Stage, Unrolled, graph_cost_of, stages
from rulec.runtime.compiled import CompiledRule
from tests.rules.by_hand.networks import RULES, compiled_on, few_rounds
from tests.shipped import load


def setting_of(compiled: CompiledRule, batch: int = 64) -> Setting:
    return Setting(compiled.network, compiled.loss, compiled.dtype, batch, compiled.leading)


def stages_of(compiled: CompiledRule, batch: int = 64) -> dict[str, Stage]:
    return {stage.name: stage for stage in stages(compiled.program, setting_of(compiled, batch))}


# --- By hand ---------------------------------------------------------------------------------


def test_hebb_by_hand():
    """hebb on 4-2 with 3 samples, in numbers of 4 bytes: lr, w (8), x (12), y (6), t, which nothing reads.

    As written, `w x` and `x y` are made for each sample and synapse (24 each), summed (24 each), and there is no product. In
    contractions each is a product of 24 multiply-adds. For later predictions only w is needed: x y, lr / 3, times that, plus w.
    """
    found = stages_of(load("hebb").compile("4-2"), batch=3)
    assert found["as written"].products == 0
    assert found["contractions"].products == 2 * 24 + 2 * 24
    assert found["as written"].elementwise - found["contractions"].elementwise >= 2 * (24 + 24) - 4 * 8
    (cost,) = found["absorb"].costs
    assert cost.compulsory == 4 * (1 + 8 + 12 + 6) + 4 * (8 + 6 + 1)  # the new w, the prediction and the loss
    (cost,) = found["states that no prediction reads left out"].costs
    assert (cost.products, cost.elementwise) == (2 * 24, 1 + 8 + 8)
    assert cost.compulsory == 4 * (1 + 8 + 12 + 6) + 4 * 8
    assert found["what is the same in every step taken out"].numbers[:2] == (2 * 24, 1 + 8 + 8)  # 3 is read off x


def test_the_reverse_by_hand():
    """`w += lr (x y)` with y = x w: to lr one inner product over w, and to w the two products of x y and x w turned round."""
    found = stages_of(load("hebb").compile("4-2", options={"teach": "no"}), batch=3)
    step, back, both = (found[name] for name in ("what is the same in every step taken out", "its reverse", "both"))
    assert (step.products, back.products) == (2 * 24 + 2 * 24, 2 * 24 + 2 * 24)
    assert both.products == step.products + back.products
    assert found["both, rewritten"].products == both.products + 2 * 8  # the inner product was elementwise before


def test_the_bounds_by_hand():
    cost = Cost(1, (Call("mm", 100, 0, 40), Call("add", 0, 10, 200), Call("clone", 0, 0, 60)), 0, 0, 80)
    fast, slow = Machine(10.0, 1000.0, 0, 1), Machine(1000.0, 10.0, 0, 1)
    assert bound(cost, fast) == pytest.approx(110 / 10)
    assert bound(cost, slow) == pytest.approx(80 / 10)
    assert unfused_bound(cost, fast) == pytest.approx(10 + 1 + 0.06)
    assert unfused_bound(cost, slow) == pytest.approx(4 + 20 + 6)


def test_arguments_that_come_back_as_results_are_not_written():
    compiled = load("feedback_alignment").compile("6-5-4")
    cost = step_cost(compiled.lowered, compiled.network, {}, compiled.dtype, 1)
    feedback = 4 * (6 * 5 + 5 * 4)
    assert "v.c1" in compiled.lowered.outputs
    assert cost.arguments - feedback < cost.compulsory < 2 * cost.arguments


def test_the_machine_is_measured():
    machine = measured(torch.float32, 1 << 20)
    assert machine.operations > 1e8 and machine.bandwidth > 1e8
    assert (machine.copied, machine.threads) == (1 << 20, torch.get_num_threads())


def test_a_prediction_that_cannot_be_had_says_so():
    compiled = load("backprop").compile("1x6x6-conv(2)-3")
    found = stages_of(compiled, 4)
    assert found["as written"].costs == () and "cannot be computed on the convolution" in found["as written"].problem
    assert found["contractions"].costs


# --- No pass makes it worse ------------------------------------------------------------------


IMAGES = [(name, net) for name in ("adam", "backprop", "blur", "weight_perturbation") for net in ("conv", "residual")]


@pytest.mark.parametrize(("name", "net"), [*((name, "dense") for name in RULES), *IMAGES])
def test_no_pass_makes_a_step_dearer(name: str, net: str):
    """Once there are products at all, no pass adds to them, and none to all operations but a few on single numbers.

    Where sums become products, means and signs may come apart from them.
    """
    found = list(stages_of(compiled_on(few_rounds(name), net)).values())
    steps = [stage for stage in found[:-3] if stage.costs]
    for before, after in itertools.pairwise(steps):
        if after.name == "contractions":
            assert sum(after.numbers[:2]) <= 1.1 * sum(before.numbers[:2])
        else:
            assert after.products <= before.products, after.name
            assert sum(after.numbers[:2]) <= sum(before.numbers[:2]) + 16, after.name
        assert after.traffic <= 1.05 * before.traffic, after.name
    traced, rewritten = found[-2:]
    assert sum(rewritten.numbers[:2]) <= sum(traced.numbers[:2])
    assert rewritten.traffic <= traced.traffic and rewritten.peak <= 1.1 * traced.peak


# --- Against measurements --------------------------------------------------------------------


class Held(TorchDispatchMode):
    """Watch how many bytes real tensors hold."""

    def __init__(self, given: list[Tensor]) -> None:
        super().__init__()
        self.held: dict[int, int] = {}
        self.peak = 0
        for value in given:
            self._hold(value)

    def _hold(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        if storage._cdata not in self.held:
            self.held[storage._cdata] = storage.nbytes()
            weakref.finalize(storage, self.held.pop, storage._cdata, None)
        self.peak = max(self.peak, sum(self.held.values()))

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._hold(value)
        return result


@pytest.mark.parametrize("name", ["hebb", "backprop", "blur", "adam", "predictive_coding"])
def test_the_peak_is_that_of_a_real_run(name: str):
    compiled = load(name).compile("20-12-5")
    likes = step_arguments(compiled.lowered, compiled.network, {}, compiled.dtype, 7)
    given = [torch.rand(x.shape) for x in likes]
    with Held(given) as held, torch.no_grad():
        graph_module(compiled.lowered)(*given)
    cost = step_cost(compiled.lowered, compiled.network, {}, compiled.dtype, 7)
    assert cost.peak == pytest.approx(held.peak, rel=0.05)


@pytest.mark.parametrize("name", RULES)
def test_planned_memory_is_about_the_most_that_is_held(name: str):
    """A plan cannot place everything perfectly, but writes in place, which a count of what is alive does not know."""
    compiled = few_rounds(name).compile("200-30-10")
    unrolled = Unrolled(compiled.optimised, setting_of(compiled))
    reverse = unrolled.reverse()
    for graph in (reverse.forward, reverse.backward):
        own, lent = planned_bytes(graph)
        cost = graph_cost_of(graph, 64)
        assert 0.7 < (own + lent + cost.arguments) / cost.peak < 1.35


def test_planned_bytes_are_what_a_call_takes():
    compiled = load("blur").compile("20-12-5")
    graph = Unrolled(compiled.optimised, setting_of(compiled, 7)).reverse().forward
    pool, given = Pool(), [torch.rand(n.meta["val"].shape) for n in graph.graph.find_nodes(op="placeholder")]
    planned(graph, pool)(*given)
    assert sum(tensor.nbytes for _, tensor in pool.lent.values()) == planned_bytes(graph)[1]
