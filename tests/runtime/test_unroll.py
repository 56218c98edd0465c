"""An unroll with a reverse pass of its own, against calling the rule in a loop under autograd."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from rulec.runtime.compiled import CompiledRule, Genome, State
from rulec.source import RuleError
from tests.rules.by_hand.networks import RULES, compiled_on, few_rounds, gentle
from tests.rules.by_hand.step import disturbed
from tests.shipped import load

STEPS = 4
MODES = ("unroll", "least", "little", "lesson")


class Case:
    """A compiled rule with everything random, in float64."""

    def __init__(self, compiled: CompiledRule, steps: int = STEPS) -> None:
        torch.manual_seed(1)
        self.compiled = compiled
        self.genome = gentle(compiled.init_genome(1))
        self.state = {
            name: value.abs() if name.startswith("v.") else value
            for name, value in disturbed(compiled.init_state(2, batch=5), size=0.2).items()
        }
        outputs = compiled.network.output.shape[0]
        self.x = torch.randn(steps, 5, *compiled.network.input.shape, dtype=torch.float64)
        self.y = torch.softmax(torch.randn(steps, 5, outputs, dtype=torch.float64), -1)
        self.query = torch.randn(5, *compiled.network.input.shape, dtype=torch.float64)

    def leaves(self) -> tuple[Genome, State]:
        genome = {name: value.clone().requires_grad_() for name, value in self.genome.items()}
        state = {n: v.clone().requires_grad_() if v.is_floating_point() else v for n, v in self.state.items()}
        return genome, state

    def prediction(self, mode: str, genome: Genome, state: State) -> Tensor:
        if mode == "lesson":
            return self.compiled.lesson(genome, state, self.x, self.y, self.query)
        if mode == "loop":
            for x, y in zip(self.x, self.y, strict=True):
                state, _ = self.compiled(genome, state, x, y)
        else:
            memory = {"unroll": None, "least": "least", "little": 1}[mode]
            state = self.compiled.unroll(genome, state, self.x, self.y, memory=memory)
        return self.compiled.predict(genome, state, self.query)

    def gradient(self, mode: str) -> tuple[Tensor, dict[str, Tensor]]:
        genome, state = self.leaves()
        prediction = self.prediction(mode, genome, state)
        leaves = genome | {n: v for n, v in state.items() if v.is_floating_point()}
        found = torch.autograd.grad(prediction.square().sum(), list(leaves.values()), allow_unused=True)
        pairs = zip(leaves.items(), found, strict=True)
        return prediction.detach(), {n: torch.zeros_like(v) if g is None else g for (n, v), g in pairs}


def assert_same(case: Case, modes: tuple[str, ...] = MODES) -> None:
    expected, slopes = case.gradient("loop")
    assert expected.isfinite().all()
    for mode in modes:
        prediction, found = case.gradient(mode)
        torch.testing.assert_close(prediction, expected, rtol=1e-10, atol=1e-12, msg=mode)
        for name, slope in slopes.items():
            scale = float(slope.abs().max()) + 1e-9
            apart = float((found[name] - slope).abs().max())
            assert apart <= 1e-9 * scale or not slope.isfinite().all(), (mode, name, apart, scale)
    assert not any(engine.pool.lent for engine in case.compiled.graphs.engines.values())


AXES = ({}, {"population": 2, "tasks": 3, "replicas": 2})


@pytest.mark.parametrize("axes", AXES, ids=["one", "all axes"])
@pytest.mark.parametrize("name", RULES)
def test_like_a_loop_under_autograd(name: str, axes: dict[str, int]):
    assert_same(Case(compiled_on(few_rounds(name), "dense", loss="mse", **axes)))


@pytest.mark.experiment
@pytest.mark.parametrize("name", ["predictive_coding", "equilibrium_propagation"])
def test_like_a_loop_under_autograd_in_every_round(name: str):
    assert_same(Case(compiled_on(load(name), "dense", loss="mse")))


@pytest.mark.parametrize("name", ["blur", "backprop", "adam", "equilibrium_propagation", "node_perturbation"])
@pytest.mark.parametrize("net", ["conv", "residual"])
def test_like_a_loop_on_other_networks(name: str, net: str):
    assert_same(Case(compiled_on(few_rounds(name, 2), net, loss="mse"), steps=3), ("unroll", "lesson"))


def test_data_of_their_own_for_tasks_and_replicas():
    compiled = load("blur").compile("3-4-2", population=2, tasks=2, replicas=3, loss="mse", dtype="float64")
    case = Case(compiled)
    case.x = torch.randn(STEPS, 1, 2, 1, 5, 3, dtype=torch.float64)
    case.y = torch.randn(STEPS, 1, 2, 3, 5, 2, dtype=torch.float64)
    assert_same(case)


@cache
def blur() -> CompiledRule:
    return load("blur").compile("3-4-2", loss="mse", dtype="float64")


def small(steps: int = STEPS) -> Case:
    """A case whose graphs are traced once for all that use it."""
    return Case(blur(), steps)


def untouched(steps: int = STEPS) -> Case:
    """A case that shares no graphs."""
    return Case(replace(blur()), steps)


@pytest.mark.parametrize("steps", [1, 2, 17])
def test_any_number_of_steps(steps: int):
    assert_same(small(steps))


def test_no_steps_are_a_prediction():
    case = small()
    nothing = case.compiled.lesson(case.genome, case.state, [], [], case.query)
    torch.testing.assert_close(nothing, case.compiled.predict(case.genome, case.state, case.query))
    assert case.compiled.unroll(case.genome, case.state, [], []).keys() == case.state.keys()


def test_the_state_afterwards_is_that_of_the_loop_and_belongs_to_the_caller():
    case = small()
    state = case.state
    for x, y in zip(case.x, case.y, strict=True):
        state, _ = case.compiled(case.genome, state, x, y)
    first = case.compiled.unroll(case.genome, case.state, case.x, case.y)
    case.compiled.unroll(case.genome, case.state, case.x * 2, case.y)
    assert first.keys() == state.keys()
    for name, value in state.items():
        torch.testing.assert_close(first[name], value)


def test_states_that_no_prediction_reads_can_be_left_out():
    case = small()
    left = case.compiled.unroll(case.genome, case.state, case.x, case.y, unread=False)
    assert set(case.state) - set(left) == {"v.c1"}  # nothing goes back into the input layer
    whole = case.compiled.unroll(case.genome, case.state, case.x, case.y)
    for name, value in left.items():
        torch.testing.assert_close(value, whole[name])


def test_without_gradients_nothing_is_kept():
    case = untouched()
    with torch.no_grad():
        case.compiled.lesson(case.genome, case.state, case.x, case.y, case.query)
    (engine,) = case.compiled.graphs.engines.values()
    assert engine.step.reverse.residual_bytes == 0 and not engine.pool.lent


def test_a_result_that_nobody_differentiates_gives_its_memory_back():
    case = untouched()
    prediction = case.prediction("lesson", *case.leaves())
    (engine,) = case.compiled.graphs.engines.values()
    assert engine.pool.lent
    del prediction
    assert not engine.pool.lent


def test_a_second_gradient_is_refused():
    case = small()
    genome, state = case.leaves()
    total = case.prediction("lesson", genome, state).sum()
    torch.autograd.grad(total, list(genome.values()), retain_graph=True, allow_unused=True)
    with pytest.raises(RuleError, match="pulled-twice"):
        torch.autograd.grad(total, list(genome.values()), allow_unused=True)


def test_compiling_does_not_depend_on_the_number_of_steps():
    case = untouched(2)
    case.gradient("lesson")
    longer = small(9)
    longer.compiled = case.compiled
    longer.gradient("lesson")
    assert len(case.compiled.graphs.engines) == 1


def test_missing_entries_are_named():
    case = small()
    del case.state["w.c2"]
    with pytest.raises(RuleError, match=r"missing-entry.*w\.c2"):
        case.compiled.lesson(case.genome, case.state, case.x, case.y, case.query)


@pytest.mark.parametrize("memory", [0, "much", 1.5])
def test_a_memory_that_is_none_is_refused(memory: object):
    case = small()
    with pytest.raises(RuleError, match="wrong-memory"):
        case.compiled.unroll(case.genome, case.state, case.x, case.y, memory=memory)


def test_kernels_are_for_the_processor():
    with pytest.raises(RuleError, match="kernel-on-gpu"):
        load("blur").compile("3-4-2", backend="kernel", device="cuda")


def test_batches_may_lie_in_memory_as_they_like():
    case = small()
    x = [batch.clone() if t % 2 else batch.t().contiguous().t() for t, batch in enumerate(case.x)]
    torch.testing.assert_close(
        case.compiled.lesson(case.genome, case.state, x, case.y, case.query),
        case.compiled.lesson(case.genome, case.state, case.x, case.y, case.query),
    )


@pytest.mark.parametrize("part", ["x", "y"])
def test_batches_of_different_sizes_are_refused(part: str):
    case = small()
    x, y = list(case.x), list(case.y)
    x[-1], y[-1] = (x[-1][:3], y[-1]) if part == "x" else (x[-1], y[-1][:3])
    with pytest.raises(RuleError, match="wrong-shape"):
        case.compiled.lesson(case.genome, case.state, x, y, case.query)
