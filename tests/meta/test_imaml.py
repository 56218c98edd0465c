"""Terms besides the loss, and initial values learned through a fixed point. Rajeswaran et al. 2019."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import rulec
from rulec.ir.inner_problem import constant_states, with_extra_terms
from rulec.meta.hypergradients import READERS, Settings
from rulec.meta.hypergradients.descent import reverse_gradient
from rulec.semantics.typed import Call
from rulec.source import RuleError
from rulec.tasks.registry import task_from

from .conftest import planned

OUTER = """
outer pulled
  option lambda = 2.0
  inner rule for 3 steps on support, plus lambda / 2 * norm(w - init(w))^2, plus 0.05 * norm(w)^2
  meta init(w)
  minimize loss on query
  through unroll
  by adam(lr = 0.001), tasks = 3
"""


def problem(steps: int = 3, lam: float = 2.0, **given):
    """An outer problem on curves, in float64: weights of three tasks are drawn back to where they began."""
    rule = rulec.parse(rulec.load("sgd").text + OUTER)
    compiled = rule.compile("1-6(tanh)-1", loss="mse", dtype="float64")
    outer = rule.outer("pulled", {"lambda": lam})
    start = {"lr": torch.tensor(0.02, dtype=torch.float64)}
    return planned(compiled, task_from("sinusoid(shots=8)"), outer, start=start, inner_steps=steps, batch=None, **given)


def by_hand(made, start: dict[str, torch.Tensor], lam: float, steps: int) -> torch.Tensor:
    """Return the query loss after gradient descent on loss + lam / 2 |w - start|^2 + 0.05 |w|^2, averaged over tasks."""
    batches = made.problem.batches(0)
    total = torch.zeros((), dtype=torch.float64)
    for task in range(3):
        w = dict(start)
        for k in range(steps):
            x, y = batches.x[k, 0, task], batches.y[k, 0, task]
            hidden = torch.tanh(x @ w["c1.weight"] + w["c1.bias"])
            loss = ((hidden @ w["c2.weight"] + w["c2.bias"] - y) ** 2).mean()
            extra = sum(lam / 2 * ((w[n] - start[n]) ** 2).sum() + 0.05 * (w[n] ** 2).sum() for n in w)
            slopes = torch.autograd.grad(loss + extra, list(w.values()), create_graph=True)
            w = {n: v - 0.02 * g for (n, v), g in zip(w.items(), slopes, strict=True)}
        x, y = batches.query_x[0, task], batches.query_y[0, task]
        hidden = torch.tanh(x @ w["c1.weight"] + w["c1.bias"])
        total = total + ((hidden @ w["c2.weight"] + w["c2.bias"] - y) ** 2).mean() / 3
    return total


def test_terms_are_part_of_what_is_descended():
    made = problem()
    score, found = reverse_gradient(made.problem, made.free, 0)
    start = {n.removeprefix("init(w.").rstrip(")"): v[0].clone().requires_grad_() for n, v in made.free.items()}
    loss = by_hand(made, start, 2.0, 3)
    torch.testing.assert_close(score.loss[0], loss)
    slopes = torch.autograd.grad(loss, list(start.values()))
    for name, slope in zip(start, slopes, strict=True):
        torch.testing.assert_close(found[f"init(w.{name})"][0], slope)


def through(made, method: str, *arguments, **settings):
    call = Call(method, arguments, settings, made.problem.outer.through.span)
    found = READERS[method](replace(made.problem.outer, through=call), Settings(1e9, 5, None))
    return found.gradient(made.problem, made.free, 0)[1]


def flat(gradient) -> torch.Tensor:
    return torch.cat([value.flatten() for value in gradient.values()])


def test_at_the_fixed_point_all_ways_agree():
    """(I + H / lambda)^-1 times the slope of the query: by conjugate gradients, by the series, and through every update."""
    made = problem(steps=400, lam=20.0)
    unroll = flat(through(made, "unroll"))
    for method, arguments, settings in (
        ("implicit", ("cg",), {"steps": 60}),
        ("implicit", ("neumann",), {"steps": 400}),
    ):
        torch.testing.assert_close(flat(through(made, method, *arguments, **settings)), unroll, rtol=1e-6, atol=1e-9)


def test_a_strong_pull_is_first_order():
    """With lambda to infinity, the hypergradient is that of first-order MAML: the slope of the query where the updates ended."""
    made = problem(steps=30, lam=1e6)
    made = replace(made, problem=replace(made.problem, fixed={"lr": torch.full((1,), 5e-7, dtype=torch.float64)}))
    implicit = flat(through(made, "implicit", "cg", steps=20))
    first = flat(through(made, "unroll"))
    torch.testing.assert_close(implicit, first, rtol=1e-3, atol=1e-6)


def test_memory_does_not_depend_on_the_number_of_updates():
    """What is kept for the way back of one update: the state, and nothing that grows."""
    made = {steps: problem(steps=steps) for steps in (4, 64)}
    kept = []
    for one in made.values():
        through(one, "implicit", "cg", steps=2)
        engines = one.problem.step.graphs.engines.values()
        kept.append(sum(v.nbytes for e in engines for free in e.pool.free.values() for v in free))
    assert kept[0] == kept[1] > 0


def test_initial_values_without_a_pull_are_refused():
    outer = replace(problem().problem.outer, plus=())
    with pytest.raises(RuleError, match="start-forgotten"):
        READERS["implicit"](replace(outer, through=Call("implicit", ("cg",), {}, outer.span)), Settings(1.0, 5, None))


@pytest.mark.parametrize("term", ["norm(w)", "norm(w - 1)^2", "norm(v)^2", "lambda * loss"])
def test_other_terms_are_told(term):
    text = rulec.load("sgd").text + OUTER.replace("0.05 * norm(w)^2", term)
    with pytest.raises(RuleError, match=r"unknown-extra|not-constant"):
        rulec.parse(text).outer("pulled")


def test_rules_without_a_gradient_take_no_terms(functions):
    rule = rulec.parse(rulec.load("backprop").text + OUTER)
    with pytest.raises(RuleError, match="plus-without-gradient"):
        planned(rule.compile("2-3-1(tanh)", loss="mse"), functions, rule.outer("pulled"))


def test_the_start_is_a_state_that_no_update_writes():
    made = problem()
    program = made.problem.step.program
    assert constant_states(program) == {"w_start"}
    assert with_extra_terms(program, ()) is program
