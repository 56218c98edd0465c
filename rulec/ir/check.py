"""Check a file as far as can be without a network: what the text means, and that every rule of it can be built.

Some mistakes show only when a program is built: a derivative that does not exist, or that needs a value which is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rulec.ir.build import build
from rulec.semantics import typed as t
from rulec.semantics.check import Library, check_library, check_preset, imported_nets, load_library, variants
from rulec.semantics.rules import check_rule
from rulec.source import Diagnostics, RuleError, Source
from rulec.syntax import read_source


def check_source(source: Source, folder: Path | None = None) -> Diagnostics:
    """Return everything that is wrong with a file. Never raises for a mistake in it.

    `folder`: where the files lie that it imports.
    """
    found = Diagnostics()
    library = load_library(source, found, folder)
    check_library(library, found)
    if not found.errors:
        check_programs(library, found)
    return found


def check_file(path: Path | str) -> tuple[Source, Diagnostics]:
    """Read and check a file; with errors in reading it, the text is empty."""
    source, found = read_source(path)
    if not found.errors:
        found.extend(check_source(source, Path(path).parent))
    return source, found


def check_programs(library: Library, found: Diagnostics) -> None:
    """Build every rule of a file whose meaning is right, and report what keeps one from being built."""
    for rule in typed_rules(library):
        try:
            build(rule)
        except RuleError as error:
            for diagnostic in error.diagnostics:
                found.add(diagnostic)


def typed_rules(library: Library) -> Iterator[t.Rule]:
    """Yield a file's own rules under each choice of their options, then with each of its named genomes.

    What has errors is left out.
    """
    quiet = Diagnostics()
    for name in library.own:
        if name in library.rules:
            node = library.rules[name]
            nets = imported_nets(library, node)
            found = (check_rule(node, quiet, options, library.ignored, nets) for options in variants(node))
            yield from (rule for rule in found if rule is not None)
        elif name in library.presets:
            rule = check_preset(library.presets[name], library, quiet)
            if rule is not None:
                yield rule
