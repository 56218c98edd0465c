"""Which images are held out: decided by the images themselves, so the same in every run and on every machine."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # (count, height, width)
Labels = NDArray[np.int64]  # (count,)


def held_out_mask(images: Images, labels: Labels, count: int, fold: int = 0) -> NDArray[np.bool_]:
    """Choose `count` images, of every class in proportion, in the order of a hash of their pixels.

    Copies of one image of a class stay together, so that none of them is met before it is judged. Each `fold` chooses
    other images: settings chosen on one fold can be judged on another, which took no part in the choice.
    """
    mask = np.zeros(len(images), dtype=bool)
    values, sizes = np.unique(labels, return_counts=True)
    for label, quota in zip(values, _quotas(sizes, count), strict=True):
        mask[_chosen(images, np.flatnonzero(labels == label), quota, fold)] = True
    return mask


def _quotas(sizes: NDArray[np.int64], count: int) -> list[int]:
    """Share `count` in proportion to `sizes`: whole parts first, then one each to the largest remainders."""
    shares = [divmod(count * int(size), int(sizes.sum())) for size in sizes]
    quotas = [whole for whole, _ in shares]
    by_remainder = sorted(range(len(shares)), key=lambda place: -shares[place][1])
    for place in by_remainder[: count - sum(quotas)]:
        quotas[place] += 1
    return quotas


def _chosen(images: Images, places: NDArray[np.int64], quota: int, fold: int) -> list[int]:
    """Deal copies of one image, in the order of their hash, to the first fold that still has room for them all."""
    copies: dict[bytes, list[int]] = {}
    for place in places.tolist():
        copies.setdefault(hashlib.blake2b(images[place].tobytes(), digest_size=16).digest(), []).append(place)
    folds: list[list[int]] = [[] for _ in range(fold + 1)]
    for digest in sorted(copies):
        for chosen in folds:
            if len(chosen) + len(copies[digest]) <= quota:
                chosen += copies[digest]
                break
    return folds[fold]


def digest(images: Images, labels: Labels) -> str:
    """Return a hash of a data set, to tell whether two runs saw the same."""
    content = hashlib.sha256(images.tobytes())
    content.update(labels.astype("<i8").tobytes())
    return content.hexdigest()[:16]
