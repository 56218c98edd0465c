"""Members of a population never meet: alone or together, healthy or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import rulec
from rulec.meta.hypergradients.descent import clip
from rulec.meta.optimizers import Adam, Sgd
from rulec.meta.train import meta_train
from rulec.source import RuleError

from .conftest import FRAGILE, planned


def _picked(genome, member):
    return {name: value[member : member + 1] for name, value in genome.items()}


def test_training_together_is_training_alone(many, functions):
    settings = {"steps": 6, "inner_steps": 4, "batch": 32, "lr": 0.02, "seed": 3, "episodes": 2}
    together = many.compile("2-5-1(tanh)", population=3, loss="mse", dtype="float64")
    start = together.init_genome(7)
    start["lr"] = torch.tensor([0.05, 0.2, 0.6], dtype=torch.float64)
    crowd = meta_train(together, functions, start=start, **settings)
    alone = many.compile("2-5-1(tanh)", population=1, loss="mse", dtype="float64")
    for member in range(3):
        lonely = meta_train(
            alone,
            functions,
            start=_picked(start, member),
            **settings,
        )
        for name, value in lonely.genomes.items():
            assert not torch.equal(value, start[name][member : member + 1]) or name == "f.1.bias"
            torch.testing.assert_close(crowd.genomes[name][member : member + 1], value, rtol=1e-9, atol=1e-11)
        assert lonely.scores[0] == pytest.approx(crowd.scores[member], rel=1e-9)


def test_a_population_of_one_is_no_population(many, functions):
    settings = {"steps": 3, "inner_steps": 3, "batch": 16, "episodes": 2}
    alone = meta_train(many.compile("2-4-1", loss="mse"), functions, **settings)
    one = meta_train(many.compile("2-4-1", loss="mse", population=1), functions, **settings)
    for name, value in alone.genome.items():
        assert value.shape == many.compile("2-4-1", loss="mse").genome_spec[name].shape
        assert torch.equal(value, one.genome[name])


@pytest.mark.parametrize("poison", [-1.0, 0.0])
def test_a_broken_member_is_held_and_retired_and_harms_nobody(functions, poison):
    # -1: the loss is NaN. 0: the loss is fine, its gradient is not.
    rule = rulec.parse(FRAGILE)
    settings = {"steps": 8, "inner_steps": 3, "batch": 16, "lr": 0.05, "patience": 5, "episodes": 2}
    trio = rule.compile("2-4-1(tanh)", population=3, loss="mse", dtype="float64")
    start = {
        "lr": torch.tensor([0.1, 0.2, 0.3]).double(),
        "boom": torch.tensor([1.0, poison, 2.0], dtype=torch.float64),
    }
    result = meta_train(trio, functions, start=start, **settings)
    assert result.bad_steps == (0, 8, 0)
    assert result.retired == (None, 4, None)
    assert result.best != 1
    kept = {name: value[1].item() for name, value in result.genomes.items()}
    assert kept["lr"] == pytest.approx(start["lr"][1].item(), rel=1e-12)
    assert kept["boom"] == pytest.approx(poison)
    pair = rule.compile("2-4-1(tanh)", population=2, loss="mse", dtype="float64")
    healthy = meta_train(pair, functions, start={name: value[[0, 2]] for name, value in start.items()}, **settings)
    for name, value in healthy.genomes.items():
        torch.testing.assert_close(result.genomes[name][[0, 2]], value, rtol=1e-10, atol=0)


def test_a_member_that_recovers_is_not_retired(functions):
    rule = rulec.parse(FRAGILE)
    made = planned(rule.compile("2-4-1(tanh)", population=2, loss="mse"), functions, patience=3)
    free = {"lr": made.free["lr"], "boom": torch.tensor([1.0, float("nan")])}
    search = made.method.begin(made.problem, free)
    for number in range(2):
        search, row = made.method.step(made.problem, search, number)
        assert row.bad.tolist() == [False, True]
    assert search.memory["bad"].tolist() == [0, 2]
    assert search.memory["count"].tolist() == [2, 0]
    healed = type(search)({**search.free, "boom": torch.ones(2)}, search.memory)
    healed, row = made.method.step(made.problem, healed, 2)
    assert row.bad.tolist() == [False, False]
    assert healed.memory["bad"].tolist() == [0, 0]
    assert made.method.retired(healed).tolist() == [-1, -1]


def test_nobody_left_is_an_error_that_says_when(functions):
    compiled = rulec.parse(FRAGILE).compile("2-4-1(tanh)", population=2, loss="mse")
    start = {"lr": torch.full((2,), 0.1), "boom": torch.full((2,), -1.0)}
    with pytest.raises(RuleError) as error:
        meta_train(compiled, functions, steps=20, inner_steps=2, batch=16, patience=4, start=start)
    assert str(error.value) == (
        "error[all-members-diverged]: no genome is left: the loss or the gradient of every member stopped being finite\n"
        "   = note: given up at meta-step 3, 3, each after 4 such steps in a row\n"
        "   = help: lower `lr`, use fewer inner steps, or normalise in the rule"
    )


# --- Optimisers and clipping, against torch's own ----------------------------------------------


@pytest.mark.parametrize("member", [0, 1])
def test_adam_is_that_of_torch(member):
    generator = torch.Generator().manual_seed(0)
    free = {"a": torch.randn(2, 3, generator=generator).double(), "b": torch.randn(2, generator=generator).double()}
    leaves = [value[member].clone().requires_grad_() for value in free.values()]
    twin = torch.optim.Adam(leaves, lr=0.02, betas=(0.8, 0.95), eps=1e-6)
    adam = Adam(0.02, 0.8, 0.95, 1e-6)
    memory = adam.begin(free)
    for _ in range(7):
        gradient = {name: torch.randn(value.shape, generator=generator).double() for name, value in free.items()}
        free, memory = adam.step(free, gradient, memory)
        for leaf, g in zip(leaves, gradient.values(), strict=True):
            leaf.grad = g[member].clone()
        twin.step()
    for leaf, value in zip(leaves, free.values(), strict=True):
        torch.testing.assert_close(value[member], leaf.detach(), rtol=1e-12, atol=1e-14)


def test_sgd_goes_against_the_gradient():
    free, memory = Sgd(0.5).step({"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([1.0, -4.0])}, {})
    assert free["a"].tolist() == [0.5, 4.0]
    assert memory == {}


def test_each_member_is_clipped_by_its_own_norm():
    gradient = {"a": torch.tensor([[3.0, 0.0], [0.3, 0.0], [0.0, 0.0]]), "b": torch.tensor([4.0, 0.4, 0.0])}
    clipped, norm = clip(gradient, 1.0)
    np.testing.assert_allclose(norm, [5.0, 0.5, 0.0])
    np.testing.assert_allclose(clipped["a"][:, 0], [0.6, 0.3, 0.0], rtol=1e-6)
    np.testing.assert_allclose(clipped["b"], [0.8, 0.4, 0.0], rtol=1e-6)
