"""All families of tasks by name. A new one is a file with a `Family`, and its line here."""

from __future__ import annotations

import os
from pathlib import Path

from rulec.tasks import digits, functions, idx, messages, omniglot, sinusoid
from rulec.tasks.call import parse_call
from rulec.tasks.family import Family
from rulec.tasks.task import Task

FAMILIES: tuple[Family, ...] = (
    functions.FAMILY,
    digits.FAMILY,
    idx.FOLDER,
    idx.MNIST,
    idx.NOTMNIST,
    sinusoid.FAMILY,
    omniglot.FAMILY,
    omniglot.FOLDER,
)


def task_from(task: str | Task, data: str | os.PathLike[str] | None = None) -> Task:
    """Make the task that a text such as `digits` or `mnist(size=10, classes=0-4)` describes; pass tasks through.

    `data` is the folder of data sets, by default that of the environment variable `RULEC_DATA`.
    Raises `RuleError` for unknown names and options, and for data that are missing or broken.
    """
    if isinstance(task, Task):
        return task
    call = parse_call(task)
    by_name = {family.name: family for family in FAMILIES}
    if call.name.text not in by_name:
        raise messages.unknown_task(call.name.span, call.name.text, tuple(by_name))
    family = by_name[call.name.text]
    return family.make(family.bind(call, _data_folder(data)))


def _data_folder(data: str | os.PathLike[str] | None) -> Path | None:
    given = data or os.environ.get("RULEC_DATA")
    return Path(given).expanduser() if given else None
