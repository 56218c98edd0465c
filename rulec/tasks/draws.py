"""Chance that can be repeated: generators keyed by what they are for, and sizes of episodes."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from rulec.tasks import messages
from rulec.tasks.task import Task


def seeded(*key: int | str | bool) -> torch.Generator:
    """Make a generator whose stream depends on the key alone, in every process."""
    plain = [part if isinstance(part, str) else int(part) for part in key]  # numpy's integers print otherwise
    digest = hashlib.blake2b(repr(plain).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def checked_query(steps: int, batch: int, tasks: int, query: int | None) -> int:
    """Return the number of query samples. Raises `RuleError` (`wrong-count`) for a size that makes no episode."""
    query = batch if query is None else query
    for name, value, least in (("steps", steps, 0), ("batch", batch, 1), ("tasks", tasks, 1), ("query", query, 1)):
        if not isinstance(value, (int, np.integer)) or value < least:
            raise messages.wrong_count(name, value, least)
    return query


def checked_samples(task: Task, batch: int) -> int:
    """Return the number of samples of an update. Raises `RuleError` (`samples-fixed`) if the task has another."""
    if task.samples is not None and batch != task.samples:
        raise messages.samples_fixed(task.name, task.samples, batch)
    return batch


def deal(names: int, wanted: int, generator: torch.Generator) -> list[int]:
    """Choose `wanted` of `names` items: each once, in order, before any comes twice; the last round by chance."""
    rounds, left = divmod(wanted, names)
    last = torch.randperm(names, generator=generator)[:left].sort().values
    return [*(list(range(names)) * rounds), *last.tolist()]
