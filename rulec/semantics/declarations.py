"""Check declarations: options, indices, genome entries, nets and states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeVar, cast

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.constants import evaluate, evaluate_count, evaluate_number, option_value
from rulec.semantics.expressions import check_expression
from rulec.semantics.indices import known_index
from rulec.semantics.operators import (
    ACTIVATIONS,
    BUILTIN_INDEXED,
    BUILTIN_INDICES,
    BUILTIN_NAMES,
    DOMAINS,
    INITIAL,
    INITIAL_NAMES,
    POINTWISE,
    REDUCTIONS,
    SPECIAL,
)
from rulec.semantics.scope import Place, Scope, declaration
from rulec.source import Diagnostic
from rulec.syntax import ast

_RESERVED = {
    **dict.fromkeys((*BUILTIN_NAMES, *BUILTIN_INDEXED, "outputs"), "a built-in value"),
    **dict.fromkeys((*POINTWISE, *SPECIAL, *INITIAL), "a function"),
    **dict.fromkeys(REDUCTIONS, "a reduction"),
    **dict.fromkeys(BUILTIN_INDICES, "a built-in index"),
    **dict.fromkeys(INITIAL_NAMES, "a value of initialisation"),
}

Entry = TypeVar("Entry", bound=ast.Node)


def chosen(nodes: tuple[Entry | ast.If, ...], scope: Scope) -> Iterator[Entry]:
    """Yield the nodes that the options choose, looking into every `if`."""
    for node in nodes:
        if isinstance(node, ast.If):
            decision = evaluate(node.condition, scope.options, scope.found)
            if decision is not None:
                branch = cast("tuple[Entry | ast.If, ...]", node.then if decision else node.otherwise)
                yield from chosen(branch, scope)
        else:
            yield node


def declare(name: ast.Name | ast.IndexName, scope: Scope) -> bool:
    """Enter a name; report it if it is taken."""
    if name.name in _RESERVED:
        scope.report(messages.reserved_name(name.span, name.name, _RESERVED[name.name]))
        scope.broken.add(name.name)
        return False
    before = scope.declared_at.get(name.name)
    if before is not None:
        scope.report(messages.duplicate_name(name.span, name.name, before))
        scope.broken.add(name.name)
        return False
    scope.declared_at[name.name] = name.span
    return True


def check_options(rule: ast.Rule, given: Mapping[str, t.OptionValue], scope: Scope) -> None:
    declared = [s for s in rule.sections if isinstance(s, ast.Option)]
    names = [o.name.name for o in declared]
    for name in given:
        if name not in names and name not in scope.ignored:
            scope.report(messages.unknown_option(name, rule.name.name, names))
    for option in declared:
        if declare(option.name, scope):
            scope.options[option.name.name] = option_value(
                option, given.get(option.name.name), scope.found, scope.options
            )


def check_index(section: ast.Index, scope: Scope) -> None:
    """`index k, l : states`; the extent is a number, `outputs`, or `j`: another neuron of the same layer."""
    extent: t.Extent | None
    if isinstance(section.extent, ast.Name) and section.extent.name in ("outputs", "i", "j"):
        extent = section.extent.name
    else:
        extent = evaluate_count(section.extent, scope.options, scope.found, messages.bad_extent)
    for name in section.names:
        if not declare(name, scope):
            continue
        if extent is None:
            scope.broken.add(name.name)
        else:
            scope.extents[name.name] = extent


# --- Genome ----------------------------------------------------------------------------------


def check_genome(section: ast.Genome, scope: Scope) -> None:
    entries: Iterator[ast.GenomeEntry | ast.Net] = chosen(section.entries, scope)
    for entry in entries:
        per_layer = _per_layer(section.per_layer, scope)
        if isinstance(entry, ast.Net):
            check_net(entry, scope, per_layer)
        elif declare(entry.name, scope):
            checked = _check_entry(entry, scope, _per_layer(entry.per_layer, scope) or per_layer)
            if checked is None:
                scope.broken.add(entry.name.name)
            else:
                scope.genome[checked.name] = checked


def _per_layer(modifier: ast.PerLayer | None, scope: Scope) -> bool:
    if modifier is None:
        return False
    return modifier.condition is None or bool(evaluate(modifier.condition, scope.options, scope.found))


def check_net(net: ast.Net, scope: Scope, per_layer: bool = False) -> None:
    if not declare(net.name, scope):
        return
    sizes = [evaluate_count(size, scope.options, scope.found, messages.bad_net_size) for size in net.sizes]
    known = tuple(size for size in sizes if size is not None)
    activation = _net_activation(net.activation, scope)
    if len(known) < len(sizes) or activation is None:
        scope.broken.add(net.name.name)
    else:
        scope.nets[net.name.name] = t.Net(net.name.name, known, activation, per_layer, net.span)


def _net_activation(word: ast.Name | None, scope: Scope) -> str | None:
    """Return the activation that is named, or that an option names."""
    name = "relu" if word is None else str(scope.options.get(word.name, word.name))
    if word is None or name in ACTIVATIONS:
        return name
    if not scope.is_poisoned(word.name):
        scope.report(messages.unknown_activation(word.span, name, ACTIVATIONS))
    return None


def _check_entry(entry: ast.GenomeEntry, scope: Scope, per_layer: bool) -> t.GenomeEntry | None:
    name, indices = entry.name.name, tuple(i.name for i in entry.indices)
    shape = _declared_shape(name, entry.indices, scope)
    domain = _check_domain(entry.domain, scope) if entry.domain else t.Domain()
    if shape is None or domain is None:
        return None
    initial = check_initial(entry, Beginning(name, "genome", "", indices, shape), scope)
    if initial is None:
        return None
    _check_in_domain(entry, initial, domain, scope)
    return t.GenomeEntry(name, indices, shape, domain, per_layer, initial, entry.span)


def _declared_shape(name: str, items: tuple[ast.IndexItem, ...], scope: Scope) -> tuple[t.Extent, ...] | None:
    shape: list[t.Extent] = []
    for place, item in enumerate(items):
        if isinstance(item, ast.IndexNumber):
            help = f"declare an index, `index k : {max(item.value, 1)}`, and write `{name}[k]`"
            scope.report(messages.number_for_index(item.span, item.value, help))
        elif item in items[:place]:
            scope.report(messages.repeated_index(item.span, item.name))
        elif known_index(item, scope):
            shape.append(scope.extents[item.name])
    return tuple(shape) if len(shape) == len(items) else None


def _check_domain(domain: ast.Domain, scope: Scope) -> t.Domain | None:
    if domain.name not in DOMAINS:
        word = domain.span.source.span(domain.span.start, domain.span.start + len(domain.name))
        scope.report(messages.unknown_domain(word, domain.name, list(DOMAINS)))
        return None
    if domain.name == "interval":
        return _check_interval(domain, scope)
    if domain.bounds:
        scope.report(messages.wrong_argument_count(domain.span, domain.name, "no arguments", len(domain.bounds)))
        return None
    return t.Domain(domain.name)


def _check_interval(domain: ast.Domain, scope: Scope) -> t.Domain | None:
    bounds = [evaluate_number(bound, scope.options, scope.found) for bound in domain.bounds]
    if None in bounds:
        return None
    if len(bounds) != 2 or not float(bounds[0] or 0) < float(bounds[1] or 0):
        scope.report(messages.bad_interval(domain.span))
        return None
    return t.Domain("interval", float(bounds[0] or 0), float(bounds[1] or 0))


def _check_in_domain(entry: ast.GenomeEntry, initial: t.Expr, domain: t.Domain, scope: Scope) -> None:
    values = constant_values(initial)
    low, high = {"real": (None, None), "positive": (0.0, None), "unit": (0.0, 1.0)}.get(
        domain.name, (domain.low, domain.high)
    )
    for value in values:
        below = low is not None and (value <= low if domain.name == "positive" else value < low)
        if below or (high is not None and value > high):
            scope.report(messages.outside_domain(initial.span, entry.name.name, value, str(domain)))
            return


def constant_values(expression: t.Expr) -> tuple[float, ...]:
    """Return the numbers of a constant initial value; nothing if it is drawn."""
    if isinstance(expression, t.Constant):
        return (expression.value,)
    if isinstance(expression, t.Matrix):
        return expression.values
    if isinstance(expression, t.Apply) and expression.operator == "neg":
        return tuple(-value for value in constant_values(expression.arguments[0]))
    return ()


# --- Initial values --------------------------------------------------------------------------


@dataclass(frozen=True)
class Beginning:
    """What an initial value is for: `kind` is genome, neuron, broadcast or synapse."""

    name: str
    kind: str
    sides: str
    indices: tuple[str, ...]
    shape: tuple[t.Extent, ...]


# What the evaluators of initial values know.
_INITIAL_OPERATORS = frozenset(
    ("add", "sub", "mul", "div", "pow", "neg", "sqrt", "exp", "log", "abs", "tanh", "sign", "sin", "cos", "min", "max")
) | {"square", "relu"}


def check_initial(entry: ast.GenomeEntry | ast.State, owner: Beginning, scope: Scope) -> t.Expr | None:
    """Return the value that a genome entry or a state begins with; zero if none is given."""
    if entry.initial is None:
        return t.Constant(t.NOTHING, entry.name.span, 0.0)
    initial = check_expression(entry.initial, scope, Place("initial", frozenset("ij")))
    if initial is None:
        return None
    problem = next((p for part in _parts(initial) if (p := _initial_problem(part, owner, scope)) is not None), None)
    if problem is not None:
        scope.report(problem)
        return None
    return initial


def _parts(expression: t.Expr) -> Iterator[t.Expr]:
    """Yield an initial value and what it is computed from."""
    yield expression
    if isinstance(expression, t.Apply):
        for argument in expression.arguments:
            yield from _parts(argument)
    elif isinstance(expression, t.Sample):
        yield from _parts(expression.first)
        yield from _parts(expression.second)


def _initial_problem(part: t.Expr, owner: Beginning, scope: Scope) -> Diagnostic | None:
    """Say what keeps a part of an initial value from being known when values begin."""
    fixed = owner.kind in ("neuron", "broadcast")
    match part:
        case t.Constant():
            return None
        case t.Matrix(shape=shape) if shape != owner.shape:
            return messages.initial_shape(part.span, owner.name, owner.shape, shape)
        case t.Identity() if len(owner.indices) < 2:
            return messages.eye_shape(part.span, owner.name, declaration(owner.name, owner.sides, owner.indices))
        case t.Matrix() | t.Identity():
            return None
        case t.Sample() | t.SizeRef() if fixed:
            return messages.random_neuron_initial(part.span, owner.name, owner.kind)
        case t.SizeRef(name=name) if name != "outputs" and owner.kind == "genome":
            return messages.shared_fan(part.span, owner.name, name)
        case t.Sample() | t.SizeRef():
            return None
        case t.StateRef() if owner.kind == "synapse" and scope.states[part.name].kind == "synapse":
            return _copied(part, owner, scope)
        case t.StateRef() if fixed:
            return messages.random_neuron_initial(part.span, owner.name, owner.kind)
        case t.Apply(operator=operator) if operator in _INITIAL_OPERATORS:
            return None
    return messages.not_initial(part.span, part.span.text)


def _copied(part: t.StateRef, owner: Beginning, scope: Scope) -> Diagnostic | None:
    other = scope.states[part.name]
    if sorted(other.sides) == sorted(owner.sides) and other.indices == owner.indices:
        return None
    own, theirs = (declaration(x.name, x.sides, x.indices) for x in (owner, other))
    return messages.initial_from_other(part.span, owner.name, part.name, own, theirs)


# --- States ----------------------------------------------------------------------------------


def check_states(section: ast.Neuron | ast.Synapse | ast.Broadcast, on_parameters: bool, scope: Scope) -> None:
    check = {ast.Neuron: _neuron, ast.Synapse: _synapse, ast.Broadcast: _broadcast}[type(section)]
    kind = type(section).__name__.lower()
    for entry in chosen(section.entries, scope):
        if not declare(entry.name, scope):
            continue
        if entry.keep and kind != "neuron":
            word = entry.span.source.span(entry.span.start, entry.span.start + len("keep"))
            scope.report(messages.keep_misplaced(word, entry.name.name, kind))
        state = check(entry, on_parameters, scope)
        if state is None:
            scope.broken.add(entry.name.name)
        else:
            scope.states[state.name] = state


def _neuron(entry: ast.State, on_parameters: bool, scope: Scope) -> t.State | None:
    first = entry.indices[0] if entry.indices else None
    if isinstance(first, ast.IndexName) and first.name in ("i", "j", "n"):
        rest = [_letter(item) for item in entry.indices[1:]]
        scope.report(messages.neuron_declared_with_index(first.span, entry.name.name, first.name, rest))
        return None
    return _state(entry, "neuron", "j", entry.indices, scope)


def _letter(item: ast.IndexItem) -> str:
    return item.name if isinstance(item, ast.IndexName) else str(item.value)


def _broadcast(entry: ast.State, on_parameters: bool, scope: Scope) -> t.State | None:
    return _state(entry, "broadcast", "", entry.indices, scope)


def _synapse(entry: ast.State, on_parameters: bool, scope: Scope) -> t.State | None:
    name, items = entry.name.name, entry.indices
    if not items:
        if not on_parameters:
            scope.report(messages.synapse_needs_indices(entry.name.span, name))
            return None
        return _state(entry, "synapse", "p", (), scope)
    count = sum(1 for _ in takewhile(lambda item: _letter(item) in ("i", "j"), items))
    sides = "".join(_letter(item) for item in items[:count])
    problem = _synapse_problem(entry, sides, items[count:])
    if problem is not None:
        scope.report(problem)
        return None
    return _state(entry, "synapse", "j" if sides == "i" else sides, items[count:], scope)


def _synapse_problem(entry: ast.State, sides: str, rest: tuple[ast.IndexItem, ...]) -> Diagnostic | None:
    name, items = entry.name.name, entry.indices
    late = next((item for item in rest if _letter(item) in ("i", "j")), None)
    if late is not None:
        order = sorted(map(_letter, items), key=lambda letter: letter not in ("i", "j"))
        return messages.neuron_index_late(late.span, declaration(name, "", tuple(order)))
    if not sides:
        return messages.state_without_neuron(entry.name.span, name)
    if len(sides) > len(set(sides)):
        return messages.repeated_index(items[len(set(sides))].span, sides[-1])
    if entry.initial is None:
        return messages.needs_initial(entry.name.span, declaration(name, "", tuple(map(_letter, items))))
    return None


def _state(entry: ast.State, kind: str, sides: str, items: tuple[ast.IndexItem, ...], scope: Scope) -> t.State | None:
    name = entry.name.name
    shape = _declared_shape(name, items, scope)
    if shape is None:
        return None
    indices = tuple(map(_letter, items))
    initial = check_initial(entry, Beginning(name, kind, sides, indices, shape), scope)
    if initial is None:
        return None
    return t.State(name, kind, sides, indices, shape, entry.keep, initial, entry.span)
