"""Collect diagnostics, and raise them."""

from __future__ import annotations

from rulec.source.diagnostics import Diagnostic
from rulec.source.rendering import render_text
from rulec.source.text import Span


class Diagnostics:
    """Collect findings in one run; the same finding at the same place is kept once."""

    def __init__(self) -> None:
        self._found: list[Diagnostic] = []
        self._seen: set[tuple[str, int, str]] = set()

    def add(self, diagnostic: Diagnostic) -> None:
        where = diagnostic.span.start if diagnostic.span else -1
        name = diagnostic.span.source.name if diagnostic.span else ""
        key = (diagnostic.id, where, name)
        if key not in self._seen:
            self._seen.add(key)
            self._found.append(diagnostic)

    def extend(self, others: Diagnostics) -> None:
        for diagnostic in others.sorted():
            self.add(diagnostic)

    def sorted(self) -> list[Diagnostic]:
        """Return the findings in the order of the text."""
        return sorted(
            self._found,
            key=lambda d: (d.span.source.name, d.span.start) if d.span else ("", -1),
        )

    @property
    def errors(self) -> list[Diagnostic]:
        return [d for d in self.sorted() if d.severity == "error"]

    def __len__(self) -> int:
        return len(self._found)

    def raise_errors(self) -> None:
        """Raise `RuleError` if there is an error among the findings."""
        if self.errors:
            raise RuleError(self.sorted())


class RuleError(Exception):
    """A user's mistake, told by one or more diagnostics; `str()` renders them all."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        self.diagnostics = diagnostics
        super().__init__(diagnostics)

    def __str__(self) -> str:
        return render_text(self.diagnostics)


def fail(
    id: str, message: str, *, span: Span | None = None, label: str = "", notes: tuple[str, ...] = (), help: str = ""
) -> RuleError:
    """Make the error of a single diagnostic, for mistakes found one at a time."""
    return RuleError([Diagnostic(id, message, span, label, notes, help)])
