"""Check calls that go over indices: reductions, and linear systems."""

from __future__ import annotations

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.context import Context, called
from rulec.semantics.indices import check_letters, letters_only, varies
from rulec.syntax import ast


def check_reduction(node: ast.Call, operator: str, context: Context) -> t.Expr | None:
    """Check a reduction; an option may have given the operator's name."""
    scope = context.scope
    if not node.indices:
        scope.report(messages.reduction_without_index(called(node), node.name))
        return None
    if not context.takes(node, 1):
        return None
    good = check_letters(node.indices, scope, context.place)
    argument = context.check(node.arguments[0])
    if argument is None or not good:
        return None
    names = letters_only(node.indices, scope)
    if names is None or not varies(argument, node.indices, node.name, scope):
        return None
    axes = argument.axes if operator == "softmax" else argument.axes - set(names)
    return t.Reduce(axes, node.span, operator, names, argument)


def check_solve(node: ast.Call, context: Context) -> t.Expr | None:
    """`solve[k,l](A[k,l], b[k])`: the x[l] with sum[l](A[k,l] * x[l]) = b[k]."""
    scope = context.scope
    if not context.takes(node, 2, indices=2):
        return None
    good = check_letters(node.indices, scope, context.place)
    arguments = context.check_all(*node.arguments)
    names = letters_only(node.indices, scope)
    if arguments is None or not good or names is None:
        return None
    (matrix, right), (row, column) = arguments, names
    if not varies(matrix, node.indices, "solve", scope) or not varies(right, node.indices[:1], "solve", scope):
        return None
    if column in right.axes:
        scope.report(messages.solve_right(node.arguments[1].span, column))
        return None
    rows, columns = scope.extent(row), scope.extent(column)
    if rows != columns or rows is None:
        span = node.indices[1].span
        scope.report(messages.extent_mismatch(span, column, columns or "neurons", "solve", rows or "neurons"))
        return None
    axes = (matrix.axes | right.axes) - {row} | {column}
    return t.Solve(axes, node.span, matrix, right, row, column)
