"""What a compiled rule is called with: data in one shape, and checks of genome and state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rulec.backend.layout import Slot
from rulec.backend.lowering import Lowered
from rulec.runtime import messages
from rulec.source import RuleError

if TYPE_CHECKING:
    from rulec.runtime.compiled import CompiledRule


def input_of(rule: CompiledRule, x: Tensor) -> Tensor:
    """Return `x` as (leading..., batch, *input). Raises `RuleError` where it cannot be."""
    own = rule.network.input.shape
    count = 1
    for size in own:
        count *= size
    x = torch.as_tensor(x).to(rule.device, rule.dtype)
    for shape in (own, (count,)):
        lead = x.shape[: x.ndim - len(shape)]
        if tuple(x.shape[x.ndim - len(shape) :]) == shape and len(lead) in (1, len(rule.lead_shape) + 1):
            x = x.reshape(*lead, *own)
            return _expanded(rule, x, len(own), "x")
    raise RuleError([messages.wrong_shape("x", x.shape, (*rule.leading, "batch", *own))])


def target_of(rule: CompiledRule, y: Tensor) -> Tensor:
    """Return `y` as (leading..., batch, outputs); class numbers become ones and zeros. Raises `RuleError` where it cannot be."""
    outputs = rule.network.output.shape[0]
    y = torch.as_tensor(y).to(rule.device)
    if not y.is_floating_point() and (y.ndim in (1, len(rule.lead_shape) + 1)) and y.shape[-1:] != (outputs,):
        y = torch.nn.functional.one_hot(y.long(), outputs)
    y = y.to(rule.dtype)
    if y.shape[-1:] != (outputs,):
        raise RuleError([messages.wrong_shape("y", y.shape, (*rule.leading, "batch", outputs))])
    return _expanded(rule, y, 1, "y")


def _expanded(rule: CompiledRule, data: Tensor, trailing: int, name: str) -> Tensor:
    lead = rule.lead_shape
    if data.ndim == trailing + 1:
        return data.expand(*lead, *data.shape)
    given = tuple(data.shape[: len(lead)])
    if data.ndim != len(lead) + trailing + 1 or any(g not in (1, size) for g, size in zip(given, lead, strict=True)):
        raise RuleError(
            [messages.wrong_shape(name, data.shape, (*lead, "batch", *data.shape[len(data.shape) - trailing :]))]
        )
    return data.expand(*lead, *data.shape[len(lead) :])


def check_entries(
    rule: CompiledRule, lowered: Lowered, genome: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> None:
    """Raise `RuleError` where a graph's arguments are missing or of a wrong shape."""
    lead = (rule.population,) if rule.population is not None else ()
    for slot in lowered.genome:
        _check_entry("genome", slot, genome, lead)
    for slot in lowered.state:
        _check_entry("state", slot, state, rule.lead_shape)


def _check_entry(kind: str, slot: Slot, given: Mapping[str, Tensor], lead: tuple[int, ...]) -> None:
    value = given.get(slot.name)
    if value is None:
        raise RuleError([messages.missing_entry(kind, slot.name, list(given))])
    expected = (*lead, *slot.shape)
    if len(value.shape) != len(expected) or any(e not in (-1, s) for s, e in zip(value.shape, expected, strict=True)):
        raise RuleError([messages.wrong_shape(slot.name, value.shape, ["batch" if e == -1 else e for e in expected])])
