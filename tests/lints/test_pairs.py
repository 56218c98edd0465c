"""Every two options of a shipped rule together: what can be built is looked through, and all values of it are finite."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rulec.ir.build import build
from rulec.lints.library import lint_library
from rulec.lints.lint import Variant
from rulec.semantics import typed as t
from rulec.semantics.check import imported_nets, load_library, shipped_rules, variants
from rulec.semantics.rules import check_rule
from rulec.source import Diagnostics, Source, render_text
from rulec.syntax import ast

NUMERIC = ("division-by-zero", "outside-its-domain", "infinite-derivative", "where-trap")


def pairs(rule: ast.Rule) -> Iterator[Mapping[str, t.OptionValue]]:
    """Yield the ways to set two options to other values than their defaults."""
    single = [choice for choice in variants(rule) if choice]
    for first, second in itertools.combinations(single, 2):
        if first.keys() != second.keys():
            yield {**first, **second}


@pytest.mark.parametrize("path", sorted(shipped_rules().glob("*.rule")), ids=lambda path: path.stem)
def test_two_options_of_a_shipped_rule(path: Path):
    library = load_library(Source(path.name, path.read_text(encoding="utf-8")), Diagnostics(), path.parent)
    for name in library.own:
        if name not in library.rules:
            continue
        node, nets = library.rules[name], imported_nets(library, library.rules[name])
        default = check_rule(node, Diagnostics(), {}, library.ignored, nets)
        assert default is not None
        for options in pairs(node):
            rule = check_rule(node, Diagnostics(), options, library.ignored, nets)
            if rule is not None:  # some options exclude each other
                about = [Variant(default, build(default)), Variant(rule, build(rule))]
                said = list(lint_library(library, {name: about}))
                assert render_text(said) or not said
                assert not [d.message for d in said if d.id in NUMERIC], options
