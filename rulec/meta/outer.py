"""Find the outer step that is asked for, and fit it to a rule. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rulec.ir.graph import Program
from rulec.meta import messages
from rulec.runtime.rule import shipped_outers
from rulec.semantics.check import Library, load_library
from rulec.semantics.outers import check_outer
from rulec.semantics.typed import Call, OptionValue, Outer
from rulec.source import Diagnostics, RuleError, Source
from rulec.syntax import ast, read_source

if TYPE_CHECKING:
    from rulec.runtime.compiled import CompiledRule


def outer_from(outer: str | Outer, compiled: CompiledRule, options: Mapping[str, OptionValue] | None = None) -> Outer:
    """Return the outer step that `find_outer` finds for a compiled rule; pass typed ones through."""
    if isinstance(outer, Outer):
        return outer
    own = load_library(Source(compiled.program.name, compiled.source_text), Diagnostics())
    return find_outer(outer, own, options)


def find_outer(outer: str, own: Library, options: Mapping[str, OptionValue] | None = None) -> Outer:
    """Return the outer step `NAME` of the rule's own file or a shipped one, or `FILE:NAME`.

    Raises `RuleError` for names that are unknown and for mistakes in the step.
    """
    found = Diagnostics()
    library, name = _library(outer, own, found)
    if name not in library.outers:
        raise RuleError(
            [messages.unknown_outer(name, list(dict.fromkeys([*library.outers, *shipped_outers().outers])))]
        )
    checked = check_outer(library.outers[name], library.rules, found, options)
    found.raise_errors()
    assert checked is not None
    return checked


def _library(outer: str, own: Library, found: Diagnostics) -> tuple[Library, str]:
    if ":" in Path(outer).name:
        path, _, name = outer.rpartition(":")
        source, problems = read_source(path)
        problems.raise_errors()
        library = load_library(source, found, Path(path).parent)
        found.raise_errors()
        return library, name
    return (own if outer in own.outers else shipped_outers()), outer


def check_inner(outer: Outer, program: Program) -> None:
    """Check that the outer step fits the program of a rule. Raises `RuleError`."""
    if outer.inner.name not in ("rule", program.name):
        raise RuleError([messages.other_inner_rule(outer.inner.span, outer.name, outer.inner.name, program.name)])
    if outer.plus and not program.acts_on_parameters:
        raise RuleError([messages.plus_without_gradient(outer.plus[0].span, outer.name, program.name)])
    entries = [entry.name for entry in program.genome]
    for setting, value in outer.inner.settings.items():
        own = program.options
        if setting in own and own[setting] != value:
            raise RuleError([messages.option_differs(outer.inner.span, setting, value, own[setting])])
        if setting not in own and setting not in entries:
            raise RuleError([messages.unknown_meta_entry(outer.inner.span, setting, entries)])


def with_rate(outer: Outer, lr: float | None) -> Outer:
    """Replace the learning rate of the outer optimiser."""
    if lr is None:
        return outer
    call = outer.optimizer
    return replace(outer, optimizer=Call(call.name, call.arguments, {**call.settings, "lr": lr}, call.span))


def fitted(outer: Outer, compiled: CompiledRule) -> CompiledRule:
    """Give the compiled rule the leading axes that the outer step asks for. Raises `RuleError` where both say something else."""
    axes: dict[str, int] = {}
    tasks, replicas = outer.settings.get("tasks"), outer.settings.get("replicas")
    if isinstance(tasks, int):
        if compiled.tasks not in (None, tasks):
            raise RuleError([messages.tasks_differ(outer.span, outer.name, tasks, compiled.tasks or 1)])
        axes["tasks"] = tasks
    if isinstance(replicas, int) and compiled.replicas is None:
        axes["replicas"] = replicas
    compiled = on_inner_problem(compiled, outer)
    return replace(compiled, **axes) if axes else compiled  # type: ignore[arg-type]


def on_inner_problem(compiled: CompiledRule, outer: Outer) -> CompiledRule:
    """Return the rule that learns from the outer step's inner problem: with its terms and weights, and its changes of the data.

    Raises `RuleError` where both use a name, or the network lacks the connections that are to learn.
    """
    if not outer.changes_inner_problem:
        return compiled
    from rulec.ir.inner_problem import with_inner_problem
    from rulec.ir.passes import optimise

    program = compiled.program
    taken = {*(e.name for e in program.genome), *(n.name for n in program.nets), *(s.name for s in program.states)}
    for one in outer.own:
        if one.name in {*taken, *program.options}:
            raise RuleError([messages.name_taken(one.span, one.name, program.name)])
    count = len(compiled.network.weighted)
    if outer.within is not None and not outer.within.places(count):
        raise RuleError([messages.no_such_layers(outer.inner.span, compiled.network.spec, count)])
    program = with_inner_problem(program, outer)
    return replace(compiled, program=program, optimised=optimise(program))


def stored_outer(about: Mapping[str, object]) -> Outer | None:
    """Return the outer step of a genome file, if it changes the inner problem; None if this program understands it no longer."""
    text, options = about.get("outer_text"), about.get("outer_options")
    if not isinstance(text, str) or not isinstance(options, dict):
        return None
    found = Diagnostics()
    library = load_library(Source("outer step of the genome", text), found)
    node = next(iter(library.outers.values()), None)
    if node is None:
        return None
    names = {c.rule.path[0].name for c in node.clauses if isinstance(c, ast.Inner)}
    checked = check_outer(node, {}, found, options, ignored=frozenset(names))
    return None if found.errors else checked
