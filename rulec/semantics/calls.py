"""Check calls: what is called, and pointwise functions; calls with rules of their own have files of their own."""

from __future__ import annotations

from collections.abc import Callable

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.constants import spelling
from rulec.semantics.context import Context, called
from rulec.semantics.derivatives import check_change, check_diff, check_grad
from rulec.semantics.indices import neuron_side
from rulec.semantics.nets import check_net_call
from rulec.semantics.operators import INITIAL, POINTWISE, REDUCTIONS, SPECIAL
from rulec.semantics.reductions import check_reduction, check_solve
from rulec.semantics.scope import Scope
from rulec.source import Diagnostic
from rulec.syntax import ast

_MOST_PRIMES = 3  # of a derivative: each one makes the formula several times as long

# Functions whose arguments stand for more than their values: a variable, or all of a synapse state.
_ON_NAMES: dict[str, Callable[[ast.Call, Context], t.Expr | None]] = {
    "diff": check_diff,
    "grad": check_grad,
    "update": check_change,
    "init": check_change,
}


def check_call(node: ast.Call, context: Context) -> t.Expr | None:
    scope, name = context.scope, node.name
    option = scope.options.get(name)
    if isinstance(option, str) and (option == "act" or option in POINTWISE):
        name = option
    is_function = name in scope.nets or any(name in table for table in (POINTWISE, SPECIAL, REDUCTIONS, INITIAL))
    if node.primes and not _has_slope(name):
        scope.report(messages.no_derivative(called(node), node.name) if is_function else _no_function(node, scope))
        return None
    if node.primes > _MOST_PRIMES:
        scope.report(messages.high_derivative(called(node), node.name, _MOST_PRIMES))
        return None
    if name in scope.nets:
        return check_net_call(node, context)
    if scope.is_poisoned(name):
        context.check_all(*node.arguments)
        return None
    if not is_function:
        scope.report(_no_function(node, scope))
        return None
    return _check_known(node, name, context)


def _has_slope(name: str) -> bool:
    return name == "act" or (name in POINTWISE and POINTWISE[name].arity == 1)


def _no_function(node: ast.Call, scope: Scope) -> Diagnostic:
    """Say what is called as if it were a function."""
    name, word = node.name, called(node)
    if name in scope.options:
        return messages.option_not_function(word, name, spelling(scope.options[name]))
    if name in scope.genome or name in scope.states:
        return messages.not_a_function(word, name, "a genome entry" if name in scope.genome else "a state")
    return messages.unknown_function(word, name, [*POINTWISE, *SPECIAL, *REDUCTIONS, *scope.nets, *INITIAL])


def _check_known(node: ast.Call, name: str, context: Context) -> t.Expr | None:
    """Check a call of a built-in function, whose name an option may have given."""
    if name in REDUCTIONS and (node.indices or name not in POINTWISE):
        return check_reduction(node, name, context)
    if name in INITIAL:
        return _check_sample(node, context)
    if name == "solve":
        return check_solve(node, context)
    if name == "concat":
        home, example = "the arguments of a net", "f(x[j], concat[k](a[j,k]))"
        context.report(messages.call_misplaced(called(node), "concat", home, example))
        return None
    if node.indices:
        context.report(messages.not_a_reduction(called(node), node.name))
        return None
    if name in _ON_NAMES:
        return _ON_NAMES[name](node, context) if context.takes(node, SPECIAL[name][0]) else None
    arguments = context.check_all(*node.arguments)
    return None if arguments is None else _check_function(node, name, arguments, context)


def _check_sample(node: ast.Call, context: Context) -> t.Expr | None:
    if node.indices:
        context.report(messages.not_a_reduction(called(node), node.name))
        return None
    if context.place.kind != "initial":
        context.report(messages.sample_misplaced(node.span, node.name))
        return None
    arguments = context.check_all(*node.arguments) if context.takes(node, INITIAL[node.name]) else None
    return None if arguments is None else t.Sample(t.NOTHING, node.span, node.name, *arguments)


def _check_function(node: ast.Call, name: str, arguments: tuple[t.Expr, ...], context: Context) -> t.Expr | None:
    if name in ("min", "max") and len(arguments) == 1:
        context.report(messages.reduction_without_index(called(node), name))
        return None
    if not context.takes(node, POINTWISE[name].arity if name in POINTWISE else SPECIAL[name][0]):
        return None
    if name == "act":
        return _check_act(node, arguments[0], context)
    if name == "stop":
        return t.Stop(arguments[0].axes, node.span, arguments[0])
    return t.apply(name + "'" * node.primes, node.span, *arguments)


def _check_act(node: ast.Call, argument: t.Expr, context: Context) -> t.Expr | None:
    sides = {side for letter in argument.axes if (side := neuron_side(letter, context.scope))}
    if len(sides) != 1 or "n" not in argument.axes:
        other = {"forward": "i", "backward": "j"}.get(context.place.kind, "") if "n" in argument.axes else ""
        context.report(messages.act_without_neuron(node.arguments[0].span, len(sides), other))
        return None
    return t.Activation(argument.axes, node.span, sides.pop(), node.primes, argument)
