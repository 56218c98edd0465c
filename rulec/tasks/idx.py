"""The families `idx`, `mnist` and `notmnist`: images and labels in IDX files, one set to a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rulec.source import Span
from rulec.tasks import messages
from rulec.tasks.classification import SCALINGS, Classification, LabelledImages, classification_of
from rulec.tasks.family import Arguments, Family
from rulec.tasks.idx_format import read_idx
from rulec.tasks.pixels import Pixels, crop_centre, resize_area
from rulec.tasks.split import Images, Labels, digest, held_out_mask

HELD_OUT_SHARE = 5  # one image in five
FOLDS = tuple(str(fold) for fold in range(HELD_OUT_SHARE))
_TEST = ("t10k", "test")


@dataclass(frozen=True)
class Pair:
    """A file of images and that of their labels; `part` is `train`, `test` or unknown, from the name."""

    images: Path
    labels: Path
    part: str


def idx_images(
    folder: Path,
    *,
    size: int | None = None,
    crop: int | None = None,
    classes: Sequence[int] | None = None,
    layout: str = "flat",
    pixels: str = "unit",
    fold: int = 0,
    turned: int = 0,
    name: str | None = None,
    spans: dict[str, Span] | None = None,
) -> Classification:
    """Make the task of the images in `folder`.

    Images are cropped to the middle `crop` x `crop` and resized by area to `size` x `size`. By default nothing is
    cropped or resized, but for 28 x 28 at `size` 10, which is cropped to 20 first (the setting of Sandler et al. 2021).
    Queries are `turned` by so many degrees. Of a single pair of files one image in five is held out, others in each of the five folds; of a `train` and a `t10k`
    pair, the latter.
    Raises `RuleError` when files are missing, broken or do not fit each other.
    """
    spans = spans or {}
    pairs = find_pairs(folder, spans.get("path"))
    sets = [loaded(pair) for pair in pairs]
    if fold and len(sets) == 2:
        raise messages.fold_of_published_split(fold, folder, spans.get("fold"))
    parts, split = _parts(sets, fold)
    sides = parts[0][0].shape[1:]
    if parts[1][0].shape[1:] != sides:
        raise messages.idx_sizes_differ(sides, parts[1][0].shape[1:])
    crop = _crop_for(sides, size, crop, spans.get("crop"))
    data = LabelledImages(*((_shrunk(images, crop, size), labels) for images, labels in parts))
    provenance = {
        "family": "idx",
        "source": [path.name for pair in pairs for path in (pair.images, pair.labels)],
        "digest": [digest(*part) for part in sets],
        "split": split,
        "fold": fold,
        "size": size,
        "crop": crop,
    }
    return classification_of(
        name or f"idx({folder})",
        data,
        classes=classes,
        layout=layout,
        pixels=pixels,
        turned=turned,
        provenance=provenance,
        span=spans.get("classes"),
    )


def find_pairs(folder: Path, span: Span | None = None) -> list[Pair]:
    """Find one pair of files, or the training pair and the test pair, in this order."""
    if not folder.is_dir():
        raise messages.data_folder_missing(folder, span)
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise messages.idx_unreadable(folder, error.strerror or str(error)) from None
    images = {_prefix(name, "images"): name for name in names if "idx3" in name and "images" in name}
    labels = {_prefix(name, "labels"): name for name in names if "idx1" in name and "labels" in name}
    if not images:
        raise messages.data_files_missing(folder, "IDX file of images", names, span)
    for prefix, name in images.items():
        if prefix not in labels:
            raise messages.data_files_missing(folder, f"IDX file of labels for `{name}`", names, span)
    pairs = [Pair(folder / images[prefix], folder / labels[prefix], _part(prefix)) for prefix in images]
    pairs.sort(key=lambda pair: pair.part, reverse=True)
    if len(pairs) > 1 and [pair.part for pair in pairs] != ["train", "test"]:
        raise messages.data_files_ambiguous(folder, list(images.values()), span)
    return pairs


def _prefix(name: str, kind: str) -> str:
    return name[: name.index(kind)]


def _part(prefix: str) -> str:
    if "train" in prefix:
        return "train"
    return "test" if any(word in prefix for word in _TEST) else ""


def loaded(pair: Pair) -> tuple[Images, Labels]:
    """Read a pair of files. Raises `RuleError` where they are broken or do not fit each other."""
    images, labels = read_idx(pair.images, 3, "images"), read_idx(pair.labels, 1, "labels")
    if len(images) != len(labels):
        raise messages.idx_mismatched(pair.images, len(images), pair.labels, len(labels))
    return images, labels.astype(np.int64)


def _parts(loaded: list[tuple[Images, Labels]], fold: int) -> tuple[list[tuple[Images, Labels]], str]:
    """Return the part to train on and the one held out, and how they came about."""
    if len(loaded) == 2:
        return loaded, "as published"
    images, labels = loaded[0]
    held_out = held_out_mask(images, labels, len(images) // HELD_OUT_SHARE, fold)
    parts = [(images[mask], labels[mask]) for mask in (~held_out, held_out)]
    return parts, f"one in {HELD_OUT_SHARE} held out, per class, by hash of the pixels"


def _crop_for(sides: tuple[int, ...], size: int | None, crop: int | None, span: Span | None) -> int | None:
    if crop is None and size == 10 and sides == (28, 28):
        return 20
    if crop is not None and crop > min(sides):
        raise messages.crop_too_large(crop, (sides[0], sides[1]), span)
    return crop


def _shrunk(images: Images, crop: int | None, size: int | None) -> Pixels:
    """Return pixels from 0 to 1, cropped and resized where asked for."""
    grey = images.astype(np.float32) / np.float32(255)
    cropped = grey if crop is None else crop_centre(grey, crop)
    return cropped if size is None else resize_area(cropped, size)


def _task(arguments: Arguments, folder: Path) -> Classification:
    return idx_images(
        folder,
        size=arguments.count("size"),
        crop=arguments.count("crop"),
        classes=arguments.numbers("classes"),
        layout=arguments.choice("layout", ("flat", "image")),
        pixels=arguments.choice("pixels", tuple(SCALINGS)),
        fold=int(arguments.choice("fold", FOLDS)),
        turned=arguments.count("turned") or 0,
        name=arguments.name,
        spans={name: value.span for name, value in arguments.values.items()},
    )


def _in_folder(arguments: Arguments) -> Classification:
    return _task(arguments, Path(arguments.text("path") or "").expanduser())


def _named(name: str) -> Family:
    def make(arguments: Arguments) -> Classification:
        if arguments.data is None:
            raise messages.data_not_given(name)
        return _task(arguments, arguments.data / name)

    return Family(name, make, _OPTIONS)


_OPTIONS = ("size", "crop", "classes", "layout", "pixels", "fold", "turned")
FOLDER = Family("idx", _in_folder, _OPTIONS, positional=("path",))
MNIST = _named("mnist")
NOTMNIST = _named("notmnist")
