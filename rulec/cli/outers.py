"""Look a rule and the outer step that is to train it through, before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Mapping

from rulec.cli.console import show_diagnostics
from rulec.ir.build import build
from rulec.lints.library import outer_findings
from rulec.lints.lint import Variant
from rulec.meta.outer import check_inner, find_outer
from rulec.runtime.rule import Rule, load
from rulec.semantics import typed as t
from rulec.source import RuleError


def looked_through(
    file: str, options: Mapping[str, str], name: str, outer_options: Mapping[str, str]
) -> tuple[Rule, t.Outer]:
    """Return the rule and the outer step; warnings are shown. Raises `RuleError` for what cannot be learned so."""
    rule = load(file)
    outer = find_outer(name, rule.library, outer_options)
    typed = rule.typed(options)
    variant = Variant(typed, build(typed))
    check_inner(outer, variant.program)
    found = outer_findings(outer, variant)
    if any(finding.severity == "error" for finding in found):
        raise RuleError(found)
    if found:
        show_diagnostics(found)
    return rule, outer
