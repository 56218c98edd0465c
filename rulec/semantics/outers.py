"""Check outer steps: clauses, hypergradients, settings."""

from __future__ import annotations

from collections.abc import Mapping

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.constants import evaluate, option_value
from rulec.source import Diagnostics
from rulec.syntax import ast

HYPERGRADIENTS = (
    "unroll",
    "first_order",
    "truncated",
    "forward",
    "implicit",
    "neumann",
    "one_step",
    "es",
    "pes",
    "cma",
    "evograd",
    "finite_difference",
)
SETTINGS = ("tasks", "clip", "population", "replicas", "batch", "sigma", "generations")
OBJECTIVES = ("loss", "error")

_EXAMPLES = {
    "inner": "inner rule for 10 steps on support",
    "meta": "meta genome",
    "minimize": "minimize loss on query",
    "through": "through unroll",
    "by": "by adam(lr = 0.001)",
}


def check_outer(
    outer: ast.Outer,
    rules: Mapping[str, ast.Rule],
    found: Diagnostics,
    options: Mapping[str, t.OptionValue] | None = None,
) -> t.Outer | None:
    """Return the outer step with its options chosen, or None if there was an error."""
    before = len(found.errors)
    values = _options(outer, options or {}, found)
    clauses = _clauses(outer, found)
    inner, through, by = clauses.get("inner"), clauses.get("through"), clauses.get("by")
    objectives = [c for c in outer.clauses if isinstance(c, ast.Objective)]
    meta = clauses.get("meta")
    assert inner is None or isinstance(inner, ast.Inner)
    call = _invocation(inner.rule, values, found) if inner else None
    if inner is not None:
        _check_inner(inner, rules, found)
    if isinstance(meta, ast.Meta) and inner is not None:
        _check_meta(meta, inner, rules, found)
    method = _check_through(through, values, found) if isinstance(through, ast.Through) else None
    goals = tuple(g for c in objectives if (g := _objective(c, values, found)) is not None)
    settings, optimizer = ({}, None)
    if isinstance(by, ast.By):
        settings, optimizer = _settings(by, values, found), _invocation(by.optimizer, values, found)
    if (
        len(found.errors) > before
        or inner is None
        or call is None
        or method is None
        or optimizer is None
        or not isinstance(meta, ast.Meta)
    ):
        return None
    items = tuple(_invocation(item, values, found) for item in meta.items)
    steps = evaluate(inner.steps, values, found) if inner.steps is not None else 1
    checkpoint = isinstance(through, ast.Through) and any(m.name == "checkpoint" for m in through.modifiers)
    return t.Outer(
        outer.name.name,
        outer.doc,
        values,
        call,
        int(steps) if isinstance(steps, int) else 1,
        len(inner.plus),
        items,
        goals,
        method,
        checkpoint,
        optimizer,
        settings,
        outer.span,
    )


def _options(outer: ast.Outer, given: Mapping[str, t.OptionValue], found: Diagnostics) -> dict[str, t.OptionValue]:
    declared = [c for c in outer.clauses if isinstance(c, ast.Option)]
    names = [o.name.name for o in declared]
    for name in given:
        if name not in names:
            found.add(messages.unknown_option(name, outer.name.name, names))
    return {o.name.name: option_value(o, given.get(o.name.name), found) for o in declared}


def _clauses(outer: ast.Outer, found: Diagnostics) -> dict[str, ast.Node]:
    """Return the clauses by keyword; report what is missing or given twice."""
    clauses: dict[str, ast.Node] = {}
    for clause in outer.clauses:
        keyword = {
            ast.Inner: "inner",
            ast.Meta: "meta",
            ast.Objective: "minimize",
            ast.Through: "through",
            ast.By: "by",
        }.get(type(clause))
        if keyword is None:
            continue
        if keyword in clauses and keyword != "minimize":
            found.add(messages.duplicate_clause(clause.span, keyword))
        clauses[keyword] = clause
    for keyword, example in _EXAMPLES.items():
        if keyword not in clauses:
            found.add(messages.missing_clause(outer.name.span, outer.name.name, keyword, example))
    return clauses


def _invocation(node: ast.Invocation, options: Mapping[str, t.OptionValue], found: Diagnostics) -> t.Call:
    def value(expression: ast.Expression) -> t.OptionValue:
        read = evaluate(expression, options, found)
        return 0 if read is None else read

    arguments = tuple(value(a) for a in node.arguments)
    settings = {k.name.name: value(k.value) for k in node.keywords}
    return t.Call(".".join(n.name for n in node.path), arguments, settings, node.span)


def _check_inner(inner: ast.Inner, rules: Mapping[str, ast.Rule], found: Diagnostics) -> None:
    name = inner.rule.path[0].name
    if name != "rule" and name not in rules:
        found.add(messages.unknown_rule(inner.rule.span, name, ["rule", *rules], "to be the inner one"))
    elif name in rules:
        known = _entries(rules[name]) | {s.name.name for s in rules[name].sections if isinstance(s, ast.Option)}
        for keyword in inner.rule.keywords:
            if keyword.name.name not in known:
                found.add(messages.unknown_setting(keyword.name.span, keyword.name.name, sorted(known)))
    if inner.data is not None and inner.data.name != "support":
        found.add(messages.wrong_data(inner.data.span, inner.data.name, "support"))


def _entries(rule: ast.Rule) -> set[str]:
    """Return the names of a rule's genome entries, whatever its options."""
    names: set[str] = set()
    pending: list[ast.Node] = list(rule.sections)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Genome):
            pending += node.entries
        elif isinstance(node, ast.If):
            pending += [*node.then, *node.otherwise]
        elif isinstance(node, (ast.GenomeEntry, ast.Net)):
            names.add(node.name.name)
    return names


def _check_meta(meta: ast.Meta, inner: ast.Inner, rules: Mapping[str, ast.Rule], found: Diagnostics) -> None:
    rule = rules.get(inner.rule.path[0].name)
    for item in meta.items:
        path = [n.name for n in item.path]
        if path in (["genome"], ["init"]):
            continue
        owned = len(path) == 2 and path[0] == inner.rule.path[0].name
        if not owned or (rule is not None and path[1] not in _entries(rule)):
            found.add(messages.unknown_meta(item.span, ".".join(path)))


def _check_through(through: ast.Through, options: Mapping[str, t.OptionValue], found: Diagnostics) -> t.Call:
    call = _invocation(through.method, options, found)
    if call.name not in HYPERGRADIENTS:
        found.add(messages.unknown_hypergradient(through.method.span, call.name, HYPERGRADIENTS))
    for modifier in through.modifiers:
        if modifier.name != "checkpoint":
            found.add(messages.unknown_setting(modifier.span, modifier.name, ["checkpoint"]))
    return call


def _objective(
    node: ast.Objective, options: Mapping[str, t.OptionValue], found: Diagnostics
) -> tuple[float, str] | None:
    """Read `loss`, `0.5 * loss` or `accuracy` (maximised): a weight and a quantity to be minimised."""
    if node.data is not None and node.data.name not in ("query", "support"):
        found.add(messages.wrong_data(node.data.span, node.data.name, "query"))
    value, weight = node.value, 1.0
    if isinstance(value, ast.Binary) and value.operator == "*":
        factor = evaluate(value.left, options, found)
        weight, value = float(factor) if isinstance(factor, (int, float)) else 1.0, value.right
    name = value.name if isinstance(value, ast.Name) else value.span.text
    if node.direction == "maximize":
        name, weight = ("error", weight) if name == "accuracy" else (name, -weight)
    if name not in OBJECTIVES:
        found.add(messages.unknown_name(value.span, name, ["loss", "accuracy", "error"]))
        return None
    return weight, name


def _settings(by: ast.By, options: Mapping[str, t.OptionValue], found: Diagnostics) -> dict[str, t.OptionValue]:
    settings: dict[str, t.OptionValue] = {}
    for keyword in by.settings:
        if keyword.name.name not in SETTINGS:
            found.add(messages.unknown_setting(keyword.name.span, keyword.name.name, SETTINGS))
            continue
        value = evaluate(keyword.value, options, found)
        if value is not None:
            settings[keyword.name.name] = value
    return settings
