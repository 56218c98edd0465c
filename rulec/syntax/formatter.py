"""Rewrite a file in the one canonical layout; comments stay where they belong."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from rulec.source import Source
from rulec.syntax import ast
from rulec.syntax.characters import Comment
from rulec.syntax.heads import Parsed, opening
from rulec.syntax.layout import Line
from rulec.syntax.parser import parse_lines
from rulec.syntax.printer import INDENT, render_head, stands_apart
from rulec.syntax.wrapping import wrap


@dataclass(frozen=True)
class _Row:
    """A logical line to be written: its head, how deep, and the blank line before it (None: as the author had it)."""

    line: Line
    head: ast.Node
    depth: int
    parent: int  # where the line above it in the tree begins, -1 at the left margin
    apart: bool | None


@dataclass(frozen=True)
class _Written:
    """Lines of the result with the comment behind the last one; `family` is shared by those whose comments align."""

    lines: tuple[str, ...]
    blank_before: bool
    family: int
    comment: str = ""


def format_source(source: Source) -> str:
    """Return the canonical text of a file: the same tree, the same comments, one layout.

    Raises `RuleError` if the file has syntax errors.
    """
    layout, parsed = parse_lines(source)
    rows = list(_rows(parsed, "top_line", 0, -1))
    written = _align(list(_write(source, rows, layout.comments)))
    lines: list[str] = []
    for piece in written:
        if piece.blank_before:
            lines.append("")
        lines += piece.lines
    return "".join(f"{line}\n" for line in lines)


def _rows(parsed: tuple[Parsed, ...], symbol: str, depth: int, parent: int) -> Iterator[_Row]:
    before: ast.Node | None = None
    for one in parsed:
        assert one.head is not None  # the file has no errors
        apart = False if before is None else stands_apart(before, one.head, symbol)
        yield _Row(one.line, one.head, depth, parent, apart)
        opens = opening(one.head, symbol)
        if opens is not None:
            yield from _rows(one.body, opens.symbol, depth + 1, one.line.start)
        before = one.head


def _write(source: Source, rows: list[_Row], comments: tuple[Comment, ...]) -> Iterator[_Written]:
    text = source.text
    done = -1  # where the last piece ends in the old text; -1 before the first one
    above: list[_Row] = []  # the row before, and those it stands under
    waiting = deque(comments)
    for row in rows:
        before = list(_take(waiting, row.line.end))
        depths = _depths_below(text, before, above, row)
        for comment, depth in zip(before, depths, strict=False):  # those that end the section above
            yield _own_line(text, comment, depth, _blank(text, done, comment.start, None))
            done = comment.end
        apart = row.apart
        for comment in before[len(depths) :]:
            place = min(comment.start, row.line.start)  # one amid a line that runs on moves above the line
            yield _own_line(text, comment, row.depth, _blank(text, done, place, apart))
            done, apart = min(comment.end, row.line.start), None
        blank = _blank(text, done, row.line.start, apart)
        done = row.line.end
        trailing = ""
        if waiting and "\n" not in text[row.line.end : waiting[0].start]:
            comment = waiting.popleft()
            trailing, done = _text(text, comment), comment.end
        lines = tuple(_indent(row.depth) + line for line in wrap(render_head(row.head), row.depth * INDENT))
        yield _Written(lines, blank, row.parent, trailing)
        above = [*(one for one in above if one.depth < row.depth), row]
    for comment, depth in zip(waiting, _depths_below(text, list(waiting), above, None), strict=True):
        yield _own_line(text, comment, depth, _blank(text, done, comment.start, None))
        done = comment.end


def _take(waiting: deque[Comment], end: int) -> Iterator[Comment]:
    while waiting and waiting[0].start < end:
        yield waiting.popleft()


def _depths_below(text: str, comments: list[Comment], above: list[_Row], following: _Row | None) -> list[int]:
    """Return how deep those comments stand that end a section: they are indented deeper than the line that follows."""
    depths: list[int] = []
    for comment in comments:
        column = len(text[text.rfind("\n", 0, comment.start) + 1 : comment.start].expandtabs())
        depth = max((row.depth for row in above if row.line.indent <= column), default=0)
        depth = min([depth, *depths])
        if following is not None and (column <= following.line.indent or depth <= following.depth):
            break
        depths.append(depth)
    return depths


def _own_line(text: str, comment: Comment, depth: int, blank: bool) -> _Written:
    return _Written((_indent(depth) + _text(text, comment),), blank, -1)


def _indent(depth: int) -> str:
    return " " * (depth * INDENT)


def _text(text: str, comment: Comment) -> str:
    return text[comment.start : comment.end]


def _blank(text: str, done: int, start: int, apart: bool | None) -> bool:
    """Say whether a blank line comes before what stood at `start`, when the piece before it ended at `done`."""
    if done < 0 or apart is not None:
        return apart is True and done >= 0
    return text.count("\n", done, start) >= 2


def _align(pieces: list[_Written]) -> list[_Written]:
    """Put the trailing comments behind their lines, one below the other within a run of neighbours."""
    aligned: list[_Written] = []
    at = 0
    while at < len(pieces):
        end = at + 1
        while end < len(pieces) and pieces[at].comment and _neighbours(pieces[end - 1], pieces[end]):
            end += 1
        width = max(len(piece.lines[-1]) for piece in pieces[at:end])
        aligned += [_with_comment(piece, width) for piece in pieces[at:end]]
        at = end
    return aligned


def _neighbours(first: _Written, second: _Written) -> bool:
    return bool(second.comment) and not second.blank_before and first.family == second.family and len(second.lines) == 1


def _with_comment(piece: _Written, width: int) -> _Written:
    if not piece.comment:
        return piece
    last = f"{piece.lines[-1].ljust(width)}  {piece.comment}"
    return _Written((*piece.lines[:-1], last), piece.blank_before, piece.family)
