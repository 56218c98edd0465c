"""From the tree that lark makes of one logical line to the nodes of `ast.py`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lark import Token, Tree

from rulec.source import Diagnostic, Source, Span
from rulec.syntax import ast, messages
from rulec.syntax.heads import Else, ElseIf

DEEPEST_EXPRESSION = 120


class Refused(Exception):
    """The line follows the grammar and yet says nothing that can be meant."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic
        super().__init__(diagnostic)


@dataclass(frozen=True)
class Place:
    """Turn positions within a line into spans of the file."""

    source: Source
    offset: int

    def tree(self, tree: Tree[Token]) -> Span:
        return self.source.span(self.offset + tree.meta.start_pos, self.offset + tree.meta.end_pos)

    def token(self, token: Token) -> Span:
        assert token.start_pos is not None and token.end_pos is not None
        return self.source.span(self.offset + token.start_pos, self.offset + token.end_pos)

    def name(self, token: Token) -> ast.Name:
        return ast.Name(str(token), span=self.token(token))


def build_line(tree: Tree[Token], source: Source, offset: int) -> ast.Node:
    """Return the node of one line; `offset` is where the line begins in `source`.

    Raises `Refused` for what the grammar lets pass: nesting that is too deep, a law without a relation, ...
    """
    place = Place(source, offset)
    deepest = _deeper_than(tree, DEEPEST_EXPRESSION)
    if deepest is not None:
        raise Refused(messages.expression_too_deep(place.tree(deepest), DEEPEST_EXPRESSION))
    node = _build(tree, place)
    assert isinstance(node, ast.Node)
    return node


def _deeper_than(tree: Tree[Token], limit: int) -> Tree[Token] | None:
    """Return the tree at depth `limit`, if there is one; without recursion, for that is what it guards."""
    level = [tree]
    for _ in range(limit):
        level = [child for parent in level for child in parent.children if isinstance(child, Tree)]
        if not level:
            return None
    return level[0]


def _build(tree: Tree[Token], place: Place) -> Any:
    children = [_build(child, place) if isinstance(child, Tree) else child for child in tree.children]
    return _BUILD[tree.data](place.tree(tree), children, place)


# --- Expressions -----------------------------------------------------------------------------


def _number(span: Span, children: list[Any], place: Place) -> ast.Number:
    number = ast.Number(str(children[0]), span=span)
    if math.isinf(number.value):
        raise Refused(messages.number_too_large(span))
    return number


def _call(span: Span, children: list[Any], place: Place) -> ast.Call:
    name, primes, indices, arguments = children
    return ast.Call(
        str(name),
        tuple(arguments or ()),
        tuple(indices or ()),
        len(primes or ""),
        span=span,
        name_span=place.token(name),
    )


def _conditional(span: Span, children: list[Any], place: Place) -> ast.Conditional:
    return ast.Conditional(children[0], children[1], children[2], span=span)


# --- Definitions and sections ----------------------------------------------------------------


def _text(token: Token | None) -> str | None:
    """Return what a string says; the layout has seen to it that only `\\"` and `\\\\` are escaped."""
    return None if token is None else re.sub(r"\\(.)", r"\1", token[1:-1])


def _path(span: Span, children: list[Any], place: Place) -> str:
    token = children[0]
    return (_text(token) or "") if token.type == "STRING" else str(token)


def _net(span: Span, children: list[Any], place: Place) -> ast.Net:
    name, *sizes, activation = children
    return ast.Net(place.name(name), tuple(sizes), place.name(activation) if activation else None, span=span)


def _preset(span: Span, children: list[Any], place: Place) -> ast.Preset:
    name, rule, doc = children
    return ast.Preset(place.name(name), place.name(rule), _text(doc), (), span=span)


def _choice_option(span: Span, children: list[Any], place: Place) -> ast.Option:
    name, choices, default = children
    return ast.Option(place.name(name), default, choices, span=span)


def _entry(span: Span, children: list[Any], place: Place) -> ast.GenomeEntry:
    name, letters, domain, per_layer, initial = children
    return ast.GenomeEntry(place.name(name), letters or (), domain, per_layer, initial, span=span)


def _domain(span: Span, children: list[Any], place: Place) -> ast.Domain:
    name, bounds = children
    return ast.Domain(str(name), bounds or (), span=span)


def _state(span: Span, children: list[Any], place: Place) -> ast.State:
    keep, name, indices, initial = children
    return ast.State(place.name(name), indices or (), initial, keep is not None, span=span)


def _law(span: Span, children: list[Any], place: Place) -> ast.Law:
    name, expression = children
    if not isinstance(expression, ast.Binary) or expression.operator not in ("==", "<=", ">=", "<", ">"):
        raise Refused(messages.law_without_relation(expression.span))
    return ast.Law(place.name(name), expression.operator, expression.left, expression.right, span=span)


# --- Blocks ----------------------------------------------------------------------------------


def _block(span: Span, children: list[Any], place: Place) -> ast.Block:
    kind, *indices = children
    return ast.Block(str(kind), tuple(index for index in indices if index is not None), (), span=span)


# --- Clauses ---------------------------------------------------------------------------------


def _inner(span: Span, children: list[Any], place: Place) -> ast.Inner:
    rule, within, steps, data, weight, *plus = children
    count, horizon = steps or (None, None)
    name = place.name(data) if data else None
    return ast.Inner(rule, within, count, horizon, name, weight, tuple(plus), span=span)


def _steps(span: Span, children: list[Any], place: Place) -> tuple[ast.Expression, ast.Expression | None]:
    return children[0], children[1] if len(children) > 1 else None


def _negative(span: Span, children: list[Any], place: Place) -> ast.Unary:
    sign, digits = children
    return ast.Unary(str(sign), ast.Number(str(digits), span=place.token(digits)), span=span)


def _objective(span: Span, children: list[Any], place: Place) -> ast.Objective:
    direction, value, data = children
    return ast.Objective(str(direction), value, place.name(data) if data else None, span=span)


def _invocation(span: Span, children: list[Any], place: Place) -> ast.Invocation:
    return ast.Invocation(children[0], span=span)


def _called(span: Span, children: list[Any], place: Place) -> ast.Invocation:
    path, arguments = children
    positional: list[ast.Expression] = []
    keywords: list[ast.Keyword] = []
    for argument in arguments or ():
        if isinstance(argument, ast.Keyword):
            keywords.append(argument)
        elif keywords:
            raise Refused(messages.positional_after_keyword(argument.span, keywords[-1].span))
        else:
            positional.append(argument)
    return ast.Invocation(path, tuple(positional), tuple(keywords), called=True, span=span)


_BUILD: dict[str, Callable[[Span, list[Any], Place], Any]] = {
    "number": _number,
    "name": lambda span, c, place: ast.Name(str(c[0]), span=span),
    "indexed": lambda span, c, place: ast.Indexed(str(c[0]), c[1], span=span),
    "call": _call,
    "array": lambda span, c, place: ast.Array(tuple(c[0] or ()), span=span),
    "unary": lambda span, c, place: ast.Unary(str(c[0]), c[1], span=span),
    "binary": lambda span, c, place: ast.Binary(str(c[1]), c[0], c[2], span=span),
    "conditional": _conditional,
    "arguments": lambda span, c, place: tuple(c),
    "indices": lambda span, c, place: tuple(c),
    "letters": lambda span, c, place: tuple(c),
    "letter": lambda span, c, place: ast.IndexName(str(c[0]), span=span),
    "component": lambda span, c, place: ast.IndexNumber(int(c[0]), span=span),
    "names": lambda span, c, place: tuple(place.name(token) for token in c),
    "dotted": lambda span, c, place: tuple(place.name(token) for token in c),
    "choices": lambda span, c, place: tuple(place.name(token) for token in c),
    "path": _path,
    "use": lambda span, c, place: ast.Use(c[0], c[1], span=span),
    "rule": lambda span, c, place: ast.Rule(place.name(c[0]), _text(c[1]), (), span=span),
    "outer": lambda span, c, place: ast.Outer(place.name(c[0]), _text(c[1]), (), span=span),
    "preset": _preset,
    "net": _net,
    "option": lambda span, c, place: ast.Option(place.name(c[0]), c[1], span=span),
    "choice_option": _choice_option,
    "index": lambda span, c, place: ast.Index(tuple(c[:-1]), c[-1], span=span),
    "genome": lambda span, c, place: ast.Genome((), c[0], span=span),
    "neuron": lambda span, c, place: ast.Neuron((), span=span),
    "synapse": lambda span, c, place: ast.Synapse((), span=span),
    "broadcast": lambda span, c, place: ast.Broadcast((), span=span),
    "laws": lambda span, c, place: ast.Laws((), span=span),
    "if_": lambda span, c, place: ast.If(c[0], (), span=span),
    "elif_": lambda span, c, place: ElseIf(c[0], span=span),
    "else_": lambda span, c, place: Else(span=span),
    "entry": _entry,
    "domain": _domain,
    "per_layer": lambda span, c, place: ast.PerLayer(c[0], span=span),
    "state": _state,
    "law": _law,
    "block": _block,
    "repeat": lambda span, c, place: ast.Repeat(c[0], (), span=span),
    "assign": lambda span, c, place: ast.Assign(c[0], "=", c[1], span=span),
    "augmented": lambda span, c, place: ast.Assign(c[0], str(c[1]), c[2], span=span),
    "inner": _inner,
    "steps": _steps,
    "within": lambda span, c, place: ast.Within(c[0], c[1], span=span),
    "negative": _negative,
    "weighted": lambda span, c, place: c[0],
    "plus": lambda span, c, place: c[0],
    "learned": lambda span, c, place: ast.Learned(c[0], c[1], c[2], span=span),
    "meta": lambda span, c, place: ast.Meta(tuple(c), span=span),
    "objective": _objective,
    "through": lambda span, c, place: ast.Through(c[0], c[1] or (), span=span),
    "by": lambda span, c, place: ast.By(c[0], tuple(c[1:]), span=span),
    "key": lambda span, c, place: ast.Key(place.name(c[0]), c[1], span=span),
    "tasks": lambda span, c, place: ast.Tasks(c[0], place.name(c[1]) if c[1] else None, span=span),
    "invocation": _invocation,
    "called": _called,
    "call_arguments": lambda span, c, place: c,
    "keyword": lambda span, c, place: ast.Keyword(place.name(c[0]), c[1], span=span),
}
