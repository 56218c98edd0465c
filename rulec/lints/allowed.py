"""What a rule's author has seen and means: `# allow: dead-entry` at the end of the line, or on a line of its own above."""

from __future__ import annotations

import re

from rulec.source import Diagnostic

_ALLOW = re.compile(r"#.*\ballow:\s*([a-z]+(?:-[a-z]+)*(?:\s*,\s*[a-z]+(?:-[a-z]+)*)*)")


def is_allowed(finding: Diagnostic) -> bool:
    """Whether the text says that a warning is meant. Errors cannot be allowed."""
    span = finding.span
    if span is None or finding.severity == "error":
        return False
    lines = [span.source.line(span.line)]
    if span.line > 1 and span.source.line(span.line - 1).lstrip().startswith("#"):
        lines.append(span.source.line(span.line - 1))
    return any(finding.id in re.split(r"\s*,\s*", match[1]) for line in lines if (match := _ALLOW.search(line)))
