"""Tasks whose data an outer step changes: by fixed numbers, or by keys that are drawn anew for each task.

The same key is applied to the support and to the query of a task, and the inputs stay as they are where only the targets change: what
Rajendran et al. 2020, "Meta-Learning Requires Meta-Augmentation", section 4, call CE-increasing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rulec.semantics import typed as t
from rulec.tasks.draws import seeded
from rulec.tasks.task import Episode, Task
from rulec.tasks.turning import turned

FUNCTIONS: dict[str, Callable[..., Tensor]] = {  # those of `semantics.inner_problems.DATA_FUNCTIONS`
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "neg": torch.neg,
    "min": torch.minimum,
    "max": torch.maximum,
    "where": lambda condition, a, b: torch.where(condition != 0, a, b),
    **{
        name: lambda a, b, compare=compare: compare(a, b).to(a.dtype)
        for name, compare in (
            ("less", torch.lt),
            ("less_equal", torch.le),
            ("greater", torch.gt),
            ("greater_equal", torch.ge),
            ("equal", torch.eq),
            ("not_equal", torch.ne),
        )
    },
    **{
        name: getattr(torch, name)
        for name in ("exp", "log", "tanh", "sigmoid", "relu", "sqrt", "abs", "sign", "sin", "cos", "square")
    },
}


def recast(task: Task, changes: Sequence[t.Recast], keys: Sequence[t.Key] = ()) -> Task:
    """Return the task with these changes of its data, one after the other; the task itself if there are none."""
    return Recast(task, tuple(changes), tuple(keys)) if changes else task


@dataclass(frozen=True, eq=False)
class Recast(Task):
    """A task with changes; `keys` are drawn for each task of an episode, by its seed."""

    task: Task
    changes: tuple[t.Recast, ...]
    keys: tuple[t.Key, ...]

    def __post_init__(self) -> None:
        for name in ("name", "input_shape", "outputs", "loss", "samples", "single"):
            object.__setattr__(self, name, getattr(self.task, name))

    def episode(
        self, *, seed: int, steps: int, batch: int, tasks: int = 1, query: int | None = None, held_out: bool = False
    ) -> Episode:
        """Draw an episode of the task, and change it. A longer one begins like a shorter one."""
        episode = self.task.episode(seed=seed, steps=steps, batch=batch, tasks=tasks, query=query, held_out=held_out)
        drawn = {
            key.name: torch.stack([_draw(key, self.outputs, seed, task) for task in range(tasks)]) for key in self.keys
        }
        parts = {name: getattr(episode, name) for name in ("support_x", "support_y", "query_x", "query_y")}
        for change in self.changes:
            for side in change.sides:
                name = f"{side}_{change.target}"
                parts[name] = _changed(change, parts[name], drawn, side)
        return Episode(**parts, names=episode.names)

    def accuracy(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self.task.accuracy(prediction, target)

    def describe(self) -> dict[str, object]:
        return {**self.task.describe(), "changes": [change.span.text for change in self.changes]}


def _draw(key: t.Key, outputs: int, seed: int, task: int) -> Tensor:
    """Draw the key of one task: a number, or a permutation of the outputs."""
    generator = seeded("key", key.name, seed, task)
    if key.kind == "permutation":
        return torch.randperm(outputs, generator=generator)
    if key.kind == "one_of":
        return torch.tensor(key.numbers)[torch.randint(len(key.numbers), (), generator=generator)]
    first, second = key.numbers
    if key.kind == "normal":
        return first + second * torch.randn((), generator=generator)
    return first + (second - first) * torch.rand((), generator=generator)


def _changed(change: t.Recast, data: Tensor, drawn: Mapping[str, Tensor], side: str) -> Tensor:
    """Change data with a task axis: the first of a query, the second of a support, behind the updates."""
    axis = 1 if side == "support" else 0

    def placed(value: Tensor) -> Tensor:
        """Give one value for each task its place among the axes of the data."""
        return value.to(data.dtype).reshape(-1, *[1] * (data.ndim - axis - 1))

    def value(expression: t.Expr) -> Tensor:
        match expression:
            case t.Constant(value=number):
                return torch.tensor(number, dtype=data.dtype)
            case t.LocalRef():
                return data
            case t.GenomeRef(name=name):
                return placed(drawn[name])
            case t.Stop(argument=argument):
                return value(argument)
            case t.Apply(operator=operator, arguments=arguments):
                return FUNCTIONS[operator](*(value(a) for a in arguments))
        raise AssertionError(expression)

    if change.operator == "permute":
        assert isinstance(change.value, t.GenomeRef)
        order = drawn[change.value.name].reshape(-1, *[1] * (data.ndim - axis - 2), data.shape[-1])
        return torch.gather(data, -1, order.expand(data.shape))
    found = value(change.value)
    if change.operator == "rotate":
        angle = found.reshape(found.shape[0] if found.ndim else 1, *[1] * (data.ndim - axis - 4))
        return turned(data, angle)
    return found.expand(data.shape)
