"""Fold constants: `0 * x`, `1 * x`, `x + 0`, `x ^ 1` and arithmetic on numbers.

Before: any program. After: the same values; no product with a constant zero or one, no sum with a constant zero.
`0 * x` becomes 0 even where x might be infinite: a rule that relies on that is wrong anyway.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from rulec.ir.graph import Block, Op, constant, is_constant, rewrite_block

_ARITHMETIC: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "neg": lambda a: -a,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
    "sqrt": math.sqrt,
    "abs": abs,
    "less": lambda a, b: float(a < b),
    "equal": lambda a, b: float(a == b),
}


def fold_constants(block: Block) -> Block:
    return rewrite_block(block, _fold)


def _fold(op: Op) -> Op:
    if op.args and op.name in _ARITHMETIC and all(is_constant(a) for a in op.args):
        try:
            return constant(_ARITHMETIC[op.name](*(a["value"] for a in op.args)), op.span)
        except (ArithmeticError, ValueError):
            return op
    rule = _RULES.get(op.name)
    return op if rule is None else rule(op)


def _mul(op: Op) -> Op:
    a, b = op.args
    if is_constant(a, 0.0) or is_constant(b, 0.0):
        return constant(0.0, op.span)
    return b if is_constant(a, 1.0) else a if is_constant(b, 1.0) else op


def _add(op: Op) -> Op:
    a, b = op.args
    return b if is_constant(a, 0.0) else a if is_constant(b, 0.0) else op


def _sub(op: Op) -> Op:
    a, b = op.args
    return a if is_constant(b, 0.0) else -b if is_constant(a, 0.0) else op


def _div(op: Op) -> Op:
    a, b = op.args
    return constant(0.0, op.span) if is_constant(a, 0.0) else a if is_constant(b, 1.0) else op


def _pow(op: Op) -> Op:
    return (
        op.args[0] if is_constant(op.args[1], 1.0) else constant(1.0, op.span) if is_constant(op.args[1], 0.0) else op
    )


def _neg(op: Op) -> Op:
    return op.args[0].args[0] if op.args[0].name == "neg" else op


def _where(op: Op) -> Op:
    return op if not is_constant(op.args[0]) else op.args[1] if op.args[0]["value"] else op.args[2]


_RULES: dict[str, Callable[[Op], Op]] = {
    "mul": _mul,
    "add": _add,
    "sub": _sub,
    "div": _div,
    "pow": _pow,
    "neg": _neg,
    "where": _where,
}
