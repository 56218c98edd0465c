"""What is wrong, as data: `Diagnostic` records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rulec.source.text import Span

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Diagnostic:
    """One finding.

    `message` says what is wrong, `label` the local fact under the carets, `notes` the evidence and
    `help` one action to take. `id` is made of words and does not change between releases.
    """

    id: str
    message: str
    span: Span | None = None
    label: str = ""
    notes: tuple[str, ...] = ()
    help: str = ""
    severity: Severity = "error"
