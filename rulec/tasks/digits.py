"""The family `digits`: 1797 handwritten digits of 8 x 8 pixels, shipped with scikit-learn.

E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rulec.source import Span
from rulec.tasks.classification import SCALINGS, Classification, LabelledImages, classification_of
from rulec.tasks.family import Arguments, Family
from rulec.tasks.split import digest, held_out_mask

HELD_OUT = 500
FOLDS = ("0", "1", "2")


def digits(
    *,
    classes: Sequence[int] | None = None,
    layout: str = "flat",
    pixels: str = "unit",
    fold: int = 0,
    turned: int = 0,
    name: str = "digits",
    span: Span | None = None,
) -> Classification:
    """Make the task of the digits: 1297 images to train on and 500 held out, of every class in proportion.

    Each of the three folds holds out others. Queries are `turned` by so many degrees.
    """
    from sklearn.datasets import load_digits  # a second of import, for this task alone

    loaded = load_digits()
    images, labels = loaded.images.astype(np.uint8), loaded.target.astype(np.int64)
    held_out = held_out_mask(images, labels, HELD_OUT, fold)
    grey = images.astype(np.float32) / 16
    data = LabelledImages((grey[~held_out], labels[~held_out]), (grey[held_out], labels[held_out]))
    provenance = {
        "family": "digits",
        "source": "scikit-learn load_digits",
        "digest": digest(images, labels),
        "split": f"{HELD_OUT} held out, per class, by hash of the pixels",
        "fold": fold,
    }
    return classification_of(
        name, data, classes=classes, layout=layout, pixels=pixels, turned=turned, provenance=provenance, span=span
    )


def _make(arguments: Arguments) -> Classification:
    written = arguments.value("classes")
    return digits(
        classes=arguments.numbers("classes"),
        layout=arguments.choice("layout", ("flat", "image")),
        pixels=arguments.choice("pixels", tuple(SCALINGS)),
        fold=int(arguments.choice("fold", FOLDS)),
        turned=arguments.count("turned") or 0,
        name=arguments.name,
        span=written.span if written else None,
    )


FAMILY = Family("digits", _make, options=("classes", "layout", "pixels", "fold", "turned"))
