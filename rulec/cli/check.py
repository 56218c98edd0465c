"""`rulec check`: say everything that is wrong with files, and how local their rules are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rulec.cli.arguments import rule_path
from rulec.cli.console import say, show_diagnostics
from rulec.ir.check import check_programs
from rulec.semantics.check import Library, check_library, imported_nets, load_library
from rulec.semantics.locality import KINDS, Locality, localities
from rulec.semantics.rules import check_rule
from rulec.source import Diagnostics, render_json
from rulec.syntax import read_source


def check(files: Sequence[str], as_json: bool) -> int:
    """Check files; return the exit code: 1 if there is an error, 0 otherwise, warnings or not."""
    found = Diagnostics()
    for text in files:
        path = rule_path(text)
        source, problems = read_source(path)
        library = None
        if not problems.errors:
            library = load_library(source, problems, path.parent)
            check_library(library, problems)
            if not problems.errors:
                check_programs(library, problems)
        if not as_json:
            show_diagnostics(problems.sorted()) if len(problems) else None
            if not problems.errors and library is not None:
                say("\n".join(_summary(path, library)))
        found.extend(problems)
    if as_json:
        say(render_json(found.sorted()))
    return 1 if found.errors else 0


def _summary(path: Path, library: Library) -> list[str]:
    """Name what the file defines, each rule with the locality of its updates."""
    lines = [f"{path}: fine"]
    for name in library.own:
        if name in library.rules:
            rule = check_rule(
                library.rules[name], Diagnostics(), {}, library.ignored, imported_nets(library, library.rules[name])
            )
            lines += [] if rule is None else [f"  rule {name}: {_classes(localities(rule))}"]
        else:
            kind = "outer" if name in library.outers else "net" if name in library.nets else "genome"
            lines.append(f"  {kind} {name}")
    return lines


def _classes(found: Sequence[Locality]) -> str:
    """Return `w, b local; v weight transport`."""
    parts = []
    for kind in KINDS:
        names = [one.state.split("[")[0] for one in found if one.kind == kind]
        parts += [f"{', '.join(names)} {kind}"] if names else []
    return "; ".join(parts)
