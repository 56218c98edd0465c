"""Make nodes of the syntax tree that stand in no file."""

from __future__ import annotations

import math

from rulec.ir.graph import Op
from rulec.source import RuleError, Source, fail
from rulec.syntax import ast

NOWHERE = Source("<program>", "").span(0, 0)

Index = str | int


def number(value: float, digits: int | None = None) -> ast.Expression:
    """Write a number in full, or to so many digits. Raises `RuleError` for what is not finite."""
    if not math.isfinite(value):
        raise fail("not-in-a-rule", f"the number {value} cannot be written in a rule", help="give a finite genome")
    text = repr(abs(float(value))) if digits is None else f"{abs(value):.{digits}g}"
    text = text.removesuffix(".0")
    node = ast.Number(text, span=NOWHERE)
    return negative(node) if value < 0 and float(text) != 0.0 else node


def name(text: str) -> ast.Name:
    return ast.Name(text, span=NOWHERE)


def index(item: Index) -> ast.IndexItem:
    return ast.IndexNumber(item, span=NOWHERE) if isinstance(item, int) else ast.IndexName(item, span=NOWHERE)


def indexed(text: str, items: tuple[Index, ...]) -> ast.Indexed | ast.Name:
    return ast.Indexed(text, tuple(map(index, items)), span=NOWHERE) if items else name(text)


def call(text: str, *arguments: ast.Expression, indices: tuple[Index, ...] = (), primes: int = 0) -> ast.Call:
    return ast.Call(text, arguments, tuple(map(index, indices)), primes, span=NOWHERE)


def binary(sign: str, left: ast.Expression, right: ast.Expression) -> ast.Expression:
    """Join two expressions from left to right; a sign in front of what is added becomes the sign between them."""
    if isinstance(right, ast.Binary) and sign == "*" and right.operator in ("*", "/"):
        return ast.Binary(right.operator, binary("*", left, right.left), right.right, span=NOWHERE)
    if isinstance(right, ast.Binary) and sign == "+" and right.operator in ("+", "-"):
        return ast.Binary(right.operator, binary("+", left, right.left), right.right, span=NOWHERE)
    if sign in ("+", "-"):
        bare = unsigned(right)
        if bare is not None:
            return ast.Binary("-" if sign == "+" else "+", left, bare, span=NOWHERE)
    return ast.Binary(sign, left, right, span=NOWHERE)


def negative(node: ast.Expression) -> ast.Expression:
    """Put a minus in front; before a product it belongs to the first factor."""
    bare = unsigned(node)
    if bare is not None:
        return bare
    if isinstance(node, ast.Binary) and node.operator in ("*", "/"):
        return ast.Binary(node.operator, negative(node.left), node.right, span=NOWHERE)
    return ast.Unary("-", node, span=NOWHERE)


def unsigned(node: ast.Expression) -> ast.Expression | None:
    """Return what a minus in front of a value stands before, or None if there is none."""
    if isinstance(node, ast.Unary) and node.operator == "-":
        return node.operand
    if isinstance(node, ast.Binary) and node.operator in ("*", "/"):
        left = unsigned(node.left)
        return None if left is None else ast.Binary(node.operator, left, node.right, span=NOWHERE)
    return None


def unspeakable(op: Op, why: str) -> RuleError:
    """Make the error for an op that the language has no words for."""
    return fail("not-in-a-rule", f"`{op.name}` cannot be written in a rule: {why}", span=op.span)
