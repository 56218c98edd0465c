"""Unrolls on generated kernels, as functions that PyTorch can differentiate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rulec.backend.lowering import Lowered
from rulec.runtime.unrolls.engine import Data, Memory
from rulec.runtime.unrolls.kernel import Kernel
from rulec.runtime.unrolls.run import AXES, Run

if TYPE_CHECKING:
    from rulec.runtime.compiled import CompiledRule


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
