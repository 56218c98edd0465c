"""Hypergradients against finite differences, against each other, and against formulas."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import rulec
from rulec.meta.hypergradients import READERS, Settings
from rulec.meta.hypergradients.descent import reverse_gradient
from rulec.semantics.typed import Call, Learned
from rulec.source import RuleError

from .conftest import planned


def _objective(problem, free):
    with torch.no_grad():
        return problem.lesson(free, 0).objective


def _central_differences(problem, free, eps=1e-5):
    """Every number of every meta-parameter, one at a time, all members at once."""
    slopes = {name: torch.zeros_like(value) for name, value in free.items()}
    for name, value in free.items():
        for place in range(value[0].numel()):
            ends = []
            for sign in (1, -1):
                moved = value.clone()
                moved.reshape(len(value), -1)[:, place] += sign * eps
                ends.append(_objective(problem, {**free, name: moved}))
            slopes[name].reshape(len(value), -1)[:, place] = (ends[0] - ends[1]) / (2 * eps)
    return slopes


@pytest.mark.parametrize(("tasks", "replicas"), [(None, None), (2, 2)])
def test_unroll_agrees_with_finite_differences_for_every_entry(many, functions, tasks, replicas):
    compiled = many.compile("2-4-1(tanh)", population=2, tasks=tasks, replicas=replicas, loss="mse", dtype="float64")
    made = planned(compiled, functions)
    _, exact = reverse_gradient(made.problem, made.free, 0)
    measured = _central_differences(made.problem, made.free)
    assert set(exact) == set(compiled.genome_spec)
    for name, value in exact.items():
        assert value.abs().max() > 1e-6, f"{name} has no effect, so it tests nothing"
        torch.testing.assert_close(value, measured[name], rtol=1e-5, atol=1e-8)


def gradient_of(many, functions, method, *arguments, axes=(None, None), **settings):
    """Return the gradient of the first meta-step through a method."""
    tasks, replicas = axes
    compiled = many.compile("2-4-1(tanh)", population=2, tasks=tasks, replicas=replicas, loss="mse", dtype="float64")
    made = planned(compiled, functions)
    call = Call(method, arguments, settings, made.problem.outer.through.span)
    found = READERS[method](replace(made.problem.outer, through=call), Settings(1e9, 5, 2))
    return found.gradient(made.problem, made.free, 0)[1]


@pytest.mark.parametrize("axes", [(None, None), (2, 2)])
@pytest.mark.parametrize(
    ("method", "arguments", "settings", "close"),
    [
        ("forward", (), {}, 1e-9),
        ("truncated", (3,), {}, 1e-12),
        ("truncated", (7,), {}, 1e-12),
        ("finite_difference", (), {"eps": 1e-5}, 1e-5),
    ],
)
def test_what_is_exact_agrees_with_unroll(many, functions, axes, method, arguments, settings, close):
    exact = gradient_of(many, functions, "unroll", axes=axes)
    found = gradient_of(many, functions, method, *arguments, axes=axes, **settings)
    for name, value in exact.items():
        torch.testing.assert_close(found[name], value, rtol=close, atol=1e-9)


def test_random_directions_average_to_the_gradient(many, functions):
    exact = gradient_of(many, functions, "unroll")
    found = gradient_of(many, functions, "forward", directions=4096)
    for name, value in exact.items():
        size = torch.cat([v.reshape(len(v), -1) for v in exact.values()], 1).norm(dim=1)
        apart = (found[name] - value).reshape(len(value), -1).norm(dim=1)
        assert (apart < 5 * size * (value[0].numel() / 4096) ** 0.5).all(), name


def test_truncated_forgets_what_came_before(many, functions):
    exact, short = gradient_of(many, functions, "unroll"), gradient_of(many, functions, "one_step")
    assert any(not torch.allclose(short[name], exact[name], rtol=0.05) for name in exact)
    assert all(value.isfinite().all() for value in short.values())


def test_conjugate_gradients_refuse_a_rule_that_descends_nothing(functions):
    compiled = rulec.load("blur").compile("2-4-1(tanh)", loss="mse", dtype="float64")
    made = planned(compiled, functions)
    call = Call("implicit", ("cg",), {}, made.problem.outer.through.span)
    found = READERS["implicit"](replace(made.problem.outer, through=call), Settings(1e9, 5, None))
    with pytest.raises(RuleError, match="not-symmetric"):
        found.gradient(made.problem, made.free, 0)


@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_conjugate_gradients_solve_what_a_dense_solver_solves(functions, damping):
    """On a network of backprop, against the Jacobian of one update written out by autograd."""
    compiled = rulec.load("backprop").compile("2-3-1(tanh)", loss="mse", dtype="float64")
    made = planned(compiled, functions)
    problem = made.problem
    call = Call("implicit", ("cg",), {"steps": 60, "damping": damping}, problem.outer.through.span)
    method = READERS["implicit"](replace(problem.outer, through=call), Settings(1e9, 5, None))
    _, found = method.gradient(problem, made.free, 0)
    leaves = {n: v.detach().requires_grad_() for n, v in made.free.items()}
    inner = problem.begun(leaves, 0)
    with torch.no_grad():
        state = problem.updated(inner, inner.state, 0, problem.inner_steps)
    names = [n for n, v in state.items() if v.is_floating_point()]
    sizes = [state[n].numel() for n in names]

    def placed(flat):
        parts = zip(names, flat.split(sizes), strict=True)
        return {**state, **{n: p.reshape(state[n].shape) for n, p in parts}}

    def update(flat):
        after = problem.updated(inner, placed(flat), problem.inner_steps - 1, problem.inner_steps)
        return torch.cat([after[n].flatten() for n in names])

    flat = torch.cat([state[n].flatten() for n in names])
    rows = []
    for k in range(len(flat)):
        leaf = flat.clone().requires_grad_()
        rows.append(torch.autograd.grad(update(leaf)[k], leaf)[0])
    leaf = flat.clone().requires_grad_()
    right = torch.autograd.grad(problem.judged(inner, placed(leaf), problem.inner_steps).objective.sum(), leaf)[0]
    matrix = (1 + damping) * torch.eye(len(flat), dtype=flat.dtype) - torch.stack(rows)
    assert torch.linalg.eigvalsh((matrix + matrix.T) / 2).min() > 0 or damping == 0
    solved = torch.linalg.solve(matrix.T, right)
    expected = torch.autograd.grad(update(flat), list(leaves.values()), solved)
    if torch.linalg.eigvalsh((matrix + matrix.T) / 2).min() > 0:
        for value, (name, slope) in zip(expected, found.items(), strict=True):
            torch.testing.assert_close(slope, value, rtol=1e-6, atol=1e-9, msg=name)


def test_unroll_agrees_with_finite_differences_for_initial_states(functions):
    compiled = rulec.load("sgd").compile("2-3-1(tanh)", loss="mse", dtype="float64")
    made = planned(compiled, functions, "maml")
    assert made.problem.step.tasks == 32
    assert set(made.free) == {
        "lr",
        *(f"init({name})" for name in ("w.c1.weight", "w.c1.bias", "w.c2.weight", "w.c2.bias")),
    }
    _, exact = reverse_gradient(made.problem, made.free, 0)
    measured = _central_differences(made.problem, made.free)
    for name, value in exact.items():
        torch.testing.assert_close(value, measured[name], rtol=1e-5, atol=1e-8)


def test_checkpointing_gives_the_same_gradient(many, functions):
    compiled = many.compile("2-4-1(tanh)", population=2, loss="mse", dtype="float64")
    made = planned(compiled, functions, inner_steps=6)
    _, whole = reverse_gradient(made.problem, made.free, 0)
    _, redone = reverse_gradient(made.problem, made.free, 0, memory="least")
    for name, value in whole.items():
        torch.testing.assert_close(redone[name], value, rtol=0, atol=1e-12)


def test_checkpointing_repeats_the_noise(functions):
    compiled = rulec.load("node_perturbation").compile("2-4-1(tanh)", loss="mse", dtype="float64")
    made = planned(compiled, functions, inner_steps=6)
    _, whole = reverse_gradient(made.problem, made.free, 0)
    _, redone = reverse_gradient(made.problem, made.free, 0, memory="least")
    for name, value in whole.items():
        assert value.abs().max() > 0
        torch.testing.assert_close(redone[name], value, rtol=0, atol=1e-12)


def test_checkpointing_keeps_less_in_memory(many, functions):
    compiled = many.compile("2-4-1(tanh)", loss="mse")
    made = planned(compiled, functions, inner_steps=32)
    kept = {}
    for memory in (None, "least"):
        leaves = {name: value.clone().requires_grad_() for name, value in made.free.items()}
        score = made.problem.lesson(leaves, 0, memory=memory)
        lent = [
            tensor for engine in made.problem.step.graphs.engines.values() for _, tensor in engine.pool.lent.values()
        ]
        kept[memory] = sum(tensor.nbytes for tensor in lent)
        score.loss.sum().backward()
        assert not any(engine.pool.lent for engine in made.problem.step.graphs.engines.values())
    assert kept["least"] < kept[None] / 2


# One linear connection without bias, under an update whose Jacobian with respect to the weights is known.
LINEAR = """
rule drift "{title}"

genome
  lr = 0.3

neuron
  x
  y

synapse
  w[i,j] = normal(0, 1)

input i
  x[i] = input[i]

forward i -> j
  x[j] = sum[i](w[i,j] * x[i])

output j
  prediction[j] = x[j]
  y[j] = target[j]

update i -> j
  w[i,j] -= {change}
"""


def _both(text, functions, **given):
    compiled = rulec.parse(text).compile("2-1", loss="mse", dtype="float64")
    made = planned(compiled, functions, **given)
    return [reverse_gradient(made.problem, made.free, 0, straight=straight) for straight in (False, True)]


def test_first_order_is_exact_where_an_update_adds_what_the_state_does_not_enter(functions):
    # The update is w + lr * c(data): its Jacobian with respect to w is the identity, so nothing is dropped.
    text = LINEAR.format(title="adds the correlation of input and target", change="lr * mean[n](x[i] * y[j])")
    (score, exact), (other, approximate) = _both(text, functions)
    torch.testing.assert_close(other.loss, score.loss, rtol=0, atol=0)
    assert exact["lr"].abs() > 1e-3
    torch.testing.assert_close(approximate["lr"], exact["lr"], rtol=1e-12, atol=0)


def test_first_order_drops_exactly_the_later_jacobians(functions):
    # w_n = (1 - lr)^n w_0, so dw_n/dlr = -n (1 - lr)^(n - 1) w_0. With the Jacobian 1 - lr of each update taken as 1, what
    # remains is the sum over updates of -w_k = -w_0 (1 - lr)^k.
    n, lr = 3, 0.3
    (score, exact), (other, approximate) = _both(
        LINEAR.format(title="decays", change="lr * w[i,j]"), functions, inner_steps=n
    )
    torch.testing.assert_close(other.loss, score.loss, rtol=0, atol=0)
    expected = sum((1 - lr) ** k for k in range(n)) / (n * (1 - lr) ** (n - 1))
    torch.testing.assert_close(approximate["lr"] / exact["lr"], torch.full((1,), expected, dtype=torch.float64))
    assert abs(expected - 1) > 0.2


def test_with_one_update_first_order_is_exact(many, functions):
    compiled = many.compile("2-4-1(tanh)", loss="mse", dtype="float64")
    made = planned(compiled, functions, inner_steps=1)
    _, exact = reverse_gradient(made.problem, made.free, 0)
    _, approximate = reverse_gradient(made.problem, made.free, 0, straight=True)
    for name, value in exact.items():
        torch.testing.assert_close(approximate[name], value, rtol=1e-12, atol=1e-15)


def test_reptile_points_from_the_end_to_the_start(functions):
    compiled = rulec.load("sgd").compile("2-3-1(tanh)", loss="mse", dtype="float64")
    made = planned(compiled, functions, "reptile")
    problem, free = made.problem, made.free
    assert problem.step.tasks == 8
    _, found = made.method.gradient(problem, free, 0)
    inner = problem.begun(free, 0)
    state = inner.state
    for x, y in zip(inner.batches.x, inner.batches.y, strict=True):
        state, _ = problem.step(inner.genome, state, x, y)
    for name in problem.parameters.initial:
        moved = (inner.state[name] - state[name]).mean(1)
        assert moved.abs().max() > 1e-4
        torch.testing.assert_close(found[f"init({name})"], moved, rtol=1e-9, atol=1e-12)


def test_reptile_learns_initial_values_alone(functions):
    outer = rulec.load("sgd").outer("reptile")
    with pytest.raises(RuleError, match="starts-alone"):
        READERS["reptile"](
            replace(outer, meta=(*outer.meta, Learned("sgd.lr", (), None, False, outer.span))), Settings(1.0, 5, None)
        )
