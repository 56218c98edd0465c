"""Nothing is missed: where no hazard is named, torch's values and derivatives are finite."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import assume, given, settings
from torch import Tensor

from rulec.ir.graph import Block, Op, Write, walk_ops
from rulec.lints.derivatives import Derivatives, passing
from rulec.lints.numbering import Numbering
from rulec.lints.ranges import Ranges
from rulec.lints.reachable import Evaluation
from rulec.lints.sites import sites_of
from rulec.semantics.operators import POINTWISE
from tests.lints.expressions import Leaves, expressions

_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
    "neg": operator.neg,
    "less": lambda a, b: (a < b).double(),
    "less_equal": lambda a, b: (a <= b).double(),
    "greater": lambda a, b: (a > b).double(),
    "greater_equal": lambda a, b: (a >= b).double(),
    "equal": lambda a, b: (a == b).double(),
    "not_equal": lambda a, b: (a != b).double(),
    "not": lambda a: (a == 0).double(),
    "step": lambda a: (a > 0).double(),
    "min": torch.minimum,
    "max": torch.maximum,
    "where": lambda c, a, b: torch.where(c != 0, a, b),
    "softplus": torch.nn.functional.softplus,
}


class Functions:
    """What the definitions of the operator table are written over."""

    def __getattr__(self, name: str) -> Callable[..., Tensor]:
        return lambda *args: apply(name, *(torch.as_tensor(a, dtype=torch.float64) for a in args))


def apply(name: str, *args: Tensor) -> Tensor:
    define = POINTWISE[name].define if name in POINTWISE else None
    if define is not None:
        return define(Functions(), *args)
    return _FUNCTIONS[name](*args) if name in _FUNCTIONS else getattr(torch, name)(*args)


class OfLeaves(Derivatives):
    """Every leaf carries a derivative."""

    def __init__(self) -> None:
        self.states = _Everything()
        self._carried: dict[int, bool] = {}


class _Everything(set[str]):
    def __contains__(self, name: Any) -> bool:
        return True


def evaluate(root: Op, leaves: dict[str, Tensor]) -> dict[int, Tensor]:
    """Compute everything, as torch does: both sides of a `where`."""
    values: dict[int, Tensor] = {}
    for op in walk_ops([root]):
        if op.name == "constant":
            values[id(op)] = torch.tensor(op["value"], dtype=torch.float64)
        elif op.name == "state":
            values[id(op)] = leaves[op["name"]]
        else:
            values[id(op)] = apply(op.name, *(values[id(a)] for a in op.args))
    return values


@settings(max_examples=2000)
@given(expressions())
def test_what_is_not_named_is_finite(case: tuple[Op, Leaves]):
    root, given_leaves = case
    numbers = Numbering()
    numbers.enter([root])
    ranges = Ranges(numbers, {}, lambda op, at: given_leaves[op["name"]][0])
    evaluation = Evaluation(Block("update", ()), "", ranges, (Write("w", "p", root),))
    sites = list(sites_of(evaluation, OfLeaves()))
    assume(not any(site.hazard.order < 2 for site in sites))

    leaves = {k: torch.tensor(x, dtype=torch.float64, requires_grad=True) for k, (_, x) in given_leaves.items()}
    values = evaluate(root, leaves)
    for op in walk_ops([root]):  # what is rounded to 0, or overflows, is another matter
        value = float(values[id(op)].detach())
        failed = value != value or (abs(value) == math.inf and any(float(values[id(a)].detach()) == 0 for a in op.args))
        assume(failed or (1e-8 < abs(value) < 1e8) or (value == 0 and 0 in ranges.of(op)))
    assert abs(float(values[id(root)].detach())) < 1e8
    if values[id(root)].requires_grad:
        for slope in torch.autograd.grad(values[id(root)], list(leaves.values()), allow_unused=True):
            assert slope is None or bool(torch.isfinite(slope))


def test_comparisons_pass_nothing_on():
    assert passing(Op("less", (Op("time"), Op("time")))) == ()
