"""Which outer step is found, and whether it fits."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import rulec
from rulec.meta.hypergradients import READERS
from rulec.meta.outer import outer_from
from rulec.meta.train import meta_train
from rulec.runtime.rule import shipped_outers
from rulec.semantics.typed import Learned, Objective
from rulec.source import RuleError, Source
from rulec.tasks.registry import task_from

from .conftest import planned

NOWHERE = Source("test", "").span(0, 0)
OWN = """
outer adam "the file's own adam"
  option rate = 0.25
  inner    rule for 3 steps on support
  meta     rule.lr
  minimize loss on query
  through  unroll
  by       adam(lr = rate), clip = 2, batch = 24
"""


def _compiled(backprop, **settings):
    return backprop.compile("2-4-1", loss="mse", **settings)


def _error(*given, **settings):
    with pytest.raises(RuleError) as error:
        planned(*given, **settings)
    return error.value.diagnostics[0]


@pytest.mark.parametrize("name", sorted(shipped_outers().outers))
def test_every_shipped_outer_can_be_run(name, backprop, functions):
    outer = backprop.outer(name)
    rule = backprop if outer.inner.name == "rule" else rulec.load(outer.inner.name)
    compiled, task = _compiled(rule), functions
    if any(change.operator == "rotate" for change in outer.changes):  # wants images, and learns for 800 updates
        outer = dataclasses.replace(outer, horizon=4)
        compiled, task = rule.compile("1x8x8-pool-10"), task_from("digits(layout=image, turned=20)")
    result = meta_train(compiled, task, outer, steps=2, batch=16, inner_steps=2, episodes=2)
    assert result.outer == name
    assert all(torch.isfinite(value).all() for value in result.genome.values())


def test_every_available_hypergradient_is_shipped(backprop):
    assert {backprop.outer(name).through.name for name in shipped_outers().outers} == set(READERS)


def test_the_files_own_outer_comes_first_and_options_reach_it(backprop, functions):
    compiled = rulec.parse(backprop.text + OWN).compile("2-4-1", loss="mse")
    own = outer_from("adam", compiled)
    assert (own.steps, own.optimizer.settings) == (3, {"lr": 0.25})
    assert outer_from("adam", compiled, {"rate": 0.5}).optimizer.settings == {"lr": 0.5}
    assert outer_from("first_order", compiled).through.name == "first_order"
    made = planned(compiled, functions, inner_steps=None, batch=None)
    assert (made.problem.inner_steps, made.problem.batch, made.method.clip, made.method.optimizer.lr) == (
        3,
        24,
        2.0,
        0.25,
    )
    made = planned(compiled, functions, inner_steps=7, batch=9, clip=5, lr=0.125)
    assert (made.problem.inner_steps, made.problem.batch, made.method.clip, made.method.optimizer.lr) == (
        7,
        9,
        5.0,
        0.125,
    )


def test_an_outer_of_another_file_is_named_with_its_path(backprop, tmp_path):
    (tmp_path / "mine.rule").write_text(OWN)
    assert outer_from(f"{tmp_path}/mine.rule:adam", _compiled(backprop)).doc == "the file's own adam"
    with pytest.raises(RuleError, match="there is no outer step `adma`"):
        outer_from(f"{tmp_path}/mine.rule:adma", _compiled(backprop))


def test_unknown_outers_get_a_suggestion(backprop, functions):
    found = _error(_compiled(backprop), functions, "firstorder")
    assert (found.id, found.help) == ("unknown-outer", "did you mean `first_order`?")


def test_the_inner_rule_must_be_the_compiled_one(backprop, functions):
    found = _error(_compiled(backprop), functions, "maml")
    assert (found.id, found.message) == (
        "other-inner-rule",
        "outer `maml` trains the rule `sgd`, but `backprop` was compiled",
    )


def test_values_of_the_inner_clause_are_where_the_search_starts(functions):
    made = planned(rulec.load("sgd").compile("2-4-1", loss="mse"), functions, "maml")
    torch.testing.assert_close(made.problem.fixed["lr"], torch.tensor([0.4]))


def test_the_task_axis_comes_from_the_outer_step(functions):
    sgd = rulec.load("sgd")
    assert planned(sgd.compile("2-4-1", loss="mse"), functions, "maml").problem.step.tasks == 32
    found = _error(sgd.compile("2-4-1", loss="mse", tasks=3), functions, "maml")
    assert (found.id, found.help) == ("tasks-differ", "compile with `tasks=32`, or without `tasks`")


def _changed(backprop, **parts):
    outer = backprop.outer("adam")
    calls = {k: dataclasses.replace(getattr(outer, k), **v) for k, v in parts.items() if isinstance(v, dict)}
    return dataclasses.replace(outer, **{**parts, **calls})


@pytest.mark.parametrize(
    ("parts", "id"),
    [
        ({"objectives": (Objective(1.0, "error", "query", NOWHERE),)}, "error-has-no-gradient"),
        ({"optimizer": {"name": "lbfgs"}}, "unknown-optimizer"),
        ({"optimizer": {"settings": {"rate": 1.0}}}, "unknown-setting"),
        ({"optimizer": {"settings": {"lr": -1.0}}}, "not-positive"),
        ({"optimizer": {"settings": {"beta2": 1.0}}}, "not-below-one"),
        ({"optimizer": {"arguments": (0.1,)}}, "unexpected-argument"),
        ({"through": {"settings": {"k": 3}}}, "unknown-setting"),
        ({"through": {"name": "evograd"}}, "reaches-no-loss"),
        ({"through": {"name": "implicit", "arguments": ("lu",)}}, "unknown-solver"),
        ({"through": {"name": "first_order"}, "checkpoint": True}, "checkpoint-misplaced"),
        ({"through": {"name": "cma"}}, "unknown-optimizer"),
        ({"inner": {"settings": {"rate": 1.0}}}, "unknown-meta-parameter"),
    ],
)
def test_what_does_not_fit_is_told(backprop, functions, parts, id):
    assert _error(_compiled(backprop), functions, _changed(backprop, **parts)).id == id


def test_meta_items_must_exist(backprop, functions):
    span = backprop.outer("adam").span
    found = _error(
        _compiled(backprop), functions, _changed(backprop, meta=(Learned("rule.rl", (), None, False, span),))
    )
    assert (found.id, found.help) == ("unknown-meta-parameter", "did you mean `lr`?") or found.notes == (
        "its entries are `lr`",
    )
    found = _error(
        _compiled(backprop), functions, _changed(backprop, meta=(Learned("init", ("v",), None, False, span),))
    )
    assert (found.id, found.notes) == ("unknown-initial", ("its states are `w`, `b`",))


def test_a_rule_without_a_genome_has_nothing_to_learn(backprop, functions):
    text = backprop.text.replace("genome\n  lr : positive = 0.1\n", "").replace("lr *", "0.1 *").split("laws")[0]
    assert _error(rulec.parse(text).compile("2-4-1", loss="mse"), functions).id == "nothing-to-learn"


@pytest.mark.parametrize(
    ("settings", "id"),
    [
        ({"steps": -1}, "wrong-count"),
        ({"inner_steps": 1.5}, "wrong-count"),
        ({"batch": 0}, "wrong-count"),
        ({"patience": 0}, "wrong-count"),
        ({"query": 0}, "wrong-count"),
        ({"clip": 0}, "not-positive"),
        ({"clip": float("nan")}, "not-positive"),
        ({"lr": 0.0}, "not-positive"),
        ({"start": {"rl": torch.ones(())}}, "missing-entry"),
        ({"start": {"lr": torch.ones(2, 2)}}, "wrong-shape"),
        ({"start": {"lr": torch.ones(3)}}, "wrong-shape"),
    ],
)
def test_wrong_numbers_are_told(backprop, functions, settings, id):
    assert _error(_compiled(backprop, population=2), functions, **settings).id == id


@pytest.mark.parametrize(
    ("name", "value", "told", "help"),
    [
        ("lr", [0.1, -0.5], "`lr` of member 1 begins at -0.5", "give `lr` a number above 0, or declare another domain"),
        ("lr", [0.0, 0.1], "`lr` of member 0 begins at 0", "give `lr` a number above 0, or declare another domain"),
        ("keep_", 1.5, "`keep_` begins at 1.5", "give `keep_` a number from 0 to 1, or declare another domain"),
        ("gain", -2.25, "`gain` begins at -2.25", "give `gain` a number from -2 to 2, or declare another domain"),
        ("eta", [[0.5, -1.0]], "`eta` begins at -1", "give `eta` a number above 0, or declare another domain"),
        ("shift", float("inf"), "`shift` begins at inf", "give `shift` a finite number, or declare another domain"),
    ],
)
def test_a_start_outside_its_domain_is_told(many, functions, name, value, told, help):
    compiled = many.compile("2-4-1", loss="mse", population=2)
    start = {entry: values[:1] for entry, values in compiled.init_genome(seed=0).items()}
    assert planned(compiled, functions, start=dict(start)).free
    found = _error(compiled, functions, start={**start, name: torch.tensor(value)})
    assert (found.id, found.help) == ("outside-domain", help)
    assert found.message == f"{told} in the given genome, which is not in its domain"
    assert found.span is not None and found.span.text.startswith(name)


def test_a_start_on_the_edge_of_its_domain_is_inside(many, functions):
    compiled = many.compile("2-4-1", loss="mse")
    start = {**compiled.init_genome(seed=0), "keep_": torch.tensor(1.0), "gain": torch.tensor(-2.0)}
    assert planned(compiled, functions, start=start).free


def test_the_task_must_fit_the_network(backprop, functions, digits):
    assert (
        _error(_compiled(backprop), digits).message
        == "the network `2-4-1` has input shape 2, but the task `digits` has 64"
    )
    found = _error(backprop.compile("2-4-3"), functions)
    assert (found.id, found.help) == ("task-does-not-fit", "compile for a network whose number of outputs is 1")


@pytest.mark.parametrize(
    ("settings", "id"),
    [
        ({"sigma": 0.0}, "not-positive"),
        ({"population": 1}, "population-too-small"),
        ({"lr": 0.1}, "unknown-setting"),
    ],
)
def test_settings_of_cma_are_checked(backprop, functions, settings, id):
    outer = backprop.outer("cma")
    wrong = dataclasses.replace(outer, optimizer=dataclasses.replace(outer.optimizer, settings=settings))
    assert _error(_compiled(backprop), functions, wrong).id == id


@pytest.mark.parametrize("name", sorted(shipped_outers().outers))
def test_inner_loops_without_updates_run_or_are_refused(name, backprop, functions):
    outer = backprop.outer(name)
    rule = backprop if outer.inner.name == "rule" else rulec.load(outer.inner.name)
    given = {"steps": 1, "batch": 16, "inner_steps": 0, "episodes": 2}
    if outer.through.name in ("pes", "implicit", "neumann", "evograd"):
        with pytest.raises(RuleError, match="inner_steps"):
            meta_train(_compiled(rule), functions, name, **given)
    else:
        meta_train(_compiled(rule), functions, name, **given)
