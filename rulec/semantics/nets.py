"""Check calls of nets: their features, and what is read of their output."""

from __future__ import annotations

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.context import Context, called
from rulec.semantics.indices import COUNTED, check_letters, letters_of, letters_only, varies
from rulec.semantics.scope import Scope
from rulec.source import Diagnostic
from rulec.syntax import ast


def check_net_call(node: ast.Call, context: Context) -> t.Expr | None:
    scope = context.scope
    net = scope.nets[node.name]
    features = [_check_feature(argument, context) for argument in node.arguments]
    known = [f for f in features if f is not None]
    if len(known) < len(features) or not check_letters(node.indices, scope, context.place):
        return None
    total = sum(f.extent for f in known if isinstance(f.extent, int))
    if total != net.sizes[0]:
        scope.report(messages.net_size(node.span, node.name, net.sizes[0], total))
        return None
    axes = t.NOTHING.union(*(f.axes for f in known))
    problem = _output_problem(node, net, axes, scope)
    if problem is not None:
        scope.report(problem)
        return None
    items = tuple(item.name if isinstance(item, ast.IndexName) else item.value for item in node.indices)
    return t.NetCall(axes | letters_of(items), node.span, node.name, items[0] if items else None, tuple(known))


def _output_problem(node: ast.Call, net: t.Net, axes: t.Axes, scope: Scope) -> Diagnostic | None:
    """Say how a net's output is not what it is read as: one number, a component, or a vector along an index."""
    size = net.sizes[-1]
    if not node.indices:
        return None if size == 1 else messages.net_output(called(node), node.name, size, "one number")
    if len(node.indices) > 1:
        return messages.net_output(called(node), node.name, size, f"a table of {len(node.indices)} indices")
    item = node.indices[0]
    if isinstance(item, ast.IndexNumber):
        out = item.value >= size
        return messages.component_out_of_range(item.span, item.value, node.name, size) if out else None
    extent = scope.extent(item.name)
    if extent != size:
        counted = COUNTED.get(item.name, f"{extent} values")
        return messages.net_output(item.span, node.name, size, counted)
    return messages.net_output_taken(item.span, node.name, item.name) if item.name in axes else None


def _check_feature(argument: ast.Expression, context: Context) -> t.Features | None:
    """Check one argument of a net: a value, or `concat[k](...)` for one value per `k`."""
    if isinstance(argument, ast.Call) and argument.name == "concat":
        return _check_concat(argument, context)
    value = context.check(argument)
    return None if value is None else t.Features(value.axes, argument.span, value, None, 1)


def _check_concat(node: ast.Call, context: Context) -> t.Features | None:
    scope = context.scope
    if not context.takes(node, 1, indices=1):
        return None
    good = check_letters(node.indices, scope, context.place)
    value = context.check(node.arguments[0])
    names = letters_only(node.indices, scope)
    if value is None or not good or names is None or not varies(value, node.indices, "concat", scope):
        return None
    letter = names[0]
    extent = scope.extent(letter)
    if not isinstance(extent, int):
        runs = "samples" if letter == "n" else "outputs" if extent == "outputs" else "neurons"
        scope.report(messages.concat_extent(node.indices[0].span, letter, runs))
        return None
    return t.Features(value.axes - {letter}, node.span, value, letter, extent)
