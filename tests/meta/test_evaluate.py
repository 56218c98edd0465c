"""Evaluation against a loop written by hand, baselines against torch, and transfer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import rulec
from rulec.meta.baselines import baselines
from rulec.meta.evaluate import Setting, evaluate, measure
from rulec.meta.objective import Judged, scored
from rulec.meta.seeds import derived_seed
from rulec.meta.transfer import transfer_table
from rulec.runtime.losses import mean_loss
from rulec.semantics.typed import Objective
from rulec.source import RuleError, Source
from rulec.tasks.fewshot import FewShot

UPDATES = (0, 1, 4)


def test_the_curve_is_that_of_a_network_trained_by_torch(backprop, digits):
    episodes, batch, seed, lr = 3, 20, 11, 0.7
    curve = evaluate(
        backprop.compile("64-8-10"),
        {"lr": torch.tensor(lr)},
        digits,
        updates=UPDATES,
        episodes=episodes,
        batch=batch,
        seed=seed,
    )
    data = digits.episode(
        seed=derived_seed("evaluate", "held-out", seed), steps=4, batch=batch, tasks=episodes, held_out=True
    )
    drawn = backprop.compile("64-8-10", tasks=episodes).init_state(derived_seed("evaluate", "synapses", seed))
    accuracy, loss = np.zeros((3, episodes)), np.zeros((3, episodes))
    for e in range(episodes):
        net = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10))
        with torch.no_grad():
            for layer, weight, bias in ((net[0], "w.c1", "b.hidden1"), (net[2], "w.c2", "b.output")):
                layer.weight.copy_(drawn[weight][e].T)
                layer.bias.copy_(drawn[bias][e])
        optimizer = torch.optim.SGD(net.parameters(), lr=lr)
        for done in range(5):
            if done in UPDATES:
                row, answer = UPDATES.index(done), net(data.query_x[e])
                accuracy[row, e] = (answer.argmax(-1) == data.query_y[e].argmax(-1)).double().mean()
                loss[row, e] = torch.nn.functional.cross_entropy(answer, data.query_y[e]).item()
            if done < 4:
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(net(data.support_x[done, e]), data.support_y[done, e]).backward()
                optimizer.step()
    np.testing.assert_allclose(curve.accuracy, accuracy.mean(1), atol=1e-6)
    np.testing.assert_allclose(curve.accuracy_sd, accuracy.std(1, ddof=1), atol=1e-6)
    np.testing.assert_allclose(curve.loss, loss.mean(1), rtol=1e-4)
    np.testing.assert_allclose(curve.loss_sd, loss.std(1, ddof=1), rtol=1e-3)
    assert curve.at(4) == curve.accuracy[2] and curve.rows()[1]["updates"] == 1


def test_losses_are_those_of_torch():
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 6, 4, generator=generator), torch.randn(2, 6, 4, generator=generator)
    labels = torch.randint(4, (2, 6), generator=generator)
    for k in range(2):
        torch.testing.assert_close(
            mean_loss("mse", prediction, target)[k], torch.nn.functional.mse_loss(prediction[k], target[k])
        )
        torch.testing.assert_close(
            mean_loss("cross_entropy", prediction, torch.nn.functional.one_hot(labels, 4).float())[k],
            torch.nn.functional.cross_entropy(prediction[k], labels[k]),
        )


def objective(weight, quantity, on):
    return Objective(weight, quantity, on, Source("test", "").span(0, 0))


def test_objectives_add_up():
    loss, accuracy = torch.tensor([1.0, 2.0]), torch.tensor([0.75, 0.25])
    on = {"query": Judged(loss, accuracy), "support": Judged(2 * loss, accuracy)}
    some = [objective(0.5, "loss", "query"), objective(2.0, "error", "query")]
    assert scored(some, on).objective.tolist() == [1.0, 2.5]
    assert scored([*some, objective(1.0, "loss", "support")], on).objective.tolist() == [3.0, 6.5]
    learned = {"decay": torch.tensor([3.0, 4.0]), "init(w.c1)": torch.ones(2, 5), "init(w.c2)": torch.zeros(2, 2, 2)}
    norms = [objective(0.5, "norm", "decay"), objective(-1.0, "norm", "init(w)")]
    assert scored([*some, *norms], on, learned).objective.tolist() == [1.0 + 4.5 - 5, 2.5 + 8 - 5]


def test_a_prediction_that_is_not_finite_has_no_objective():
    loss = torch.tensor([torch.nan, torch.inf, 1.0])
    found = scored([objective(1.0, "error", "query")], {"query": Judged(loss, torch.ones(3))})
    assert found.objective.isfinite().tolist() == [False, False, True]


def test_kinds_of_task_are_told_apart(backprop, functions):
    curve = evaluate(
        backprop.compile("2-8-1(tanh)", loss="mse"),
        {"lr": torch.tensor(0.5)},
        functions,
        updates=(0, 5),
        episodes=6,
        batch=32,
    )
    assert set(curve.by_name) == {"or", "quadrant_and", "nxor"}
    np.testing.assert_allclose(np.mean(list(curve.by_name.values()), axis=0), curve.accuracy)


def test_evaluation_does_not_depend_on_the_axes_compiled(backprop, functions):
    genome = {"lr": torch.tensor(0.5)}
    plain, wide = (
        backprop.compile("2-8-1", loss="mse", **axes) for axes in ({}, {"population": 3, "tasks": 2, "replicas": 2})
    )
    assert evaluate(plain, genome, functions, episodes=3) == evaluate(wide, genome, functions, episodes=3)


def test_held_out_and_training_data_differ(backprop, digits):
    compiled = backprop.compile("64-8-10")
    genome = {"lr": torch.tensor(0.5)}
    assert (
        evaluate(compiled, genome, digits, episodes=2).accuracy
        != evaluate(compiled, genome, digits, episodes=2, held_out=False).accuracy
    )


@pytest.mark.parametrize(
    ("settings", "id"),
    [
        ({"updates": ()}, "wrong-updates"),
        ({"updates": (3, 1)}, "wrong-updates"),
        ({"updates": (-1,)}, "wrong-updates"),
        ({"updates": (1.5,)}, "wrong-updates"),
        ({"episodes": 0}, "wrong-count"),
        ({"batch": 0}, "wrong-count"),
    ],
)
def test_wrong_settings_are_told(backprop, functions, settings, id):
    with pytest.raises(RuleError, match=id):
        evaluate(backprop.compile("2-4-1", loss="mse"), {"lr": torch.tensor(0.1)}, functions, **settings)


def test_one_genome_at_a_time(backprop, functions):
    with pytest.raises(RuleError, match="wrong-shape"):
        evaluate(backprop.compile("2-4-1", loss="mse", population=2), {"lr": torch.ones(2)}, functions)


# --- Baselines --------------------------------------------------------------------------------


def test_rates_are_chosen_on_training_data_and_used_on_held_out_data(digits):
    grid = (0.001, 0.1, 1.0)
    setting = Setting(UPDATES, 3, 24, None, 5)
    (found,) = baselines(digits, "64-8-10", ("sgd",), rates=grid, updates=UPDATES, episodes=3, batch=24, seed=5)
    compiled = rulec.load("sgd").compile("64-8-10")
    alone = {
        rate: [
            measure(compiled, {"lr": torch.tensor([rate])}, digits, dataclasses.replace(setting, held_out=held_out))
            for held_out in (False, True)
        ]
        for rate in grid
    }
    for place in range(len(UPDATES)):
        by_training = max(
            grid, key=lambda rate: (alone[rate][0].accuracy[place].mean(), -alone[rate][0].loss[place].mean())
        )
        assert found.rates[place] == by_training or place == 0
        assert found.curve.accuracy[place] == pytest.approx(
            alone[found.rates[place]][1].accuracy[place].mean().item(), abs=1e-6
        )
    assert found.curve.at(4) > 0.3 > found.curve.at(0)


def test_the_default_baselines_are_three_optimisers(functions):
    found = baselines(functions, "2-4-1", rates=(0.1, 1.0), updates=(0, 2), episodes=2, batch=8)
    assert [b.name for b in found] == ["sgd", "momentum", "adam"]
    assert all(b.curve.accuracy[0] == found[0].curve.accuracy[0] for b in found), "the same initial weights and queries"


# --- Transfer ---------------------------------------------------------------------------------


def test_a_genome_goes_to_other_networks_and_tasks(backprop, digits, functions):
    compiled = backprop.compile("64-8-10")
    genome = {"lr": torch.tensor(0.7)}
    same, wider, other = transfer_table(
        compiled,
        genome,
        [(digits, "64-8-10"), (digits, "64-16-8-10"), ("functions", "2-8-1")],
        updates=(0, 5),
        episodes=2,
        batch=32,
    )
    assert same == evaluate(compiled, genome, digits, updates=(0, 5), episodes=2, batch=32)
    assert (wider.network, other.task, other.network) == ("64-16-8-10", functions.name, "2-8-1")
    assert other == evaluate(
        backprop.compile("2-8-1", loss="mse"), genome, functions, updates=(0, 5), episodes=2, batch=32
    )


def test_a_genome_per_layer_stays_with_its_number_of_layers(many, functions):
    compiled = many.compile("2-4-1", loss="mse")
    with pytest.raises(RuleError, match="`eta` of the given genome has shape"):
        transfer_table(compiled, compiled.init_genome(0), [(functions, "2-4-4-1")])


def test_one_by_one_no_answer_depends_on_the_other_questions():
    compiled = rulec.load("sgd").compile("1x4x4-conv(3)-batchnorm-2", loss="cross_entropy", dtype="float64")
    images = [torch.rand(6, 1, 4, 4) + k for k in range(4)]
    task = FewShot("made", images[:2], images[2:], 2, 2, 4)
    found = {
        together: evaluate(compiled, compiled.init_genome(), task, updates=(0, 2), episodes=3, together=together)
        for together in (True, False)
    }
    assert not found[False].together and found[True].loss != found[False].loss
    step = compiled.resized(population=1, tasks=3, replicas=None)
    episode = task.episode(seed=derived_seed("evaluate", "held-out", 0), steps=2, batch=4, tasks=3, held_out=True)
    genome = {name: value[None] for name, value in compiled.init_genome().items()}
    state = step.init_state(derived_seed("evaluate", "synapses", 0), batch=4)
    known = episode.support_x[:1]  # before the first update, too
    batches = [torch.cat([known, episode.query_x[None, :, k : k + 1]], 2) for k in range(8)]
    answers = torch.stack([step.predict(genome, state, batch)[:, :, 4] for batch in batches], 2)
    loss = -(answers.log_softmax(-1) * episode.query_y).sum(-1).mean()
    assert found[False].loss[0] == pytest.approx(float(loss), rel=1e-6)
    assert found[False].rows()[0]["loss_ci95"] == pytest.approx(1.96 * found[False].loss_sd[0] / 3**0.5)
