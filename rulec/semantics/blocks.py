"""Check blocks: which side may be written where, what is known when, and that every axis is accounted for."""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.constants import evaluate_count
from rulec.semantics.declarations import chosen
from rulec.semantics.expressions import check_expression
from rulec.semantics.indices import check_letters
from rulec.semantics.operators import BUILTIN_INDEXED, BUILTIN_NAMES
from rulec.semantics.scope import Local, Place, Scope, declaration
from rulec.semantics.states import check_state
from rulec.source import Span
from rulec.syntax import ast

_BUILTIN = (*BUILTIN_NAMES, *BUILTIN_INDEXED, "w")
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
    skip_bare: bool = False  # a bare `update` is a mistake in this rule, and has been told
    reads: frozenset[str] = frozenset()  # the names that any block reads, whatever the options choose


def check_blocks(nodes: tuple[ast.Node, ...], scope: Scope, progress: Progress) -> tuple[t.Block | t.Repeat, ...]:
    _remember_locals(nodes, scope)
    blocks: list[t.Block | t.Repeat] = []
    for node in chosen(nodes, scope):
        if isinstance(node, ast.Repeat):
            count = evaluate_count(node.count, scope.options, scope.found, messages.bad_repeat_count)
            body = check_blocks(node.body, scope, progress)
            if count is not None:
                blocks.append(t.Repeat(count, body, node.span))
        elif isinstance(node, ast.Block):
            block = _check_block(node, scope, progress)
            if block is not None:
                blocks.append(block)
    return tuple(blocks)


def _remember_locals(nodes: tuple[ast.Node, ...], scope: Scope) -> None:
    """Note where names are assigned that nothing declares: whoever reads one in another block is told."""
    for assign in (part for node in nodes for part in ast.walk(node) if isinstance(part, ast.Assign)):
        if assign.target.name not in _BUILTIN:
            scope.declared_at.setdefault(assign.target.name, assign.target.span)


def _check_block(node: ast.Block, scope: Scope, progress: Progress) -> t.Block | None:
    letters = tuple(i.name for i in node.indices)
    kind = "parameters" if node.kind == "update" and not letters else node.kind
    if not _check_header(node, kind, letters, scope) or (kind == "parameters" and progress.skip_bare):
        progress.predicted |= kind == "output"
        return None
    place = Place(kind, frozenset(_HEADERS.get(kind, ())), loss_known=progress.predicted or kind == "parameters")
    writes: list[t.Write] = []
    for statement in chosen(node.body, scope):
        write = _check_statement(statement, scope, place)
        if write is not None:
            writes.append(write)
        if kind == "output" and (write is None or messages.nearest(write.name, ["prediction"])):
            place.loss_known = progress.predicted = True  # or meant to be: a mistake in that line is told there
    _check_unread(place, progress.reads, scope)
    return t.Block(kind, tuple(writes), node.span)


def _check_header(node: ast.Block, kind: str, letters: tuple[str, ...], scope: Scope) -> bool:
    if kind == "generate":
        word = node.span.source.span(node.span.start, node.span.start + len(kind))
        scope.report(messages.not_available(word, "the block `generate`", "set the weights with `update i -> j`"))
        return False
    if kind == "parameters" or letters == _HEADERS[kind]:
        return True
    scope.report(messages.wrong_header_index(node.indices[0].span + node.indices[-1].span, kind, _ARROWS[kind]))
    return False


def _check_unread(place: Place, read: frozenset[str], scope: Scope) -> None:
    """Report local names that nothing reads: misspelt states, most of the time."""
    for name, local in place.locals.items():
        if local.axes is None or name in read or name in scope.broken:
            continue
        candidates = [*scope.states, "prediction"]
        if messages.nearest(name, candidates) is not None:
            word = local.span.source.span(local.span.start, local.span.start + len(name))
            scope.report(messages.unknown_name(word, name, candidates))
        else:
            scope.report(messages.unused_local(local.span, name))


def names_read(nodes: Iterable[ast.Node]) -> frozenset[str]:
    """Return every name that an assignment among the nodes reads."""
    values = [part.value for node in nodes for part in ast.walk(node) if isinstance(part, ast.Assign)]
    return frozenset(p.name for value in values for p in ast.walk(value) if isinstance(p, (ast.Name, ast.Indexed)))


def _check_statement(node: ast.Assign, scope: Scope, place: Place) -> t.Write | None:
    target = _check_target(node.target, scope, place)
    place.target_axes = target.axes if target is not None and target.axes is not None else t.NOTHING
    value = check_expression(node.value, scope, place)
    if target is None:
        return None
    if target.kind == "local":
        return _write_local(node, target, value, scope, place)
    if value is None or target.axes is None or not _check_axes(node, value, target.axes, scope, place):
        return None
    if node.operator != "=":
        before = check_expression(node.target, scope, place)
        if before is None:
            return None
        value = t.apply(_OPERATORS[node.operator], node.span, before, value)
    return t.Write(target.kind, target.name, target.side, target.indices, 0, value, node.span)


@dataclass(frozen=True)
class _Target:
    kind: str
    name: str
    side: str = ""
    indices: tuple[str | int, ...] = ()
    axes: t.Axes | None = None  # None: a local name, which takes its axes from the value


def _check_target(node: ast.Indexed | ast.Name, scope: Scope, place: Place) -> _Target | None:
    name = node.name
    if scope.is_poisoned(name):
        return None
    what = _fixed(name, scope)
    if what:
        scope.report(messages.read_only(node.span, name, what))
        return None
    if name == "prediction":
        return _prediction_target(node, scope, place)
    if name in scope.states:
        return _state_target(node, scope, place)
    if place.kind == "parameters" and name == "w":
        if isinstance(node, ast.Indexed):
            scope.report(messages.needless_index(node.span, name))
            return None
        return _Target("state", "w", "p", (), frozenset("p"))
    if isinstance(node, ast.Indexed) and not check_letters(node.indices, scope, place):
        place.locals[name] = Local(0, None, node.span)
        return None
    return _Target("local", name)


def _fixed(name: str, scope: Scope) -> str:
    """Say what a name is that may not be assigned."""
    kinds: dict[str, Collection[str]] = {
        "a genome entry": scope.genome,
        "an option": scope.options,
        "a net": scope.nets,
        "an index": scope.extents,
    }
    declared = next((what for what, names in kinds.items() if name in names), "")
    if declared or name == "prediction":
        return declared
    if name == "t":
        return "counts the steps"
    return "comes from the task" if name in (*BUILTIN_INDEXED, "loss") else ""


def _prediction_target(node: ast.Indexed | ast.Name, scope: Scope, place: Place) -> _Target | None:
    if place.kind != "output":
        scope.report(messages.prediction_misplaced(node.span, place.title))
        return None
    if isinstance(node, ast.Name):
        scope.report(messages.missing_index(node.span, "prediction", ["prediction[j]"]))
        return None
    if not check_letters(node.indices, scope, place):
        return None
    if [i.name for i in node.indices if isinstance(i, ast.IndexName)] != ["j"] or len(node.indices) != 1:
        scope.report(messages.prediction_index(node.span))
        return None
    return _Target("prediction", "prediction", "j", (), frozenset("nj"))


def _state_target(node: ast.Indexed | ast.Name, scope: Scope, place: Place) -> _Target | None:
    state = scope.states[node.name]
    reference = (
        check_state(node, scope, place) if isinstance(node, ast.Indexed) else check_expression(node, scope, place)
    )
    if not isinstance(reference, t.StateRef):
        return None
    if place.kind == "update" and state.kind == "synapse" and not _may_write(state, reference, place):
        declared = declaration(state.name, state.sides, state.indices)
        scope.report(messages.other_synapse(node.span, node.span.text, declared))
        return None
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


def _write_local(node: ast.Assign, target: _Target, value: t.Expr | None, scope: Scope, place: Place) -> t.Write | None:
    if node.operator != "=" and value is not None:
        before = check_expression(node.target, scope, place)
        value = None if before is None else t.apply(_OPERATORS[node.operator], node.span, before, value)
    if isinstance(node.target, ast.Indexed) and value is not None and not _fits(node.target, value, scope):
        value = None
    known = place.locals.get(target.name)
    version = 0 if known is None else known.version + 1
    axes = None if value is None else value.axes
    place.locals[target.name] = Local(version, axes, node.target.span)
    return None if value is None else t.Write("local", target.name, "", (), version, value, node.span)


def _fits(target: ast.Indexed, value: t.Expr, scope: Scope) -> bool:
    """Check the indices that a local name is written with against those of its value."""
    letters = {item.name for item in target.indices if isinstance(item, ast.IndexName)}
    own = tuple(a for a in t.ordered(value.axes) if a != "n")
    if letters == set(own) and len(target.indices) == len(own):
        return True
    scope.report(messages.local_indices(target.span, target.name, own))
    return False


# --- Axes of an assignment -------------------------------------------------------------------


def _check_axes(node: ast.Assign, value: t.Expr, axes: t.Axes, scope: Scope, place: Place) -> bool:
    extra = value.axes - axes
    if not extra:
        return True
    index = "n" if "n" in extra else t.ordered(extra)[0]
    cause = _cause(value, index)
    if index != "n":
        scope.report(messages.unreduced_index(cause, index, node.target.span.text, cause.text))
    elif place.kind == "parameters":
        scope.report(messages.sample_in_parameter(cause, node.target.name))
    else:
        scope.report(messages.unreduced_sample(cause, node.target.name, cause.text))
    return False


def _cause(value: t.Expr, axis: str) -> Span:
    """Return the smallest part of a value that varies with the axis as a whole: reducing that part mends it."""
    if not isinstance(value, t.Apply) or value.operator not in ("add", "sub", "mul", "div", "neg"):
        return value.span
    if value.operator == "div" and axis in value.arguments[1].axes:
        return value.span
    carriers = [factor for factor in _factors(value, axis) if axis in factor.axes]
    if len(carriers) == 1:
        return _cause(carriers[0], axis)
    if value.operator not in ("mul", "div"):
        return value.span
    joined = functools.reduce(operator.add, (carrier.span for carrier in carriers))
    return joined if _is_balanced(joined.text) else value.span


def _factors(value: t.Expr, axis: str) -> list[t.Expr]:
    """Flatten a product, so that `lr * x * d` is three factors; a quotient by something that varies stays whole."""
    if not isinstance(value, t.Apply) or value.operator not in ("mul", "div"):
        return list(value.arguments) if isinstance(value, t.Apply) else [value]
    if value.operator == "div":
        numerator, denominator = value.arguments
        return [value] if axis in denominator.axes else [*_flat(numerator, axis), denominator]
    return [factor for argument in value.arguments for factor in _flat(argument, axis)]


def _flat(value: t.Expr, axis: str) -> list[t.Expr]:
    product = isinstance(value, t.Apply) and value.operator in ("mul", "div")
    return _factors(value, axis) if product else [value]


def _is_balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0
