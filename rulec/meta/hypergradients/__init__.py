"""Hypergradients by name. A new one is a file with a `Hypergradient` and a `read`, and its line here."""

from __future__ import annotations

from rulec.meta.hypergradients import (
    cma,
    evograd,
    evolution,
    finite_difference,
    first_order,
    forward,
    implicit,
    reptile,
    truncated,
    unroll,
)
from rulec.meta.hypergradients.interface import Hypergradient, Reader, Settings
from rulec.semantics.typed import Outer

READERS: dict[str, Reader] = {
    "unroll": unroll.read,
    "first_order": first_order.read,
    "forward": forward.read,
    "truncated": truncated.read,
    "one_step": truncated.read_one_step,
    "implicit": implicit.read,
    "neumann": implicit.read_neumann,
    "finite_difference": finite_difference.read,
    "es": evolution.read_es,
    "pes": evolution.read_pes,
    "evograd": evograd.read,
    "reptile": reptile.read,
    "cma": cma.read,
}


def hypergradient_of(outer: Outer, settings: Settings) -> Hypergradient:
    """Return the method that an outer step asks for. Raises `RuleError` if it is set wrongly."""
    return READERS[outer.through.name](outer, settings)


__all__ = ["READERS", "Hypergradient", "Settings", "hypergradient_of"]
