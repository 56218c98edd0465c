"""Build all rules of a file, and look for what is legal and probably not meant in each rule and outer step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rulec.ir.build import build
from rulec.ir.check import typed_rules
from rulec.lints.allowed import is_allowed
from rulec.lints.leak import target_leak
from rulec.lints.lint import Variant
from rulec.lints.registry import lint, lint_outer
from rulec.semantics import typed as t
from rulec.semantics.check import Library, imported_nets
from rulec.semantics.outers import check_outer, fits
from rulec.semantics.rules import check_rule
from rulec.source import Diagnostic, Diagnostics, RuleError
from rulec.syntax import ast

Variants = dict[str, list[Variant]]


def build_variants(library: Library, found: Diagnostics) -> Variants:
    """Build every rule of a file whose meaning is right; report what keeps one from being built or compiled.

    Returns the variants of each rule by its name, the one with the defaults first, then those with named genomes, then those
    that outer steps of the file train with other options.
    """
    variants: Variants = {}
    order = [*library.rules, *library.presets]
    for name in sorted(library.own, key=lambda name: order.index(name) if name in order else -1):
        for rule in typed_rules(replace(library, own=(name,))):
            _enter(rule, variants, found)
    for name in library.own:
        for rule in _trained(name, library, found):
            if rule.name in variants and all(rule.options != known.rule.options for known in variants[rule.name]):
                _enter(rule, variants, found)
    return variants


def _enter(rule: t.Rule, variants: Variants, found: Diagnostics) -> None:
    """Build a rule, and look whether it could be compiled."""
    try:
        variant = Variant(rule, build(rule))
    except RuleError as error:
        for diagnostic in error.diagnostics:
            found.add(diagnostic)
        return
    leak = target_leak(variant)
    if leak is not None:
        found.add(leak)
    variants.setdefault(rule.name, []).append(variant)


def lint_library(library: Library, variants: Variants) -> Iterator[Diagnostic]:
    """Yield the findings about a file's rules and outer steps that point into the file itself.

    What is an error in an outer step comes first: the same cut in the rule alone is a warning, and need not be told again.
    """
    for name in library.own:
        yield from _about_outer(name, library)
    for about in variants.values():
        found = (d for d in lint(about) if d.span is None or d.span.source is library.source)
        yield from (d for d in found if not is_allowed(d))


# --- Outer steps -----------------------------------------------------------------------------


def outer_findings(outer: t.Outer, trained: Variant) -> list[Diagnostic]:
    """Return what is found about an outer step and a rule that it trains, but for what the text allows."""
    return [finding for finding in lint_outer(outer, trained) if not is_allowed(finding)]


def _about_outer(name: str, library: Library) -> Iterator[Diagnostic]:
    """Yield the findings about an outer step. `inner rule` trains any rule: what only some cannot be trained with is a warning."""
    outer = _outer(name, library)
    if outer is None:
        return
    about: list[list[Diagnostic]] = []
    for rule in _trained(name, library, Diagnostics()):
        try:
            about.append(outer_findings(outer, Variant(rule, build(rule))))
        except RuleError:  # told where the rule itself is built
            continue
    every = all(any(d.severity == "error" for d in found) for found in about)
    for finding in (d if every else replace(d, severity="warning") for found in about for d in found):
        if not is_allowed(finding):
            yield finding


def _outer(name: str, library: Library) -> t.Outer | None:
    node = library.outers.get(name)
    return None if node is None else check_outer(node, library.rules, Diagnostics(), ignored=library.ignored)


def _trained(name: str, library: Library, found: Diagnostics) -> Iterator[t.Rule]:
    """Yield the rules that an outer step trains, with the options it gives; report what is wrong with them under these.

    `inner rule` trains any rule of its file that has what it names; if none has, whoever runs it will say which one is meant.
    """
    outer = _outer(name, library)
    if outer is None:
        return
    own = [name for name in library.own if name in library.rules]
    for candidate in own if outer.inner.name == "rule" else [outer.inner.name]:
        node = library.rules.get(candidate)
        if node is None or (len(own) > 1 and not fits(outer, node)):
            continue
        options = {s.name.name for s in node.sections if isinstance(s, ast.Option)}
        chosen = {setting: value for setting, value in outer.inner.settings.items() if setting in options}
        rule = check_rule(node, found, chosen, library.ignored, imported_nets(library, node))
        if rule is not None:
            yield rule
