"""The family `functions`: yes-or-no questions about points of the plane, +1 for yes and -1 for no.

The functions that a rule is trained on and those it is judged by are different ones. Sandler et al. 2021,
"Meta-Learning Bidirectional Update Rules", trains and validates on such a set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rulec.source import Span
from rulec.tasks import messages
from rulec.tasks.accuracy import balanced, sign_agrees
from rulec.tasks.draws import checked_query, deal, seeded
from rulec.tasks.family import Arguments, Family
from rulec.tasks.planar import FUNCTIONS
from rulec.tasks.task import Episode, Task

TRAIN = ("xor", "and")
HELD_OUT = ("or", "quadrant_and", "nxor")


@dataclass(frozen=True, eq=False)
class Functions(Task):
    """Questions to train on and others held out; an episode of several tasks asks each once before any twice."""

    name: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    input_shape: tuple[int, ...] = (2,)
    outputs: int = 1
    loss: str = "mse"

    def episode(
        self, *, seed: int, steps: int, batch: int, tasks: int = 1, query: int | None = None, held_out: bool = False
    ) -> Episode:
        """Draw fresh points for every batch; the query does not depend on `steps`."""
        query = checked_query(steps, batch, tasks, query)
        part = self.held_out if held_out else self.train
        names = tuple(part[i] for i in deal(len(part), tasks, seeded("functions", seed, held_out)))
        drawn = [_task_data(name, seed, task, held_out, query, steps * batch) for task, name in enumerate(names)]
        query_x, query_y, support_x, support_y = (torch.stack(tensors) for tensors in zip(*drawn, strict=True))
        return Episode(
            _steps_first(support_x, steps, batch), _steps_first(support_y, steps, batch), query_x, query_y, names
        )

    def accuracy(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the fraction of answers with the right sign."""
        return sign_agrees(prediction, target).to(prediction.dtype).mean(-1)

    def balanced_accuracy(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean of the fractions right among yes and among no: 0.5 for a constant answer."""
        return balanced(sign_agrees(prediction, target), (target[..., 0] > 0).long(), 2)

    def describe(self) -> dict[str, object]:
        return {
            "name": self.name,
            "family": "functions",
            "train": list(self.train),
            "held_out": list(self.held_out),
            "inputs": "points of [-1, 1]^2, fresh in every batch",
            "targets": "+1 yes, -1 no",
        }


def _task_data(name: str, seed: int, task: int, held_out: bool, query: int, support: int) -> tuple[Tensor, ...]:
    """Return query points (query, 2) and answers (query, 1), and the same of the support."""
    generator = seeded("functions", seed, held_out, task, name)
    sampler = FUNCTIONS[name](generator)
    tensors: list[Tensor] = []
    for count in (query, support):
        points, yes = sampler(count, generator)
        tensors += [points, 2 * yes.to(points.dtype).unsqueeze(-1) - 1]
    return tuple(tensors)


def _steps_first(samples: Tensor, steps: int, batch: int) -> Tensor:
    """(tasks, steps * batch, features) to (steps, tasks, batch, features)."""
    return samples.view(samples.shape[0], steps, batch, samples.shape[-1]).transpose(0, 1).contiguous()


def functions(
    train: Sequence[str] = TRAIN, held_out: Sequence[str] | None = None, *, name: str | None = None
) -> Functions:
    """Make the family of these functions.

    By default those of `or`, `quadrant_and` and `nxor` are held out that `train` lacks.
    Raises `RuleError` for names that are unknown, in both parts, or none at all.
    """
    train = tuple(dict.fromkeys(train))
    held_out = tuple(
        dict.fromkeys(other for other in HELD_OUT if other not in train)
        if held_out is None
        else dict.fromkeys(held_out)
    )
    for part, members in (("train", train), ("held_out", held_out)):
        if not members:
            raise messages.empty_part(part)
        for member in members:
            _check_known(member)
    both = [member for member in train if member in held_out]
    if both:
        raise messages.overlapping_parts(both)
    return Functions(name or f"functions(train={'+'.join(train)}, held_out={'+'.join(held_out)})", train, held_out)


def _check_known(name: str, span: Span | None = None) -> None:
    if name not in FUNCTIONS:
        raise messages.unknown_planar_function(name, tuple(FUNCTIONS), span)


def _make(arguments: Arguments) -> Functions:
    parts = {part: arguments.names(part) for part in ("train", "held_out")}
    for value in (value for values in parts.values() for value in values or ()):
        _check_known(value.text, value.span)
    train, held_out = (None if values is None else [value.text for value in values] for values in parts.values())
    return functions(TRAIN if train is None else train, held_out, name=arguments.name)


FAMILY = Family("functions", _make, options=("train", "held_out"))
