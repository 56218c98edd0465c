"""What reaches the screen: results on standard output, diagnostics on standard error, colours on terminals only.

Of several processes that torchrun started the first one speaks; what failed is told by the process where it failed first.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import TextIO

from rulec.meta.processes import rank
from rulec.source import Diagnostic, render_text

_BOLD, _RED, _YELLOW, _BLUE, _GREEN, _END = "\033[1m", "\033[1;31m", "\033[1;33m", "\033[34m", "\033[32m", "\033[0m"
_HEAD = re.compile(r"(error|warning)(\[[\w-]+\])(.*)")
_CARETS = re.compile(r"( *\| +)(\^+.*)")
_NOTE = re.compile(r"( *= )(note|help)(:.*)")
_MARGIN = re.compile(r"( *-->| *\d* \|)(.*)")


def say(text: str = "") -> None:
    if rank() == 0:
        print(text)


def complain(text: str, always: bool = False) -> None:
    if always or rank() == 0:
        print(text, file=sys.stderr)


def show_diagnostics(diagnostics: Iterable[Diagnostic], always: bool = False) -> None:
    """Print diagnostics to standard error."""
    text = render_text(diagnostics)
    complain("\n".join(map(_coloured, text.split("\n"))) if has_colour(sys.stderr) else text, always)


def has_colour(stream: TextIO) -> bool:
    """Whether colours are wanted: on terminals, unless NO_COLOR is set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def bold(text: str) -> str:
    return f"{_BOLD}{text}{_END}" if has_colour(sys.stdout) else text


def coloured_change(line: str) -> str:
    """Colour a line of a difference: what came green, what went red."""
    colour = {"+": _GREEN, "-": _RED, "@": _BLUE}.get(line[:1], "")
    return f"{colour}{line}{_END}" if colour and has_colour(sys.stdout) else line


def forgive_encodings() -> None:
    """Let a terminal that cannot show a character show a question mark instead."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _coloured(line: str) -> str:
    """Colour one line of a rendered diagnostic."""
    if match := _HEAD.fullmatch(line):
        colour = _RED if match[1] == "error" else _YELLOW
        return f"{colour}{match[1]}{match[2]}{_END}{_BOLD}{match[3]}{_END}"
    if match := _CARETS.fullmatch(line):
        return f"{_BLUE}{match[1]}{_END}{_RED}{match[2]}{_END}"
    if match := _NOTE.fullmatch(line):
        return f"{_BLUE}{match[1]}{_END}{_GREEN if match[2] == 'help' else _BOLD}{match[2]}{_END}{match[3]}"
    if match := _MARGIN.fullmatch(line):
        return f"{_BLUE}{match[1]}{_END}{match[2]}"
    return line
