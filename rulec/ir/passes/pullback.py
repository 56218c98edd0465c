"""Turn `act'(z) * e` into the activation's transposed Jacobian applied to `e`.

For a pointwise activation nothing changes. For a layer that normalises (or ends in a softmax) the derivative is no
number per neuron, and the product means the transposed Jacobian: this is what backpropagation needs.

Before: products may have a factor `slope` of order one. After: such a product, taken whole, is one `pullback`, if what
is multiplied belongs to the same neurons; factors of the other side stay outside.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable

from rulec.ir.graph import Op, Program, change_blocks, rewrite_down, with_args


def pull_back_activations(program: Program) -> Program:
    return change_blocks(program, lambda block: rewrite_down(block, _change))


def _change(op: Op, visit: Callable[[Op], Op]) -> Op:
    return _product(op, visit) if op.name == "mul" else with_args(op, tuple(visit(a) for a in op.args))


def _product(op: Op, visit: Callable[[Op], Op]) -> Op:
    factors = factors_of(op)
    slopes = [f for f in factors if f.name == "slope" and f["order"] == 1]
    if len(slopes) != 1:
        return with_args(op, tuple(visit(a) for a in op.args))
    slope, side = slopes[0], slopes[0]["side"]
    other = {"i": "j", "j": "i"}[side]
    inside = [f for f in factors if f is not slope and other not in f.axes]
    outside = [f for f in factors if f is not slope and other in f.axes]
    if not {"n", side} <= frozenset().union(*(f.axes for f in inside)):
        return with_args(op, tuple(visit(a) for a in op.args))
    z, back = visit(slope.args[0]), functools.reduce(operator.mul, (visit(f) for f in inside))
    pulled = Op("pullback", (z, back), (("side", side),), z.axes | back.axes, op.span)
    return functools.reduce(operator.mul, (visit(f) for f in outside), pulled)


def factors_of(op: Op) -> list[Op]:
    """Flatten a chain of products."""
    return [f for a in op.args for f in (factors_of(a) if a.name == "mul" else [a])]
