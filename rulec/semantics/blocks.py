"""Check blocks: which side may be written where, what is known when, and that every axis is accounted for."""

from __future__ import annotations

from dataclasses import dataclass

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.constants import evaluate
from rulec.semantics.declarations import chosen
from rulec.semantics.expressions import (
    apply,
    check_expression,
    check_letters,
    check_state,
)
from rulec.semantics.operators import BUILTIN_INDEXED
from rulec.semantics.scope import Local, Place, Scope
from rulec.syntax import ast

_HEADERS = {"input": ("i",), "forward": ("i", "j"), "output": ("j",), "backward": ("i", "j"), "update": ("i", "j")}
_ARROWS = {"input": "i", "forward": "i -> j", "output": "j", "backward": "i <- j", "update": "i -> j"}
_WRITES = {
    "input": "the input layer's neurons `i`",
    "forward": "the postsynaptic neuron `j`",
    "backward": "the presynaptic neuron `i`",
    "output": "the output layer's neurons `j`",
    "update": "synapse states",
}
_OPERATORS = {"+=": "add", "-=": "sub", "*=": "mul", "/=": "div"}


@dataclass
class Progress:
    """What earlier blocks have established."""

    predicted: bool = False


def check_blocks(nodes: tuple[ast.Node, ...], scope: Scope, progress: Progress) -> tuple[t.Block | t.Repeat, ...]:
    blocks: list[t.Block | t.Repeat] = []
    for node in chosen(nodes, scope):
        if isinstance(node, ast.Repeat):
            count = evaluate(node.count, scope.options, scope.found)
            body = check_blocks(node.body, scope, progress)
            if isinstance(count, int) and not isinstance(count, bool) and count >= 1:
                blocks.append(t.Repeat(count, body, node.span))
            elif count is not None:
                scope.report(messages.bad_extent(node.count.span, count))
        elif isinstance(node, ast.Block):
            block = _check_block(node, scope, progress)
            if block is not None:
                blocks.append(block)
    return tuple(blocks)


def _check_block(node: ast.Block, scope: Scope, progress: Progress) -> t.Block | None:
    if node.kind == "generate":
        scope.report(
            messages.not_available(node.span, "the block `generate`", "write the weights' rule with `update i -> j`")
        )
        return None
    letters = tuple(i.name for i in node.indices)
    kind = "parameters" if node.kind == "update" and not letters else node.kind
    if kind != "parameters" and letters != _HEADERS[kind]:
        span = node.indices[0].span + node.indices[-1].span if node.indices else node.span
        scope.report(messages.wrong_header_index(span, kind, _ARROWS[kind]))
    place = Place(kind, frozenset(_HEADERS.get(kind, ())), loss_known=progress.predicted or kind == "parameters")
    writes: list[t.Write] = []
    for statement in chosen(node.body, scope):
        write = _check_statement(statement, scope, place)
        if write is not None:
            writes.append(write)
            if write.kind == "prediction":
                place.loss_known = progress.predicted = True
    for name, local in place.locals.items():
        if not local.read and local.axes is not None:
            scope.report(messages.unused_local(local.span, name, list(scope.states)))
    return t.Block(kind, tuple(writes), node.span)


def _check_statement(node: ast.Assign, scope: Scope, place: Place) -> t.Write | None:
    target = _check_target(node.target, scope, place)
    known = target is not None and target.axes is not None
    place.target_axes = target.axes if target is not None and target.axes is not None else t.NOTHING
    value = check_expression(node.value, scope, place)
    if target is None:
        return None
    if node.operator != "=" and value is not None:
        value = _compound(node, value, scope, place)
    if target.kind == "local":
        return _write_local(node, target, value, place)
    if value is None or not known or not _check_axes(node, value, target, scope, place):
        return None
    return t.Write(target.kind, target.name, target.side, target.indices, 0, value, node.span)


def _compound(node: ast.Assign, value: t.Expr, scope: Scope, place: Place) -> t.Expr | None:
    before = check_expression(node.target, scope, place)
    return before and apply(_OPERATORS[node.operator], node.span, before, value)


@dataclass(frozen=True)
class _Target:
    kind: str
    name: str
    side: str = ""
    indices: tuple[str | int, ...] = ()
    axes: t.Axes | None = None  # None: a local name, which takes its axes from the value


def _check_target(node: ast.Indexed | ast.Name, scope: Scope, place: Place) -> _Target | None:
    name = node.name
    if name in scope.genome or name in scope.options or name in scope.nets or name in scope.extents:
        what = (
            "a genome entry"
            if name in scope.genome
            else "an option"
            if name in scope.options
            else "a net"
            if name in scope.nets
            else "an index"
        )
        scope.report(messages.read_only(node.span, name, what))
        return None
    if name == "prediction":
        return _prediction_target(node, scope, place)
    if name in BUILTIN_INDEXED or name in ("t", "loss"):
        scope.report(messages.read_only(node.span, name, "comes from the task"))
        return None
    if name in scope.states:
        return _state_target(node, scope, place)
    if scope.is_poisoned(name):
        return None
    if place.kind == "parameters" and name == "w" and isinstance(node, ast.Name):
        return _Target("state", "w", "p", (), frozenset("p"))
    if isinstance(node, ast.Indexed):
        close = messages.nearest(name, [*scope.states, "prediction"])
        if close is not None and len(name) > 1:
            scope.report(messages.unknown_name(node.span, name, list(scope.states)))
            return None
        if not check_letters(node.indices, scope, place):
            return None
    return _Target("local", name)


def _prediction_target(node: ast.Indexed | ast.Name, scope: Scope, place: Place) -> _Target | None:
    if place.kind != "output":
        help = "set it in an `output j` block"
        scope.report(messages.data_misplaced(node.span, "prediction", place.title, help))
        return None
    letters = [i.name for i in node.indices if isinstance(i, ast.IndexName)] if isinstance(node, ast.Indexed) else []
    if letters != ["j"]:
        scope.report(messages.missing_index(node.span, "prediction", "prediction[j]"))
        return None
    return _Target("prediction", "prediction", "j", (), frozenset("nj"))


def _state_target(node: ast.Indexed | ast.Name, scope: Scope, place: Place) -> _Target | None:
    state = scope.states[node.name]
    if isinstance(node, ast.Name):
        reference = check_expression(node, scope, place)
        if not isinstance(reference, t.StateRef):
            return None
    else:
        checked = check_state(node, scope, place)
        if checked is None:
            return None
        reference = checked
    if not _may_write(state, reference, place):
        expected = _WRITES.get(place.kind, "the network's parameters")
        kind = "update" if place.kind == "parameters" else place.kind
        scope.report(messages.wrong_side(node.span, kind, node.span.text, expected))
        return None
    return _Target("state", node.name, reference.side, reference.indices, reference.axes)


def _may_write(state: t.State, reference: t.StateRef, place: Place) -> bool:
    if place.kind in ("update", "parameters"):
        return state.kind == "synapse" and set(reference.side.split(",")) <= {"i", "j", "p"}
    if state.kind == "broadcast":
        return place.kind in ("output", "forward", "backward")
    side = {"input": "i", "forward": "j", "output": "j", "backward": "i"}[place.kind]
    return state.kind == "neuron" and reference.side == side


def _write_local(node: ast.Assign, target: _Target, value: t.Expr | None, place: Place) -> t.Write | None:
    before = place.locals.get(target.name)
    version = 0 if before is None else before.version + 1
    axes = None if value is None else value.axes
    place.locals[target.name] = Local(version, axes, node.target.span, read=before is not None and before.read)
    if value is None:
        return None
    return t.Write("local", target.name, "", (), version, value, node.span)


# --- Axes of an assignment -------------------------------------------------------------------


def _check_axes(node: ast.Assign, value: t.Expr, target: _Target, scope: Scope, place: Place) -> bool:
    assert target.axes is not None
    extra = value.axes - target.axes
    if not extra:
        return True
    right = node.value
    if "n" in extra:
        cause = sample_cause(value, right.span)
        if place.kind == "parameters":
            scope.report(messages.sample_in_parameter(cause.span, target.name))
        else:
            scope.report(messages.unreduced_sample(cause.span, target.name, cause.span.text))
        return False
    index = t.ordered(extra)[0]
    cause = _smallest(value, index)
    scope.report(messages.unreduced_index(cause.span, index, node.target.span.text))
    return False


def sample_cause(value: t.Expr, within: messages.Span) -> t.Expr:
    """Return the smallest part of the value that varies with the sample as a whole."""
    return _smallest(value, "n")


def _smallest(value: t.Expr, axis: str) -> t.Expr:
    if isinstance(value, t.Apply) and value.operator in ("add", "sub", "mul", "div", "neg"):
        carriers = [a for a in _factors(value) if axis in a.axes]
        if len(carriers) == 1:
            return _smallest(carriers[0], axis)
        span = carriers[0].span
        for carrier in carriers[1:]:
            span = span + carrier.span
        return t.Apply(value.axes, span, value.operator, value.arguments)
    return value


def _factors(value: t.Expr) -> list[t.Expr]:
    """Flatten a chain of products, so that `lr * x * d` is three factors."""
    if isinstance(value, t.Apply) and value.operator == "mul":
        return [
            f for a in value.arguments for f in (_factors(a) if isinstance(a, t.Apply) and a.operator == "mul" else [a])
        ]
    return list(value.arguments) if isinstance(value, t.Apply) else [value]
