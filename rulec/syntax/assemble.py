"""From parsed lines to the module: bodies go into their headers, sections into their rules."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rulec.source import Source, Span
from rulec.syntax import ast, messages
from rulec.syntax.capped import Capped
from rulec.syntax.heads import Else, ElseIf, Parsed, opening
from rulec.syntax.words import LINE_WORDS

_DEFINITIONS = (ast.Rule, ast.Outer, ast.Net, ast.Preset)


def assemble(source: Source, parsed: tuple[Parsed, ...], found: Capped, dropped: list[Span]) -> ast.Module:
    """Return the module; what belongs to no rule is reported, and the spans of what is left out go to `dropped`."""
    owners = _Owners(source, found, dropped)
    for node, lost in _top(source, parsed):
        owners.take(node, lost)
    owners.finish()
    return ast.Module(tuple(owners.definitions), span=source.span(0, len(source.text)))


def _top(source: Source, parsed: tuple[Parsed, ...]) -> list[tuple[ast.Node | None, bool]]:
    """Return the nodes at the left margin; for a line with an error None, and whether it looks like a definition."""
    found: list[tuple[ast.Node | None, bool]] = []
    at = 0
    while at < len(parsed):
        if parsed[at].head is None:
            found.append((None, _begins_definition(source, parsed[at])))
            at += 1
        else:
            misplaced = isinstance(parsed[at].head, ast.Rule) and bool(parsed[at].line.children)
            node, at = _one(parsed, at)
            found += [(node, False), (None, False)] if misplaced else [(node, False)]
    return found


def _begins_definition(source: Source, parsed: Parsed) -> bool:
    word = re.split(r"\W", source.text[parsed.line.start : parsed.line.start + 40], maxsplit=1)[0]
    if word in LINE_WORDS["top_line"]:
        return word in ("rule", "outer")
    near = difflib.get_close_matches(word, LINE_WORDS["top_line"], n=1, cutoff=0.7)
    return near in (["rule"], ["outer"])


class _Owners:
    """Hand each section to the rule above it; lives for one call of `assemble`."""

    def __init__(self, source: Source, found: Capped, dropped: list[Span]) -> None:
        self.source, self.found, self.dropped = source, found, dropped
        self.definitions: list[Any] = []
        self.rule: ast.Rule | None = None
        self.sections: list[Any] = []
        self.ended_by = ""
        self.lost = False  # a line that may have been the header was left out, or the trouble has been told
        self.holes = False  # a line of this rule was left out

    def take(self, node: ast.Node | None, lost: bool) -> None:
        if node is None:
            if lost or self.rule is None:
                self.finish()
                self.lost = True
            self.holes = True
        elif isinstance(node, _DEFINITIONS):
            self._define(node)
        elif self.rule is not None:
            self.sections.append(node)
        elif isinstance(node, ast.Use):
            self.definitions.append(node)
        else:
            self._outside(node)

    def _define(self, node: ast.Node) -> None:
        self.finish()
        self.lost = self.holes = False
        if isinstance(node, ast.Rule):
            self.rule, self.ended_by = node, ""
        else:
            self.definitions.append(node)
            self.ended_by = f"`{node.span.text.split(chr(10), 1)[0][:60]}`"

    def _outside(self, node: ast.Node) -> None:
        if not self.lost:
            word = re.match(r"\w+", node.span.text)
            length = word.end() if word else 1
            self.found.add(
                messages.outside_rule(self.source.span(node.span.start, node.span.start + length), self.ended_by)
            )
            self.lost = True
        self.dropped.append(node.span)

    def finish(self) -> None:
        """Close the rule that is open, if one is."""
        if self.rule is None:
            return
        if self.sections:
            span = self.rule.span + self.sections[-1].span
            self.definitions.append(replace(self.rule, sections=tuple(self.sections), span=span))
        else:
            self.dropped.append(self.rule.span)
            if not self.holes:
                self.found.add(messages.empty_rule(self.rule.span, self.rule.name.name))
        self.rule, self.sections = None, []


# --- Bodies ----------------------------------------------------------------------------------


def _gather(parsed: Sequence[Parsed]) -> tuple[ast.Node, ...]:
    """Return the nodes of neighbouring lines, those with errors left out."""
    nodes: list[ast.Node] = []
    at = 0
    while at < len(parsed):
        if parsed[at].head is None:
            at += 1
            continue
        node, at = _one(parsed, at)
        nodes.append(node)
    return tuple(nodes)


def _one(parsed: Sequence[Parsed], at: int) -> tuple[ast.Node, int]:
    """Return the whole node that begins with line `at`, and the line after it."""
    head = parsed[at].head
    assert head is not None
    if isinstance(head, ast.If):
        return _choice(head, parsed, at)
    opens = opening(head, "")
    if opens is None:
        return head, at + 1
    body = _gather(parsed[at].body)
    fields: dict[str, Any] = {opens.field: body, "span": _cover(head.span, body)}
    return replace(head, **fields), at + 1


def _choice(head: ast.If | ElseIf, parsed: Sequence[Parsed], at: int) -> tuple[ast.If, int]:
    """Return the `if` at line `at` with its `elif`s and `else`, and the line after them."""
    then = _gather(parsed[at].body)
    otherwise: tuple[ast.Node, ...] = ()
    at += 1
    if at < len(parsed):
        following = parsed[at].head
        if isinstance(following, ElseIf):
            inner, at = _choice(following, parsed, at)
            otherwise = (inner,)
        elif isinstance(following, Else):
            otherwise = _gather(parsed[at].body)
            at += 1
    return ast.If(head.condition, then, otherwise, span=_cover(head.span, then + otherwise)), at


def _cover(span: Span, nodes: tuple[ast.Node, ...]) -> Span:
    return span + nodes[-1].span if nodes else span
