"""Check a file: its definitions, what it imports, and every choice of its options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.constants import option_value, spelling
from rulec.semantics.outers import check_outer
from rulec.semantics.rules import check_rule
from rulec.source import Diagnostics, Source, Span
from rulec.syntax import ast, parse_source, read_source


@dataclass(frozen=True)
class Library:
    """The definitions that a file has at hand, imported ones included; `own` are the names it defines itself."""

    source: Source
    rules: dict[str, ast.Rule] = field(default_factory=dict)
    outers: dict[str, ast.Outer] = field(default_factory=dict)
    nets: dict[str, ast.Net] = field(default_factory=dict)
    presets: dict[str, ast.Preset] = field(default_factory=dict)
    homes: dict[str, Library] = field(default_factory=dict)  # where imported definitions come from
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
    source: Source, found: Diagnostics, folder: Path | None = None, chain: tuple[Path, ...] = ()
) -> Library:
    """Parse a source and what it imports. Problems go to `found`; what could be read is returned.

    `chain`: the files whose imports lead here.
    """
    module, problems, ignored = parse_source(source)
    found.extend(problems)
    library = Library(source, ignored=ignored)
    chain = (*chain, ((folder or Path()) / Path(source.name).name).resolve())
    seen: dict[str, Span] = {}
    lost: set[str] = set()  # names that should have come from elsewhere: told at the import
    for node in module.definitions:
        sections = node.sections if isinstance(node, ast.Rule) else ()
        for use in (use for use in (node, *sections) if isinstance(use, ast.Use)):
            imported = list(_import(use, library, found, folder, chain))
            for name in imported:
                _enter(name, seen, found)
            lost |= {name.name for name in use.names} - {name.name for name in imported}
        if not isinstance(node, ast.Use) and _enter(node.name, seen, found):
            _shelf(library, node)[node.name.name] = node
    own = tuple(name for name in seen if name not in library.homes)
    return replace(library, own=own, ignored=ignored | lost)


def _enter(name: ast.Name, seen: dict[str, Span], found: Diagnostics) -> bool:
    before = seen.setdefault(name.name, name.span)
    if before is not name.span:
        found.add(messages.duplicate_name(name.span, name.name, before))
    return before is name.span


def _shelf(library: Library, node: ast.Definition) -> dict[str, ast.Definition]:
    shelves = {ast.Rule: library.rules, ast.Outer: library.outers, ast.Net: library.nets, ast.Preset: library.presets}
    return shelves[type(node)]  # type: ignore[index,return-value]


def _import(
    use: ast.Use, library: Library, found: Diagnostics, folder: Path | None, chain: tuple[Path, ...]
) -> Iterator[ast.Name]:
    """Put what an import names into the library; yield the names."""
    other = _other(use, found, folder, chain)
    if other is None:
        return
    for name in use.names:
        definition = _definition(other, name.name)
        if definition is not None:
            if name.name not in library.names():
                _shelf(library, definition)[name.name] = definition
                library.homes[name.name] = other.homes.get(name.name, other)
            yield name
        elif name.name not in other.ignored:
            found.add(messages.unknown_import(name.span, name.name, use.path, other.names()))


def _definition(library: Library, name: str) -> ast.Definition | None:
    shelves = (library.rules, library.outers, library.nets, library.presets)
    return next((shelf[name] for shelf in shelves if name in shelf), None)  # type: ignore[attr-defined,no-any-return]


def _other(use: ast.Use, found: Diagnostics, folder: Path | None, chain: tuple[Path, ...]) -> Library | None:
    """Return the library of the file that an import names, or None after reporting why there is none."""
    path = next((p for p in _places(use.path, folder) if _is_file(p)), None)
    if path is None:
        stems = [file.stem for place in _places("", folder) for file in place.glob("*.rule")]
        found.add(messages.import_not_found(_path_span(use), use.path, stems))
        return None
    if path.resolve() in chain:
        circle = chain[chain.index(path.resolve()) :]
        found.add(messages.import_cycle(_path_span(use), [file.name for file in (*circle, circle[0])]))
        return None
    source, problems = read_source(path)
    found.extend(problems)
    return None if problems.errors else load_library(source, found, path.parent, chain)


def _path_span(use: ast.Use) -> Span:
    start = use.span.start + max(use.span.text.find(use.path), 0)
    return use.span.source.span(start, start + len(use.path))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with characters that no file name has
        return False


def _places(path: str, folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder / path
    yield shipped_rules() / path


def check_library(library: Library, found: Diagnostics) -> None:
    """Check the file's own definitions under the default options and under each other single choice."""
    for name in library.own:
        if name in library.rules:
            rule = library.rules[name]
            nets = imported_nets(library, rule)
            for options in variants(rule):
                check_rule(rule, found, options, library.ignored, nets)
        elif name in library.outers:
            check_outer(library.outers[name], library.rules, found, ignored=library.ignored)
        elif name in library.presets:
            check_preset(library.presets[name], library, found)


def imported_nets(library: Library, rule: ast.Rule) -> Mapping[str, ast.Net]:
    """Return the nets of the rule's file and of its imports that the rule does not declare itself."""
    home = library.homes.get(rule.name.name, library)
    own = {node.name.name for node in ast.walk(rule) if isinstance(node, ast.Net)}
    return {name: net for name, net in home.nets.items() if name not in own}


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
            where = "in this file"
            found.add(messages.unknown_rule(preset.rule.span, preset.rule.name, list(library.rules), where))
        return None
    before = len(found.errors)
    values: dict[str, ast.GenomeEntry] = {}
    entries = [node for node in ast.walk(rule) if isinstance(node, ast.GenomeEntry)]
    names = list(dict.fromkeys(entry.name.name for entry in sorted(entries, key=lambda entry: entry.span.start)))
    for entry in preset.entries:
        _check_preset_entry(entry, values, rule, names, found)
        values.setdefault(entry.name.name, entry)
    if len(found.errors) > before:
        return None
    given = replace(rule, sections=tuple(_with_values(section, values) for section in rule.sections))
    return check_rule(given, found, options, library.ignored, imported_nets(library, rule))


def _check_preset_entry(
    entry: ast.GenomeEntry, before: Mapping[str, ast.GenomeEntry], rule: ast.Rule, names: list[str], found: Diagnostics
) -> None:
    name, span = entry.name.name, entry.name.span
    if name in before:
        found.add(messages.duplicate_name(span, name, before[name].name.span))
    elif name not in names:
        found.add(messages.unknown_entry(span, name, rule.name.name, names))
    elif entry.domain is not None:
        found.add(messages.preset_declares(entry.domain.span, name, "a domain"))
    elif entry.per_layer is not None:
        found.add(messages.preset_declares(entry.per_layer.span, name, "the modifier `per layer`"))
    elif entry.initial is None:
        found.add(messages.preset_without_value(span, name))


_Node = TypeVar("_Node", bound=ast.Node)


def _with_values(node: _Node, values: Mapping[str, ast.GenomeEntry]) -> _Node:
    """Return a section with the initial values of genome entries replaced, those inside every `if` too."""
    if isinstance(node, ast.Genome):
        return replace(node, entries=tuple(_with_values(e, values) for e in node.entries))
    if isinstance(node, ast.If):
        then, otherwise = (tuple(_with_values(e, values) for e in branch) for branch in (node.then, node.otherwise))
        return replace(node, then=then, otherwise=otherwise)
    if isinstance(node, ast.GenomeEntry) and node.name.name in values:
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
