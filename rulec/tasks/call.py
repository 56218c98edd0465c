"""The text of a task, `name(value, option=value)`, as data with spans."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from rulec.source import Source, Span
from rulec.tasks import messages

_KEYWORD = re.compile(r"\s*([A-Za-z_][\w-]*)\s*=")


@dataclass(frozen=True)
class Value:
    """A word or value as written, without quotes."""

    text: str
    span: Span


@dataclass(frozen=True)
class Call:
    """`name(positional, ..., keyword=value, ...)`."""

    name: Value
    positional: tuple[Value, ...]
    keywords: tuple[tuple[Value, Value], ...]


def parse_call(text: str) -> Call:
    """Parse the text of a task. Raises `RuleError` (`malformed-task`)."""
    source = Source("task", text)
    head = re.match(r"\s*([^\s(),=]+)\s*", text)
    if head is None:
        raise messages.malformed_task(
            source.span(0, len(text)), "no task is named", "a name is expected", "write `digits`"
        )
    name = Value(head[1], source.span(*head.span(1)))
    rest = text[head.end() :].rstrip()
    if not rest:
        return Call(name, (), ())
    _check_parentheses(source, head.end(), rest)
    start, end = head.end() + 1, head.end() + len(rest) - 1
    items = _items(source, start, end) if text[start:end].strip() else []
    positional, keywords = _sorted_out(items)
    return Call(name, positional, keywords)


def _check_parentheses(source: Source, start: int, rest: str) -> None:
    close = rest.rfind(")")
    if rest[0] != "(":
        raise messages.malformed_task(
            source.span(start, start + len(rest)),
            "a name is followed by something else",
            "`(` or nothing is expected here",
            f"remove `{rest}`",
        )
    if close < 0:
        raise messages.malformed_task(
            source.span(start, start + 1),
            "the options have no end",
            "opened here, never closed",
            f"write `{source.text.strip()})`",
        )
    if close < len(rest) - 1:
        raise messages.malformed_task(
            source.span(start + close + 1, start + len(rest)),
            "the options are followed by something else",
            "nothing is expected here",
            f"remove `{rest[close + 1 :].strip()}`",
        )
    if rest.count('"') % 2:
        quote = start + rest.rindex('"')
        raise messages.malformed_task(
            source.span(quote, quote + 1),
            "a quotation has no end",
            "opened here, never closed",
            "add the other quotation mark",
        )


def _items(source: Source, start: int, end: int) -> list[Span]:
    """Cut at the commas outside quotes."""
    cuts = [start - 1, *_commas(source.text, start, end), end]
    return [source.span(before + 1, after) for before, after in itertools.pairwise(cuts)]


def _commas(text: str, start: int, end: int) -> list[int]:
    quoted, found = False, []
    for position in range(start, end):
        quoted ^= text[position] == '"'
        if text[position] == "," and not quoted:
            found.append(position)
    return found


def _sorted_out(items: list[Span]) -> tuple[tuple[Value, ...], tuple[tuple[Value, Value], ...]]:
    positional: list[Value] = []
    keywords: list[tuple[Value, Value]] = []
    for span in items:
        key = _KEYWORD.match(span.text)
        if key is not None:
            name = Value(key[1], span.source.span(span.start + key.start(1), span.start + key.end(1)))
            keywords.append((name, _value(span.source.span(span.start + key.end(), span.end))))
        elif keywords:
            raise messages.malformed_task(
                _value(span).span,
                "a value without a name follows a named one",
                "its place is before the options",
                "move it to the front, or name it",
            )
        else:
            positional.append(_value(span))
    return tuple(positional), tuple(keywords)


def _value(span: Span) -> Value:
    """Strip blanks and quotes; the span covers what was written."""
    text = span.text.strip()
    if not text:
        wide = span if span.end > span.start else span.source.span(max(span.start - 1, 0), span.end)
        raise messages.malformed_task(
            wide, "a value is missing", "a value is expected here", "give a value, or remove the comma"
        )
    start = span.start + span.text.index(text)
    return Value(text.strip('"'), span.source.span(start, start + len(text)))
