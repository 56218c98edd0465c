"""Rewrite a file in the one canonical layout; comments stay where they belong."""

from __future__ import annotations

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
    waiting = list(comments)[::-1]
    for row in rows:
        indent = " " * (row.depth * INDENT)
        above: list[Comment] = []
        while waiting and waiting[-1].start < row.line.end:
            above.append(waiting.pop())
        apart = row.apart
        for comment in above:
            inside = comment.start > row.line.start  # amid a line that runs on: it moves above the line
            place = row.line.start if inside else comment.start
            yield _Written((indent + _text(text, comment),), _blank(text, done, place, apart), -1)
            done, apart = (row.line.start if inside else comment.end), None
        blank = _blank(text, done, row.line.start, apart)
        done = row.line.end
        trailing = ""
        if waiting and "\n" not in text[row.line.end : waiting[-1].start]:
            comment = waiting.pop()
            trailing, done = _text(text, comment), comment.end
        lines = tuple(indent + line for line in wrap(render_head(row.head), len(indent)))
        yield _Written(lines, blank, row.parent, trailing)
    for comment in waiting[::-1]:
        yield _Written((_text(text, comment),), _blank(text, done, comment.start, None), -1)
        done = comment.end


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
