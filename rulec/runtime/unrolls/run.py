"""Run a generated kernel: lists of moves, memory, and the way back.

What a network does is a list of moves (`rulec.runtime.unrolls.schedule`). Where memory is given, or a tape of all networks would cost
more than making their steps again, the way back makes them again, in memory that the networks of a thread use one after the other.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rulec.backend.lowering import Lowered
from rulec.runtime.unrolls.engine import Data, Memory
from rulec.runtime.unrolls.kernel import Kernel
from rulec.runtime.unrolls.schedule import Move, least_bytes, there_and_back

if TYPE_CHECKING:
    from rulec.runtime.compiled import CompiledRule

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


class _KernelUnroll(torch.autograd.Function):
    """`apply(run, number of genome entries, *genome, *state)`: the states after all steps, or the prediction then."""

    @staticmethod
    def forward(ctx: Any, run: Run, entries: int, *given: Tensor) -> tuple[Tensor, ...]:
        ctx.run, ctx.entries, ctx.tape = run, entries, None
        ctx.save_for_backward(*given)
        genome, state = given[:entries], given[entries:]
        if not run.keeps():
            return forward(run, genome, state)
        moves, out = run.recorded(), run.results(genome, state)
        ctx.tape = run.kernel.borrow(run.nets * run.tape_size(moves), run.dtype)
        run.call(moves, genome, state, out, tape=ctx.tape)
        return tuple(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        run: Run = ctx.run
        given = ctx.saved_tensors
        genome, state = given[: ctx.entries], given[ctx.entries :]
        wanted = [*ctx.needs_input_grad[2 + ctx.entries :], *run.kernel.learned]
        sums = sums_back(run, genome, state, wanted)
        pulled = [c.contiguous() for c in cotangents]
        run.call(run.back() if ctx.tape is not None else run.again(), genome, state, sums, pulled, ctx.tape)
        if ctx.tape is not None:
            run.kernel.spare.append(ctx.tape)
            ctx.tape = None  # another way back makes the steps again
        found = [None if value is None else _total(value) for value in sums]
        return None, None, *found[len(state) :], *found[: len(state)]


class _Judged(torch.autograd.Function):
    """`apply(run, loss, number of genome entries, *genome, *state)`: the mean loss of each member's predictions, and these.

    A member's loss depends on nothing of another's, so its gradient is found on the way forward, and multiplied on the way back.
    """

    @staticmethod
    def forward(ctx: Any, run: Run, loss: str, entries: int, *given: Tensor) -> tuple[Tensor, Tensor]:
        genome, state = given[:entries], given[entries:]
        wanted = [*ctx.needs_input_grad[3 + entries :], *run.kernel.learned]
        sums, (prediction,) = sums_back(run, genome, state, wanted), run.results(genome, state)
        losses = prediction.new_empty(run.lead)
        run.call(run.again(judge=True), genome, state, [*sums, prediction, losses], loss=loss)
        members, each = run.lead[0], run.nets // run.lead[0]
        ctx.found = [None if value is None else _total(value).div_(each) for value in sums]
        ctx.found = [*ctx.found[len(state) :], *ctx.found[: len(state)]]
        ctx.population = run.population
        ctx.mark_non_differentiable(prediction)
        return losses.reshape(members, each).mean(1), prediction

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor, _: Tensor) -> tuple[Any, ...]:
        def times(value: Tensor) -> Tensor:
            return value * (cotangent.reshape(-1, *[1] * (value.ndim - 1)) if ctx.population else cotangent)

        return None, None, None, *(None if value is None else times(value) for value in ctx.found)


def _total(value: Tensor) -> Tensor:
    """Add up what threads found."""
    return value.sum(0) if len(value) > 1 else value[0]


def sums_back(
    run: Run, genome: Sequence[Tensor], state: Sequence[Tensor], wanted: Sequence[bool]
) -> list[Tensor | None]:
    """Return zeros for what comes back, where it is wanted: of the states, then of the genome."""
    like = (state or genome)[0]
    shapes = run.shapes_back(genome, state)
    return [like.new_zeros(shape) if asked else None for shape, asked in zip(shapes, wanted, strict=True)]


def forward(run: Run, genome: Sequence[Tensor], state: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Run without keeping anything."""
    out = run.results(genome, state)
    run.call(run.there(), genome, state, out)
    return tuple(out)


def unroll_kernel(
    rule: CompiledRule,
    kernel: Kernel,
    axes: tuple[str, ...],
    genome: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    data: Data,
    query: tuple[Tensor, Tensor] | None,
    memory: Memory = None,
    loss: str | None = None,
) -> tuple[Tensor, ...]:
    """Run the steps; return the carried states after them, or the prediction on `query`. See `rulec.runtime.unroll`.

    With a `loss`, which has a way back, return the mean loss of each member's predictions, (members,), and these.
    """
    asked = query if query is not None else data[0]
    begin, seed = int(state["t"]), int(state["seed"])
    batch = data[0][0].shape[len(axes)]
    steps = [
        [torch.stack([pair[k] for pair in data]) for k in (0, 1)],
        _noise(rule, kernel.step, seed, begin, len(data), batch),
    ]
    ends = [list(asked), _noise(rule, kernel.query, seed, begin + len(data), 1, asked[0].shape[len(axes)])]
    laid = [_strided(rule, value, axes, True) for value in steps[0]]
    laid += [_strided(rule, value, tuple(rule.leading), True) for value in steps[1]]
    laid += [_strided(rule, value.unsqueeze(0), axes, True) for value in ends[0]]
    laid += [_strided(rule, value, tuple(rule.leading), True) for value in ends[1]]
    shape = (*rule.lead_shape, asked[0].shape[len(axes)], rule.network.output.shape[0])
    run = Run(
        kernel,
        tuple(rule.leading.get(axis, 1) for axis in AXES),  # type: ignore[arg-type]
        tuple(rule.leading),
        rule.population is not None,
        len(data),
        begin,
        laid,
        shape if query is not None else None,
        memory,
    )
    entries = [genome[name].contiguous() for name in kernel.genome]
    carried = [state[name].contiguous() for name in kernel.carried]
    if loss is not None:
        return _Judged.apply(run, loss, len(entries), *entries, *carried)  # type: ignore[no-any-return]
    if torch.is_grad_enabled() and any(v.requires_grad for v in (*entries, *carried)):
        return tuple(_KernelUnroll.apply(run, len(entries), *entries, *carried))
    return forward(run, entries, carried)


def _noise(rule: CompiledRule, lowered: Lowered, seed: int, begin: int, steps: int, batch: int) -> list[Tensor]:
    """Draw the noise of all steps, with a first axis of steps."""
    if not lowered.noise:
        return []
    drawn = [rule.noise_of(lowered, seed, begin + t + 1, batch) for t in range(steps)]
    return [torch.stack(site) for site in zip(*drawn, strict=True)]


def _strided(
    rule: CompiledRule, value: Tensor, axes: tuple[str, ...], stepped: bool
) -> tuple[Tensor, tuple[int, int, int, int]]:
    """Return (steps, axes..., own...) without gaps, and how far apart neighbours along each axis lie."""
    value = value.contiguous()
    along = dict(zip(axes, value.stride()[1 : 1 + len(axes)], strict=True))
    return value, (along.get("P", 0), along.get("T", 0), along.get("R", 0), value.stride(0) if stepped else 0)
