"""One call of a generated kernel: its lists of moves, and memory.

What a network does is a list of moves (`rulec.runtime.unrolls.schedule`). Where memory is given, or a tape of all networks would cost
more than making their steps again, the way back makes them again, in memory that the networks of a thread use one after the other.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from rulec.runtime.unrolls.engine import Memory
from rulec.runtime.unrolls.kernel import Kernel
from rulec.runtime.unrolls.schedule import Move, least_bytes, there_and_back

AXES = ("P", "T", "R")


@dataclass(frozen=True)
class Run:
    """One call of the kernel: everything but genome and states."""

    kernel: Kernel
    lead: tuple[int, int, int]
    labels: tuple[str, ...]  # of the leading axes that there are
    population: bool  # whether genome entries have a first axis of members
    steps: int
    begin: int
    data: list[tuple[Tensor, tuple[int, int, int, int]]]  # with strides along population, task, replica and step
    predicted: tuple[int, ...] | None  # the shape of the prediction
    memory: Memory

    @property
    def nets(self) -> int:
        return prod(self.lead)

    @property
    def shares(self) -> int:
        """The number of threads among which the networks are shared."""
        return min(torch.get_num_threads(), self.nets)

    @property
    def dtype(self) -> torch.dtype:
        return self.data[0][0].dtype

    def results(self, genome: Sequence[Tensor], state: Sequence[Tensor]) -> list[Tensor]:
        """Return memory for what the way forward returns."""
        shapes = [s.shape for s in state] if self.predicted is None else [torch.Size(self.predicted)]
        like = state[0] if state else genome[0]
        return [torch.empty(shape, dtype=like.dtype) for shape in shapes]

    def there(self) -> list[Moving]:
        """Return the moves of the way forward alone."""
        far = [Move("advance", 0, self.steps, 0)] if self.steps else []
        end = self.kernel.sizes.state if self.steps else 0
        return [("START", 0, 0, 0), *map(_moving, far), self._last("PREDICT", end)]

    def recorded(self) -> list[Moving]:
        """Return the moves of the way forward when all is kept."""
        end = self.steps * self.kernel.sizes.costs.step
        return [("START", 0, 0, 0), ("RECORD", 0, self.steps, 0), self._last("PREDICT", end)]

    def back(self) -> list[Moving]:
        """Return the moves of the way back when all was kept."""
        end = self.steps * self.kernel.sizes.costs.step
        return [self._turned(end), ("PULL", 0, self.steps, 0), ("RETURN", 0, 0, 0)]

    def again(self, judge: bool = False) -> list[Moving]:
        """Return the moves of a way back that makes the steps again, in the memory that is given.

        To `judge`, a network goes all the way there and back at once, as its loss says what comes back.
        """
        moves: list[Moving] = [("START", 0, 0, 0)]
        for move in there_and_back(self.steps, self.kernel.sizes.costs, self._room()):
            if move.kind != "turn":
                moves.append(_moving(move))
            elif judge:
                moves.append(("JUDGE", self.steps, 0, move.place))
            else:
                moves += [self._last("GUESS", move.place), self._turned(move.place)]
        return [*(m for m in moves if m[0] != "FINISH"), ("RETURN", 0, 0, 0)]

    def _last(self, kind: str, place: int) -> Moving:
        return (kind if self.predicted is not None else "FINISH", self.steps, 0, place)

    def _turned(self, place: int) -> Moving:
        return ("PULL_PREDICTION" if self.predicted is not None else "GIVEN", self.steps, 0, place)

    def _room(self) -> int | None:
        """Return how many numbers a thread may keep."""
        if self.memory is None:
            return None
        if self.memory == "least":
            return least_bytes(self.steps, self.kernel.sizes.costs)
        return self.memory // self.dtype.itemsize // self.shares

    def keeps(self) -> bool:
        """Whether the way forward is kept for the way back: that of large networks, if the memory is enough."""
        sizes = self.kernel.sizes
        bytes_each = self.steps * sizes.costs.step * self.dtype.itemsize
        if self.memory == "least" or sizes.costs.step * self.dtype.itemsize < SMALL_STEP:
            return False
        return self.memory is None or bytes_each * self.nets <= self.memory

    def tape_size(self, moves: Sequence[Moving]) -> int:
        sizes = self.kernel.sizes
        kept = {"ADVANCE": sizes.state} | dict.fromkeys(
            ("PREDICT", "GUESS", "PULL_PREDICTION", "JUDGE"), sizes.prediction
        )
        each = {"RECORD": sizes.costs.step, "PULL": sizes.costs.step}
        return max(at + kept.get(kind, 0) + each.get(kind, 0) * (t - s) for kind, s, t, at in moves) + sizes.state

    def shapes_back(self, genome: Sequence[Tensor], state: Sequence[Tensor]) -> list[tuple[int, ...]]:
        """Return the shapes of what comes back for states and genome: what networks have in common, each thread adds up by itself."""
        full = tuple(n for axis, n in zip(AXES, self.lead, strict=True) if axis in self.labels)
        own = [s.shape[: len(full)] == full for s in state]
        return [
            *((1 if alone else self.shares, *s.shape) for s, alone in zip(state, own, strict=True)),
            *((self.shares, *g.shape) for g in genome),
        ]

    def _along(self, value: Tensor, labels: Sequence[str]) -> tuple[int, ...]:
        """Return how far apart neighbours along population, tasks and replicas lie; what is alike for all lies in one place."""
        found = {a: d for a, d, n in zip(labels, value.stride(), value.shape, strict=False) if n > 1}
        return tuple(found.get(axis, 0) for axis in AXES)

    def _back(self, value: Tensor | None, of_state: bool) -> tuple[int, ...]:
        """Return the same of what comes back, threads first."""
        if value is None:
            return (0, 0, 0, 0)
        labels = self.labels if of_state else AXES[: self.population]
        return (value.stride(0) if value.shape[0] > 1 else 0, *self._along(value[0], labels))

    def call(
        self,
        moves: Sequence[Moving],
        genome: Sequence[Tensor],
        state: Sequence[Tensor],
        out: Sequence[Tensor | None],
        cotangents: Sequence[Tensor] = (),
        tape: Tensor | None = None,
        loss: str = "mse",
    ) -> None:
        """Call the driver with pointers to everything. The tensors are alive until it returns."""
        kernel, shares, returns = self.kernel, self.shares, moves[-1][0] == "RETURN"
        own = [(g, (g[0].numel() if self.population else 0, 0, 0, 0)) for g in genome]
        every = [*own, *self.data]
        strides = [s for _, given in every for s in given]
        begun = [n for value in state for n in self._along(value, self.labels)]
        back = [n for k, value in enumerate(out) for n in self._back(value, k < len(state))] if returns else []
        size = self.tape_size(moves)
        scratch = kernel.borrow(shares * kernel.sizes.scratch, self.dtype)
        room = kernel.borrow(shares * size, self.dtype) if tape is None else tape
        kernel.library.unroll(
            ctypes.c_int(torch.get_num_threads()),
            (ctypes.c_int64 * 3)(*self.lead),
            _numbers([n for kind, *rest in moves for n in (MOVES.index(kind), *rest)]),
            ctypes.c_int64(len(moves)),
            ctypes.c_double(self.begin),
            _pointers([value for value, _ in every]),
            _numbers(strides),
            _pointers(state),
            _numbers(begun),
            _pointers(cotangents),
            _pointers(out),
            _numbers(back),
            ctypes.c_int(loss != "mse"),
            ctypes.c_void_p(room.data_ptr()),
            ctypes.c_int64(size),
            ctypes.c_int(tape is None),
            ctypes.c_void_p(scratch.data_ptr()),
        )
        kernel.spare.extend([scratch, room] if tape is None else [scratch])


Moving = tuple[str, int, int, int]
MOVES = (
    "START",
    "ADVANCE",
    "RECORD",
    "PREDICT",
    "GUESS",
    "FINISH",
    "PULL_PREDICTION",
    "GIVEN",
    "PULL",
    "RETURN",
    "JUDGE",
)
SMALL_STEP = 64 * 1024  # bytes of a step up to which making it again is faster than writing it down


def _moving(move: Move) -> Moving:
    return (move.kind.upper(), move.begin, move.end, move.place)


def _pointers(values: Sequence[Tensor | None]) -> Any:
    return (ctypes.c_void_p * max(1, len(values)))(*(None if v is None else v.data_ptr() for v in values))


def _numbers(values: Sequence[int]) -> Any:
    return (ctypes.c_int64 * max(1, len(values)))(*values)
