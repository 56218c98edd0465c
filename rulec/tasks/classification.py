"""Classification of images held in memory, with a part of the images held out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rulec.source import Span
from rulec.tasks import messages
from rulec.tasks.accuracy import balanced, largest_agrees
from rulec.tasks.draws import checked_query, seeded
from rulec.tasks.pixels import Pixels, standardise
from rulec.tasks.split import Labels
from rulec.tasks.task import Episode, Task
from rulec.tasks.turning import turned

SCALINGS = {
    "unit": "from 0 to 1, as images come",
    "standard": "each pixel less its training mean, all divided by the training root mean square",
}


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs (count, *input_shape) and one-hot targets (count, outputs)."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Classification(Task):
    """One-hot classes of images; the tasks of an episode are independent draws of the same data."""

    name: str
    train: Samples
    held_out: Samples
    input_shape: tuple[int, ...]
    outputs: int
    provenance: Mapping[str, object] = field(default_factory=dict)
    turned: int = 0  # degrees by which the images of queries are turned
    loss: str = "cross_entropy"
    single: bool = True

    def episode(
        self, *, seed: int, steps: int, batch: int, tasks: int = 1, query: int | None = None, held_out: bool = False
    ) -> Episode:
        """Draw images of one part; none is in both query and support, and none comes twice before all came once.

        The query does not depend on `steps`, and a longer episode begins like a shorter one.
        """
        query = checked_query(steps, batch, tasks, query)
        part = self.held_out if held_out else self.train
        if len(part) < query + batch:
            raise messages.part_too_small(self.name, "held-out" if held_out else "training", len(part), query, batch)
        order = torch.stack(
            [_order(len(part), query, steps * batch, seeded("images", seed, held_out, task)) for task in range(tasks)]
        )
        support = order[:, query:].view(tasks, steps, batch).transpose(0, 1)
        asked, answers = _taken(part, order[:, :query])
        if self.turned:
            sides = self.sides
            angle = torch.tensor(math.radians(self.turned))
            asked = turned(asked.reshape(*asked.shape[:2], *sides), angle).reshape(asked.shape)
        return Episode(*_taken(part, support), asked, answers, (self.name,) * tasks)

    @property
    def sides(self) -> tuple[int, ...]:
        """Return channels, height and width of an image, as it is or square where it lies flat."""
        if len(self.input_shape) == 3:
            return self.input_shape
        side = math.isqrt(self.input_shape[0])
        return (1, side, self.input_shape[0] // side)

    def accuracy(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the fraction of images whose largest output is that of their class."""
        return largest_agrees(prediction, target).to(prediction.dtype).mean(-1)

    def balanced_accuracy(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the classes of the fraction right among the images of one class."""
        return balanced(largest_agrees(prediction, target), target.argmax(-1), self.outputs)

    def describe(self) -> dict[str, object]:
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "outputs": self.outputs,
            "train": len(self.train),
            "held_out": len(self.held_out),
            **self.provenance,
        }


def _order(size: int, query: int, support: int, generator: torch.Generator) -> Tensor:
    """Return `query + support` places: those of the support are dealt anew from the same rest when it runs out."""
    order = torch.randperm(size, generator=generator)
    chunks, rest, missing = [order], order[query:], support - (size - query)
    while missing > 0:
        chunks.append(rest[torch.randperm(len(rest), generator=generator)])
        missing -= len(rest)
    return torch.cat(chunks)[: query + support]


def _taken(part: Samples, places: Tensor) -> tuple[Tensor, Tensor]:
    flat = places.reshape(-1)
    return (
        part.x.index_select(0, flat).view(*places.shape, *part.x.shape[1:]),
        part.y.index_select(0, flat).view(*places.shape, *part.y.shape[1:]),
    )


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Both parts of a data set, before classes are chosen and pixels standardised."""

    train: tuple[Pixels, Labels]
    held_out: tuple[Pixels, Labels]


def classification_of(
    name: str,
    data: LabelledImages,
    *,
    classes: Sequence[int] | None = None,
    layout: str = "flat",
    pixels: str = "unit",
    turned: int = 0,
    provenance: Mapping[str, object],
    span: Span | None = None,
) -> Classification:
    """Make the task of telling `classes` apart (default: all labels), the outputs in the order of the labels.

    The parts are those of the whole data set, whatever classes are chosen. `layout` `flat` gives inputs of shape
    (height * width,), `image` (1, height, width). `pixels` is one of `SCALINGS`; queries are `turned` by so many degrees. `span` is where the classes were written.
    """
    labels = _chosen_classes(np.unique(np.concatenate((data.train[1], data.held_out[1]))).tolist(), classes, span)
    (train_x, train_y), (held_x, held_y) = (_of_classes(part, labels) for part in (data.train, data.held_out))
    height, width = train_x.shape[1:]
    shape = (height * width,) if layout == "flat" else (1, height, width)
    if pixels == "standard":
        train_x, held_x = standardise(train_x, held_x)
    train, held_out = (
        Samples(torch.from_numpy(x).reshape(-1, *shape), _one_hot(y, labels))
        for x, y in ((train_x, train_y), (held_x, held_y))
    )
    record = {**provenance, "classes": labels, "layout": layout, "pixels": SCALINGS[pixels], "turned": turned}
    return Classification(name, train, held_out, shape, len(labels), record, turned)


def _chosen_classes(known: list[int], wanted: Sequence[int] | None, span: Span | None) -> list[int]:
    for label in wanted or ():
        if label not in known:
            raise messages.unknown_class(label, known, span)
    chosen = known if wanted is None else sorted(set(wanted))
    if len(chosen) < 2:
        raise messages.too_few_classes(span, len(chosen))
    return chosen


def _of_classes(part: tuple[Pixels, Labels], labels: list[int]) -> tuple[Pixels, Labels]:
    kept = np.isin(part[1], labels)
    return part[0][kept], part[1][kept]


def _one_hot(values: Labels, labels: list[int]) -> Tensor:
    columns: NDArray[np.bool_] = values[:, None] == np.asarray(labels)
    return torch.from_numpy(columns.astype(np.float32))
