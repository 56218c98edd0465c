"""Every contender solves the problem that rulec solves: answers agree in double precision."""

from functools import partial

import pytest

from benchmarks.adaptation import Maml, characters, curves
from benchmarks.agreement import difference
from benchmarks.contender import Absent, Contender, Run, outcome
from benchmarks.contenders import (
    block,
    block_jax,
    by_rulec,
    chunked,
    maml,
    products,
    published,
    training,
    vmap,
    vmap_jax,
)
from benchmarks.problems import Blur, blur

GRADIENTS = [block.EAGER, block.CHECKPOINTED, chunked.EAGER, published.EAGER]


def _prepared(contender: Contender, problem: object) -> Run:
    try:
        return contender.prepare(problem)
    except Absent as absent:
        pytest.skip(str(absent))


@pytest.mark.parametrize("contender", GRADIENTS, ids=lambda c: c.name)
def test_the_meta_gradient_is_that_of_rulec(contender: Contender, small: Blur) -> None:
    assert difference(outcome(contender.prepare(small)), outcome(by_rulec.prepare_gradient(small))) < 1e-9


@pytest.mark.parametrize("kind", [k for k in by_rulec.KINDS if "first order" not in k])
def test_every_kind_of_unroll_gives_the_same(kind: str, small: Blur) -> None:
    assert difference(outcome(by_rulec.prepare_gradient(small, kind=kind)), outcome(block.EAGER.prepare(small))) < 1e-9


@pytest.mark.parametrize("contender", [block.EAGER, chunked.EAGER, published.EAGER], ids=lambda c: c.name)
def test_a_second_hidden_layer(contender: Contender) -> None:
    problem = blur((6, 5, 4, 3), 3, replicas=2, batch=7, steps=3)
    assert difference(outcome(contender.prepare(problem)), outcome(by_rulec.prepare_gradient(problem))) < 1e-9


def test_updates_put_off_over_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "CHUNK", 3)
    for steps in (3, 6, 8):
        problem = blur((6, 5, 3), 2, replicas=2, batch=7, steps=steps)
        expected = outcome(block.EAGER.prepare(problem))
        assert difference(outcome(chunked.EAGER.prepare(problem)), expected) < 1e-9


@pytest.mark.parametrize("contender", [block_jax.JIT, block_jax.CHECKPOINTED], ids=lambda c: c.name)
def test_the_meta_gradient_of_jax(contender: Contender) -> None:
    problem = blur((6, 5, 3), 4, replicas=2, batch=7, steps=3)
    assert difference(outcome(_prepared(contender, problem)), outcome(by_rulec.prepare_gradient(problem))) < 1e-9


def test_many_networks_by_vmap(population: Blur) -> None:
    gradient, predictions = by_rulec.prepare_gradient(population), by_rulec.prepare_forward(population)
    assert difference(outcome(vmap.GRADIENT.prepare(population)), outcome(gradient)) < 1e-9
    assert difference(outcome(vmap.FORWARD.prepare(population)), outcome(predictions)) < 1e-9


def test_many_networks_by_jax() -> None:
    problem = blur((2, 5, 1), 4, replicas=2, batch=7, steps=3, population=3)
    expected = outcome(by_rulec.prepare_gradient(problem)), outcome(by_rulec.prepare_forward(problem))
    assert difference(outcome(_prepared(vmap_jax.GRADIENT, problem)), expected[0]) < 1e-9
    assert difference(outcome(_prepared(vmap_jax.FORWARD, problem)), expected[1]) < 1e-9


def test_no_gradient_of_the_problem_is_zero(small: Blur) -> None:
    assert all(abs(value).max() > 1e-9 for value in outcome(block.EAGER.prepare(small)).values())


@pytest.mark.parametrize("rule", training.RATES)
@pytest.mark.parametrize("fused", [False, True])
def test_trained_weights_are_those_of_autograd(rule: str, fused: bool) -> None:
    for module, shape in ((partial(training.mlp, 6, 5, 10), (6,)), (partial(training.cnn, 2, 8), (1, 8, 8))):
        problem = training.training(module, rule, shape, steps=3, batch=4)
        ours = outcome(training.prepare_rulec(problem, "fx"))
        theirs = outcome(training.prepare_torch(problem, compiled=False, fused=fused))
        assert difference(ours, theirs) < (1e-9 if rule == "adam" else 1e-12)  # adam's guards differ


@pytest.mark.parametrize(
    "problem",
    [curves((1, 5, 4, 1), tasks=3, shots=4, steps=3), characters(2, tasks=2, steps=2, ways=3, size=12)],
    ids=["curves", "characters"],
)
@pytest.mark.parametrize(
    "contender", [maml.RULEC_FX, maml.FUNC_EACH, maml.HIGHER, maml.TORCHOPT, maml.JAX], ids=lambda c: c.name
)
def test_the_meta_gradient_of_maml(contender: Contender, problem: Maml) -> None:
    assert difference(outcome(_prepared(contender, problem)), outcome(maml.FUNC.prepare(problem))) < 1e-9


def test_the_first_order_meta_gradient_of_maml() -> None:
    problem = characters(2, tasks=2, steps=2, ways=3, size=12)
    answers = [outcome(contender.prepare(problem)) for contender in maml.FIRST_ORDER[:3]]
    assert all(difference(answer, answers[1]) < 1e-9 for answer in answers)
    assert difference(answers[0], outcome(maml.FUNC.prepare(problem))) > 1e-3


def test_the_products_count_those_of_the_layers_that_are_read() -> None:
    run = products.ALONE.prepare(blur((6, 5, 3), 2, replicas=2, batch=7, steps=3))
    assert run() == {}


@pytest.mark.experiment
@pytest.mark.inductor
@pytest.mark.parametrize(
    "contender",
    [block.COMPILED, chunked.COMPILED, published.COMPILED, by_rulec.gradient("inductor")],
    ids=lambda c: c.name,
)
def test_compiled_contenders(contender: Contender) -> None:
    problem = blur((6, 5, 3), 2, replicas=2, batch=7, steps=3)
    assert difference(outcome(contender.prepare(problem)), outcome(block.EAGER.prepare(problem))) < 1e-9
