"""IDX files written here byte by byte, read as tasks; and files that are not what they should be."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from rulec.source import RuleError
from rulec.tasks import task_from
from rulec.tasks.idx import idx_images

SEED = 0


def _images(count, side=28, seed=SEED):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, side, side), dtype=np.uint8), np.arange(count) % 10


def _bytes_of(images, labels):
    return (
        struct.pack(">4B3I", 0, 0, 8, 3, *images.shape) + images.tobytes(),
        struct.pack(">4B1I", 0, 0, 8, 1, len(labels)) + bytes(labels.tolist()),
    )


def _write(folder, count=100, *, side=28, prefix="t10k-", pack=gzip.compress, suffix=".gz", seed=SEED):
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = _images(count, side, seed)
    content = _bytes_of(images, labels)
    for name, data in zip(("images-idx3-ubyte", "labels-idx1-ubyte"), content, strict=True):
        (folder / f"{prefix}{name}{suffix}").write_bytes(pack(data))
    return images, labels


def _shown(caught):
    return str(caught.value)


def _id(caught):
    return caught.value.diagnostics[0].id


# --- Reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (bytes, "")])
def test_images_and_labels_arrive_whole(tmp_path, pack, suffix):
    images, labels = _write(tmp_path, pack=pack, suffix=suffix)
    task = idx_images(tmp_path)
    assert (len(task.train), len(task.held_out), task.input_shape, task.outputs) == (80, 20, (784,), 10)
    assert (task.held_out.y.sum(0) == 2).all()
    train = _undone(task, images)
    by_pixels = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    seen = [(by_pixels[row.tobytes()], int(target.argmax())) for row, target in train]
    assert len(seen) == 100 and all(label == answer for label, answer in seen)


def _undone(task, images):
    """Match every sample to its image by undoing the scaling, whose constants are found by least squares."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    found = []
    for part in (task.train, task.held_out):
        for x, y in zip(part.x.double().numpy(), part.y, strict=True):
            centred = flat - flat.mean(0)
            best = int(np.argmax(centred @ (x - x.mean())))
            found.append((images[best], y))
    return found


def test_ten_pixels_a_side_come_from_the_middle_twenty(tmp_path):
    images, _ = _write(tmp_path)
    task = idx_images(tmp_path, size=10)
    assert task.input_shape == (100,) and task.describe()["crop"] == 20
    small = images[:, 4:24, 4:24].reshape(100, 10, 2, 10, 2).mean(axis=(2, 4)).reshape(100, 100)
    all_x = np.concatenate((task.train.x.numpy(), task.held_out.x.numpy()))
    spread = np.ptp(small, axis=0) / np.ptp(all_x, axis=0)
    np.testing.assert_allclose(spread, spread[0], rtol=1e-3)  # one divisor for every pixel
    np.testing.assert_allclose(
        np.sort(all_x - all_x.min(0), axis=0) * spread[0], np.sort(small - small.min(0), axis=0), atol=0.05
    )


def test_other_sizes_take_the_whole_image_or_the_crop_asked_for(tmp_path):
    _write(tmp_path / "set")
    where = f"idx({tmp_path / 'set'}"
    assert task_from(f"{where}, size=14)").input_shape == (196,)
    assert task_from(f"{where}, size=7, crop=20, layout=image)").input_shape == (1, 7, 7)
    assert task_from(f'idx("{tmp_path / "set"}", crop=20)').input_shape == (400,)


def test_the_folder_of_data_comes_from_the_argument_or_the_environment(tmp_path, monkeypatch):
    _write(tmp_path / "one" / "mnist", 50)
    _write(tmp_path / "two" / "notmnist", 100)
    monkeypatch.setenv("RULEC_DATA", str(tmp_path / "two"))
    assert len(task_from("mnist(size=10)", data=tmp_path / "one").train) == 40
    assert len(task_from("notmnist(classes=0-4)").train) == 40
    assert task_from("notmnist(classes=0-1+7)").describe()["classes"] == [0, 1, 7]
    assert task_from("mnist( size = 10 )", data=tmp_path / "one").name == "mnist(size=10)"


def test_published_parts_are_kept(tmp_path):
    _write(tmp_path, 70, prefix="train-", seed=1)
    _write(tmp_path, 30, prefix="t10k-", seed=2)
    task = idx_images(tmp_path)
    assert (len(task.train), len(task.held_out)) == (70, 30)
    assert task.describe()["split"] == "as published"
    with pytest.raises(RuleError) as caught:
        task_from(f"idx({tmp_path}, fold=1)")
    assert _id(caught) == "fold-of-published-split"


def test_folds_hold_out_other_images(tmp_path):
    _write(tmp_path, 100)
    held_out = [idx_images(tmp_path, fold=fold).held_out.x.numpy().tobytes() for fold in range(5)]
    assert len(set(held_out)) == 5


def test_the_split_depends_on_images_alone(tmp_path):
    images, labels = _write(tmp_path / "a", 60)
    order = np.random.default_rng(1).permutation(60)
    for name, data in zip(
        ("images-idx3-ubyte", "labels-idx1-ubyte"), _bytes_of(images[order], labels[order]), strict=True
    ):
        (tmp_path / "b").mkdir(exist_ok=True)
        (tmp_path / "b" / f"t10k-{name}").write_bytes(data)
    one, other = (idx_images(tmp_path / name).held_out.x.sum(1).sort().values for name in ("a", "b"))
    np.testing.assert_allclose(one, other, atol=1e-3)


# --- What can be wrong ------------------------------------------------------------------------


def test_no_folder_of_data(monkeypatch):
    monkeypatch.delenv("RULEC_DATA", raising=False)
    with pytest.raises(RuleError) as caught:
        task_from("mnist(size=10)")
    assert _shown(caught) == (
        "error[data-not-given]: the task `mnist` reads images from a folder, and no folder of data was given\n"
        "   = note: neither a data folder nor the environment variable RULEC_DATA is set\n"
        "   = help: put `t10k-images-idx3-ubyte.gz` and `t10k-labels-idx1-ubyte.gz` into `FOLDER/mnist` "
        "and set `RULEC_DATA=FOLDER`"
    )


def test_folder_or_files_missing(tmp_path):
    with pytest.raises(RuleError) as caught:
        task_from("mnist", data=tmp_path)
    assert _id(caught) == "data-folder-missing" and str(tmp_path / "mnist") in _shown(caught)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "notes.txt").write_text("nothing")
    with pytest.raises(RuleError) as caught:
        task_from("mnist", data=tmp_path)
    assert _id(caught) == "data-files-missing" and "`notes.txt`" in _shown(caught)
    _write(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(RuleError) as caught:
        task_from("mnist", data=tmp_path)
    assert "no IDX file of labels for `t10k-images-idx3-ubyte.gz`" in _shown(caught)


def test_a_missing_path_is_shown_in_the_text_of_the_task():
    with pytest.raises(RuleError) as caught:
        task_from("idx(no-such-folder, size=10)")
    assert _shown(caught) == (
        "error[data-folder-missing]: there is no folder `no-such-folder`\n"
        " --> task:1:5\n  |\n1 | idx(no-such-folder, size=10)\n  |     ^^^^^^^^^^^^^^ no such folder\n"
        "  = help: make it and put `t10k-images-idx3-ubyte.gz` and `t10k-labels-idx1-ubyte.gz` there"
    )


def _broken(tmp_path, change, which="images-idx3"):
    """Write a set of plain files and let `change` rewrite the bytes of one of them."""
    _write(tmp_path, 20, pack=bytes, suffix="")
    path = tmp_path / f"t10k-{which}-ubyte"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(RuleError) as caught:
        idx_images(tmp_path)
    assert str(path) in _shown(caught) and caught.value.diagnostics[0].help
    return caught


@pytest.mark.parametrize(
    ("change", "expected", "said"),
    [
        (lambda data: data[:-5], "idx-truncated", "promises 15680 bytes of data; 15675 are there"),
        (lambda data: data[:9], "idx-truncated", "promises 12 bytes"),
        (lambda data: data + b"!", "idx-trailing", "15680"),
        (
            lambda data: b"\x00\x00\x08\x01" + data[4:],
            "idx-wrong-magic",
            "begins with 00 00 08 01; images begin with 00 00 08 03",
        ),
        (lambda data: b"\x89PNG" + data[4:], "idx-wrong-magic", "89 50 4e 47"),
        (lambda data: b"", "idx-wrong-magic", "begins with nothing"),
        (lambda data: gzip.compress(data)[:-400], "idx-corrupt", "Compressed file ended"),
        (lambda data: gzip.compress(data)[:50] + b"\xff" * 400, "idx-corrupt", ""),
        (lambda data: struct.pack(">4B3I", 0, 0, 8, 3, 0, 2**32 - 1, 2**32 - 1), "idx-empty", "holds no images"),
        (
            lambda data: struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1) + data[16:],
            "idx-truncated",
            "15680 are there",
        ),
    ],
)
def test_broken_images(tmp_path, change, expected, said):
    caught = _broken(tmp_path, change)
    assert _id(caught) == expected and said in _shown(caught)


def test_labels_that_do_not_fit(tmp_path):
    caught = _broken(tmp_path, lambda data: struct.pack(">4B1I", 0, 0, 8, 1, 19) + data[8:-1], "labels-idx1")
    assert _id(caught) == "idx-mismatched" and "20 images have 19 labels" in _shown(caught)


def test_sets_that_do_not_fit_together(tmp_path):
    _write(tmp_path / "sizes", 20, prefix="train-")
    _write(tmp_path / "sizes", 20, prefix="test-", side=8)
    _write(tmp_path / "many", 20, prefix="letters-")
    _write(tmp_path / "many", 20, prefix="digits-")
    for folder, expected in (("sizes", "idx-sizes-differ"), ("many", "data-files-ambiguous")):
        with pytest.raises(RuleError) as caught:
            idx_images(tmp_path / folder)
        assert _id(caught) == expected


def test_options_that_do_not_fit_the_images(tmp_path):
    _write(tmp_path / "mnist", 20)
    with pytest.raises(RuleError) as caught:
        task_from("mnist(classes=8-12)", data=tmp_path)
    assert _shown(caught) == (
        "error[unknown-class]: there is no class 10 in the labels\n"
        " --> task:1:15\n  |\n1 | mnist(classes=8-12)\n  |               ^^^^ not a label\n"
        "  = note: the labels are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\n  = help: choose among 0 to 9"
    )
    with pytest.raises(RuleError) as caught:
        task_from("mnist(size=10, crop=29)", data=tmp_path)
    assert _id(caught) == "crop-too-large"
    with pytest.raises(RuleError) as caught:
        task_from("mnist(classes=3)", data=tmp_path)
    assert _id(caught) == "too-few-classes"


# --- Few-shot episodes ------------------------------------------------------------------------


def test_few_shot_episodes_from_idx_files(tmp_path):
    """Labels are classes, of all parts together; those named are held out."""
    first, labels = _write(tmp_path, 100, side=12)
    second, more = _write(tmp_path, 50, side=12, prefix="train-", seed=1)
    task = task_from(f'images("{tmp_path}", ways=3, shots=2, queries=4, size=12, held_out=2+7+9)')
    assert (len(task.train), len(task.held_out), task.input_shape, task.samples) == (7, 3, (1, 12, 12), 6)
    label_of = {
        (image / np.float32(255)).astype(np.float32).tobytes(): int(label)
        for images, names in ((first, labels), (second, more))
        for image, label in zip(images, names, strict=True)
    }
    for held_out, allowed in ((True, {2, 7, 9}), (False, {0, 1, 3, 4, 5, 6, 8})):
        episode = task.episode(seed=1, steps=1, batch=6, tasks=5, held_out=held_out)
        for t in range(5):
            found = [label_of[image[0].numpy().tobytes()] for image in episode.query_x[t]]
            assert set(found) <= allowed and len(set(found)) == 3
            for label, target in zip(found, episode.query_y[t].argmax(-1).tolist(), strict=True):
                beside = [label_of[i[0].numpy().tobytes()] for i in episode.support_x[0, t]]
                assert beside[2 * target : 2 * target + 2] == [label, label]
    with pytest.raises(RuleError) as caught:
        task_from(f'images("{tmp_path}", ways=2, held_out=11)')
    assert _id(caught) == "unknown-held-out" and "`11`" in _shown(caught)
