"""What takes part in a benchmark, and what a benchmark says about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

P = TypeVar("P")

Answer = Mapping[str, NDArray[Any]]  # what a run worked out, by name
Later = Callable[[], Answer]  # what it takes to read an answer off is not a part of the work
Run = Callable[[], Answer | Later]  # does the whole work once, and returns when it is done
Status = Literal["ok", "WRONG", "absent", "failed"]

INSTALL = "pip install -e '.[bench]'"


class Absent(Exception):
    """A contender cannot take part here; the message says what is missing, and how to get it."""


@dataclass(frozen=True)
class Contender(Generic[P]):
    """One way to solve a problem.

    `prepare` does what is done once (compiling, laying out tensors) and returns the run that is timed. What compiles
    while it runs has a `limit` in seconds for its first run. `slow_start`: that takes so long that it is neither done a second
    time, to compare results in double precision on a small problem, nor in a quick run.
    """

    name: str
    prepare: Callable[[P], Run]
    what: str = ""
    limit: float | None = None
    slow_start: bool = False
    per_length: bool = False  # compiles anew for each number of updates
    bound: bool = False  # does only a part of the work, so its results are not compared


@dataclass
class Row:
    """All that was found out about one contender on one problem."""

    name: str
    status: Status = "ok"
    note: str = ""
    error: float | None = None  # largest relative difference from the reference
    small_error: float | None = None  # the same on a small problem in double precision
    first: float | None = None  # seconds of the first run, compiling included
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: int | None = None  # bytes
    values: dict[str, float] = field(default_factory=dict)  # what else a benchmark measures


@dataclass
class Section:
    """A table: contenders on one problem. Ratios are to the row that `reference` names."""

    title: str
    conditions: str
    rows: list[Row]
    reference: str | None = None
    unit: str = "run"
    notes: list[str] = field(default_factory=list)
    lines: Mapping[str, Mapping[str, list[float]]] = field(
        default_factory=dict
    )  # label to x and y, where lines show more; with `low` and `high`, a band
    axes: tuple[str, str] = ("", "")
    scale: Literal["log", "linear"] = "log"  # of both axes of lines


def outcome(run: Run) -> Answer:
    """Run once, and read the answer off."""
    found = run()
    return found() if callable(found) else found


def need_jax() -> None:
    """Raise `Absent` unless JAX can be imported."""
    if find_spec("jax") is None:
        raise Absent(f"JAX is not installed: {INSTALL}")


def answer(values: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Copy tensors or arrays out as numpy arrays."""
    return {name: np.asarray(v.detach() if hasattr(v, "detach") else v) for name, v in values.items()}
