"""What a call is checked with: the scope, its place, and the way back to the expressions inside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.scope import Place, Scope
from rulec.source import Diagnostic, Span
from rulec.syntax import ast


@dataclass(frozen=True)
class Context:
    """The surroundings of an expression. `checker` checks its parts: expressions hold calls, and calls expressions."""

    scope: Scope
    place: Place
    checker: Callable[[ast.Expression, Context], t.Expr | None]

    def report(self, diagnostic: Diagnostic) -> None:
        self.scope.report(diagnostic)

    def check(self, node: ast.Expression) -> t.Expr | None:
        return self.checker(node, self)

    def check_all(self, *nodes: ast.Expression) -> tuple[t.Expr, ...] | None:
        """Check every expression, so that each is told its mistakes; None if one is poisoned."""
        checked = [self.check(node) for node in nodes]
        known = tuple(expression for expression in checked if expression is not None)
        return known if len(known) == len(checked) else None

    def takes(self, node: ast.Call, arguments: int, indices: int | None = None) -> bool:
        """Whether a call has as many arguments as it takes, and as many indices where they count; report it if not."""
        if len(node.arguments) == arguments and indices in (None, len(node.indices)):
            return True
        expected, given = _counted(arguments, "argument", "arguments"), str(len(node.arguments))
        if indices is not None:
            expected = f"{_counted(indices, 'index', 'indices')} and {expected}"
            given = f"{len(node.indices)} and {given}"
        self.report(messages.wrong_argument_count(node.span, node.name, expected, given))
        return False


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def called(node: ast.Call) -> Span:
    """Return where the name of what is called stands."""
    return node.name_span or node.span
