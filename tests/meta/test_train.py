"""Meta-training as a whole: it learns, it repeats, it goes on where it stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import cache

import pytest
import torch

import rulec
from rulec.meta.checkpoint import checkpoints_in
from rulec.meta.evaluate import evaluate
from rulec.meta.hypergradients import unroll
from rulec.meta.train import meta_train
from rulec.source import RuleError
from tests.shipped import load

SMALL = {"inner_steps": 3, "batch": 16, "episodes": 2, "lr": 0.05}


def _same(one, other):
    assert set(one.genomes) == set(other.genomes)
    for name, value in one.genomes.items():
        assert torch.equal(value, other.genomes[name]), name
    assert torch.equal(one.history.loss, other.history.loss)
    assert one.scores == other.scores


# --- It learns --------------------------------------------------------------------------------

LEARNING = {"steps": 40, "lr": 0.1, "seed": 1}
BAD_RATE = 0.002
GAIN = 0.3


def _gain(backprop, digits, outer="adam"):
    compiled = backprop.compile("64-16-10")
    start = {"lr": torch.tensor(BAD_RATE)}
    before = evaluate(compiled, start, digits, updates=(10,), episodes=4).at(10)
    result = meta_train(compiled, digits, outer, start=start, episodes=4, **LEARNING)
    return evaluate(compiled, result.genome, digits, updates=(10,), episodes=4).at(10) - before


def test_a_bad_learning_rate_becomes_a_good_one(backprop, digits):
    assert _gain(backprop, digits) > GAIN


def test_a_gradient_of_the_wrong_sign_does_not_learn(backprop, digits, monkeypatch):
    exact = unroll.reverse_gradient

    def wrong(*args, **settings):
        score, gradient = exact(*args, **settings)
        return score, {name: -value for name, value in gradient.items()}

    monkeypatch.setattr(unroll, "reverse_gradient", wrong)
    assert _gain(backprop, digits) < GAIN / 3


def test_cma_finds_a_better_learning_rate(backprop, digits):
    compiled = backprop.compile("64-16-10", population=6)
    start = {"lr": torch.tensor(0.02)}
    result = meta_train(compiled, digits, "cma", steps=15, start=start, episodes=4, inner_steps=5)
    before = evaluate(compiled, start, digits, updates=(5,), episodes=4).at(5)
    assert result.held_out[0].at(5) > before + 0.2
    assert result.genomes["lr"].shape == (1,)
    assert result.history.accuracy.shape == (15, 1)


def test_maml_learns_initial_weights_that_tasks_share(functions):
    compiled = rulec.load("sgd").compile("2-16-1(tanh)", loss="mse", replicas=2)
    result = meta_train(compiled, functions, "maml", steps=150, lr=0.02, batch=32, episodes=4)
    assert {name: tuple(value.shape) for name, value in result.initial.items()} == {
        "w.c1.weight": (2, 16),
        "w.c1.bias": (16,),
        "w.c2.weight": (16, 1),
        "w.c2.bias": (1,),
    }
    losses = result.history.loss[:, 0]
    assert losses[-20:].mean() < 0.75 * losses[:5].mean()


# --- Members and scores -----------------------------------------------------------------------


def test_the_best_member_is_chosen_by_meta_training_scores_alone(backprop, digits, monkeypatch):
    from rulec.meta import conclusion

    compiled = backprop.compile("64-8-10", population=3)
    start = {"lr": torch.tensor([0.001, 0.5, 0.002])}
    fair = meta_train(compiled, digits, steps=0, start=start, **SMALL)
    assert fair.best == 1 == min(range(3), key=fair.scores.__getitem__)
    for name, value in fair.genome.items():
        torch.testing.assert_close(value, start[name][1])
    # However held-out data may turn out, they do not change the choice.
    exact = conclusion.measure

    def reversed_on_held_out(compiled, genome, task, setting, initial=None):
        found = exact(compiled, genome, task, setting, initial)
        return dataclasses.replace(found, accuracy=1 - found.accuracy, loss=-found.loss) if setting.held_out else found

    monkeypatch.setattr(conclusion, "measure", reversed_on_held_out)
    assert meta_train(compiled, digits, steps=0, start=start, **SMALL).best == 1


def test_meta_training_never_sees_held_out_data(backprop, digits, monkeypatch):
    asked = []
    exact = type(digits).episode

    def noted(self, **given):
        asked.append(given.get("held_out", False))
        return exact(self, **given)

    monkeypatch.setattr(type(digits), "episode", noted)
    meta_train(backprop.compile("64-8-10"), digits, steps=4, **SMALL)
    assert asked == [False] * 5 + [False, True]  # the size of a query, four meta-steps, the scores, the report


def test_only_what_the_outer_step_names_is_learned(many, functions):
    outer = many.outer("adam")
    lr_only = dataclasses.replace(outer, meta=(dataclasses.replace(outer.meta[0], name="rule.lr"),))
    compiled = many.compile("2-4-1", loss="mse")
    result = meta_train(compiled, functions, lr_only, steps=3, **SMALL)
    before = compiled.init_genome(0)
    changed = {name for name, value in result.genome.items() if not torch.equal(value, before[name])}
    assert changed == {"lr"}


def test_domains_hold_however_large_the_steps(many, functions):
    compiled = many.compile("2-4-1(tanh)", loss="mse", population=2)
    result = meta_train(compiled, functions, steps=12, **{**SMALL, "lr": 1.5})
    assert (result.genomes["lr"] > 0).all() and (result.genomes["eta"] > 0).all()
    assert ((result.genomes["keep_"] >= 0) & (result.genomes["keep_"] <= 1)).all()
    assert (result.genomes["gain"].abs() <= 2).all()


def test_data_and_synapses_are_fresh_in_every_meta_step_and_the_same_in_every_run(backprop, digits):
    from .conftest import planned

    made = planned(backprop.compile("64-8-10", tasks=2, replicas=2), digits).problem
    first, second, again = (made.start(made.parameters.free(made.fixed, {}), k)["w.c1"] for k in (0, 1, 0))
    assert torch.equal(first, again) and not torch.equal(first, second)
    assert not torch.equal(first[0, 0, 0], first[0, 1, 0]) and not torch.equal(first[0, 0, 0], first[0, 0, 1])
    assert torch.equal(made.batches(0).x, made.batches(0).x) and not torch.equal(made.batches(0).x, made.batches(1).x)


def test_an_inner_loop_of_n_steps_makes_n_updates_before_the_query(backprop, digits):
    from rulec.runtime.losses import mean_loss

    from .conftest import planned

    made = planned(backprop.compile("64-8-10", dtype="float64"), digits, inner_steps=4)
    problem, batches = made.problem, made.problem.batches(0)
    genome, state = problem.parameters.genome(made.free, problem.fixed), problem.start(made.free, 0)
    losses = []
    for x, y in zip(batches.x, batches.y, strict=True):
        state, _ = problem.step(genome, state, x, y)
        prediction = problem.step.predict(genome, state, batches.query_x)
        losses.append(mean_loss(problem.task.loss, prediction, batches.query_y).mean())
    learned = problem.lesson(made.free, 0).loss.mean()
    assert abs(learned - losses[3]) < 1e-12 < min(abs(learned - loss) for loss in losses[:3])


# --- It goes on where it stopped --------------------------------------------------------------


@pytest.mark.parametrize("outer", ["adam", "first_order", "cma", "pes"])
def test_ten_steps_and_ten_more_are_twenty(many, functions, tmp_path, outer):
    compiled = many.compile("2-4-1(tanh)", loss="mse", population=3 if outer != "cma" else 5)
    given = {**SMALL, "lr": SMALL["lr"] if outer != "cma" else None, "seed": 2}
    given["inner_steps"] = 5 if outer == "pes" else given["inner_steps"]  # its trajectories have a hundred updates
    whole = meta_train(compiled, functions, outer, steps=20, held_out_every=10, **given)
    meta_train(compiled, functions, outer, steps=10, held_out_every=10, out=tmp_path, **given)
    resumed = meta_train(compiled, functions, outer, steps=20, held_out_every=10, out=tmp_path, resume=True, **given)
    _same(whole, resumed)
    assert resumed.history.held_out_at == [10, 20]
    assert torch.equal(torch.stack(whole.history.held_out_rows), torch.stack(resumed.history.held_out_rows))
    assert [path.name for path in checkpoints_in(tmp_path)] == ["checkpoint-00000010.pt", "checkpoint-00000020.pt"]


PROGRAM = """
import sys, torch
torch.set_num_threads(1)
import rulec
from rulec.meta.train import meta_train
compiled = rulec.load("backprop").compile("2-6-1(tanh)", loss="mse", population=2)
show = lambda p: print(p.done, flush=True)
meta_train(compiled, "functions", steps={steps}, inner_steps=3, batch=16, episodes=2, lr=0.05, out=sys.argv[1], save_every=7,
           log_every=1, progress=show)
"""


def _started(folder, steps):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM.format(steps=steps)), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def _wait_for(process, step):
    for line in process.stdout:
        if int(line) >= step:
            return
    raise AssertionError(process.stderr.read())


@cache
def _compiled():
    """Compile a rule whose graphs are traced once for all that train it."""
    return load("backprop").compile("2-6-1(tanh)", loss="mse", population=2)


def test_a_killed_run_is_resumed_bit_for_bit(backprop, functions, tmp_path):
    process = _started(tmp_path, 100_000)
    _wait_for(process, 30)
    process.kill()
    process.wait()
    left = int(checkpoints_in(tmp_path)[-1].stem.rpartition("-")[2])
    assert left >= 28 and left % 7 == 0
    given = {"steps": left + 9, "inner_steps": 3, "batch": 16, "episodes": 2, "lr": 0.05}
    resumed = meta_train(_compiled(), functions, out=tmp_path, resume=True, **given)
    whole = meta_train(_compiled(), functions, **given)
    _same(whole, resumed)


def test_ctrl_c_finishes_the_step_and_saves(backprop, functions, tmp_path):
    process = _started(tmp_path, 100_000)
    _wait_for(process, 5)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    shown, problems = process.communicate(timeout=30)
    assert process.returncode == 0, problems
    last = int(shown.split()[-1]) if shown.split() else 5
    assert checkpoints_in(tmp_path)[-1].name == f"checkpoint-{last:08d}.pt"
    assert (tmp_path / "genome.safetensors").exists()


def test_an_interrupted_run_says_so_and_can_go_on(backprop, functions, tmp_path):
    def press(progress):
        if progress.done == 6:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    cut = meta_train(_compiled(), functions, steps=12, out=tmp_path, progress=press, log_every=1, **SMALL)
    assert (cut.interrupted, cut.steps) == (True, 6)
    assert signal.getsignal(signal.SIGINT) is handler
    resumed = meta_train(_compiled(), functions, steps=12, out=tmp_path, resume=True, **SMALL)
    assert not resumed.interrupted
    _same(meta_train(_compiled(), functions, steps=12, **SMALL), resumed)


def test_the_history_file_has_a_line_per_meta_step(backprop, functions, tmp_path):
    result = meta_train(_compiled(), functions, steps=6, out=tmp_path, held_out_every=3, **SMALL)
    records = [json.loads(line) for line in result.paths["history"].read_text().splitlines()]
    assert [r["step"] for r in records] == [1, 2, 3, 4, 5, 6]
    assert [k for k, r in enumerate(records) if "held_out_accuracy" in r] == [2, 5]
    assert records[4]["loss"] == result.history.loss[4].tolist()


# --- What cannot be resumed -------------------------------------------------------------------


def _error(*given, **settings):
    with pytest.raises(RuleError) as error:
        meta_train(*given, **settings)
    return error.value


def test_another_run_is_not_resumed_and_everything_that_differs_is_named(backprop, functions, tmp_path):
    meta_train(_compiled(), functions, steps=2, out=tmp_path, **SMALL)
    other = backprop.compile("2-7-1(tanh)", loss="mse", population=2)
    error = _error(other, functions, steps=4, out=tmp_path, resume=True, **{**SMALL, "batch": 8}, seed=5)
    assert [d.id for d in error.diagnostics] == ["other-run"]
    text = str(error)
    assert "`network`, `seed`, `batch` differ" in text
    assert "batch: 16 in the checkpoint, 8 now" in text
    assert "seed: 0 in the checkpoint, 5 now" in text


def test_another_rule_is_not_resumed(backprop, functions, tmp_path):
    meta_train(_compiled(), functions, steps=1, out=tmp_path, **SMALL)
    text = backprop.text.replace("lr : positive = 0.1", "lr : positive = 0.2")
    error = _error(
        rulec.parse(text).compile("2-6-1(tanh)", loss="mse", population=2),
        functions,
        steps=2,
        out=tmp_path,
        resume=True,
        **SMALL,
    )
    assert "`rule hash`, `start` differ" in str(error)


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"no checkpoint at all"]
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_still_works(backprop, functions, tmp_path, damage):
    compiled = _compiled()
    meta_train(compiled, functions, steps=4, out=tmp_path, save_every=2, **SMALL)
    last = checkpoints_in(tmp_path)[-1]
    last.write_bytes(damage(last.read_bytes()))
    error = _error(compiled, functions, steps=4, out=tmp_path, resume=True, **SMALL)
    assert error.diagnostics[0].id == "damaged-checkpoint"
    assert last.name in error.diagnostics[0].message and last.name in error.diagnostics[0].help
    last.unlink()
    _same(
        meta_train(compiled, functions, steps=4, **SMALL),
        meta_train(compiled, functions, steps=4, out=tmp_path, resume=True, **SMALL),
    )


def test_folders_are_used_for_one_run(backprop, functions, tmp_path):
    compiled = _compiled()
    assert _error(compiled, functions, steps=1, out=tmp_path, resume=True, **SMALL).diagnostics[0].id == "no-checkpoint"
    assert _error(compiled, functions, steps=1, resume=True, **SMALL).diagnostics[0].id == "no-folder"
    meta_train(compiled, functions, steps=1, out=tmp_path, **SMALL)
    assert _error(compiled, functions, steps=1, out=tmp_path, **SMALL).diagnostics[0].id == "folder-in-use"
    (tmp_path / "file").write_text("")
    assert (
        _error(compiled, functions, steps=1, out=tmp_path / "file" / "deeper", **SMALL).diagnostics[0].id
        == "cannot-write"
    )


def test_tensorboard_says_how_to_install_it_where_it_is_missing(backprop, functions, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    error = _error(_compiled(), functions, steps=1, out=tmp_path, tensorboard=True, **SMALL)
    assert error.diagnostics[0].id == "tensorboard-missing"
    assert not list(tmp_path.iterdir()), "found out before any work is done"
