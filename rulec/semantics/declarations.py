"""Check declarations: options, indices, genome entries, nets and states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.constants import evaluate, evaluate_number, option_value
from rulec.semantics.expressions import check_expression
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
from rulec.semantics.scope import Place, Scope
from rulec.source import Span
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
                yield from chosen(node.then if decision else node.otherwise, scope)  # type: ignore[arg-type]
        else:
            yield node


def declare(name: ast.Name | ast.IndexName, scope: Scope) -> bool:
    """Enter a name; report it if it is taken."""
    if name.name in _RESERVED:
        scope.report(messages.reserved_name(name.span, name.name, _RESERVED[name.name]))
        return False
    before = scope.declared_at.get(name.name)
    if before is not None:
        scope.report(messages.duplicate_name(name.span, name.name, before))
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
            scope.options[option.name.name] = option_value(option, given.get(option.name.name), scope.found)


def check_index(section: ast.Index, scope: Scope) -> None:
    """`index k, l : states`; the extent is a number, `outputs`, or `j`: another neuron of the same layer."""
    extent: t.Extent | None
    if isinstance(section.extent, ast.Name) and section.extent.name in ("outputs", "i", "j"):
        extent = section.extent.name
    else:
        value = evaluate(section.extent, scope.options, scope.found)
        extent = value if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else None
        if value is not None and extent is None:
            scope.report(messages.bad_extent(section.extent.span, value))
    for name in section.names:
        if not declare(name, scope):
            continue
        if extent is None:
            scope.broken.add(name.name)
        scope.extents[name.name] = 1 if extent is None else extent


# --- Genome ----------------------------------------------------------------------------------


def check_genome(section: ast.Genome, scope: Scope) -> None:
    for entry in chosen(section.entries, scope):
        per_layer = _per_layer(section.per_layer, scope) or _per_layer(getattr(entry, "per_layer", None), scope)
        if isinstance(entry, ast.Net):
            check_net(entry, scope, per_layer)
        elif declare(entry.name, scope):
            checked = _check_entry(entry, scope, per_layer)
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
    sizes: list[int] = []
    for size in net.sizes:
        value = evaluate(size, scope.options, scope.found)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            if value is not None:
                scope.report(messages.bad_extent(size.span, value))
            scope.broken.add(net.name.name)
            return
        sizes.append(value)
    activation = net.activation.name if net.activation else "relu"
    activation = str(scope.options.get(activation, activation))
    if activation not in ACTIVATIONS:
        assert net.activation is not None
        scope.report(messages.unknown_function(net.activation.span, activation, ACTIVATIONS))
        activation = "relu"
    scope.nets[net.name.name] = t.Net(net.name.name, tuple(sizes), activation, per_layer, net.span)


def _check_entry(entry: ast.GenomeEntry, scope: Scope, per_layer: bool) -> t.GenomeEntry | None:
    shape = _declared_shape(entry.indices, scope)
    domain = _check_domain(entry.domain, scope) if entry.domain else t.Domain()
    if shape is None or domain is None:
        return None
    initial = _initial(entry.initial, entry.name.span, entry.name.name, shape, scope)
    if initial is None:
        return None
    _check_in_domain(entry, initial, domain, scope)
    indices = tuple(i.name for i in entry.indices)
    return t.GenomeEntry(entry.name.name, indices, shape, domain, per_layer, initial, entry.span)


def _declared_shape(items: tuple[ast.IndexItem, ...], scope: Scope) -> tuple[t.Extent, ...] | None:
    shape: list[t.Extent] = []
    for item in items:
        if isinstance(item, ast.IndexName) and item.name in scope.ignored:
            return None
        if not isinstance(item, ast.IndexName) or item.name not in scope.extents:
            text = item.name if isinstance(item, ast.IndexName) else str(item.value)
            scope.report(messages.unknown_index(item.span, text, list(scope.extents)))
            return None
        if item.name in scope.broken:
            return None
        shape.append(scope.extents[item.name])
    return tuple(shape)


def _check_domain(domain: ast.Domain, scope: Scope) -> t.Domain | None:
    if domain.name not in DOMAINS:
        scope.report(messages.unknown_domain(domain.span, domain.name, list(DOMAINS)))
        return None
    if len(domain.bounds) != DOMAINS[domain.name]:
        if domain.name == "interval":
            scope.report(messages.bad_interval(domain.span))
        else:
            scope.report(messages.wrong_argument_count(domain.span, domain.name, "no arguments", len(domain.bounds)))
        return None
    if domain.name != "interval":
        return t.Domain(domain.name)
    low, high = (evaluate_number(bound, scope.options, scope.found) for bound in domain.bounds)
    if low is None or high is None:
        return None
    if not low < high:
        scope.report(messages.bad_interval(domain.span))
        return None
    return t.Domain("interval", float(low), float(high))


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


def _initial(
    node: ast.Expression | None, span: Span, name: str, shape: tuple[t.Extent, ...], scope: Scope
) -> t.Expr | None:
    if node is None:
        return t.Constant(t.NOTHING, span, 0.0)
    initial = check_expression(node, scope, Place("initial", frozenset("ij")))
    if isinstance(initial, t.Matrix) and initial.shape != shape:
        scope.report(messages.initial_shape(node.span, name, shape, initial.shape))
        return None
    return initial


# --- States ----------------------------------------------------------------------------------


def check_states(section: ast.Neuron | ast.Synapse | ast.Broadcast, on_parameters: bool, scope: Scope) -> None:
    check = {ast.Neuron: _neuron, ast.Synapse: _synapse, ast.Broadcast: _broadcast}[type(section)]
    kind = type(section).__name__.lower()
    for entry in chosen(section.entries, scope):
        if not declare(entry.name, scope):
            continue
        if entry.keep and kind != "neuron":
            scope.report(messages.keep_misplaced(entry.name.span, entry.name.name, kind))
        state = check(entry, on_parameters, scope)
        if state is None:
            scope.broken.add(entry.name.name)
        else:
            scope.states[state.name] = state


def _neuron(entry: ast.State, on_parameters: bool, scope: Scope) -> t.State | None:
    first = entry.indices[0] if entry.indices else None
    if isinstance(first, ast.IndexName) and first.name in ("i", "j", "n"):
        scope.report(messages.neuron_declared_with_index(first.span, entry.name.name, first.name))
        return None
    return _state(entry, "neuron", "j", entry.indices, scope)


def _broadcast(entry: ast.State, on_parameters: bool, scope: Scope) -> t.State | None:
    return _state(entry, "broadcast", "", entry.indices, scope)


def _synapse(entry: ast.State, on_parameters: bool, scope: Scope) -> t.State | None:
    name = entry.name.name
    sides = ""
    items = list(entry.indices)
    while items and isinstance(items[0], ast.IndexName) and items[0].name in ("i", "j"):
        sides += items.pop(0).name  # type: ignore[union-attr]
    if not entry.indices:
        if not on_parameters:
            scope.report(messages.synapse_needs_indices(entry.name.span, name))
            return None
        return _state(entry, "synapse", "p", (), scope)
    if on_parameters:
        scope.report(messages.mixed_updates(entry.name.span, name))
        return None
    if not sides:
        scope.report(messages.state_without_neuron(entry.name.span, name))
        return None
    if len(sides) == 2 and sides[0] == sides[1]:
        scope.report(messages.repeated_index(entry.indices[1].span, sides[0]))
        return None
    if entry.initial is None:
        scope.report(messages.needs_initial(entry.name.span, entry.span.text))
        return None
    return _state(entry, "synapse", "j" if sides == "i" else sides, tuple(items), scope)


def _state(entry: ast.State, kind: str, sides: str, items: tuple[ast.IndexItem, ...], scope: Scope) -> t.State | None:
    shape = _declared_shape(items, scope)
    if shape is None:
        return None
    initial = _initial(entry.initial, entry.name.span, entry.name.name, shape, scope)
    if initial is None:
        return None
    indices = tuple(item.name for item in items if isinstance(item, ast.IndexName))
    return t.State(entry.name.name, kind, sides, indices, shape, entry.keep, initial, entry.span)
