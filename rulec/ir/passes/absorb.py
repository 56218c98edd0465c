"""Take a factor of a sum of products into it: `gain * sum[n](x * y)` becomes `sum[n](gain * x * y)`.

Where it multiplies is then for the backend to choose: a small factor, not the large result. Before: contractions formed and
subexpressions shared. After: the same values but for the last digits; no contraction that is used once is multiplied or
divided by a value without neuron axes, unless that value belongs to a connection.
"""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Callable, Sequence

from rulec.ir.graph import (
    Block,
    Op,
    Program,
    change_blocks,
    constant,
    contract,
    rewrite_down,
    uses_of,
    walk_ops,
    with_args,
)

_PRODUCTS = ("mul", "div", "neg")


def absorb_factors(program: Program) -> Program:
    bound = frozenset(e.name for e in program.genome if e.per_layer) | {n.name for n in program.nets if n.per_layer}
    return change_blocks(program, lambda block: _absorb(block, bound))


def _absorb(block: Block, bound: frozenset[str]) -> Block:
    uses = uses_of(block)

    def change(op: Op, visit: Callable[[Op], Op]) -> Op:
        if op.name not in _PRODUCTS:
            return with_args(op, tuple(visit(a) for a in op.args))
        factors = _factors(op, uses)
        target = next((f for f in factors if f.name == "contract" and uses[id(f)] == 1), None)
        small = [f for f in factors if target is not None and f is not target and _fits(f, target, bound)]
        if target is None or not small:
            return with_args(op, tuple(visit(a) for a in op.args))
        rest = [visit(f) for f in factors if f is not target and f not in small]
        args = [visit(a) for a in (*target.args, *small)]
        whole = contract(args, target["indices"], target["means"], target["places"], target.span)
        return functools.reduce(operator.mul, rest, whole)

    return rewrite_down(block, change)


def _factors(op: Op, uses: Counter[int]) -> Sequence[Op]:
    """Return what is multiplied, through products that nothing else uses; a divisor as its reciprocal."""
    numerator, divisors = op.args[: 1 if op.name in ("div", "neg") else 2], op.args[1:] if op.name == "div" else ()
    found: list[Op] = [constant(-1.0)] if op.name == "neg" else []
    for argument in numerator:
        found += _factors(argument, uses) if argument.name in _PRODUCTS and uses[id(argument)] == 1 else [argument]
    return [*found, *(1.0 / d for d in divisors)]


def _fits(factor: Op, target: Op, bound: frozenset[str]) -> bool:
    """Whether a factor has no neuron axes, no index that the sum is over, and nothing of a connection."""
    if factor.axes & {"n", "i", "j", "p", *target["indices"]}:
        return False
    return not any(op.name in ("genome", "net") and op["name"] in bound for op in walk_ops([factor]))
