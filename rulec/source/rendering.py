"""Diagnostics as text for people and as JSON for tools."""

from __future__ import annotations

import json
from collections.abc import Iterable

from rulec.source.diagnostics import Diagnostic
from rulec.source.text import Span

_WIDEST = 160


def render_text(diagnostics: Iterable[Diagnostic]) -> str:
    return "\n\n".join(_render_one(d) for d in diagnostics)


def _render_one(diagnostic: Diagnostic) -> str:
    lines = [f"{diagnostic.severity}[{diagnostic.id}]: {diagnostic.message}"]
    margin = "  "
    if diagnostic.span is not None:
        excerpt, margin = _excerpt(diagnostic.span, diagnostic.label)
        lines += excerpt
    indent = f"\n{margin}         "
    lines += [f"{margin} = note: {note.replace(chr(10), indent)}" for note in diagnostic.notes]
    if diagnostic.help:
        lines.append(f"{margin} = help: {diagnostic.help}")
    return "\n".join(lines)


def _excerpt(span: Span, label: str) -> tuple[list[str], str]:
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in span.source.line(span.line))
    number = str(span.line)
    margin = " " * len(number)
    start = span.column - 1
    end = min(max(start + (span.end - span.start), start + 1), max(len(text), start + 1))
    if len(text) > _WIDEST:  # keep the neighbourhood of the cause
        cut = max(0, min(start - 40, len(text) - _WIDEST))
        text = ("..." if cut else "") + text[cut : cut + _WIDEST] + "..."
        shift = cut - (3 if cut else 0)
        start, end = start - shift, min(end - shift, len(text))
    carets = " " * start + "^" * max(1, end - start)
    return [
        f"{margin}--> {span}",
        f"{margin} |",
        f"{number} | {text}".rstrip(),
        f"{margin} | {carets} {label}".rstrip(),
    ], margin


def render_json(diagnostics: Iterable[Diagnostic]) -> str:
    """Return a JSON array; lines and columns count from one, `end_column` is excluded."""
    return json.dumps([_record(d) for d in diagnostics], indent=2)


def _record(diagnostic: Diagnostic) -> dict[str, object]:
    span = diagnostic.span
    place: dict[str, object] | None = None
    if span is not None:
        end_line, end_column = span.source.position(span.end)
        place = {
            "file": span.source.name,
            "line": span.line,
            "column": span.column,
            "end_line": end_line,
            "end_column": end_column,
        }
    return {
        "severity": diagnostic.severity,
        "id": diagnostic.id,
        "message": diagnostic.message,
        "place": place,
        "label": diagnostic.label,
        "notes": list(diagnostic.notes),
        "help": diagnostic.help,
    }
