"""Few-shot classification: tell N classes apart after K images of each, classes that were never met before.

Every episode takes N classes by chance and gives them numbers by chance, so that nothing can be learned about a number; support and
query of a class are different images. Classes of one part are never met in the other. Vinyals et al. 2016, "Matching Networks";
Lake et al. 2015 for rotated characters as further classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from rulec.tasks import messages
from rulec.tasks.accuracy import balanced, largest_agrees
from rulec.tasks.draws import checked_query, checked_samples, seeded
from rulec.tasks.pixels import Pixels
from rulec.tasks.task import Episode, Task

LABELS = {
    "permuted": "classes and their numbers are drawn anew in every task",
    "fixed": "classes come in fixed groups, with fixed numbers: they can be learned by heart",
    "shuffled": "classes come in fixed groups, their numbers are drawn anew in every task",
}


@dataclass(frozen=True, eq=False)
class FewShot(Task):
    """N-way K-shot episodes. `train` and `held_out` have a tensor (images, *input_shape) for each class."""

    name: str
    train: Sequence[Tensor]
    held_out: Sequence[Tensor]
    ways: int
    shots: int
    queries: int  # of each class
    labels: str = "permuted"  # one of `LABELS`, for the training part; what is held out is always permuted
    provenance: Mapping[str, object] = field(default_factory=dict)
    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        for part, classes in (("training", self.train), ("held-out", self.held_out)):
            if len(classes) < self.ways:
                raise messages.too_few_ways(self.name, part, len(classes), self.ways)
            fewest = min(len(images) for images in classes)
            if fewest < self.shots + self.queries:
                raise messages.too_few_images(self.name, part, fewest, self.shots, self.queries)

    @property
    def samples(self) -> int:  # type: ignore[override]
        return self.ways * self.shots

    @property
    def outputs(self) -> int:  # type: ignore[override]
        return self.ways

    @property
    def input_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(self.train[0].shape[1:])

    def episode(
        self, *, seed: int, steps: int, batch: int, tasks: int = 1, query: int | None = None, held_out: bool = False
    ) -> Episode:
        """Draw N classes for each task; the support is the same in every update. The query has `queries` of each class.

        Another number of query samples must be a multiple of N.
        """
        return self.some_tasks(
            range(tasks), seed=seed, steps=steps, batch=batch, tasks=tasks, query=query, held_out=held_out
        )

    def some_tasks(
        self,
        own: range,
        *,
        seed: int,
        steps: int,
        batch: int,
        tasks: int,
        query: int | None = None,
        held_out: bool = False,
    ) -> Episode:
        query = checked_query(steps, checked_samples(self, batch), tasks, query or self.ways * self.queries)
        each, left = divmod(query, self.ways)
        part = self.held_out if held_out else self.train
        if left or each + self.shots > min(len(images) for images in part):
            raise messages.uneven_query(self.name, query, self.ways, self.queries)
        drawn = [self._drawn(part, each, held_out, seeded("few-shot", seed, held_out, task)) for task in own]
        support, asked = (torch.stack(images) for images in zip(*drawn, strict=True))
        one_hot = torch.eye(self.ways)
        support_y, query_y = (
            one_hot.repeat_interleave(count, 0).expand(len(own), -1, -1) for count in (self.shots, each)
        )
        support_x, support_y = (value.expand(steps, *value.shape) for value in (support, support_y))
        return Episode(support_x, support_y, asked, query_y, (self.name,) * len(own))

    def _drawn(
        self, part: Sequence[Tensor], each: int, held_out: bool, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return the support (N * K, ...) and the query (N * each, ...) of one task, class after class."""
        support, asked = [], []
        for place in self._chosen(len(part), "permuted" if held_out else self.labels, generator):
            images = part[place]
            order = torch.randperm(len(images), generator=generator)
            support.append(images[order[: self.shots]])
            asked.append(images[order[self.shots : self.shots + each]])
        return torch.cat(support), torch.cat(asked)

    def _chosen(self, count: int, labels: str, generator: torch.Generator) -> list[int]:
        """Return the classes of a task in the order of their numbers."""
        if labels == "permuted":
            return torch.randperm(count, generator=generator)[: self.ways].tolist()  # type: ignore[no-any-return]
        group = int(torch.randint(count // self.ways, (), generator=generator))
        fixed = torch.randperm(count, generator=seeded("groups", count))[group * self.ways : (group + 1) * self.ways]
        order = torch.randperm(self.ways, generator=generator) if labels == "shuffled" else torch.arange(self.ways)
        return fixed[order].tolist()  # type: ignore[no-any-return]

    def accuracy(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the fraction of images whose largest output is that of their class."""
        return largest_agrees(prediction, target).to(prediction.dtype).mean(-1)

    def balanced_accuracy(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the classes of the fraction right among the images of one class."""
        return balanced(largest_agrees(prediction, target), target.argmax(-1), self.outputs)

    def describe(self) -> dict[str, object]:
        return {
            "name": self.name,
            "family": "few-shot",
            "ways": self.ways,
            "shots": self.shots,
            "queries": self.queries,
            "labels": LABELS[self.labels],
            "input_shape": list(self.input_shape),
            "train": len(self.train),
            "held_out": len(self.held_out),
            **self.provenance,
        }


def with_rotations(classes: Sequence[Pixels]) -> list[Pixels]:
    """Add every class again, turned by 90, 180 and 270 degrees: (images, height, width) each."""
    return [np.rot90(images, turns, (1, 2)) for images in classes for turns in range(4)]


def as_tensors(classes: Sequence[Pixels], layout: str) -> list[Tensor]:
    """Return the images of each class as (images, 1, height, width), or flat."""
    made = []
    for images in classes:
        tensor = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
        made.append(tensor.flatten(1) if layout == "flat" else tensor.unsqueeze(1))
    return made
