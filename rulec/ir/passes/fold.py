"""Fold constants: `0 * x`, `1 * x`, `x + 0`, `x ^ 1` and functions of known numbers.

Before: any program. After: the same values; no product with a constant zero or one, no sum with a constant zero, no function
of constants and arrays alone, and no component is read from a value it was put into. `0 * x` becomes 0 even where x might be infinite: a rule that relies on that is wrong anyway.
"""

from __future__ import annotations

from collections.abc import Callable

from rulec.ir.graph import Op, Program, change_blocks, constant, is_constant, rewrite_block, with_args
from rulec.ir.numbers import is_function, is_known, pointwise_known, reduce_known


def fold_constants(program: Program) -> Program:
    return change_blocks(program, lambda block: rewrite_block(block, fold))


def fold(op: Op) -> Op:
    """Fold one op, whose arguments are folded."""
    if op.args and all(is_known(a) for a in op.args):
        value = _known(op)
        if value is not None:
            return value
    rule = _RULES.get(op.name)
    return op if rule is None else rule(op)


def _known(op: Op) -> Op | None:
    if op.name == "reduce" and op.args[0].name == "array":
        return reduce_known(op["operator"], op["indices"], op.args[0], op.span)
    if not is_function(op.name):
        return None
    try:
        return pointwise_known(op.name, op.args, op.span)
    except (ArithmeticError, ValueError):
        return None  # left to the evaluators, which know infinities


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


def _take(op: Op) -> Op:
    """Read a component where it was put, or where the state is read."""
    inner, at = op.args[0], dict(op["at"])
    if inner.name == "insert" and set(at) == {index for index, _ in inner["at"]}:
        return inner.args[1] if at == dict(inner["at"]) else fold(with_args(op, inner.args[:1]))
    if inner.name == "state" and set(at) <= set(inner["indices"]):
        indices = tuple(at.get(i, i) for i in inner["indices"])
        attributes = (("name", inner["name"]), ("side", inner["side"]), ("indices", indices))
        return Op("state", (), attributes, op.axes, op.span)
    return op


_RULES: dict[str, Callable[[Op], Op]] = {
    "mul": _mul,
    "add": _add,
    "sub": _sub,
    "div": _div,
    "pow": _pow,
    "neg": _neg,
    "where": _where,
    "identity": lambda op: op.args[0],
    "take": _take,
}
