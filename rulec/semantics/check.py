"""Check a file: its definitions, what it imports, and every choice of its options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.constants import option_value, spelling
from rulec.semantics.outers import check_outer
from rulec.semantics.rules import check_rule
from rulec.source import Diagnostics, Source
from rulec.syntax import ast, parse_source, read_source


@dataclass(frozen=True)
class Library:
    """The definitions that a file has at hand, imported ones included; `own` are the names it defines itself."""

    source: Source
    rules: dict[str, ast.Rule] = field(default_factory=dict)
    outers: dict[str, ast.Outer] = field(default_factory=dict)
    nets: dict[str, ast.Net] = field(default_factory=dict)
    presets: dict[str, ast.Preset] = field(default_factory=dict)
    own: tuple[str, ...] = ()
    ignored: frozenset[str] = frozenset()

    def names(self) -> list[str]:
        return [*self.rules, *self.outers, *self.nets, *self.presets]


def shipped_rules() -> Path:
    """Return the folder of the rules that come with the package."""
    here = Path(__file__).resolve().parent.parent
    inside = here / "rules"
    return inside if inside.is_dir() else here.parent / "rules"


def load_library(
    source: Source, found: Diagnostics, folder: Path | None = None, chain: tuple[str, ...] = ()
) -> Library:
    """Parse a source and what it imports. Problems go to `found`; what could be read is returned."""
    module, problems, ignored = parse_source(source)
    found.extend(problems)
    library = Library(source, ignored=ignored)
    seen: dict[str, ast.Node] = {}
    own: list[str] = []
    for node in module.definitions:
        if isinstance(node, ast.Use):
            _import(node, library, found, folder, (*chain, source.name))
            continue
        name = node.name.name
        if name in seen:
            found.add(messages.duplicate_name(node.name.span, name, seen[name].span))
            continue
        seen[name] = node.name
        own.append(name)
        _shelf(library, node)[name] = node
        if isinstance(node, ast.Rule):
            for section in node.sections:
                if isinstance(section, ast.Use):
                    _import(section, library, found, folder, (*chain, source.name))
    return replace(library, own=tuple(own))


def _shelf(library: Library, node: ast.Definition) -> dict[str, ast.Definition]:
    shelves = {ast.Rule: library.rules, ast.Outer: library.outers, ast.Net: library.nets, ast.Preset: library.presets}
    return shelves[type(node)]  # type: ignore[index,return-value]


def _import(use: ast.Use, library: Library, found: Diagnostics, folder: Path | None, chain: tuple[str, ...]) -> None:
    path = next((p for p in _places(use.path, folder) if p.is_file()), None)
    if path is None:
        found.add(messages.import_not_found(use.span, use.path))
        return
    if path.name in chain:
        found.add(messages.import_cycle(use.span, [*chain, path.name]))
        return
    source, problems = read_source(path)
    found.extend(problems)
    if problems.errors:
        return
    other = load_library(source, found, path.parent, chain)
    for name in use.names:
        shelf = next((s for s in ("rules", "outers", "nets", "presets") if name.name in getattr(other, s)), None)
        if shelf is None:
            if name.name not in other.ignored:
                found.add(messages.unknown_import(name.span, name.name, use.path, other.names()))
            continue
        getattr(library, shelf)[name.name] = getattr(other, shelf)[name.name]


def _places(path: str, folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder / path
    yield shipped_rules() / path


def check_library(library: Library, found: Diagnostics) -> None:
    """Check the file's own definitions under the default options and under each other single choice."""
    for name in library.own:
        if name in library.rules:
            for options in variants(library.rules[name]):
                check_rule(
                    library.rules[name], found, options, library.ignored, imported_nets(library, library.rules[name])
                )
        elif name in library.outers:
            check_outer(library.outers[name], library.rules, found)
        elif name in library.presets:
            check_preset(library.presets[name], library, found)


def imported_nets(library: Library, rule: ast.Rule) -> Mapping[str, ast.Net]:
    """Return the nets of the file and of its imports that the rule does not declare itself."""
    return library.nets


def variants(rule: ast.Rule) -> Iterator[Mapping[str, t.OptionValue]]:
    """Yield the default options, then each other value of each option that has a few: choices, yes or no."""
    yield {}
    chosen: dict[str, t.OptionValue] = {}
    for section in rule.sections:
        if not isinstance(section, ast.Option):
            continue
        name = section.name.name
        chosen[name] = option_value(section, None, Diagnostics(), chosen)
        own = tuple(choice.name for choice in section.choices)
        for value in own or (("yes", "no") if isinstance(chosen[name], bool) else ()):
            if value != spelling(chosen[name]):
                yield {name: value}


def check_preset(
    preset: ast.Preset, library: Library, found: Diagnostics, options: Mapping[str, t.OptionValue] | None = None
) -> t.Rule | None:
    """Check named genome values by putting them in the place of the rule's own; return that rule."""
    rule = library.rules.get(preset.rule.name)
    if rule is None:
        if preset.rule.name not in library.ignored:
            found.add(messages.unknown_rule(preset.rule.span, preset.rule.name, list(library.rules), "in this file"))
        return None
    values = {entry.name.name: entry for entry in preset.entries}
    known: set[str] = set()
    sections = tuple(_with_values(s, values, known) for s in rule.sections)
    for name, entry in values.items():
        if name not in known:
            found.add(messages.unknown_name(entry.name.span, name, sorted(known | _all_entries(rule))))
    return check_rule(replace(rule, sections=sections), found, options, library.ignored, imported_nets(library, rule))


def _all_entries(rule: ast.Rule) -> set[str]:
    known: set[str] = set()
    for section in rule.sections:
        _with_values(section, {}, known, collect=True)
    return known


def _with_values(
    node: ast.Node, values: Mapping[str, ast.GenomeEntry], known: set[str], collect: bool = False
) -> ast.Node:
    if isinstance(node, ast.Genome):
        return replace(node, entries=tuple(_with_values(e, values, known, collect) for e in node.entries))  # type: ignore[misc]
    if isinstance(node, ast.If):
        then = tuple(_with_values(e, values, known, collect) for e in node.then)
        return replace(
            node, then=then, otherwise=tuple(_with_values(e, values, known, collect) for e in node.otherwise)
        )
    if isinstance(node, ast.GenomeEntry):
        if collect or node.name.name in values:
            known.add(node.name.name)
        if node.name.name in values:
            return replace(node, initial=values[node.name.name].initial)
    return node


def check_source(source: Source, folder: Path | None = None) -> Diagnostics:
    """Return everything that is wrong with a file. Never raises for a mistake in it."""
    found = Diagnostics()
    library = load_library(source, found, folder)
    check_library(library, found)
    return found


def check_file(path: Path | str) -> tuple[Source | None, Diagnostics]:
    """Read and check a file."""
    source, found = read_source(path)
    if not found.errors:
        found.extend(check_source(source, Path(path).parent))
    return source, found
