"""Whole unrolls as CUDA graphs: recorded once for each form of the data, then played again on other numbers.

A step of a small network is hundreds of short kernels, whose launches take longer than they do. A recorded unroll is one launch, and so is
its way back; between them nothing comes to the host. What a recording reads lies in tensors of its own, into which every call
copies its arguments; what it writes is copied out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rulec.runtime.unrolls.engine import Form
from rulec.runtime.unrolls.tape import Tape, Walk, walked

Part = Callable[[], list[Tensor]]


class Recorder(Protocol):
    """Make parts that are called in turn playable again: return for each how to play it, and its results, which every play overwrites."""

    def __call__(self, parts: Sequence[Part]) -> list[tuple[Callable[[], None], list[Tensor]]]: ...


def cuda_graphs(parts: Sequence[Part]) -> list[tuple[Callable[[], None], list[Tensor]]]:
    """Record on the GPU: a graph for each part, all in one pool of memory."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # compiles and tunes what is compiled at the first call
        for _ in range(2):
            for part in parts:
                part()
    torch.cuda.current_stream().wait_stream(side)
    recorded: list[tuple[Callable[[], None], list[Tensor]]] = []
    pool = torch.cuda.graph_pool_handle()
    for part in parts:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            results = part()
        recorded.append((graph.replay, results))
    return recorded


class Captured:
    """One unroll over tensors of its own, and its way back if it has one."""

    def __init__(
        self, walk: Walk, entries: Sequence[Tensor], state: Sequence[Tensor], back: bool, record: Recorder = cuda_graphs
    ) -> None:
        given = _given(walk, entries, state)
        self.own = [value.detach().clone(memory_format=torch.contiguous_format) for value in given]
        rest = iter(self.own)
        genome, start = [next(rest) for _ in entries], [next(rest) for _ in state]
        steps = [[next(rest) for _ in step] for step in walk.steps]
        last = None if walk.last is None else [next(rest) for _ in walk.last]
        walk = replace(walk, steps=steps, last=last)
        self.serial = 0
        if not back:
            ((self.play, self.results),) = record([lambda: list(walked(walk, genome, start))])
            return

        def there() -> list[Tensor]:
            self.tape = Tape(walk, genome, start)
            return [value.clone() for value in self.tape.run()]

        with torch.no_grad():
            self.cotangents = [torch.zeros_like(value) for value in there()]

        def home() -> list[Tensor]:
            pulled = self.tape.pull(list(self.cotangents))
            slopes = (torch.zeros_like(g) if s is None else s for s, g in zip(self.tape.gradient, genome, strict=True))
            return [*slopes, *(value.clone() for value in pulled)]

        recorded = record([there, home])
        (self.play, self.results), (self.play_back, self.slopes) = recorded

    def forward(self, given: Sequence[Tensor]) -> list[Tensor]:
        """Play with other arguments."""
        for own, value in zip(self.own, given, strict=True):
            own.copy_(value)
        self.play()
        self.serial += 1
        return [value.clone() for value in self.results]

    def backward(self, given: Sequence[Tensor], serial: int, cotangents: Sequence[Tensor]) -> list[Tensor]:
        """Play the way back; the way forward comes first, unless that of these arguments was the last to be played."""
        if serial != self.serial:
            self.forward(given)
        for own, value in zip(self.cotangents, cotangents, strict=True):
            own.copy_(value)
        self.play_back()
        self.serial += 1  # a tape is gone back over once
        return [value.clone() for value in self.slopes]


def _given(walk: Walk, entries: Sequence[Tensor], state: Sequence[Tensor]) -> list[Tensor]:
    return [*entries, *state, *(value for step in walk.steps for value in step), *(walk.last or ())]


class _Played(torch.autograd.Function):
    """`apply(captured, how many can be differentiated, *arguments)`: the results of the unroll."""

    @staticmethod
    def forward(ctx: Any, captured: Captured, moving: int, *given: Tensor) -> tuple[Tensor, ...]:
        ctx.captured, ctx.moving, ctx.rest = captured, moving, given[moving:]
        ctx.save_for_backward(*given[:moving])
        results = captured.forward(given)
        ctx.serial = captured.serial
        return tuple(results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        given = [*ctx.saved_tensors, *ctx.rest]
        slopes = ctx.captured.backward(given, ctx.serial, cotangents)
        return None, None, *slopes, *([None] * len(ctx.rest))


@contextmanager
def _tf32(wanted: bool) -> Iterator[None]:
    """Say whether what is recorded meanwhile may round the factors of products to 10 bits."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = wanted
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@dataclass(frozen=True)
class _Key:
    form: Form
    memory: object
    shapes: tuple[tuple[int, ...], ...]
    predicts: bool


def captured_unroll(
    walk: Walk, form: Form, entries: Sequence[Tensor], state: Sequence[Tensor], record: Recorder = cuda_graphs
) -> tuple[Tensor, ...]:
    """Run an unroll by playing its recording, which is made when its form is seen for the first time."""
    given = _given(walk, entries, state)
    key = _Key(form, walk.memory, tuple(tuple(g.shape) for g in given), walk.last is not None)
    known = walk.rule.graphs.recordings
    if key not in known:
        with _tf32(walk.rule.precision == "tf32"):
            known[key] = Captured(walk, entries, state, form.reverse, record)
    if form.reverse:
        return tuple(_Played.apply(known[key], len(entries) + len(state), *given))
    return tuple(known[key].forward(given))
