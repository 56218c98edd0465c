"""From characters to checked physical lines: what may stand in a file at all."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rulec.source import Source
from rulec.syntax import messages
from rulec.syntax.capped import Capped

LARGEST_FILE = 1_000_000  # bytes
MOST_LINES = 20_000
LONGEST_LINE = 2_000  # characters
BYTE_ORDER_MARK = "\ufeff"
_TAB_WIDTH = 8  # only to go on reading after the error

_CONTENT = re.compile(r"[^ \t\r\n][^\n]*")
_SPECIAL = re.compile(
    r'(?P<string>"(?:[^"\\\n]|\\[^\n])*")'
    r'|(?P<open_string>"[^\n]*)'
    r"|(?P<comment>#[^\n]*)"
    r"|(?P<bracket>[()\[\]])"
    r"|(?P<tab>\t)"
    r"|(?P<foreign>[^\x00-\x7f]+)"
    r"|(?P<control>[\x00-\x08\x0b\x0c\x0e-\x1f\x7f])"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True)
class PhysicalLine:
    """A line of the file that holds more than blanks and a comment."""

    start: int  # the first character that is not blank
    end: int  # behind the last one; a trailing comment is left out
    indent: int
    brackets: tuple[int, ...] = ()  # where ( ) [ ] stand, outside strings
    broken: bool = False  # an error on it has been reported


@dataclass(frozen=True)
class Comment:
    start: int
    end: int
    alone: bool  # nothing stands before it on its line


@dataclass(frozen=True)
class Checked:
    lines: tuple[PhysicalLine, ...]
    comments: tuple[Comment, ...]
    tabs: bool


def check_characters(source: Source, found: Capped) -> Checked:
    """Return the lines of `source` that hold something, and its comments.

    Raises `Enough` where the text as a whole cannot be read: it is too large or holds a NUL or a lone carriage return.
    """
    _check_whole(source, found)
    scan = _Scan(source, found)
    for match in _CONTENT.finditer(source.text, 1 if source.text.startswith(BYTE_ORDER_MARK) else 0):
        scan.line(match.start(), match.end())
    if scan.tabs:
        found.add(messages.tab(source.span(scan.tabs[0], scan.tabs[0] + 1), len(scan.tabs)))
    return Checked(tuple(scan.lines), tuple(scan.comments), bool(scan.tabs))


def _check_whole(source: Source, found: Capped) -> None:
    text = source.text
    if len(text) > LARGEST_FILE or (
        len(text) * 4 > LARGEST_FILE and len(text.encode("utf-8", "replace")) > LARGEST_FILE
    ):
        found.add_last(messages.file_too_large(source, LARGEST_FILE))
    if text.count("\n") > MOST_LINES:
        found.add_last(messages.too_many_lines(source, MOST_LINES))
    nul = text.find("\0")
    if nul >= 0:
        found.add_last(messages.nul(source.span(nul, nul + 1)))
    if text.startswith(BYTE_ORDER_MARK):
        found.add(messages.byte_order_mark(source.span(0, 1)))
    if "\r" in text:
        _check_carriage_returns(source, found)


def _check_carriage_returns(source: Source, found: Capped) -> None:
    text = source.text
    lone = re.search(r"\r(?!\n)", text)
    if lone:
        found.add_last(messages.lone_carriage_return(source.span(lone.start(), lone.end())))
    first = text.index("\r")
    found.add(messages.carriage_return(source.span(first, first + 1), text.count("\r\n")))


class _Scan:
    """What has been seen so far, line by line; lives for one call of `check_characters`."""

    def __init__(self, source: Source, found: Capped) -> None:
        self.source, self.found = source, found
        self.lines: list[PhysicalLine] = []
        self.comments: list[Comment] = []
        self.tabs: list[int] = []  # the first one of each line

    def line(self, start: int, end: int) -> None:
        text = self.source.text
        margin = text[text.rfind("\n", 0, start) + 1 : start].removeprefix(BYTE_ORDER_MARK)
        if "\t" in margin and text[start] != "#":
            self.tabs.append(start - len(margin) + margin.index("\t"))
        indent = len(margin.expandtabs(_TAB_WIDTH))
        if end - start > LONGEST_LINE:
            self.found.add(messages.line_too_long(self.source.span(start, end), LONGEST_LINE))
            self.lines.append(PhysicalLine(start, end, indent, broken=True))
            return
        stop, brackets, broken = self._content(start, end)
        stop = start + len(text[start:stop].rstrip())
        if stop > start or broken:
            self.lines.append(PhysicalLine(start, max(stop, start + 1), indent, tuple(brackets), broken))

    def _content(self, start: int, end: int) -> tuple[int, list[int], bool]:
        """Return where the line ends (its comment left out), its brackets, and whether it has an error."""
        brackets: list[int] = []
        broken = False
        for match in _SPECIAL.finditer(self.source.text, start, end):
            kind = match.lastgroup
            if kind == "bracket":
                brackets.append(match.start())
            elif kind == "tab":
                if not self.tabs or self.source.text.find("\n", self.tabs[-1], match.start()) >= 0:
                    self.tabs.append(match.start())
            elif kind == "comment":
                broken |= self._comment(start, match)
                end = match.start()
            elif not broken:
                broken = self._wrong(match)
        return end, brackets, broken

    def _comment(self, start: int, match: re.Match[str]) -> bool:
        stop = match.start() + len(match.group().rstrip())
        self.comments.append(Comment(match.start(), stop, alone=match.start() == start))
        return self._control(match.start(), match.end())

    def _wrong(self, match: re.Match[str]) -> bool:
        """Report what is wrong with a string or a foreign character; a string in order is not wrong."""
        span = self.source.span(match.start(), match.end())
        if match.lastgroup == "open_string":
            self.found.add(
                messages.unterminated_string(self.source.span(span.start, span.start + len(span.text.rstrip())))
            )
        elif match.lastgroup == "foreign":
            self.found.add(messages.non_ascii(span))
        elif match.lastgroup == "control":
            self.found.add(messages.control_character(span))
        else:
            return self._string(match)
        return True

    def _string(self, match: re.Match[str]) -> bool:
        if "\t" in match.group():
            self.tabs.append(match.start() + match.group().index("\t"))
        for escape in _ESCAPE.finditer(match.group()):
            if escape.group(1) not in '"\\':
                at = match.start() + escape.start()
                self.found.add(messages.unknown_escape(self.source.span(at, at + 2)))
                return True
        return self._control(match.start(), match.end())

    def _control(self, start: int, end: int) -> bool:
        control = _CONTROL.search(self.source.text, start, end)
        if control:
            self.found.add(messages.control_character(self.source.span(control.start(), control.end())))
        return control is not None
