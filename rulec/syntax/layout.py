"""From checked characters to a tree of logical lines: who stands under whom.

A logical line runs on while a bracket is open, and while the next line begins with `+ - * / ^` or `==`.
A line that is indented deeper than the one before stands under it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from rulec.source import Source, Span
from rulec.syntax import messages
from rulec.syntax.capped import Capped
from rulec.syntax.characters import Checked, Comment, PhysicalLine, check_characters

DEEPEST_BRACKETS = 50
DEEPEST_LINES = 12
LONGEST_LOGICAL_LINE = 20_000  # characters

_CONTINUES = re.compile(r"[-+*/^]|==")
_CLOSES = {")": "(", "]": "["}


@dataclass(frozen=True)
class Line:
    """A logical line and the lines beneath it."""

    start: int
    end: int
    indent: int
    broken: bool = False  # an error on it has been reported: nothing more is to be said about it
    children: tuple[Line, ...] = ()

    @property
    def last(self) -> int:
        """Return where the last line beneath ends."""
        line = self
        while line.children:
            line = line.children[-1]
        return line.end


@dataclass(frozen=True)
class Layout:
    lines: tuple[Line, ...]
    comments: tuple[Comment, ...]


def lay_out(source: Source, found: Capped) -> Layout:
    """Return the logical lines of `source` as a tree, with its comments; errors go to `found`."""
    checked = check_characters(source, found)
    if not checked.lines:
        found.add_last(messages.empty_file(source))
    wrong = _match_brackets(source, checked, found)
    lines = _join(source, checked, wrong, found)
    return Layout(_Nesting(source, lines, found, checked.tabs).roots(), checked.comments)


def innermost_open(text: str, start: int, end: int) -> int:
    """Return where the bracket opens that encloses `end`, in the logical line from `start`; -1 if there is none."""
    opened = []
    for match in re.finditer(r'"(?:[^"\\\n]|\\.)*"|#[^\n]*|[()\[\]]', text[start:end]):
        if match.group() in "([":
            opened.append(start + match.start())
        elif match.group() in ")]" and opened:
            opened.pop()
    return opened[-1] if opened else -1


# --- Brackets --------------------------------------------------------------------------------


def _match_brackets(source: Source, checked: Checked, found: Capped) -> frozenset[int]:
    """Return the brackets that have no partner; report at most one of them for each line."""
    opened: list[int] = []
    wrong: list[int] = []
    for line in checked.lines:
        if line.broken:
            continue
        for at in line.brackets:
            if source.text[at] in "([":
                opened.append(at)
                if len(opened) > DEEPEST_BRACKETS:
                    found.add_last(messages.brackets_too_deep(source.span(at, at + 1), DEEPEST_BRACKETS))
            else:
                _close(source.text, at, opened, wrong)
    wrong += opened
    return frozenset(wrong)


def _close(text: str, at: int, opened: list[int], wrong: list[int]) -> None:
    """Pop the partner of the closing bracket `at`; brackets skipped on the way are wrong, so is one without partner."""
    partner = _CLOSES[text[at]]
    for depth in range(len(opened) - 1, -1, -1):
        if text[opened[depth]] == partner:
            wrong += opened[depth + 1 :]
            del opened[depth:]
            return
    wrong.append(at)


# --- Logical lines ---------------------------------------------------------------------------


def _join(source: Source, checked: Checked, wrong: frozenset[int], found: Capped) -> list[Line]:
    """Return the logical lines, not nested yet."""
    text = source.text
    lines: list[Line] = []
    depth = 0
    for physical in checked.lines:
        if lines and (depth > 0 or _CONTINUES.match(text, physical.start)):
            lines[-1] = replace(lines[-1], end=physical.end, broken=lines[-1].broken or physical.broken)
        else:
            depth = 0
            lines.append(Line(physical.start, physical.end, physical.indent, physical.broken))
        if not physical.broken:
            depth = max(0, depth + _depth(text, physical, wrong))
            lines[-1] = _report_brackets(source, physical, wrong, lines[-1], found)
        lines[-1] = _report_length(source, lines[-1], found)
    return lines


def _depth(text: str, physical: PhysicalLine, wrong: frozenset[int]) -> int:
    return sum(1 if text[at] in "([" else -1 for at in physical.brackets if at not in wrong)


def _report_brackets(source: Source, physical: PhysicalLine, wrong: frozenset[int], line: Line, found: Capped) -> Line:
    first = next((at for at in physical.brackets if at in wrong), None)
    if first is None or line.broken:
        return line
    span = source.span(first, first + 1)
    make = messages.unclosed_bracket if span.text in "([" else messages.unmatched_bracket
    found.add(make(span))
    return replace(line, broken=True)


def _report_length(source: Source, line: Line, found: Capped) -> Line:
    if line.broken or line.end - line.start <= LONGEST_LOGICAL_LINE:
        return line
    found.add(messages.logical_line_too_long(source.span(line.start, line.start + 1), LONGEST_LOGICAL_LINE))
    return replace(line, broken=True)


# --- Nesting ---------------------------------------------------------------------------------


class _Nesting:
    """Turn a list of lines into a tree by their indentation; lives for one call of `lay_out`."""

    def __init__(self, source: Source, lines: list[Line], found: Capped, tabs: bool) -> None:
        self.source, self.lines, self.found = source, lines, found
        self.silent = tabs  # with tabs about, widths mean nothing: the tab is the error to mend first
        self.next = 0

    def roots(self) -> tuple[Line, ...]:
        first = self.lines[0]
        if first.indent > 0 and not self.silent and not first.broken:
            self.found.add(messages.indented_file(self._head(first)))
        found: list[Line] = []
        while self.next < len(self.lines):
            found.append(self._one(0))
        return tuple(found)

    def _one(self, depth: int) -> Line:
        line = self.lines[self.next]
        self.next += 1
        if depth < DEEPEST_LINES:
            return replace(line, children=self._beneath(line, depth + 1))
        while self.next < len(self.lines) and self.lines[self.next].indent > line.indent:
            self.next += 1
        if not line.broken:
            self.found.add(messages.lines_too_deep(self._head(line), DEEPEST_LINES))
        return replace(line, broken=True)

    def _beneath(self, parent: Line, depth: int) -> tuple[Line, ...]:
        children: list[Line] = []
        level = -1
        while self.next < len(self.lines) and self.lines[self.next].indent > parent.indent:
            line = self.lines[self.next]
            if level >= 0 and line.indent != level and not (self.silent or parent.broken or line.broken):
                self.found.add(messages.inconsistent_indentation(self._head(line), line.indent, level, parent.indent))
            level = line.indent  # its neighbours need not be told again
            children.append(self._one(depth))
        return tuple(children)

    def _head(self, line: Line) -> Span:
        """Return the first word of the line."""
        word = re.compile(r"\w+|.").match(self.source.text, line.start)
        return self.source.span(line.start, word.end() if word else line.start + 1)
