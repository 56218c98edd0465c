"""The text of a network spec, cut into tokens: `784-conv(64, stride=2)-10:tanh`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rulec.network import messages
from rulec.source import RuleError, Source, Span

_TOKEN = re.compile(r"(?P<name>\?|\w+)\s*(?P<list>\(\s*(?P<arguments>[^()]*)\))?")
_ARGUMENT = re.compile(r"(?:(?P<key>\w+)\s*=\s*)?(?P<value>\w+)")


@dataclass(frozen=True)
class Argument:
    """`64`, `tanh` or `stride=2`."""

    key: str | None
    value: str
    span: Span
    value_span: Span


@dataclass(frozen=True)
class Token:
    name: str
    arguments: tuple[Argument, ...]
    span: Span
    name_span: Span


@dataclass(frozen=True)
class Written:
    """A spec as written: its tokens, and the activation after the colon if there is one."""

    tokens: tuple[Token, ...]
    activation: Span | None
    span: Span


def read_tokens(text: str) -> Written:
    """Cut a spec into tokens; raise `RuleError` where it is malformed."""
    source = Source("--net", text)
    end = text.rfind(":") if ":" in text else len(text)
    whole = _stripped(source.span(0, end))
    if not whole.text:
        raise RuleError([messages.empty_spec(source.span(0, max(1, len(text))))])
    tokens = tuple(_token(piece) for piece in _pieces(whole))
    activation = _stripped(source.span(end + 1, len(text))) if end < len(text) else None
    return Written(tokens, activation, whole)


def _pieces(span: Span) -> Iterator[Span]:
    """Cut at the dashes outside parentheses."""
    depth, start = 0, span.start
    for offset, character in enumerate(span.text, span.start):
        depth += (character == "(") - (character == ")")
        if character == "-" and depth == 0:
            yield _stripped(span.source.span(start, offset))
            start = offset + 1
    yield _stripped(span.source.span(start, span.end))


def _token(piece: Span) -> Token:
    if not piece.text:
        raise RuleError([messages.empty_layer(piece)])
    match = _TOKEN.fullmatch(piece.text)
    if match is None:
        raise RuleError([messages.malformed_layer(piece)])
    name = _part(piece, match, "name")
    arguments: tuple[Argument, ...] = ()
    if (match["arguments"] or "").strip():
        arguments = tuple(_argument(one) for one in _items(_part(piece, match, "arguments")))
    return Token(name.text, arguments, piece, name)


def _items(span: Span) -> Iterator[Span]:
    start = span.start
    for item in span.text.split(","):
        yield _stripped(span.source.span(start, start + len(item)))
        start += len(item) + 1


def _argument(item: Span) -> Argument:
    match = _ARGUMENT.fullmatch(item.text)
    if match is None:
        raise RuleError([messages.malformed_argument(item)])
    return Argument(match["key"], match["value"], item, _part(item, match, "value"))


def _part(span: Span, match: re.Match[str], group: str) -> Span:
    return span.source.span(span.start + match.start(group), span.start + match.end(group))


def _stripped(span: Span) -> Span:
    text = span.text
    start = span.start + len(text) - len(text.lstrip())
    return span.source.span(start, max(start, span.start + len(text.rstrip())))
