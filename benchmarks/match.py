"""A match: all contenders solve one problem, are compared with a reference, and those that agree are timed in turn."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

import torch

from benchmarks.agreement import TOLERANCE, difference
from benchmarks.contender import Absent, Answer, Contender, Row, Run, outcome
from benchmarks.timing import interleaved

P = TypeVar("P")
Say = Callable[[str], None]


def match(
    contenders: Sequence[Contender[P]],
    problem: P,
    expected: Answer,
    *,
    rounds: int,
    precision: str = "float32",
    small: tuple[P, Answer] | None = None,
    say: Say = lambda text: None,
) -> list[Row]:
    """Compare every contender with `expected`, and on the `small` problem in double precision; time those that agree."""
    torch.compiler.reset()  # what other problems compiled counts towards a limit of recompilations
    rows: list[Row] = []
    runs: dict[str, Run] = {}
    for contender in contenders:
        say(f"  {contender.name}")
        row, run = admitted(contender, problem, expected, precision, small)
        rows.append(row)
        if run is not None:
            runs[row.name] = run
    say(f"  timing {len(runs)} contenders, {rounds} rounds")
    samples = interleaved(runs, rounds)
    for row in rows:
        if row.name in samples:
            row.wall, row.cpu = samples[row.name].wall, samples[row.name].cpu
    return rows


def admitted(
    contender: Contender[P], problem: P, expected: Answer, precision: str, small: tuple[P, Answer] | None
) -> tuple[Row, Run | None]:
    """Prepare a contender, run it once, and compare; the run is None where it may not be timed."""
    row = Row(contender.name, note=contender.what)
    try:
        if small is not None and not contender.slow_start and not contender.bound:
            row.small_error = difference(outcome(contender.prepare(small[0])), small[1])
            if row.small_error > TOLERANCE["float64"]:
                return _wrong(row, row.small_error, TOLERANCE["float64"], "float64"), None
        with limited(contender.limit):
            start = time.perf_counter()
            run = contender.prepare(problem)
            found = outcome(run)
            row.first = time.perf_counter() - start
        if contender.bound:
            return row, run
        row.error = difference(found, expected)
    except Absent as absent:
        row.status, row.note = "absent", str(absent)
        return row, None
    except Exception as error:  # whatever a rival does wrong is a row of the table, and not the end of it
        row.status, row.note = "failed", _short(error)
        return row, None
    if row.error > TOLERANCE[precision]:
        return _wrong(row, row.error, TOLERANCE[precision], precision), None
    return row, run


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Raise `TimeoutError` inside if it takes longer; None is no limit."""
    if seconds is None or not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the first run was stopped after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _wrong(row: Row, error: float, tolerance: float, precision: str) -> Row:
    row.status, row.note = "WRONG", f"differs by {error:.1e}, more than {tolerance:.0e} ({precision}): not timed"
    return row


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:160]
