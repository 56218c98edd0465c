"""Build all rules of a file, and look for what is legal and probably not meant in each rule and outer step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rulec.ir.build import build
from rulec.ir.check import typed_rules
from rulec.lints.allowed import is_allowed
from rulec.lints.lint import Variant
from rulec.lints.registry import lint, lint_outer
from rulec.semantics import typed as t
from rulec.semantics.check import Library, imported_nets
from rulec.semantics.outers import check_outer
from rulec.semantics.rules import check_rule
from rulec.source import Diagnostic, Diagnostics, RuleError
from rulec.syntax import ast

Variants = dict[str, list[Variant]]


def build_variants(library: Library, found: Diagnostics) -> Variants:
    """Build every rule of a file whose meaning is right; report what keeps one from being built.

    Returns the variants of each rule by its name, the one with the defaults first, those with named genomes last.
    """
    variants: Variants = {}
    order = [*library.rules, *library.presets]
    for name in sorted(library.own, key=lambda name: order.index(name) if name in order else -1):
        for rule in typed_rules(replace(library, own=(name,))):
            try:
                variants.setdefault(rule.name, []).append(Variant(rule, build(rule)))
            except RuleError as error:
                for diagnostic in error.diagnostics:
                    found.add(diagnostic)
    return variants


def lint_library(library: Library, variants: Variants) -> Iterator[Diagnostic]:
    """Yield the findings about a file's rules and outer steps that point into the file itself.

    What is an error in an outer step comes first: the same cut in the rule alone is a warning, and need not be told again.
    """
    for name in library.own:
        if name in library.outers:
            outer = check_outer(library.outers[name], library.rules, Diagnostics(), ignored=library.ignored)
            trained = None if outer is None else _trained(outer, library)
            if outer is not None and trained is not None:
                yield from (d for d in lint_outer(outer, trained) if not is_allowed(d))
    for about in variants.values():
        found = (d for d in lint(about) if d.span is None or d.span.source is library.source)
        yield from (d for d in found if not is_allowed(d))


def _trained(outer: t.Outer, library: Library) -> Variant | None:
    """Return the rule that an outer step trains, with the options it gives; None if only whoever runs it will say.

    `inner rule` trains any rule; in a file with one rule, that one.
    """
    own = [name for name in library.own if name in library.rules]
    name = own[0] if outer.inner.name == "rule" and len(own) == 1 else outer.inner.name
    node = library.rules.get(name)
    if node is None:
        return None
    options = {s.name.name for s in node.sections if isinstance(s, ast.Option)}
    chosen = {setting: value for setting, value in outer.inner.settings.items() if setting in options}
    rule = check_rule(node, Diagnostics(), chosen, library.ignored, imported_nets(library, node))
    try:
        return None if rule is None else Variant(rule, build(rule))
    except RuleError:  # told where the rule itself is built
        return None
