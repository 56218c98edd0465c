"""Check `diff` and `grad`, and `update`, which laws hold against them."""

from __future__ import annotations

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.context import Context, called
from rulec.syntax import ast


def check_diff(node: ast.Call, context: Context) -> t.Expr | None:
    arguments = context.check_all(*node.arguments)
    if arguments is None:
        return None
    value, variable = arguments
    if not isinstance(variable, (t.StateRef, t.LocalRef)):
        context.report(messages.diff_variable(node.arguments[1].span))
        return None
    return t.Diff(variable.axes, node.span, value, variable)


def check_grad(node: ast.Call, context: Context) -> t.Expr | None:
    scope, in_law = context.scope, context.place.kind == "law"
    if not in_law and context.place.kind != "parameters":
        scope.report(messages.grad_misplaced(called(node)))
        return None
    value, variable = node.arguments
    name = variable.name if isinstance(variable, ast.Name) else ""
    checked = context.check(value)
    if checked is None or scope.is_poisoned(name):
        return None
    if name != "w" and not (in_law and name in scope.states):
        scope.report(messages.grad_arguments(variable.span))
        return None
    if not (checked.axes <= {"n"} if in_law else _is_mean_loss(checked)):
        scope.report(messages.grad_arguments(value.span))
        return None
    state = scope.states.get(name) if in_law else None
    return t.Grad(_whole_axes(state), node.span, checked, name)


def _is_mean_loss(value: t.Expr) -> bool:
    """Whether a value is `loss` or `mean[n](loss)`, whose gradients are the same: that of the mean over the batch."""
    if isinstance(value, t.Reduce) and value.operator == "mean":
        value = value.argument
    return isinstance(value, t.DataRef) and value.name == "loss"


def check_change(node: ast.Call, context: Context) -> t.Expr | None:
    """`update(w)` in a law; `init(w)`, which belongs in an outer's clauses, is refused."""
    scope, argument = context.scope, node.arguments[0]
    if node.name == "init":
        scope.report(messages.call_misplaced(called(node), "init", "an outer's clauses", "meta init(w)"))
        return None
    if context.place.kind != "law":
        example = "gradient : update(w) == -lr * grad(loss, w)"
        scope.report(messages.call_misplaced(called(node), "update", "`laws`", example))
        return None
    if not isinstance(argument, ast.Name):
        scope.report(messages.call_misplaced(argument.span, argument.span.text, "other places", "update(w)"))
        return None
    if scope.is_poisoned(argument.name):
        return None
    state = scope.states.get(argument.name)
    is_synapse = argument.name == "w" if state is None else state.kind == "synapse"
    if not is_synapse:
        synapses = [s.name for s in scope.states.values() if s.kind == "synapse"]
        scope.report(messages.no_synapse(argument.span, argument.name, synapses))
        return None
    return t.Change(_whole_axes(state), node.span, argument.name)


def _whole_axes(state: t.State | None) -> t.Axes:
    """Return the axes of all of a synapse state; the network's own parameters if there is none."""
    return frozenset("p") if state is None else frozenset(state.sides) | frozenset(state.indices)
