"""`rulec check`: say everything that is wrong with files, prove their laws, and say how local their rules are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rulec.cli.arguments import rule_path
from rulec.cli.console import say, show_diagnostics
from rulec.lints.library import Variants, build_variants, lint_library
from rulec.semantics.check import Library, check_library, load_library
from rulec.semantics.locality import KINDS, Locality, localities
from rulec.source import Diagnostics, render_json
from rulec.symbolic.check import check_laws
from rulec.syntax import read_source


def check(files: Sequence[str], as_json: bool) -> int:
    """Check files; return the exit code: 1 if there is an error, 0 otherwise, warnings or not."""
    found = Diagnostics()
    for text in files:
        path = rule_path(text)
        source, problems = read_source(path)
        summary: list[str] = []
        if not problems.errors:
            library = load_library(source, problems, path.parent)
            summary = [f"{path}: fine", *_checked(library, problems)]
        if not as_json:
            show_diagnostics(problems.sorted()) if len(problems) else None
            if not problems.errors:
                say("\n".join(summary))
        found.extend(problems)
    if as_json:
        say(render_json(found.sorted()))
    return 1 if found.errors else 0


def _checked(library: Library, found: Diagnostics) -> list[str]:
    """Report what is wrong with a file's meaning, then what keeps a rule from being built, then what is probably not meant.

    Return what the file defines, if there is no error.
    """
    check_library(library, found)
    if found.errors:
        return []
    variants = build_variants(library, found)
    if found.errors:
        return []
    for finding in lint_library(library, variants):
        found.add(finding)
    for variant in (variant for several in variants.values() for variant in several):
        for finding in check_laws(variant.program):
            found.add(finding)
    return list(_summary(library, variants))


def _summary(library: Library, variants: Variants) -> Iterator[str]:
    """Name what the file defines, each rule with the locality of its updates."""
    for name in library.own:
        if name in library.rules:
            rule = variants[name][0].rule
            yield f"  rule {name}: {_classes(localities(rule))}"
            if rule.laws:  # an error would have been told instead, and what is undecided is told beside
                yield f"    laws: {', '.join(law.name for law in rule.laws)}"
        else:
            kind = "outer" if name in library.outers else "net" if name in library.nets else "genome"
            yield f"  {kind} {name}"


def _classes(found: Sequence[Locality]) -> str:
    """Return `w, b local; v weight transport`."""
    parts = []
    for kind in KINDS:
        names = [one.state.split("[")[0] for one in found if one.kind == kind]
        parts += [f"{', '.join(names)} {kind}"] if names else []
    return "; ".join(parts)
