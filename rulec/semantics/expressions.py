"""Check expressions: names, indices, arguments. A poisoned expression is None, so one mistake is reported once."""

from __future__ import annotations

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.calls import check_call
from rulec.semantics.constants import evaluate, evaluate_number
from rulec.semantics.context import Context
from rulec.semantics.references import check_indexed, check_name
from rulec.semantics.scope import Place, Scope
from rulec.syntax import ast

_ARITHMETIC = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "^": "pow",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
    "==": "equal",
    "!=": "not_equal",
    "and": "mul",
    "or": "max",
}


def check_expression(node: ast.Expression, scope: Scope, place: Place) -> t.Expr | None:
    """Return the typed expression, or None after reporting what is wrong with it."""
    return _check(node, Context(scope, place, _check))


def _check(node: ast.Expression, context: Context) -> t.Expr | None:
    scope, place = context.scope, context.place
    match node:
        case ast.Number():
            return t.Constant(t.NOTHING, node.span, node.value)
        case ast.Name():
            return check_name(node, scope, place)
        case ast.Indexed():
            return check_indexed(node, scope, place)
        case ast.Call():
            return check_call(node, context)
        case ast.Unary():
            inner = _check(node.operand, context)
            return inner and t.apply("neg" if node.operator == "-" else "not", node.span, inner)
        case ast.Binary():
            return _check_binary(node, context)
        case ast.Conditional():
            chosen = evaluate(node.condition, scope.options, scope.found)
            return None if chosen is None else _check(node.then if chosen else node.otherwise, context)
        case ast.Array():
            return _check_array(node, context)
    raise AssertionError(node)


def _check_binary(node: ast.Binary, context: Context) -> t.Expr | None:
    left, right = _check(node.left, context), _check(node.right, context)
    if left is None or right is None:
        return None
    if node.operator == "/" and isinstance(right, t.Constant) and right.value == 0:
        context.report(messages.division_by_zero(node.right.span))
        return None
    return t.apply(_ARITHMETIC[node.operator], node.span, left, right)


def _check_array(node: ast.Array, context: Context) -> t.Expr | None:
    if context.place.kind != "initial":
        context.report(messages.array_misplaced(node.span))
        return None
    read = _array_values(node, context.scope)
    return read and t.Matrix(t.NOTHING, node.span, *read)


def _array_values(node: ast.Array, scope: Scope) -> tuple[tuple[int, ...], tuple[float, ...]] | None:
    """Return the shape and the entries, row-major."""
    shapes: set[tuple[int, ...]] = set()
    values: list[float] = []
    for item in node.items:
        if isinstance(item, ast.Array):
            inner = _array_values(item, scope)
            if inner is None:
                return None
            shapes.add(inner[0])
            values += inner[1]
        else:
            number = evaluate_number(item, scope.options, scope.found)
            if number is None:
                return None
            shapes.add(())
            values.append(float(number))
    if len(shapes) != 1:
        scope.report(messages.ragged_array(node.span))
        return None
    return (len(node.items), *shapes.pop()), tuple(values)
