"""Check laws: equations between values, and how local the updates of a synapse may be."""

from __future__ import annotations

from dataclasses import dataclass

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.expressions import check_expression
from rulec.semantics.locality import KINDS, localities
from rulec.semantics.scope import Place, Scope
from rulec.source import Diagnostics, Span
from rulec.syntax import ast

CLASSES = tuple(kind.replace(" ", "_").replace("-", "_") for kind in KINDS)  # as they are written in a law


@dataclass(frozen=True)
class Bound:
    """`NAME : locality(state) <= kind`."""

    name: str
    state: str
    kind: str
    span: Span


def check_laws(nodes: list[ast.Law], scope: Scope) -> tuple[tuple[t.Law, ...], tuple[Bound, ...]]:
    """Return the laws to be proved, and those about locality."""
    laws: list[t.Law] = []
    bounds: list[Bound] = []
    seen: dict[str, ast.Name] = {}
    for law in nodes:
        if law.name.name in seen:
            scope.report(messages.duplicate_name(law.name.span, law.name.name, seen[law.name.name].span))
            continue
        seen[law.name.name] = law.name
        if isinstance(law.left, ast.Call) and law.left.name == "locality":
            bound = _bound(law, law.left, scope)
            bounds += [] if bound is None else [bound]
        else:
            checked = _law(law, scope)
            laws += [] if checked is None else [checked]
    return tuple(laws), tuple(bounds)


def _law(law: ast.Law, scope: Scope) -> t.Law | None:
    place = Place("law", frozenset("ij"), loss_known=True)
    left, right = check_expression(law.left, scope, place), check_expression(law.right, scope, place)
    if left is None or right is None:
        return None
    if left.axes and right.axes and left.axes != right.axes:
        scope.report(messages.axes_differ(law.left.span + law.right.span, _letters(left), _letters(right)))
        return None
    return t.Law(law.name.name, law.relation, left, right, law.span)


def _letters(expression: t.Expr) -> str:
    return "[" + ",".join(t.ordered(expression.axes)) + "]"


def _bound(law: ast.Law, call: ast.Call, scope: Scope) -> Bound | None:
    kind = law.right.name if isinstance(law.right, ast.Name) else ""
    state = call.arguments[0] if len(call.arguments) == 1 else None
    if law.relation != "<=" or kind not in CLASSES or not isinstance(state, ast.Name):
        scope.report(messages.malformed_locality(law.span, CLASSES))
        return None
    if scope.is_poisoned(state.name):
        return None
    declared = scope.states.get(state.name)
    if state.name != "w" and (declared is None or declared.kind != "synapse"):
        synapses = [s.name for s in scope.states.values() if s.kind == "synapse"]
        scope.report(messages.no_synapse(state.span, state.name, synapses))
        return None
    return Bound(law.name.name, state.name, kind, law.span)


def check_bounds(rule: t.Rule, bounds: tuple[Bound, ...], found: Diagnostics) -> None:
    """Report each update that is less local than a law allows, where it becomes so."""
    for one in localities(rule) if bounds else ():
        for bound in bounds:
            if one.state.split("[")[0] == bound.state and KINDS.index(one.kind) > CLASSES.index(bound.kind):
                reason = one.reasons[0]
                found.add(messages.not_so_local(reason.span, one.state, one.kind, reason.text, bound.name, bound.kind))
