"""From a layout to the tree: read each line with the grammar, then gather the lines beneath it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rulec.source import Diagnostic, Diagnostics, RuleError, Source, Span
from rulec.syntax import ast, messages
from rulec.syntax.assemble import assemble
from rulec.syntax.capped import Capped, Enough
from rulec.syntax.grammar import lark_parser
from rulec.syntax.heads import Else, ElseIf, Parsed, opening
from rulec.syntax.layout import DEEPEST_LINES, Layout, Line, lay_out
from rulec.syntax.words import BODY_EXAMPLES

_WORDS = re.compile(r'"(?:[^"\\\n]|\\.)*"?|#[^\n]*|([A-Za-z_][A-Za-z0-9_]*)')


def parse_source(source: Source) -> tuple[ast.Module, Diagnostics, frozenset[str]]:
    """Return the tree of a file, what is wrong with it, and the names that stand in lines left out for errors.

    Never raises for a mistake in the file. With errors among the diagnostics the tree lacks the lines they are about
    (and what stood beneath those), so that later stages can look for mistakes in the rest; the third item lets them
    keep quiet about names whose definition may have been lost.
    """
    found = Capped()
    walk = _Walk(source, found)
    parsed: tuple[Parsed, ...] = ()
    module = ast.Module((), span=source.span(0, len(source.text)))
    try:
        layout = lay_out(source, found)
        parsed = walk.lines(layout.lines, "top_line")
        module = assemble(source, parsed, found, walk.dropped)
    except Enough:
        walk.dropped.append(source.span(0, len(source.text)))
    return module, found, frozenset(name for span in walk.dropped for name in _names(span))


def parse_lines(source: Source) -> tuple[Layout, tuple[Parsed, ...]]:
    """Return the layout of a file and its lines, each with the node it says.

    Raises `RuleError` if the file has syntax errors.
    """
    found = Capped()
    try:
        layout = lay_out(source, found)
        walk = _Walk(source, found)
        parsed = walk.lines(layout.lines, "top_line")
        assemble(source, parsed, found, walk.dropped)
    except Enough:
        raise RuleError(found.sorted()) from None
    found.raise_errors()
    return layout, parsed


def parse_line(source: Source, line: Line, symbol: str) -> ast.Node | Diagnostic:
    """Return the node that one logical line says, its body empty; or what is wrong with the line."""
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    from rulec.syntax.build import Refused, build_line

    text = source.text[line.start : line.end]
    try:
        return build_line(lark_parser().parse(text, start=symbol), source, line.start)
    except Refused as refused:
        return refused.diagnostic
    except UnexpectedToken as error:
        start = error.token.start_pos
        position = line.end if error.token.type == "$END" or start is None else line.start + start
        expected = error.accepts or error.expected
    except UnexpectedCharacters as error:
        position, expected = line.start + (error.pos_in_stream or 0), error.allowed or set()
    from rulec.syntax.explain import Case, explain  # only where there is something to explain

    return explain(Case(source, line, symbol, position, frozenset(expected)))


def _names(span: Span) -> Iterator[str]:
    return (match.group(1) for match in _WORDS.finditer(span.text) if match.group(1))


class _Walk:
    """Read a tree of lines; lives for one file, and remembers what it left out."""

    def __init__(self, source: Source, found: Capped) -> None:
        self.source, self.found = source, found
        self.dropped: list[Span] = []

    def lines(self, lines: tuple[Line, ...], symbol: str) -> tuple[Parsed, ...]:
        parsed: list[Parsed] = []
        branches = 0  # of the `if` that is under way: each one is a level of the tree
        for line in lines:
            one = self._line(line, symbol, parsed[-1] if parsed else None)
            branches = branches + 1 if isinstance(one.head, ElseIf) else 0
            if branches == DEEPEST_LINES:
                self.found.add(messages.too_many_branches(self.source.span(line.start, line.start + 4), DEEPEST_LINES))
            parsed.append(one if branches < DEEPEST_LINES else self._drop(line))
        return tuple(parsed)

    def _line(self, line: Line, symbol: str, before: Parsed | None) -> Parsed:
        if line.broken:
            return self._drop(line)
        head = parse_line(self.source, line, symbol)
        if isinstance(head, Diagnostic):
            self.found.add(head)
            return self._drop(line)
        if isinstance(head, (ElseIf, Else)) and not self._may_follow(before):
            word = "else" if isinstance(head, Else) else "elif"
            if not self._lost_choice(before):
                self.found.add(messages.orphan_else(self.source.span(line.start, line.start + len(word))))
            return self._drop(line)
        return self._body(line, head, symbol)

    def _may_follow(self, before: Parsed | None) -> bool:
        return before is not None and isinstance(before.head, (ast.If, ElseIf))

    def _lost_choice(self, before: Parsed | None) -> bool:
        """Say whether the line before was an `if` or `elif` that was left out for an error of its own."""
        return (
            before is not None
            and before.head is None
            and self.source.text.startswith(("if", "elif"), before.line.start)
        )

    def _body(self, line: Line, head: ast.Node, symbol: str) -> Parsed:
        opens = opening(head, symbol)
        if opens is None:
            if line.children:
                self._report_indent(line, head)
                for child in line.children:
                    self._drop(child)
            return Parsed(line, head)
        if not line.children:
            what = f"`{head.span.text.split(chr(10), 1)[0][:60]}`"
            self.found.add(messages.empty_section(head.span, what, BODY_EXAMPLES[opens.symbol]))
            return self._drop(line)
        return Parsed(line, head, self.lines(line.children, opens.symbol))

    def _report_indent(self, line: Line, head: ast.Node) -> None:
        child = line.children[0]
        if child.broken:
            return
        span = self.source.span(child.start, child.end)
        word = self.source.span(
            child.start, child.start + len(re.split(r"\W", span.text, maxsplit=1)[0] or span.text[:1])
        )
        if isinstance(head, ast.Rule):
            self.found.add(messages.indented_section(word, head.name.name))
        else:
            self.found.add(messages.unexpected_indent(word, head.span))

    def _drop(self, line: Line) -> Parsed:
        self.dropped.append(self.source.span(line.start, line.last))
        return Parsed(line, None)
