"""Check references to states, with indices and without."""

from __future__ import annotations

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.indices import check_letters, letters_of, neuron_side, resolve_indices
from rulec.semantics.scope import Place, Scope, declaration
from rulec.source import Span
from rulec.syntax import ast


def check_bare_state(name: str, span: Span, scope: Scope, place: Place) -> t.StateRef | None:
    """Check a state named without indices: one of a parameter, a single broadcast value, or another's beginning."""
    state = scope.states[name]
    if place.kind == "initial":
        return t.StateRef(t.NOTHING, span, name, state.sides, ())
    if state.sides == "p":
        return t.StateRef(frozenset("p"), span, name, "p", ())
    if state.kind == "broadcast" and not state.indices:
        return t.StateRef(frozenset("n"), span, name, "", ())
    scope.report(messages.missing_index(span, name, _forms(state, place)))
    return None


def check_state(node: ast.Indexed, scope: Scope, place: Place) -> t.StateRef | None:
    """Check a reference to a state, read or assigned."""
    state = scope.states[node.name]
    if state.sides == "p" or (state.kind == "broadcast" and not state.indices):
        scope.report(messages.needless_index(node.span, node.name))
        return None
    if not check_letters(node.indices, scope, place):
        return None
    neurons, given = len(state.sides), len(node.indices)
    if given != neurons + len(state.indices):
        full = _nearest_form(node, state, place)
        scope.report(messages.wrong_index_count(node.span, node.name, full, neurons + len(state.indices), given))
        return None
    letters = _neuron_letters(node, node.indices[:neurons], state, scope, place)
    if letters is None:
        return None
    indices = resolve_indices(node.name, node.indices[neurons:], state.shape, scope, place)
    if indices is None:
        return None
    axes = letters_of(indices) | frozenset(letters)
    if state.kind in ("neuron", "broadcast"):
        axes |= {"n"}
    return t.StateRef(axes, node.span, node.name, ",".join(letters), indices)


def _forms(state: t.State, place: Place) -> list[str]:
    """Return how a state can be written in full where both neurons are bound, or the one that is."""
    if state.sides != "j":
        return [declaration(state.name, state.sides, state.indices)]
    letters = [letter for letter in ("i", "j") if letter in place.sides] or ["i", "j"]
    return [declaration(state.name, letter, state.indices) for letter in letters]


def _nearest_form(node: ast.Indexed, state: t.State, place: Place) -> str:
    """Return the full form of a state for the neuron that was written."""
    forms = _forms(state, place)
    first = node.indices[0]
    return next(
        (f for f in forms if isinstance(first, ast.IndexName) and f.startswith(f"{state.name}[{first.name}")), forms[-1]
    )


def _neuron_letters(
    node: ast.Indexed, items: tuple[ast.IndexItem, ...], state: t.State, scope: Scope, place: Place
) -> tuple[str, ...] | None:
    """Return the letters of the neurons, the presynaptic one first."""
    letters: list[str] = []
    for item in items:
        text = item.name if isinstance(item, ast.IndexName) else str(item.value)
        if neuron_side(text, scope) is None:
            scope.report(messages.not_a_neuron_index(item.span, node.name, text, _forms(state, place)))
            return None
        letters.append(text)
    if len(letters) == 2 and [neuron_side(letter, scope) for letter in letters] != list(state.sides):
        scope.report(messages.swapped_indices(node.span, node.name, _forms(state, place)[0]))
        return None
    return tuple(reversed(letters)) if state.sides == "ji" else tuple(letters)
