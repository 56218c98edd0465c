"""Check what an outer step makes of the inner problem: its own genome, terms and weights of the loss, keys, changes of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

from rulec.semantics import outer_messages
from rulec.semantics import typed as t
from rulec.semantics.constants import evaluate, evaluate_number
from rulec.semantics.declarations import check_genome, declare
from rulec.semantics.expressions import check_expression
from rulec.semantics.operators import POINTWISE
from rulec.semantics.scope import Local, Place, Scope
from rulec.source import Diagnostic, Diagnostics
from rulec.syntax import ast

KEYS = {"permutation": (0, 0), "uniform": (2, 2), "normal": (2, 2), "one_of": (1, 99)}  # least and most numbers
OPERATORS = ("rotate", "permute")
# What changes of the data may compute with where nothing is learned: they are made before the compiled step sees the data.
DATA_FUNCTIONS = frozenset(
    (
        "add",
        "sub",
        "mul",
        "div",
        "pow",
        "neg",
        "min",
        "max",
        "where",
        "exp",
        "log",
        "tanh",
        "sigmoid",
        "relu",
        "sqrt",
        "abs",
        "sign",
    )
) | {"sin", "cos", "square", "less", "less_equal", "greater", "greater_equal", "equal", "not_equal"}
_EXAMPLES = {
    "permutation": "permutation",
    "uniform": "uniform(-1, 1)",
    "normal": "normal(0, 1)",
    "one_of": "one_of(0, 1)",
}
_AXES = {"x": frozenset("ni"), "y": frozenset("nj")}
_PLACES = {"x": ("input", "i"), "y": ("output", "j")}


def outer_scope(outer: ast.Outer, options: Mapping[str, t.OptionValue], found: Diagnostics) -> Scope:
    """Return the names that the clauses of an outer step can read: its options, its own genome, its keys."""
    scope = Scope(found, outer.name.name, options=dict(options))
    for clause in outer.clauses:
        if isinstance(clause, ast.Option):
            scope.declared_at[clause.name.name] = clause.name.span
    for clause in outer.clauses:
        if isinstance(clause, ast.Genome):
            check_genome(clause, scope)
    return scope


def check_keys(outer: ast.Outer, scope: Scope) -> tuple[t.Key, ...]:
    """Return the keys, and enter them into the scope as numbers that can be read."""
    keys = []
    for node in (clause for clause in outer.clauses if isinstance(clause, ast.Key)):
        key = _key(node, scope) if declare(node.name, scope) else None
        if key is None:
            scope.broken.add(node.name.name)
            continue
        keys.append(key)
        zero = t.Constant(t.NOTHING, node.span, 0.0)
        scope.genome[key.name] = t.GenomeEntry(key.name, (), (), t.Domain(), False, zero, node.span)
    return tuple(keys)


def _key(node: ast.Key, scope: Scope) -> t.Key | None:
    value = node.value
    name = value.name if isinstance(value, (ast.Name, ast.Call)) else ""
    if name not in KEYS:
        scope.report(outer_messages.unknown_key(value.span, value.span.text, list(_EXAMPLES.values())))
        return None
    arguments = value.arguments if isinstance(value, ast.Call) else ()
    numbers = [evaluate_number(a, scope.options, scope.found) for a in arguments]
    if None in numbers:
        return None
    least, most = KEYS[name]
    if not least <= len(numbers) <= most:
        scope.report(outer_messages.key_numbers(value.span, name, _EXAMPLES[name]))
        return None
    return t.Key(node.name.name, name, tuple(float(n or 0) for n in numbers), node.span)


# --- Changes of the data ---------------------------------------------------------------------


def check_changes(outer: ast.Outer, keys: tuple[t.Key, ...], scope: Scope) -> tuple[t.Recast, ...]:
    """Return what becomes of the data, in the order of the text. A key must reach support and query alike."""
    nodes = [clause for clause in outer.clauses if isinstance(clause, ast.Tasks)]
    changes = [change for node in nodes if (change := _change(node, keys, scope)) is not None]
    for key in keys:
        reached = {side for change in changes if key.name in change.keys for side in change.sides}
        if not reached and len(changes) == len(nodes):
            scope.report(outer_messages.unused_key(key.span, key.name))
        elif len(reached) == 1:
            using = next(change for change in changes if key.name in change.keys)
            scope.report(outer_messages.one_sided_key(using.span, key.name, reached.pop()))
    return tuple(changes)


def _change(node: ast.Tasks, keys: tuple[t.Key, ...], scope: Scope) -> t.Recast | None:
    target = node.change.name.name
    if target not in _AXES:
        scope.report(outer_messages.unknown_data(node.change.name.span, target))
        return None
    if node.data is not None and node.data.name not in ("support", "query"):
        scope.report(outer_messages.unknown_side(node.data.span, node.data.name))
        return None
    sides = ("support", "query") if node.data is None else (node.data.name,)
    checked = _changed(node.change.value, target, keys, scope)
    if checked is None:
        return None
    operator, value = checked
    named = {key.name for key in keys}
    read = {part.name for part in parts(value) if isinstance(part, (t.GenomeRef, t.NetCall))}
    noisy = any(isinstance(part, t.Noise) for part in parts(value))
    change = t.Recast(
        target, operator, value, sides, frozenset(read & named), frozenset(read - named), noisy, node.span
    )
    if change.of_program and change.keys:
        scope.report(
            outer_messages.key_and_genome(node.change.value.span, sorted(change.keys)[0], sorted(change.entries))
        )
        return None
    foreign = None if change.of_program else _foreign(value)
    if foreign is not None:
        scope.report(
            outer_messages.not_on_data(
                foreign.span, foreign.span.text, [name for name in sorted(DATA_FUNCTIONS) if name in POINTWISE]
            )
        )
        return None
    if change.of_program and target == "y" and "query" in sides:
        scope.report(outer_messages.learned_query(node.change.value.span, node.change.value.span.text))
        return None
    return change


def _foreign(value: t.Expr) -> t.Expr | None:
    """Return a part of a change that cannot be computed on the data alone."""
    plain = (t.Constant, t.LocalRef, t.GenomeRef, t.Stop)
    for part in parts(value):
        if not isinstance(part, plain) and not (isinstance(part, t.Apply) and part.operator in DATA_FUNCTIONS):
            return part
    return None


def _changed(node: ast.Expression, target: str, keys: tuple[t.Key, ...], scope: Scope) -> tuple[str, t.Expr] | None:
    """Read `rotate(x, angle)`, `permute(y, e)`, or any expression of `x` or `y`."""
    if isinstance(node, ast.Call) and node.name in OPERATORS:
        return _operated(node, target, keys, scope)
    kind, side = _PLACES[target]
    place = Place(kind, frozenset(side), target_axes=_AXES[target])
    place.locals[target] = Local(0, _AXES[target], node.span)
    value = check_expression(node, scope, place)
    if value is None:
        return None
    permutation = {key.name for key in keys if key.kind == "permutation"}
    for part in parts(value):
        if isinstance(part, t.GenomeRef) and part.name in permutation:
            scope.report(outer_messages.permutation_as_number(part.span, part.name, target))
            return None
    return "set", value


def _operated(node: ast.Call, target: str, keys: tuple[t.Key, ...], scope: Scope) -> tuple[str, t.Expr] | None:
    own = {"rotate": "x", "permute": "y"}[node.name]
    first = node.arguments[0] if node.arguments else None
    if len(node.arguments) != 2 or target != own or not isinstance(first, ast.Name) or first.name != own:
        scope.report(outer_messages.bad_operation(node.span, node.name))
        return None
    value = check_expression(node.arguments[1], scope, Place("input", frozenset()))
    if value is None:
        return None
    permutation = {key.name for key in keys if key.kind == "permutation"}
    reads = isinstance(value, t.GenomeRef) and value.name in permutation
    if value.axes or reads != (node.name == "permute"):
        scope.report(outer_messages.bad_operation(node.span, node.name))
        return None
    return node.name, value


def read_by_loss(outer: t.Outer) -> set[str]:
    """Return the entries of an outer step's own genome that the loss of the support depends on, at given synapses."""
    reading = [outer.weight, *(term.weight for term in outer.plus)]
    names = {p.name for e in reading if e is not None for p in parts(e) if isinstance(p, (t.GenomeRef, t.NetCall))}
    return names.union(*(change.entries for change in outer.changes if "support" in change.sides))


def check_evograd(outer: t.Outer) -> list[Diagnostic]:
    """Find what `evograd` is to learn and the loss of the support does not depend on."""
    known = read_by_loss(outer)
    return [outer_messages.unread_by_loss(item.span, item.name) for item in outer.meta if item.name not in known]


def parts(expression: t.Expr) -> Iterator[t.Expr]:
    """Yield an expression and all that it is made of."""
    yield expression
    for field in fields(expression):
        value = getattr(expression, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, t.Features):
                part = part.value
            if isinstance(part, t.Expr):
                yield from parts(part)


# --- The loss --------------------------------------------------------------------------------


def check_weight(node: ast.Expression, scope: Scope) -> t.Expr | None:
    """Read `weighted by EXPR`: one number for each sample, of its loss and the outer step's genome."""
    place = Place("output", frozenset("j"), loss_known=True, target_axes=frozenset("n"))
    value = check_expression(node, scope, place)
    if value is None:
        return None
    if not value.axes <= frozenset("n") or any(isinstance(part, t.Noise) for part in parts(value)):
        scope.report(outer_messages.weight_varies(node.span))
        return None
    return value


def check_extra(term: ast.Expression, scope: Scope) -> t.Extra | None:
    """Read `c * norm(w - init(w))^2` or `c * norm(w)^2`, with `c` a number or of the outer step's genome."""
    weight: t.Expr | None = t.Constant(t.NOTHING, term.span, 1.0)
    value = term
    if isinstance(term, ast.Binary) and term.operator == "*":
        weight, value = _factor(term.left, scope), term.right
    match value:
        case ast.Binary(operator="^", left=ast.Call(name="norm", arguments=(inside,)), right=ast.Number(value=2.0)):
            match inside:
                case ast.Name(name="w"):
                    return _term(weight, False, False, term)
                case ast.Binary(operator="-", left=ast.Name(name="w"), right=start) if _is_start(start):
                    return _term(weight, True, False, term)
                case ast.Binary(
                    operator="-", left=ast.Name(name="w"), right=ast.Call(name="stop", arguments=(start,))
                ) if _is_start(start):
                    return _term(weight, True, True, term)
    scope.report(outer_messages.unknown_extra(term.span, term.span.text))
    return None


def _term(weight: t.Expr | None, from_start: bool, stopped: bool, node: ast.Expression) -> t.Extra | None:
    return None if weight is None else t.Extra(weight, from_start, stopped, node.span)


def _is_start(node: ast.Expression) -> bool:
    match node:
        case ast.Call(name="init", arguments=(ast.Name(name="w"),)):
            return True
    return False


def _factor(node: ast.Expression, scope: Scope) -> t.Expr | None:
    """Return a number that options give, or an expression over the outer step's genome."""
    names = {part.name for part in _walk(node) if isinstance(part, (ast.Name, ast.Indexed))}
    if not names & set(scope.genome):
        number = evaluate_number(node, scope.options, scope.found)
        return None if number is None else t.Constant(t.NOTHING, node.span, float(number))
    value = check_expression(node, scope, Place("parameters", frozenset("p")))
    if value is not None and value.axes:
        scope.report(outer_messages.factor_varies(node.span))
        return None
    return value


def _walk(node: ast.Node) -> Iterator[ast.Node]:
    yield node
    for field in fields(node):
        value = getattr(node, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, ast.Node):
                yield from _walk(part)


# --- Connections -----------------------------------------------------------------------------


def check_within(node: ast.Within | None, options: Mapping[str, t.OptionValue], found: Diagnostics) -> t.Within | None:
    if node is None:
        return None
    bounds = [evaluate(bound, options, found) for bound in (node.first, node.last or node.first)]
    if not all(isinstance(b, int) and b != 0 for b in bounds):
        found.add(outer_messages.bad_layers(node.span))
        return None
    first, last = (int(b) for b in bounds if b is not None)
    if (first > 0) == (last > 0) and first > last:
        found.add(outer_messages.empty_layers(node.span, first, last))
        return None
    return t.Within(first, last)
