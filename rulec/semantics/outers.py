"""Check outer steps: clauses, hypergradients, settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from rulec.semantics import messages, outer_messages
from rulec.semantics import typed as t
from rulec.semantics.constants import evaluate, evaluate_count, evaluate_number, option_value
from rulec.semantics.inner_problems import (
    check_changes,
    check_evograd,
    check_extra,
    check_keys,
    check_weight,
    check_within,
    outer_scope,
    parts,
)
from rulec.source import Diagnostics, Span
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
    "reptile",
    "finite_difference",
)
SETTINGS = ("tasks", "clip", "population", "replicas", "batch", "sigma", "generations")
OBJECTIVES = ("loss", "error")

_EXAMPLES = {
    "inner": "inner rule for 10 steps on support",
    "meta": "meta genome",
    "minimize": "minimize loss on query",
    "by": "by adam(lr = 0.001)",
}
_KEYWORDS: dict[type[ast.Node], str] = {
    ast.Inner: "inner",
    ast.Meta: "meta",
    ast.Objective: "minimize",
    ast.Through: "through",
    ast.By: "by",
}


def check_outer(
    outer: ast.Outer,
    rules: Mapping[str, ast.Rule],
    found: Diagnostics,
    options: Mapping[str, t.OptionValue] | None = None,
    ignored: frozenset[str] = frozenset(),
) -> t.Outer | None:
    """Return the outer step with its options chosen, or None if there was an error."""
    before = len(found.errors)
    values = _options(outer, options or {}, found)
    clauses = _Clauses(outer, found)
    if not ignored:  # a clause may be missing because its line could not be read
        _check_complete(outer, found)
    inner, meta = clauses.one(ast.Inner), clauses.one(ast.Meta)
    through, by = clauses.one(ast.Through), clauses.one(ast.By)
    scope = outer_scope(outer, values, found)
    keys = check_keys(outer, scope)
    changes = check_changes(outer, keys, scope)
    own = [*scope.genome, *scope.nets]
    known = [name for name in own if name not in {key.name for key in keys}]
    goals = tuple(_objective(node, rules, inner, known, values, found) for node in clauses.all(ast.Objective))
    steps, horizon = _check_inner(inner, rules, values, found, ignored) if inner else (1, None)
    weight = check_weight(inner.weight, scope) if inner and inner.weight else None
    extras = tuple(e for term in (inner.plus if inner else ()) if (e := check_extra(term, scope)) is not None)
    items = _check_meta(meta, inner, rules, known, values, found) if meta and inner else ()
    method = _check_through(through, values, found) if through else t.Call("auto", (), {}, outer.name.span)
    optimizer = _invocation(by.optimizer, values, found) if by else None
    settings = _settings(by, values, found) if by else {}
    if len(found.errors) > before or not (inner and meta and method and optimizer):
        return None
    checked = t.Outer(
        outer.name.name,
        outer.doc,
        values,
        tuple(entry for entry in scope.genome.values() if entry.name in known),
        tuple(scope.nets.values()),
        _invocation(inner.rule, values, found),
        check_within(inner.within, values, found),
        steps,
        horizon,
        weight,
        extras,
        keys,
        changes,
        items,
        tuple(goal for goal in goals if goal is not None),
        method,
        through is not None and any(modifier.name == "checkpoint" for modifier in through.modifiers),
        optimizer,
        settings,
        outer.span,
    )
    _check_own_genome(checked, found)
    for problem in check_evograd(checked) if method.name == "evograd" else ():
        found.add(problem)
    return checked if len(found.errors) == before else None


def _options(outer: ast.Outer, given: Mapping[str, t.OptionValue], found: Diagnostics) -> dict[str, t.OptionValue]:
    declared: dict[str, ast.Option] = {}
    for option in (c for c in outer.clauses if isinstance(c, ast.Option)):
        if option.name.name in declared:
            first = declared[option.name.name].name.span
            found.add(messages.duplicate_name(option.name.span, option.name.name, first))
        declared.setdefault(option.name.name, option)
    for name in given:
        if name not in declared:
            found.add(messages.unknown_option(name, outer.name.name, list(declared), what="outer"))
    values: dict[str, t.OptionValue] = {}
    for name, option in declared.items():
        values[name] = option_value(option, given.get(name), found, values)
    return values


# --- Clauses ---------------------------------------------------------------------------------

_Clause = TypeVar("_Clause", bound=ast.Node)


class _Clauses:
    """The clauses of an outer step by kind; those given twice are reported."""

    def __init__(self, outer: ast.Outer, found: Diagnostics) -> None:
        self.outer, self.found = outer, found

    def all(self, kind: type[_Clause]) -> list[_Clause]:
        return [clause for clause in self.outer.clauses if isinstance(clause, kind)]

    def one(self, kind: type[_Clause]) -> _Clause | None:
        given, keyword = self.all(kind), kind.__name__.lower()
        for clause in given[1:]:
            word = _word(clause, keyword)
            self.found.add(outer_messages.duplicate_clause(word, keyword, given[0].span.line))
        return given[0] if given else None


def _check_complete(outer: ast.Outer, found: Diagnostics) -> None:
    given = {_KEYWORDS.get(type(clause), "") for clause in outer.clauses}
    missing = {keyword: example for keyword, example in _EXAMPLES.items() if keyword not in given}
    if missing:
        found.add(outer_messages.missing_clauses(outer.name.span, outer.name.name, missing))


def _word(node: ast.Node, keyword: str) -> Span:
    return node.span.source.span(node.span.start, node.span.start + len(keyword))


def _invocation(node: ast.Invocation, options: Mapping[str, t.OptionValue], found: Diagnostics) -> t.Call:
    def value(expression: ast.Expression) -> t.OptionValue:
        read = evaluate(expression, options, found)
        return 0 if read is None else read

    arguments = tuple(value(a) for a in node.arguments)
    settings: dict[str, t.OptionValue] = {}
    for keyword in node.keywords:
        if keyword.name.name in settings:
            found.add(outer_messages.repeated_setting(keyword.name.span, keyword.name.name))
        settings[keyword.name.name] = value(keyword.value)
    return t.Call(_path(node), arguments, settings, node.span)


def _path(node: ast.Invocation) -> str:
    return ".".join(name.name for name in node.path)


def _check_inner(
    inner: ast.Inner,
    rules: Mapping[str, ast.Rule],
    options: Mapping[str, t.OptionValue],
    found: Diagnostics,
    ignored: frozenset[str],
) -> tuple[int, int | None]:
    """Check the inner rule and what it is given; return the number of its steps, and after how many it begins anew."""
    name = _path(inner.rule)
    if name in rules:
        _check_settings(inner.rule, rules[name], options, found)
    elif name != "rule" and name not in ignored:
        word = inner.rule.path[0].span + inner.rule.path[-1].span
        found.add(messages.unknown_rule(word, name, ["rule", *rules], "to be the inner one"))
    _invocation(inner.rule, options, found)
    if inner.data is not None and inner.data.name != "support":
        found.add(outer_messages.wrong_data(inner.data.span, inner.data.name, "support"))
    if inner.steps is None:
        return 1, None
    steps = evaluate_count(inner.steps, options, found, messages.bad_step_count) or 1
    if inner.horizon is None:
        return steps, None
    horizon = evaluate_count(inner.horizon, options, found, messages.bad_step_count)
    if horizon is not None and horizon % steps:
        found.add(outer_messages.bad_horizon(inner.horizon.span, steps, horizon))
    return steps, horizon


def _check_settings(
    call: ast.Invocation, rule: ast.Rule, options: Mapping[str, t.OptionValue], found: Diagnostics
) -> None:
    """Check what an inner rule is given: genome entries are numbers, options what they are."""
    for argument in call.arguments:
        found.add(outer_messages.positional_setting(argument.span, rule.name.name))
    entries = _entries(rule)
    known = [*entries, *(s.name.name for s in rule.sections if isinstance(s, ast.Option))]
    for keyword in call.keywords:
        if keyword.name.name not in known:
            found.add(outer_messages.unknown_setting(keyword.name.span, keyword.name.name, known))
        elif keyword.name.name in entries:
            evaluate_number(keyword.value, options, found)


def _entries(rule: ast.Rule) -> list[str]:
    """Return the names of a rule's genome entries, whatever its options."""
    entries = [node for node in ast.walk(rule) if isinstance(node, (ast.GenomeEntry, ast.Net))]
    return list(dict.fromkeys(node.name.name for node in sorted(entries, key=lambda node: node.span.start)))


def _check_meta(
    meta: ast.Meta,
    inner: ast.Inner,
    rules: Mapping[str, ast.Rule],
    own: list[str],
    options: Mapping[str, t.OptionValue],
    found: Diagnostics,
) -> tuple[t.Learned, ...]:
    name = _path(inner.rule)
    rule = rules.get(name)
    known = ["genome", "init(w)", *own, *(f"{name}.{entry}" for entry in (_entries(rule) if rule else ()))]
    learned = []
    for part in meta.items:
        path = _path(part.item)
        unsure = rule is None and path.startswith(f"{name}.") and len(part.item.path) == 2
        if path not in known and not unsure and (path != "init" or not _names_states(part.item, rule)):
            found.add(outer_messages.unknown_meta(part.item.span, part.item.span.text, known, name))
        if part.within is not None and path != "init":
            found.add(outer_messages.layers_misplaced(part.within.span, path))
        names = tuple(a.name for a in part.item.arguments if isinstance(a, ast.Name))
        per_layer = part.per_layer
        if per_layer is not None and (path == "init" or per_layer.condition is not None):
            found.add(outer_messages.per_layer_misplaced(per_layer.span, path))
        within = check_within(part.within, options, found)
        learned.append(t.Learned(path, names, within, per_layer is not None, part.span))
    return tuple(learned)


def _names_states(item: ast.Invocation, rule: ast.Rule | None) -> bool:
    """Whether `init(w, b)` names synapse states; without a rule at hand, anything may be one."""
    states = _synapses(rule) if rule else []
    names = [argument.name for argument in item.arguments if isinstance(argument, ast.Name)]
    plain = len(names) == len(item.arguments) and not item.keywords
    return plain and (rule is None or set(names) <= {"w", *states})


def _check_own_genome(outer: t.Outer, found: Diagnostics) -> None:
    """Report entries of the outer step's own genome that are not learned, or that nothing reads."""
    learned = {item.name for item in outer.meta}
    read = {name for change in outer.changes for name in change.entries}
    for expression in (outer.weight, *(term.weight for term in outer.plus)):
        if expression is not None:
            read |= {p.name for p in parts(expression) if isinstance(p, (t.GenomeRef, t.NetCall))}
    for one in outer.own:
        if one.name not in read:
            found.add(outer_messages.reaches_no_loss(one.span, one.name))
        elif one.name not in learned and "genome" not in learned:
            found.add(outer_messages.not_learned(one.span, one.name, outer.name))


def _synapses(rule: ast.Rule) -> list[str]:
    """Return the names of a rule's synapse states, whatever its options."""
    sections = [node for node in ast.walk(rule) if isinstance(node, ast.Synapse)]
    return [part.name.name for node in sections for part in ast.walk(node) if isinstance(part, ast.State)]


def fits(outer: t.Outer, rule: ast.Rule) -> bool:
    """Whether a rule has all that an outer step gives and learns by name."""
    entries = _entries(rule)
    options = [s.name.name for s in rule.sections if isinstance(s, ast.Option)]
    states = ["w", *_synapses(rule)]
    wanted = [item.name.split(".", 1)[1] for item in outer.meta if "." in item.name]
    begun = [name for item in outer.meta if item.name == "init" for name in item.arguments]
    return {*outer.inner.settings} <= {*entries, *options} and {*wanted} <= {*entries} and {*begun} <= {*states}


def _check_through(through: ast.Through, options: Mapping[str, t.OptionValue], found: Diagnostics) -> t.Call:
    call = _invocation(through.method, options, found)
    if call.name not in HYPERGRADIENTS:
        word = through.method.path[0].span + through.method.path[-1].span
        found.add(outer_messages.unknown_hypergradient(word, call.name, HYPERGRADIENTS))
    for modifier in through.modifiers:
        if modifier.name != "checkpoint":
            found.add(outer_messages.unknown_setting(modifier.span, modifier.name, ["checkpoint"]))
    return call


def _objective(
    node: ast.Objective,
    rules: Mapping[str, ast.Rule],
    inner: ast.Inner | None,
    own: list[str],
    options: Mapping[str, t.OptionValue],
    found: Diagnostics,
) -> t.Objective | None:
    """Read `loss on query`, `0.5 * loss on support`, `accuracy` (maximised), `0.01 * norm(init(w))^2`: to be minimised."""
    value, weight = node.value, 1.0
    if isinstance(value, ast.Binary) and value.operator == "*":
        factor = evaluate_number(value.left, options, found)
        weight, value = 1.0 if factor is None else float(factor), value.right
    turned = node.direction == "maximize"
    signed = -weight if turned else weight
    match value:
        case ast.Binary(operator="^", left=ast.Call(name="norm", arguments=(of,)), right=ast.Number(value=2.0)):
            rule = rules.get(_path(inner.rule)) if inner else None
            names = [*own, *(_entries(rule) if rule else ()), "init(w)"]
            if of.span.text not in names:
                found.add(outer_messages.unknown_norm(of.span, of.span.text, names))
                return None
            return t.Objective(signed, "norm", of.span.text, node.span)
    on = "query" if node.data is None else node.data.name
    if on not in ("query", "support"):
        assert node.data is not None
        found.add(outer_messages.wrong_data(node.data.span, on, "query"))
    name = value.name if isinstance(value, ast.Name) else value.span.text
    if name == "accuracy" and turned:
        return t.Objective(weight, "error", on, node.span)
    if name not in OBJECTIVES:
        found.add(outer_messages.unknown_objective(value.span, name, node.direction, [*OBJECTIVES, "accuracy"]))
        return None
    return t.Objective(signed, name, on, node.span)


def _settings(by: ast.By, options: Mapping[str, t.OptionValue], found: Diagnostics) -> dict[str, t.OptionValue]:
    settings: dict[str, t.OptionValue] = {}
    for keyword in by.settings:
        name = keyword.name.name
        if name not in SETTINGS:
            found.add(outer_messages.unknown_setting(keyword.name.span, name, SETTINGS))
            continue
        if name in settings:
            found.add(outer_messages.repeated_setting(keyword.name.span, name))
        value = evaluate_number(keyword.value, options, found)
        if value is not None:
            settings[name] = value
    return settings
