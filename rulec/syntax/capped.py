"""Stop after a number of errors: what follows twenty mistakes is rarely news."""

from __future__ import annotations

from rulec.source import Diagnostic, Diagnostics
from rulec.syntax import messages

MOST_ERRORS = 20


class Enough(Exception):
    """Leave the file here: an error that makes the rest unreadable, or one error too many."""


class Capped(Diagnostics):
    """Collect the findings of one file, and raise `Enough` at the error after the last one wanted."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def add(self, diagnostic: Diagnostic) -> None:
        if diagnostic.severity == "error":
            if self._count == MOST_ERRORS:
                super().add(messages.too_many_errors(diagnostic.span, MOST_ERRORS))
                raise Enough
            self._count += 1
        super().add(diagnostic)

    def add_last(self, diagnostic: Diagnostic) -> None:
        """Add an error after which nothing more can be read."""
        self.add(diagnostic)
        raise Enough
