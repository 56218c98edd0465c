"""Few-shot episodes: what is drawn, what is never shared, and what is told where it cannot be drawn."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

import rulec
from rulec.meta.evaluate import evaluate
from rulec.source import RuleError
from rulec.tasks.fewshot import FewShot, with_rotations
from rulec.tasks.registry import task_from


def numbered(classes: int, images: int, offset: int = 0) -> list[torch.Tensor]:
    """Images that tell which they are: class and number as their two pixels."""
    return [torch.stack([torch.tensor([float(offset + c), float(k)]) for k in range(images)]) for c in range(classes)]


def task(labels: str = "permuted", ways: int = 3, shots: int = 2, queries: int = 4, classes: int = 9) -> FewShot:
    return FewShot("numbers", numbered(classes, 6), numbered(5, 6, 100), ways, shots, queries, labels)


def drawn(one: FewShot, seed: int, **given):
    return one.episode(seed=seed, steps=2, batch=one.samples, tasks=40, **given)


@pytest.mark.parametrize("held_out", [False, True])
def test_an_episode_has_its_classes_and_shares_no_image(held_out):
    one = task()
    episode = drawn(one, 3, held_out=held_out)
    assert episode.support_x.shape == (2, 40, 6, 2) and episode.query_x.shape == (40, 12, 2)
    assert torch.equal(episode.support_x[0], episode.support_x[1])
    for support, query, labels in zip(episode.support_x[0], episode.query_x, episode.query_y, strict=True):
        classes = support[::2, 0]
        assert len(set(classes.tolist())) == 3 and bool((classes >= 100).all()) == held_out
        assert torch.equal(query[:, 0], classes[labels.argmax(-1)])
        assert not {tuple(i) for i in support.tolist()} & {tuple(i) for i in query.tolist()}
        assert len({tuple(i) for i in query.tolist()}) == 12


def test_the_same_seed_gives_the_same_bits_and_another_others():
    one = task()
    first, again, other = (drawn(one, seed) for seed in (1, 1, 2))
    assert torch.equal(first.support_x, again.support_x) and torch.equal(first.query_x, again.query_x)
    assert not torch.equal(first.support_x, other.support_x)


def orders(labels: str) -> dict[frozenset[float], set[tuple[float, ...]]]:
    """Return the orders in which each set of classes came."""
    found: dict[frozenset[float], set[tuple[float, ...]]] = {}
    for seed in range(5):
        for support in drawn(task(labels), seed).support_x[0]:
            order = tuple(support[::2, 0].tolist())
            found.setdefault(frozenset(order), set()).add(order)
    return found


def test_labels():
    fixed, shuffled, permuted = orders("fixed"), orders("shuffled"), orders("permuted")
    assert len(fixed) == 3 and all(len(o) == 1 for o in fixed.values())
    assert fixed.keys() == shuffled.keys() and all(len(o) > 3 for o in shuffled.values())
    assert len(permuted) > 40


def test_held_out_classes_are_permuted_whatever_the_training_labels():
    classes = {tuple(s[::2, 0].tolist()) for s in drawn(task("fixed"), 0, held_out=True).support_x[0]}
    assert len(classes) > 20


def test_rotations_are_classes_of_their_own():
    turned = with_rotations([np.array([[[1.0, 2.0], [3.0, 4.0]]], np.float32)])
    assert [c[0].ravel().tolist() for c in turned] == [[1, 2, 3, 4], [2, 4, 1, 3], [4, 3, 2, 1], [3, 1, 4, 2]]


@pytest.mark.parametrize(
    ("given", "id"),
    [
        ({"ways": 6}, "too-few-ways"),
        ({"shots": 3, "queries": 4}, "too-few-images"),
    ],
)
def test_what_cannot_be_made(given, id):
    with pytest.raises(RuleError) as caught:
        task(**given)
    assert caught.value.diagnostics[0].id == id


@pytest.mark.parametrize(
    ("given", "id"), [({"batch": 5}, "samples-fixed"), ({"query": 7}, "uneven-query"), ({"query": 15}, "uneven-query")]
)
def test_what_cannot_be_drawn(given, id):
    with pytest.raises(RuleError) as caught:
        task().episode(**{"seed": 0, "steps": 1, "batch": 6, **given})
    assert caught.value.diagnostics[0].id == id


# --- Files -----------------------------------------------------------------------------------


def drawing(letter: int) -> Image.Image:
    """A white page with a dark bar whose place tells the letter."""
    page = np.full((35, 35), 255, np.uint8)
    page[:, letter : letter + 3] = 0
    return Image.fromarray(page)


@pytest.fixture
def archives(tmp_path):
    """Two archives in the layout of the published ones, with one alphabet in both."""
    folder = tmp_path / "omniglot"
    folder.mkdir()
    for archive, alphabets in (("small1", ("Balinese", "Greek")), ("small2", ("Greek", "Korean"))):
        with zipfile.ZipFile(folder / f"images_background_{archive}.zip", "w") as opened:
            for alphabet in alphabets:
                for letter in range(3):
                    for k in range(4):
                        path = f"images_background_{archive}/{alphabet}/character{letter:02}/{letter}_{k}.png"
                        drawing(3 * letter).save(tmp_path / "image.png")
                        opened.write(tmp_path / "image.png", path)
    return tmp_path


def test_the_archives_of_omniglot(archives):
    one = task_from("omniglot(ways=2, shots=1, queries=3, size=7, rotations=no)", archives)
    assert len(one.train) == 6 and len(one.held_out) == 3  # Greek counts once, Balinese is held out
    assert one.input_shape == (1, 7, 7) and one.samples == 2 and one.outputs == 2
    image = one.train[0][0, 0]
    assert image.max() == pytest.approx(0.6) and image[:, 3:].abs().max() == 0  # three of five columns are dark
    assert len(task_from("omniglot(ways=2, queries=2)", archives).train) == 24
    assert len(task_from("omniglot(ways=2, queries=2, held_out=Greek+Korean)", archives).held_out) == 24


def test_any_folder_of_images(tmp_path):
    for letter in range(6):
        (tmp_path / f"class{letter}").mkdir()
        for k in range(3):
            drawing(letter).save(tmp_path / f"class{letter}" / f"{k}.png")
    one = task_from(f'images("{tmp_path}", ways=2, shots=1, queries=2, size=5, layout=flat)')
    assert (len(one.train), len(one.held_out), one.input_shape) == (4, 2, (25,))


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("omniglot(held_out=Klingon)", "unknown-alphabet"),
        ("omniglot(ways=200)", "too-few-ways"),
        ("omniglot(labels=random)", "wrong-task-value"),
        ("images(nowhere)", "data-folder-missing"),
    ],
)
def test_mistakes_are_told(archives, text, id):
    with pytest.raises(RuleError) as caught:
        task_from(text, archives)
    assert caught.value.diagnostics[0].id == id


def test_missing_and_broken_archives_are_told(tmp_path, monkeypatch):
    monkeypatch.delenv("RULEC_DATA", raising=False)
    with pytest.raises(RuleError, match=r"data-not-given(.|\n)*images_background_small1.zip"):
        task_from("omniglot")
    with pytest.raises(RuleError, match="omniglot-missing"):
        task_from("omniglot", tmp_path)
    (tmp_path / "omniglot").mkdir()
    (tmp_path / "omniglot" / "images_background.zip").write_bytes(b"no archive")
    with pytest.raises(RuleError, match="archive-broken"):
        task_from("omniglot", tmp_path)


# --- Sinusoids -------------------------------------------------------------------------------


def test_curves_are_sines_and_those_held_out_are_others():
    one = task_from("sinusoid(shots=5)")
    parts = [one.episode(seed=0, steps=3, batch=5, tasks=50, query=20, held_out=h) for h in (False, True)]
    assert not torch.equal(parts[0].support_y, parts[1].support_y)
    episode = parts[0]
    assert torch.equal(episode.support_x[0], episode.support_x[2])
    x, y = (
        torch.cat([s[0], q], 1) for s, q in ((episode.support_x, episode.query_x), (episode.support_y, episode.query_y))
    )
    basis = torch.cat([x.sin(), x.cos()], -1)  # a sin(x - p) is a combination of both
    weights = torch.linalg.lstsq(basis, y).solution
    torch.testing.assert_close(basis @ weights, y, rtol=1e-3, atol=1e-3)
    amplitude = weights.norm(dim=1)
    assert amplitude.min() >= 0.1 - 1e-3 and amplitude.max() <= 5 + 1e-3 and amplitude.std() > 1


def test_the_task_says_how_many_samples_an_update_has():
    compiled = rulec.load("sgd").compile("1-8-1(tanh)", loss="mse")
    genome = compiled.init_genome()
    curve = evaluate(compiled, genome, "sinusoid(shots=7)", updates=(0, 2), episodes=3)
    assert len(curve.loss) == 2
    with pytest.raises(RuleError, match="samples-fixed"):
        evaluate(compiled, genome, "sinusoid(shots=7)", updates=(0, 2), episodes=3, batch=8)
