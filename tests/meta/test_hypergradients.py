"""Hypergradients against finite differences, against each other, and against formulas."""

from __future__ import annotations

import pytest
import torch

import rulec
from rulec.meta.hypergradients.descent import reverse_gradient
from rulec.semantics.typed import Call
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
        lent = [tensor for engine in made.problem.step._engines.values() for _, tensor in engine.pool.lent.values()]
        kept[memory] = sum(tensor.nbytes for tensor in lent)
        score.loss.sum().backward()
        assert not any(engine.pool.lent for engine in made.problem.step._engines.values())
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


def test_unavailable_hypergradients_say_what_is_available(backprop, functions):
    import dataclasses

    outer = backprop.outer("adam")
    other = dataclasses.replace(outer, through=Call("pes", (), {}, outer.through.span))
    with pytest.raises(RuleError, match="not-available-yet") as error:
        planned(backprop.compile("2-4-1", loss="mse"), functions, other)
    assert "`unroll`, `first_order`, `cma`" in str(error.value)
