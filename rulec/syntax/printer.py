"""From the tree to canonical text: expressions, the heads of lines, whole modules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rulec.syntax import ast
from rulec.syntax.heads import Else, ElseIf, opening
from rulec.syntax.wrapping import wrap

INDENT = 2

# How tightly an expression binds, loosest first; the grammar has the same ladder.
_CONDITIONAL, _OR, _AND, _NOT, _COMPARISON, _SUM, _PRODUCT, _MINUS, _POWER, _ATOM = range(10)
_BINDS = {"or": _OR, "and": _AND, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "^": _POWER}
_PATH = re.compile(r"[A-Za-z0-9_./\-]+")


# --- Expressions -----------------------------------------------------------------------------


def render_expression(node: ast.Expression) -> str:
    """Return an expression with as few parentheses as keep its tree."""
    return _at(node, _CONDITIONAL)


def _at(node: ast.Expression, level: int) -> str:
    """Return `node` for a place that takes only what binds at least as tightly as `level`."""
    text = _EXPRESSIONS[type(node)](node)
    return f"({text})" if _level(node) < level else text


def _level(node: ast.Expression) -> int:
    if isinstance(node, ast.Conditional):
        return _CONDITIONAL
    if isinstance(node, ast.Unary):
        return _NOT if node.operator == "not" else _MINUS
    if isinstance(node, ast.Binary):
        return _BINDS.get(node.operator, _COMPARISON)
    return _ATOM


def _binary(node: ast.Binary) -> str:
    level = _level(node)
    if level == _POWER:  # to the right, and with a sign of its own
        return f"{_at(node.left, _ATOM)}^{_at(node.right, _MINUS)}"
    if level == _COMPARISON:  # not chained
        return f"{_at(node.left, _SUM)} {node.operator} {_at(node.right, _SUM)}"
    return f"{_at(node.left, level)} {node.operator} {_at(node.right, level + 1)}"


def _unary(node: ast.Unary) -> str:
    return f"not {_at(node.operand, _NOT)}" if node.operator == "not" else f"-{_at(node.operand, _MINUS)}"


def _conditional(node: ast.Conditional) -> str:
    return f"{_at(node.then, _OR)} if {_at(node.condition, _OR)} else {_at(node.otherwise, _CONDITIONAL)}"


def _call(node: ast.Call) -> str:
    return f"{node.name}{chr(39) * node.primes}{_indices(node.indices)}({_list(node.arguments)})"


def _indices(indices: Iterable[ast.IndexItem]) -> str:
    items = ",".join(str(item.value) if isinstance(item, ast.IndexNumber) else item.name for item in indices)
    return f"[{items}]" if items else ""


def _list(items: Iterable[ast.Expression]) -> str:
    return ", ".join(render_expression(item) for item in items)


_EXPRESSIONS: dict[type, Callable[[Any], str]] = {
    ast.Number: lambda node: node.text,
    ast.Name: lambda node: node.name,
    ast.Indexed: lambda node: node.name + _indices(node.indices),
    ast.Call: _call,
    ast.Unary: _unary,
    ast.Binary: _binary,
    ast.Conditional: _conditional,
    ast.Array: lambda node: f"[{_list(node.items)}]",
}


# --- Heads of lines --------------------------------------------------------------------------


def render_head(node: ast.Node) -> str:
    """Return the line that `node` begins with, without what stands beneath it."""
    return _HEADS[type(node)](node)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _doc(doc: str | None) -> str:
    return "" if doc is None else f" {_quoted(doc)}"


def _names(names: Iterable[ast.Name | ast.IndexName]) -> str:
    return ", ".join(name.name for name in names)


def _equals(initial: ast.Expression | None) -> str:
    return "" if initial is None else f" = {render_expression(initial)}"


def _per_layer(per_layer: ast.PerLayer | None) -> str:
    if per_layer is None:
        return ""
    condition = per_layer.condition
    return " per layer" if condition is None else f" per layer if {render_expression(condition)}"


def _use(node: ast.Use) -> str:
    path = node.path if _PATH.fullmatch(node.path) else _quoted(node.path)
    return f"from {path} use {_names(node.names)}"


def _net(node: ast.Net) -> str:
    activation = f" ({node.activation.name})" if node.activation else ""
    return f"net {node.name.name} : {' -> '.join(_size(size, _SUM) for size in node.sizes)}{activation}"


def _size(node: ast.Expression, level: int) -> str:
    """Return a size; whatever a size cannot say without parentheses stands in them."""
    if isinstance(node, (ast.Number, ast.Name)):
        return render_expression(node)
    if isinstance(node, ast.Binary) and _level(node) in (_SUM, _PRODUCT) and _level(node) >= level:
        own = _level(node)
        return f"{_size(node.left, own)} {node.operator} {_size(node.right, own + 1)}"
    return f"({render_expression(node)})"


def _option(node: ast.Option) -> str:
    choices = f" : {' | '.join(choice.name for choice in node.choices)}" if node.choices else ""
    return f"option {node.name.name}{choices} = {render_expression(node.default)}"


def _entry(node: ast.GenomeEntry) -> str:
    domain = ""
    if node.domain is not None:
        bounds = f"({_list(node.domain.bounds)})" if node.domain.bounds else ""
        domain = f" : {node.domain.name}{bounds}"
    return f"{node.name.name}{_indices(node.indices)}{domain}{_per_layer(node.per_layer)}{_equals(node.initial)}"


def _state(node: ast.State) -> str:
    return f"{'keep ' if node.keep else ''}{node.name.name}{_indices(node.indices)}{_equals(node.initial)}"


def _block(node: ast.Block) -> str:
    arrow = " <- " if node.kind == "backward" else " -> "
    return f"{node.kind} {arrow.join(index.name for index in node.indices)}".rstrip()


def _law(node: ast.Law) -> str:
    return f"{node.name.name} : {_at(node.left, _SUM)} {node.relation} {_at(node.right, _SUM)}"


def _keyword(node: ast.Keyword) -> str:
    return f"{node.name.name} = {render_expression(node.value)}"


def _invocation(node: ast.Invocation) -> str:
    path = ".".join(name.name for name in node.path)
    arguments = [render_expression(argument) for argument in node.arguments] + [_keyword(k) for k in node.keywords]
    return f"{path}({', '.join(arguments)})" if node.called else path


def _item(node: ast.Invocation | ast.Keyword) -> str:
    return _keyword(node) if isinstance(node, ast.Keyword) else _invocation(node)


def _on(data: ast.Name | None) -> str:
    return f" on {data.name}" if data else ""


def _inner(node: ast.Inner) -> str:
    horizon = "" if node.horizon is None else f" of {render_expression(node.horizon)}"
    steps = "" if node.steps is None else f" for {render_expression(node.steps)}{horizon} steps"
    weight = "" if node.weight is None else f", weighted by {render_expression(node.weight)}"
    plus = "".join(f", plus {render_expression(term)}" for term in node.plus)
    return f"inner {_invocation(node.rule)}{_within(node.within)}{steps}{_on(node.data)}{weight}{plus}"


def _learned(node: ast.Learned) -> str:
    return _invocation(node.item) + _within(node.within) + _per_layer(node.per_layer)


def _within(node: ast.Within | None) -> str:
    if node is None:
        return ""
    last = "" if node.last is None else f" to {render_expression(node.last)}"
    return f" in layer{'s' if last else ''} {render_expression(node.first)}{last}"


def _through(node: ast.Through) -> str:
    modifiers = f" with {_names(node.modifiers)}" if node.modifiers else ""
    return f"through {_invocation(node.method)}{modifiers}"


_HEADS: dict[type, Callable[[Any], str]] = {
    ast.Use: _use,
    ast.Rule: lambda node: f"rule {node.name.name}{_doc(node.doc)}",
    ast.Outer: lambda node: f"outer {node.name.name}{_doc(node.doc)}",
    ast.Preset: lambda node: f"genome {node.name.name} for {node.rule.name}{_doc(node.doc)}",
    ast.Net: _net,
    ast.Option: _option,
    ast.Index: lambda node: f"index {_names(node.names)} : {render_expression(node.extent)}",
    ast.Genome: lambda node: f"genome{_per_layer(node.per_layer)}",
    ast.Neuron: lambda node: "neuron",
    ast.Synapse: lambda node: "synapse",
    ast.Broadcast: lambda node: "broadcast",
    ast.Laws: lambda node: "laws",
    ast.GenomeEntry: _entry,
    ast.State: _state,
    ast.If: lambda node: f"if {render_expression(node.condition)}",
    ElseIf: lambda node: f"elif {render_expression(node.condition)}",
    Else: lambda node: "else",
    ast.Block: _block,
    ast.Repeat: lambda node: f"repeat {render_expression(node.count)}:",
    ast.Assign: lambda node: f"{render_expression(node.target)} {node.operator} {render_expression(node.value)}",
    ast.Law: _law,
    ast.Inner: _inner,
    ast.Meta: lambda node: f"meta {', '.join(_learned(part) for part in node.items)}",
    ast.Objective: lambda node: f"{node.direction} {render_expression(node.value)}{_on(node.data)}",
    ast.Through: _through,
    ast.By: lambda node: f"by {', '.join(_item(item) for item in (node.optimizer, *node.settings))}",
    ast.Key: lambda node: f"key {node.name.name} = {render_expression(node.value)}",
    ast.Tasks: lambda node: f"tasks {_keyword(node.change)}{_on(node.data)}",
}


# --- Whole modules ---------------------------------------------------------------------------

_TOGETHER = (ast.Use, ast.Option, ast.Index)


def stands_apart(before: ast.Node, head: ast.Node, symbol: str) -> bool | None:
    """Say whether a blank line stands between two neighbours: always, never, or (None) as the author likes."""
    if isinstance(head, (ElseIf, Else)):
        return False
    if symbol not in ("top_line", "section_line", "block_line"):
        return None
    if isinstance(before, _TOGETHER) and isinstance(head, _TOGETHER):
        return None
    if isinstance(before, ast.Net) and isinstance(head, ast.Net):
        return None
    if isinstance(before, ast.Rule) and isinstance(head, ast.Use):
        return None
    return True


@dataclass(frozen=True)
class _Item:
    head: ast.Node
    body: tuple[ast.Node, ...] = ()


def render_module(module: ast.Module) -> str:
    """Return the canonical text of a tree that was not read from a file; comments it has none."""
    lines: list[str] = []
    for definition in module.definitions:
        nodes = (definition, *definition.sections) if isinstance(definition, ast.Rule) else (definition,)
        if lines:
            lines.append("")
        lines += _render(nodes, "top_line", 0)
    return "".join(f"{line}\n" for line in lines)


def _render(nodes: Iterable[ast.Node], symbol: str, indent: int) -> list[str]:
    lines: list[str] = []
    before: ast.Node | None = None
    for item in [item for node in nodes for item in _unfold(node)]:
        if before is not None and stands_apart(before, item.head, symbol):
            lines.append("")
        lines += [" " * indent + line for line in wrap(render_head(item.head), indent)]
        opens = opening(item.head, symbol)
        if opens is not None:
            lines += _render(item.body, opens.symbol, indent + INDENT)
        before = item.head
    return lines


def _unfold(node: ast.Node) -> list[_Item]:
    """Return the lines at one indentation that say `node`: an `if` with its `elif`s and `else`, or a single head."""
    if not isinstance(node, ast.If):
        opens = opening(node, "")
        return [_Item(node, getattr(node, opens.field) if opens else ())]
    items = [_Item(node, node.then)]
    while len(node.otherwise) == 1 and isinstance(node.otherwise[0], ast.If):
        node = node.otherwise[0]
        items.append(_Item(ElseIf(node.condition, span=node.span), node.then))
    if node.otherwise:
        items.append(_Item(Else(span=node.span), node.otherwise))
    return items
