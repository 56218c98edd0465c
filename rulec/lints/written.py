"""From ops back to the text of a rule: which expression an op was written as, and what stands where in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rulec.ir.graph import Op
from rulec.semantics import typed as t
from rulec.source import Span

_LONGEST = 60  # of an expression that is quoted inside a sentence
_FAILING = {"div": 1, "log": 0, "sqrt": 0, "pow": 0, "norm": 0}  # functions, and the argument that may be bad
_INFIX_WORDS = ("<", ">", "=", " and ", " or ", "not ", " if ")


@dataclass(frozen=True)
class Written:
    """An expression as it stands in the text. `primes`: of a named derivative, such as `sqrt'(x)`."""

    node: t.Apply | t.Reduce
    primes: int = 0

    @property
    def operator(self) -> str:
        return self.node.operator.rstrip("'")

    @property
    def span(self) -> Span:
        return self.node.span

    @property
    def arguments(self) -> tuple[t.Expr, ...]:
        return self.node.arguments if isinstance(self.node, t.Apply) else (self.node.argument,)

    @property
    def is_augmented(self) -> bool:
        """Whether this is the arithmetic of `a /= b`, which the text does not spell out."""
        if len(self.arguments) != 2:
            return False
        first, second = (a.span for a in self.arguments)
        return "=" in self.span.source.text[first.end : second.start]


class Text:
    """The expressions of a typed rule, by where they stand."""

    def __init__(self, rule: t.Rule) -> None:
        self.nodes: list[t.Expr] = []
        self._by_place: dict[_Place, list[t.Expr]] = {}
        self._meant: dict[_Place, _Place] = {}  # where a local name is read -> where its value was written
        for block in _flat(rule.blocks):
            values: dict[tuple[str, int], t.Expr] = {}
            for statement in block.body:
                for node in _walk(statement.value):
                    self._enter(node, values)
                if statement.kind == "local":
                    values[(statement.name, statement.version)] = statement.value

    def _enter(self, node: t.Expr, values: Mapping[tuple[str, int], t.Expr]) -> None:
        place = _place(node.span)
        self.nodes.append(node)
        self._by_place.setdefault(place, []).append(node)
        if isinstance(node, t.LocalRef) and (node.name, node.version) in values:
            value = _place(values[(node.name, node.version)].span)
            self._meant[place] = self._meant.get(value, value)

    def at(self, span: Span | None) -> list[t.Expr]:
        return [] if span is None else self._by_place.get(_place(span), [])

    def written(self, op: Op) -> Written | None:
        """Return the expression that an op was written as; None for what a derivative has brought in."""
        if any(a.span == op.span for a in op.args):
            return None
        name = op["operator"] if op.name == "reduce" else op.name
        found = (n for n in self.at(op.span) if isinstance(n, (t.Apply, t.Reduce)) and n.operator == name)
        return next((Written(node) for node in found), None)

    def derived_from(self, op: Op) -> Written | None:
        """Return the expression whose derivative has brought in something that fails where this op is bad.

        The op is then the argument of that expression, or the expression itself, as the norm is.
        """
        if op.span is None:
            return None
        for node in self.nodes:
            if not isinstance(node, (t.Apply, t.Reduce)) or node.operator.rstrip("'") not in _FAILING:
                continue
            written = Written(node, len(node.operator) - len(node.operator.rstrip("'")))
            spans = {written.arguments[failing_place(written.operator)].span}
            if written.primes or written.operator == "norm":
                spans.add(node.span)
            if any(self.stands_for(span, op) for span in spans):
                return written
        return None

    def stands_for(self, span: Span, op: Op) -> bool:
        """Whether an op was written at this place, or is the value of a local name that stands there."""
        place = _place(span)
        return op.span is not None and _place(op.span) in (place, self._meant.get(place))


def failing_place(operator: str) -> int:
    """Return which argument of a function may be bad."""
    return _FAILING[operator]


_Place = tuple[int, int, int]


def _place(span: Span) -> _Place:
    return id(span.source), span.start, span.end


def _flat(blocks: tuple[t.Block | t.Repeat, ...]) -> Iterator[t.Block]:
    for block in blocks:
        if isinstance(block, t.Repeat):
            yield from _flat(block.body)
        else:
            yield block


def _walk(root: t.Expr) -> Iterator[t.Expr]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(_children(node))


def _children(node: t.Expr) -> tuple[t.Expr, ...]:
    match node:
        case t.Apply(arguments=arguments):
            return arguments
        case t.Activation(argument=argument) | t.Reduce(argument=argument) | t.Stop(argument=argument):
            return (argument,)
        case t.Diff(value=value, variable=variable):
            return (value, variable)
        case t.Grad(value=value):
            return (value,)
        case t.NetCall(arguments=features):
            return tuple(f.value for f in features)
        case t.Solve(matrix=matrix, right=right):
            return (matrix, right)
    return ()


# --- Text ------------------------------------------------------------------------------------


def quoted(span: Span) -> str:
    """Return the text on one line, in backquotes, cut if it is too long for a sentence."""
    text = " ".join(span.text.split())
    return f"`{text if len(text) <= _LONGEST else text[: _LONGEST - 3] + '...'}`"


def is_pasteable(span: Span) -> bool:
    """Whether a text may be written on one line: it holds no comment."""
    return "#" not in span.text


def is_repeatable(span: Span) -> bool:
    """Whether a text means the same value wherever it is written again: `noise` is drawn anew at each place."""
    return re.search(r"\bnoise\b", span.text) is None


def one_line(text: str) -> str:
    return " ".join(text.split())


def in_sum(text: str) -> str:
    """Return the text as a term of a sum."""
    return f"({text})" if any(word in text for word in _INFIX_WORDS) and not _is_call(text) else text


def in_power(text: str) -> str:
    """Return the text as the base of a power."""
    return text if text.replace("_", "a").isalnum() or _is_call(text) else f"({text})"


def replaced(whole: Span, part: Span, text: str) -> str:
    """Return the text of an expression with a part of it replaced, in parentheses where it needs them."""
    source = whole.source.text
    before, after = source[: part.start].rstrip(), source[part.end :].lstrip()
    apart = before[-1:] in "(,[=" and after[:1] in "),]"
    inner = text if apart or _is_call(text) or part == whole else f"({text})"
    return one_line(source[whole.start : part.start] + inner + source[part.end : whole.end])


def _is_call(text: str) -> bool:
    """Whether a text is one name with brackets behind it, which nothing around can pull apart."""
    depth, opened = 0, False
    for place, character in enumerate(text):
        if character in "([":
            depth, opened = depth + 1, True
        elif character in ")]":
            depth -= 1
            if depth == 0 and place < len(text) - 1 and text[place + 1] not in "([":
                return False
        elif depth == 0 and not (character.isalnum() or character in "_'"):
            return False
    return opened
