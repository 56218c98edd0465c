"""Many steps of a rule, and a prediction at their end, with a reverse pass of their own.

Data are brought into one form, and the backend does the rest: compiled graphs in a loop (`unrolls.tape`), or a generated kernel
(`unrolls.kernel`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rulec.runtime import messages
from rulec.runtime.arguments import check_entries
from rulec.runtime.unrolls.alike import are_alike, with_twins
from rulec.runtime.unrolls.capture import captured_unroll
from rulec.runtime.unrolls.choice import Choice
from rulec.runtime.unrolls.engine import Data, Form, Memory
from rulec.runtime.unrolls.kernel import Kernel
from rulec.runtime.unrolls.kernel_unroll import unroll_kernel
from rulec.runtime.unrolls.onchip import unroll_on_chip
from rulec.runtime.unrolls.tape import walk_over, walked, walked_back
from rulec.runtime.unrolls.ways import on_chip_or
from rulec.source import RuleError

if TYPE_CHECKING:
    from rulec.runtime.compiled import CompiledRule


def unroll(
    rule: CompiledRule,
    genome: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    data: Data,
    query: Tensor | None,
    *,
    unread: bool = True,
    straight: bool = False,
    memory: Memory = None,
) -> tuple[Tensor, ...]:
    """Run the steps; return the carried states after them, or the prediction on `query` alone.

    `data` and `query` have all leading axes. The engine's names of the carried states go with them: see `CompiledRule.unroll`.
    """
    once = rule.once(unread)
    if once is not None and are_alike(state, once.twins):
        found = unroll(once.rule, genome, state, data, query, unread=unread, straight=straight, memory=memory)
        own = dict(zip(once.rule.carried(unread), found, strict=True)) if query is None else {}
        return with_twins(rule.carried(unread), own, once.twins) if query is None else found
    asked = query if query is not None else data[0][0]
    pairs, form = _prepared(rule, genome, state, data, (asked, rule.unknown_target(asked)), unread, straight, memory)
    final = pairs[-1] if query is not None else None
    kernel = _kernel(rule, form, pairs)
    if kernel is not None:
        for lowered in (kernel.step, kernel.query):
            check_entries(rule, lowered, genome, state)
        return unroll_kernel(rule, kernel, form.axes, genome, state, pairs[:-1], final, memory)

    def graphs() -> tuple[Tensor, ...]:
        return _by_graphs(rule, form, genome, state, pairs, final, memory)

    def chip() -> tuple[Tensor, ...]:
        made = rule.chip(form.axes, unread, pairs, final is not None)
        for lowered in (made.step, *([made.query] if made.query is not None else [])):
            check_entries(rule, lowered, genome, state)
        return unroll_on_chip(rule, made, form.axes, genome, state, pairs[:-1], final)

    if form.reverse:
        return graphs()
    told = (form.axes, unread, final is not None, len(data), *(tuple(v.shape) for v in (*pairs[0], *pairs[-1])))
    return on_chip_or(rule, told, chip, graphs)


def _by_graphs(
    rule: CompiledRule,
    form: Form,
    genome: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    pairs: Data,
    final: tuple[Tensor, Tensor] | None,
    memory: Memory,
) -> tuple[Tensor, ...]:
    """Run the graphs of the step in a loop, on a GPU as one recording."""
    engine = rule.engine(form, pairs[0], pairs[-1])
    for stage in (engine.step, engine.prediction):
        check_entries(rule, stage.lowered, genome, state)
    entries = [
        invariant.contiguous()
        for stage in (engine.step, engine.prediction)
        for invariant in stage.hoisted.before(*(genome[slot.name].contiguous() for slot in stage.lowered.genome))
    ]
    carried = [state[name] for name in engine.carried]
    walk = walk_over(rule, engine, pairs[:-1], final, int(state["t"]), int(state["seed"]), memory)
    if rule.device.type == "cuda":
        return captured_unroll(walk, form, entries, carried)
    return walked_back(walk, entries, carried) if form.reverse else walked(walk, entries, carried)


def judged(
    rule: CompiledRule,
    genome: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    data: Data,
    query: tuple[Tensor, Tensor],
    loss: str,
    *,
    straight: bool = False,
    memory: Memory = None,
) -> tuple[Tensor, ...] | None:
    """Run the steps; return the mean loss of each member's predictions on `query`, with its gradient, and the predictions.

    That is what generated kernels can do best; None where there is none, or nothing to differentiate. States may have size one along tasks
    and replicas.
    """
    once = rule.once(False)
    if once is not None and are_alike(state, once.twins):
        return judged(once.rule, genome, state, data, query, loss, straight=straight, memory=memory)
    pairs, form = _prepared(rule, genome, state, data, query, False, straight, memory)
    kernel = _kernel(rule, form, pairs) if form.reverse else None
    if kernel is None:
        return None
    for lowered in (kernel.step, kernel.query):
        check_entries(rule, lowered, genome, rule.widened(state))
    return unroll_kernel(rule, kernel, form.axes, genome, state, pairs[:-1], pairs[-1], memory, loss)


def _prepared(
    rule: CompiledRule,
    genome: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    data: Data,
    query: tuple[Tensor, Tensor],
    unread: bool,
    straight: bool,
    memory: Memory,
) -> tuple[list[tuple[Tensor, Tensor]], Form]:
    """Return all data in one form, those of the query last, and the form. Raises `RuleError`."""
    if not (memory is None or memory == "least" or (isinstance(memory, int) and memory >= 1)):
        raise RuleError([messages.wrong_memory(memory)])
    pairs = [*data, query]
    axes = data_axes(rule, pairs)
    pairs = [(narrowed(rule, x, axes).contiguous(), narrowed(rule, y, axes).contiguous()) for x, y in pairs]
    for place in (0, 1):  # the graphs are made for the first batch: memory is planned, and views are not checked again
        for pair in pairs[:-1]:
            if pair[place].shape != pairs[0][place].shape:
                raise RuleError([messages.wrong_shape("xy"[place], pair[place].shape, pairs[0][place].shape)])
    asked_for = [v for v in (*genome.values(), *state.values()) if v.requires_grad and torch.is_grad_enabled()]
    learned = frozenset(name for name, value in genome.items() if asked_for and value.requires_grad)
    return pairs, Form(axes, bool(asked_for), learned, unread, straight)


def _kernel(rule: CompiledRule, form: Form, pairs: Data) -> Kernel | None:
    """Return the generated kernel where that is the backend; `auto` does without where none can be generated."""
    batch = pairs[0][0].shape[len(form.axes)]
    if rule.backend_for(batch) != "kernel":
        return None
    try:
        return rule.kernel(form, pairs[0], pairs[-1])
    except RuleError as problem:
        if rule.backend != "auto":
            raise
        rule.graphs.choices[batch] = Choice("fx", problem.diagnostics[0].notes[0])
        return None


def data_axes(rule: CompiledRule, data: Data) -> tuple[str, ...]:
    """Return the leading axes along which the data differ, as far as their strides tell."""

    def differs(place: int) -> bool:
        return any(v.shape[place] > 1 and v.stride(place) != 0 for pair in data for v in pair)

    return tuple(label for place, label in enumerate(rule.leading) if differs(place))


def narrowed(rule: CompiledRule, value: Tensor, axes: tuple[str, ...]) -> Tensor:
    """Drop the leading axes along which a value is the same."""
    for place, label in reversed(list(enumerate(rule.leading))):
        if label not in axes:
            value = value.select(place, 0)
    return value
