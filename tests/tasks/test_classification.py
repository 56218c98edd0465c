"""Classification: which images come when, and what becomes of their pixels."""

from __future__ import annotations

import contextlib
import io
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rulec.source import RuleError
from rulec.tasks.classification import LabelledImages, classification_of
from rulec.tasks.digits import digits
from rulec.tasks.pixels import crop_centre, resize_area, standardise
from rulec.tasks.split import held_out_mask


@pytest.fixture(scope="module")
def task():
    return digits()


def _rows(tensor, width):
    return [row.numpy().tobytes() for row in tensor.reshape(-1, width)]


def _numbered(train, held_out):
    """A task of one-pixel images whose pixel is their number; classes alternate."""

    def part(first, count):
        numbers = np.arange(first, first + count)
        return numbers.astype(np.float32).reshape(-1, 1, 1), numbers % 2

    return classification_of(
        "numbered", LabelledImages(part(0, train), part(train, held_out)), provenance={}, pixels="unit"
    )


def _numbers(tensor):
    return tensor.double().round().long()


# --- Digits -----------------------------------------------------------------------------------


def test_digits_are_1297_and_500_with_every_class_in_proportion(task):
    from sklearn.datasets import load_digits

    assert (len(task.train), len(task.held_out)) == (1297, 500)
    share = np.bincount(load_digits().target) * 500 / 1797
    assert (np.abs(task.held_out.y.sum(0).numpy() - share) < 1).all()
    assert (task.input_shape, task.outputs, task.loss) == ((64,), 10, "cross_entropy")


def test_labels_belong_to_their_images(task):
    means = task.train.y.T @ task.train.x / task.train.y.sum(0).unsqueeze(-1)
    guess = torch.cdist(task.held_out.x, means).argmin(1)
    assert (guess == task.held_out.y.argmax(1)).double().mean() > 0.85


def test_no_image_is_in_both_parts(task):
    assert not set(_rows(task.train.x, 64)) & set(_rows(task.held_out.x, 64))


def test_pixels_run_from_zero_to_one(task):
    from sklearn.datasets import load_digits

    originals = {tuple(row) for row in load_digits().data.round().astype(int)}
    assert all(tuple(row) in originals for row in (task.held_out.x * 16).round().long().tolist())
    assert (task.train.x.min().item(), task.train.x.max().item()) == (0, 1)


def test_pixels_are_centred_and_scaled_by_the_training_part():
    from sklearn.datasets import load_digits

    task = digits(pixels="standard")
    assert task.train.x.mean(0).abs().max() < 1e-5
    assert task.train.x.square().mean().item() == pytest.approx(1, abs=1e-5)
    originals = {tuple(row) for row in load_digits().data.round().astype(int)}
    shifts = task.held_out.x.double()
    scale = 1 / (shifts[:, 20].unique().diff().min().item())  # grey values are whole numbers
    grey = (shifts * scale - (shifts * scale).min(0).values).round().long()
    assert sum(tuple(row) in originals for row in grey.tolist()) > 450  # but for pixels whose least value is not 0


def test_held_out_episodes_take_support_and_query_from_held_out_images_alone(task):
    train, held_out = set(_rows(task.train.x, 64)), set(_rows(task.held_out.x, 64))
    episode = task.episode(seed=5, steps=10, batch=32, tasks=2, query=100, held_out=True)
    for index in range(2):
        support = _rows(episode.support_x[:, index], 64)
        query = _rows(episode.query_x[index], 64)
        assert set(support) | set(query) <= held_out and not set(support) & train
        assert not set(support) & set(query)
        assert len(set(support)) == 320 and len(set(query)) == 100
    episode = task.episode(seed=5, steps=10, batch=32, query=100)
    assert set(_rows(episode.support_x, 64)) | set(_rows(episode.query_x, 64)) <= train


def test_classes_keep_their_parts_and_get_the_first_outputs(task):
    some = digits(classes=[7, 2, 3])
    assert some.outputs == 3 and some.train.y.shape[1] == 3
    for part in ("train", "held_out"):
        counts = getattr(task, part).y.sum(0)[[2, 3, 7]]
        assert getattr(some, part).y.sum(0).tolist() == counts.tolist()
    assert digits(layout="image").episode(seed=0, steps=1, batch=2).support_x.shape == (1, 1, 2, 1, 8, 8)


def test_what_is_recorded_is_plain_data(task):
    import json

    record = json.loads(json.dumps(task.describe()))
    assert record["name"] == "digits" and record["train"] == 1297 and record["classes"] == list(range(10))


def test_other_processes_draw_the_same_bits():
    """The hash of strings is salted per process; episodes must not depend on it."""
    code = (
        "from rulec.tasks import task_from; import hashlib\n"
        "for name in ('digits', 'functions(train=random_xor+blobs)'):\n"
        "  e = task_from(name).episode(seed=7, steps=3, batch=5, tasks=2, held_out=name == 'digits')\n"
        "  print(hashlib.sha256(b''.join(t.numpy().tobytes() for t in"
        " (e.support_x, e.support_y, e.query_x, e.query_y))).hexdigest(), e.names)"
    )
    salt = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    other = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": salt, "OMP_NUM_THREADS": "1"},
    ).stdout
    own = io.StringIO()
    with contextlib.redirect_stdout(own):
        exec(code, {})
    assert own.getvalue() == other and len(other.splitlines()) == 2


# --- Episodes of any classification ------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(4, 30),
    steps=st.integers(0, 12),
    batch=st.integers(1, 5),
    query=st.integers(1, 8),
    tasks=st.integers(1, 3),
    seed=st.integers(0, 10**9),
    held_out=st.booleans(),
)
def test_images_come_round_once_before_any_comes_twice(size, steps, batch, query, tasks, seed, held_out):
    task = _numbered(size, size)
    draw = {"seed": seed, "steps": steps, "batch": batch, "query": query, "tasks": tasks, "held_out": held_out}
    if query + batch > size:
        with pytest.raises(RuleError) as caught:
            task.episode(**draw)
        assert caught.value.diagnostics[0].id == "part-too-small"
        return
    episode = task.episode(**draw)
    support, asked = _numbers(episode.support_x), _numbers(episode.query_x)
    assert support.shape == (steps, tasks, batch, 1) and asked.shape == (tasks, query, 1)
    part = set(range(size, 2 * size) if held_out else range(size))
    for index in range(tasks):
        queried = asked[index].flatten().tolist()
        given_out = support[:, index].flatten().tolist()
        rest = part - set(queried)
        assert len(rest) == size - query and set(given_out) <= rest
        times = [given_out.count(number) for number in rest]
        assert max(times) - min(times) <= 1
    assert torch.equal(episode.support_y.argmax(-1), support.squeeze(-1) % 2)
    assert torch.equal(episode.query_y.argmax(-1), asked.squeeze(-1) % 2)


def test_longer_episodes_begin_like_shorter_ones():
    task = _numbered(40, 40)
    short, long = (task.episode(seed=2, steps=steps, batch=6, tasks=2) for steps in (3, 20))
    assert torch.equal(short.query_x, long.query_x) and torch.equal(short.support_x, long.support_x[:3])
    assert not torch.equal(short.query_x[0], short.query_x[1])
    assert not torch.equal(short.query_x, task.episode(seed=3, steps=3, batch=6, tasks=2).query_x)


def test_accuracy_looks_for_the_largest_output():
    task = _numbered(10, 10)
    target = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    prediction = torch.tensor([[[9.0, 1], [2, 3], [1, 0], [0, 1]], [[1, 0]] * 4, [[math.nan, 0]] * 4])
    assert task.accuracy(prediction, target).tolist() == [0.75, 0.75, 0]
    assert task.balanced_accuracy(prediction, target).tolist() == pytest.approx([5 / 6, 0.5, 0])
    absent = task.balanced_accuracy(prediction[:, :3], target[:3])
    assert absent.tolist() == pytest.approx([2 / 3, 1, 0])


def test_a_small_part_says_what_would_fit():
    with pytest.raises(RuleError) as caught:
        digits().episode(seed=0, steps=1, batch=100, query=450, held_out=True)
    assert str(caught.value) == (
        "error[part-too-small]: the held-out part of `digits` is too small for this episode\n"
        "   = note: it has 500 samples; 450 for the query and 100 for a support batch are wanted, "
        "and no sample may be in both\n"
        "   = help: ask for `query=400` or fewer"
    )
    digits().episode(seed=0, steps=1, batch=100, query=400, held_out=True)


def test_the_split_of_the_digits_is_the_one_of_earlier_releases(task):
    """A changed split would let a genome be judged on images it was trained on."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    mask = held_out_mask(loaded.images.astype(np.uint8), loaded.target.astype(np.int64), 500)
    assert np.flatnonzero(mask)[:8].tolist() == [0, 6, 8, 12, 14, 19, 21, 23]
    assert task.describe()["digest"] == "65e5b4619795efb4"


# --- Pixels and splits -------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 9), width=st.integers(1, 9), side=st.integers(1, 9), seed=st.integers(0, 99))
def test_resizing_averages_over_areas(height, width, side, seed):
    images = np.random.default_rng(seed).random((2, height, width), dtype=np.float32)
    fine = images.repeat(side, axis=1).repeat(side, axis=2)  # (2, height * side, width * side): divides evenly
    expected = fine.reshape(2, side, height, side, width).mean(axis=(2, 4))
    np.testing.assert_allclose(resize_area(images, side), expected, atol=1e-6)


def test_cropping_keeps_the_centre():
    images = np.arange(2 * 6 * 7, dtype=np.float32).reshape(2, 6, 7)
    np.testing.assert_array_equal(crop_centre(images, 4), images[:, 1:5, 1:5])


def test_constant_images_do_not_divide_by_zero():
    train, other = standardise(np.full((3, 2, 2), 7, np.float32), np.full((1, 2, 2), 9, np.float32))
    assert (train == 0).all() and (other == 2).all()


def test_copies_of_an_image_stay_together_whatever_their_order():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 3, 3), dtype=np.uint8)[rng.integers(0, 60, 200)]
    labels = images[:, 0, 0].astype(np.int64) % 3
    mask = held_out_mask(images, labels, 40)
    held, kept = ({image.tobytes() for image in images[part]} for part in (mask, ~mask))
    assert not held & kept and 36 <= mask.sum() <= 40
    order = rng.permutation(200)
    shuffled = held_out_mask(images[order], labels[order], 40)
    assert {image.tobytes() for image in images[order][shuffled]} == held


def test_folds_hold_out_other_images():
    whole = set(range(1797))
    from sklearn.datasets import load_digits

    loaded = load_digits()
    folds = [
        set(np.flatnonzero(held_out_mask(loaded.images.astype(np.uint8), loaded.target.astype(np.int64), 500, fold)))
        for fold in range(3)
    ]
    assert all(len(fold) == 500 and fold < whole for fold in folds)
    assert not (folds[0] & folds[1] or folds[0] & folds[2] or folds[1] & folds[2])
    assert digits(fold=1).describe()["fold"] == 1
