"""How lints spell what they talk about, and where they point."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rulec.semantics import typed as t
from rulec.source import Span

Declared = t.GenomeEntry | t.Net | t.State


def name_span(one: Declared) -> Span:
    """Return the name in a declaration: `trace` of `keep trace = 0`."""
    match = re.search(rf"\b{one.name}\b", one.span.text)
    start = one.span.start + (match.start() if match else 0)
    return one.span.source.span(start, start + len(one.name))


def component(one: Declared, numbers: Sequence[int]) -> str:
    """Return `mix[0,1]`, or `w[i,j,1]` of a state."""
    letters = [x for x in one.sides if x != "p"] if isinstance(one, t.State) else []
    items = [*letters, *map(str, numbers)]
    return f"{one.name}[{','.join(items)}]" if items else one.name


def listing(items: Sequence[object]) -> str:
    """Return `3, 5 and 8`."""
    return " and ".join(filter(None, (", ".join(map(str, items[:-1])), str(items[-1]))))


def lines(numbers: Sequence[int]) -> str:
    """Return `line 3`, or `lines 3, 5 and 8`."""
    return f"line{'s' if len(numbers) > 1 else ''} {listing(numbers)}"


def quoted(span: Span | None) -> str:
    """Return a piece of the text on one line, not too long."""
    text = " ".join(span.text.split()) if span is not None else ""
    return text if len(text) <= 60 else text[:57] + "..."
