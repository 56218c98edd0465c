"""Fold a genome's tensors into a program, after checking that they are this rule's."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from rulec.ir.graph import Program
from rulec.ir.passes.specialise import Values, foldable, specialise
from rulec.runtime import messages
from rulec.source import RuleError


def specialised(program: Program, genome: Mapping[str, torch.Tensor], components: bool = False) -> Program:
    """Return the program with these numbers in it; entries that are not given stay in its genome.

    Raises `RuleError` for entries that the rule has not (`unknown-choice`), of another shape (`wrong-shape`), or not finite.
    """
    entries = {entry.name: entry for entry in program.genome}
    nets = {net.name for net in program.nets}
    values: dict[str, Values] = {}
    for name, value in genome.items():
        if name not in entries:
            if name.split(".")[0] not in nets:
                raise RuleError([messages.unknown_choice("genome entry", name, list(entries))])
            continue
        if name in foldable(program):
            values[name] = _checked(name, torch.as_tensor(value), entries[name].shape)
    return specialise(program, values, components)


def _checked(name: str, value: torch.Tensor, shape: tuple[object, ...]) -> Values:
    if tuple(value.shape) != shape:
        raise RuleError([messages.wrong_shape(name, value.shape, shape)])
    if not value.isfinite().all():
        raise RuleError([messages.not_finite(name)])
    numbers: Values = value.detach().double().cpu().tolist()
    return numbers
