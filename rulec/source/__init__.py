"""Sources, spans and diagnostics: the ground floor, used by every other package."""

from rulec.source.collector import Diagnostics, RuleError, fail
from rulec.source.diagnostics import Diagnostic
from rulec.source.rendering import render_json, render_text
from rulec.source.text import Source, Span

__all__ = ["Diagnostic", "Diagnostics", "RuleError", "Source", "Span", "fail", "render_json", "render_text"]
