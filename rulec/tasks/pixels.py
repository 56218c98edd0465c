"""Pixels to inputs: crop, resize by area, standardise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]  # (count, height, width)


def crop_centre(images: Pixels, side: int) -> Pixels:
    """Keep the middle `side` x `side`; an odd margin is larger at the bottom and at the right."""
    top, left = ((extent - side) // 2 for extent in images.shape[1:])
    return images[:, top : top + side, left : left + side]


def resize_area(images: Pixels, side: int) -> Pixels:
    """Average over the area that each of `side` x `side` new pixels covers; the mean brightness stays."""
    rows, columns = (_overlaps(extent, side) for extent in images.shape[1:])
    return np.asarray(rows @ images @ columns.T)


def _overlaps(old: int, new: int) -> NDArray[np.float32]:
    """Return (new, old): how much of each new pixel each old pixel fills; rows sum to one."""
    edges = np.arange(new + 1) * (old / new)
    starts = np.maximum(edges[:-1, None], np.arange(old))
    ends = np.minimum(edges[1:, None], np.arange(1, old + 1))
    overlaps = np.clip(ends - starts, 0, None)
    return (overlaps / overlaps.sum(axis=1, keepdims=True)).astype(np.float32)


def standardise(train: Pixels, *others: Pixels) -> list[Pixels]:
    """Centre every pixel on its mean over `train`, then divide by one number: the root mean square of all of `train`.

    One divisor for all pixels, since a pixel that is nearly always black would else be blown up.
    """
    mean = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    power = np.square(train - mean).mean(dtype=np.float64)
    scale = np.float32(np.sqrt(power) or 1.0)
    return [(part - mean) / scale for part in (train, *others)]
