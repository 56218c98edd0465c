"""Covariance matrix adaptation over the population axis."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import rulec
from rulec.meta.hypergradients.cma import begin_strategy, default_candidates, flat, ranked, unflat
from rulec.meta.train import meta_train

from .conftest import FRAGILE, planned


def test_vectors_and_meta_parameters_are_inverse():
    free = {"a": torch.arange(6.0).reshape(1, 2, 3), "b": torch.tensor([7.0])}
    vectors = np.stack([flat(free), flat(free) + 1])
    assert flat(free).tolist() == [0, 1, 2, 3, 4, 5, 7]
    back = unflat(vectors, free)
    assert torch.equal(back["a"][1], free["a"][0] + 1) and back["b"].tolist() == [7.0, 8.0]


def test_what_is_not_finite_ranks_last():
    assert ranked(torch.tensor([2.0, float("nan"), -1.0, float("inf")])).tolist() == [2.0, 3.0, -1.0, 3.0]
    assert ranked(torch.tensor([float("nan")] * 2)).tolist() == [0.0, 0.0]


def test_the_number_of_candidates_is_hansens():
    assert [default_candidates(n) for n in (2, 10, 100)] == [6, 10, 17]


@pytest.mark.parametrize("size", [1, 3])
def test_chance_is_keyed_and_leaves_the_global_generator_alone(size):
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    first, second = (begin_strategy(np.zeros(size), 0.3, 6, seed=4).ask() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, begin_strategy(np.zeros(size), 0.3, 6, seed=5).ask())
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_candidates_of_a_generation_differ_by_their_genomes_alone(backprop, functions):
    made = planned(backprop.compile("2-6-1(tanh)", loss="mse", population=4, dtype="float64"), functions, "cma")
    wide = made.problem.widened(4)
    free = {"lr": torch.tensor([0.5, 0.1, 0.5, 0.1]).double().log()}
    loss = wide.lesson(free, 0).loss
    torch.testing.assert_close(loss[:2], loss[2:])
    assert abs(loss[0] - loss[1]) > 1e-4


def test_a_search_survives_candidates_that_diverge(functions):
    # About half of the first generation takes the root of a negative number.
    compiled = rulec.parse(FRAGILE).compile("2-8-1(tanh)", loss="mse", population=10)
    start = {"lr": torch.tensor(0.3), "boom": torch.tensor(0.01)}
    result = meta_train(compiled, functions, "cma", steps=10, start=start, inner_steps=5, batch=64, episodes=4)
    assert result.genome["boom"] > 0.2
    assert np.isfinite(result.scores[0]) and result.history.loss.isfinite().all()
