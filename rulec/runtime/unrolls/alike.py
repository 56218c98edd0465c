"""Run many steps with states stored once that are equal at the beginning and changed alike: see `rulec.ir.passes.equal`.

What a caller hands in decides, in every call: two states that differ anywhere, or of which one wants a gradient of its own, are two.
Reading them once costs little beside the steps that follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rulec.ir.passes.equal import equal_states, store_once

if TYPE_CHECKING:
    from rulec.runtime.compiled import CompiledRule


@dataclass(frozen=True)
class Once:
    """A rule with equal states stored once, and for each entry of the state that it lacks the one that has its values."""

    rule: CompiledRule
    twins: Mapping[str, str]


def stored_once(rule: CompiledRule, unread: bool) -> Once | None:
    """Return the rule with states stored once that may be equal; None if there are none among those that steps hand on."""
    names = equal_states(rule.optimised)
    entries = [name.partition(".") for name in rule.carried(unread)] if names else []
    twins = {f"{name}.{place}": f"{names[name]}.{place}" for name, _, place in entries if name in names}
    return Once(replace(rule, optimised=store_once(rule.optimised)), twins) if twins else None


def are_alike(state: Mapping[str, Tensor], twins: Mapping[str, str]) -> bool:
    """Say whether entries are equal to their twins, number for number, and nobody asks for the gradient of either."""
    return all(name in state and twin in state and _alike(state[name], state[twin]) for name, twin in twins.items())


def _alike(one: Tensor, other: Tensor) -> bool:
    if torch.is_grad_enabled() and (one.requires_grad or other.requires_grad):
        return False
    like = (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
    return like and torch.equal(one, other)


def with_twins(names: Sequence[str], own: Mapping[str, Tensor], twins: Mapping[str, str]) -> tuple[Tensor, ...]:
    """Return the values of these entries; those that were not stored are copies of what they are equal to."""
    return tuple(own[name] if name in own else own[twins[name]].clone() for name in names)
