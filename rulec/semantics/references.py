"""Check names, bare and indexed: local names, options, genome entries, and what the task and the step bring."""

from __future__ import annotations

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.constants import BOOLEANS
from rulec.semantics.indices import check_letters, letters_of, letters_only, resolve_indices
from rulec.semantics.operators import BUILTIN_INDEXED, INITIAL_NAMES, POINTWISE
from rulec.semantics.scope import Place, Scope, declaration
from rulec.semantics.states import check_bare_state, check_state
from rulec.source import Diagnostic, Span
from rulec.syntax import ast

# --- Names without indices -------------------------------------------------------------------


def check_name(node: ast.Name, scope: Scope, place: Place) -> t.Expr | None:
    name, span = node.name, node.span
    if name in place.locals:
        return _read_local(name, span, place)
    if scope.is_poisoned(name):
        return None
    if name in scope.options:
        return _option_as_number(name, span, scope)
    if name in scope.genome:
        return _bare_genome(name, span, scope, place)
    if name in scope.states:
        return check_bare_state(name, span, scope, place)
    if place.kind in ("parameters", "law") and name == "w":
        return t.StateRef(frozenset("p"), span, "w", "p", ())
    if name in BOOLEANS:
        return t.Constant(t.NOTHING, span, float(BOOLEANS[name]))
    return _builtin_name(name, span, scope, place)


def _read_local(name: str, span: Span, place: Place) -> t.LocalRef | None:
    local = place.locals[name]
    local.read = True
    return None if local.axes is None else t.LocalRef(local.axes, span, name, local.version)


def _option_as_number(name: str, span: Span, scope: Scope) -> t.Expr | None:
    value = scope.options[name]
    if isinstance(value, str):
        scope.report(messages.not_a_number(span, name, value, value in (*POINTWISE, "act")))
        return None
    return t.Constant(t.NOTHING, span, float(value))


def _bare_genome(name: str, span: Span, scope: Scope, place: Place) -> t.Expr | None:
    entry = scope.genome[name]
    if place.kind == "initial":
        scope.report(messages.not_initial(span, name))
        return None
    if entry.indices:
        scope.report(messages.missing_index(span, name, [declaration(name, "", entry.indices)]))
        return None
    return t.GenomeRef(t.NOTHING, span, name, ())


def _builtin_name(name: str, span: Span, scope: Scope, place: Place) -> t.Expr | None:
    if name in INITIAL_NAMES or (name == "outputs" and place.kind == "initial"):
        if place.kind != "initial":
            scope.report(messages.sample_misplaced(span, name))
            return None
        return t.Identity(t.NOTHING, span) if name == "eye" else t.SizeRef(t.NOTHING, span, name)
    if place.kind == "initial" and name in ("t", "loss", "noise"):
        scope.report(messages.not_initial(span, name))
        return None
    if name == "t":
        return t.StepCount(t.NOTHING, span)
    if name == "loss":
        if not place.loss_known:
            scope.report(messages.loss_too_early(span, name))
            return None
        return t.DataRef(frozenset("n"), span, "loss")
    if name == "noise":
        return t.Noise(place.target_axes, span)
    if name in BUILTIN_INDEXED:
        scope.report(messages.missing_index(span, name, [_data_form(name)]))
        return None
    if name in scope.extents or name in place.sides:
        return t.Apply(frozenset((name,)), span, "position", ())
    _report_unknown(name, span, scope, place)
    return None


def _report_unknown(name: str, span: Span, scope: Scope, place: Place) -> None:
    """Report a name that nothing has. Where no other name is near, one declaration mends all its uses: told once."""
    candidates = [*scope.value_names(), *place.locals]
    local = scope.declared_at.get(name)
    scope.report(messages.unknown_name(span, name, candidates, local))
    if local is not None or messages.nearest(name, candidates) is None:
        scope.broken.add(name)


# --- Names with indices ----------------------------------------------------------------------


def check_indexed(node: ast.Indexed, scope: Scope, place: Place) -> t.Expr | None:
    name = node.name
    if name in place.locals:
        return _indexed_local(node, scope, place)
    if scope.is_poisoned(name):
        return None
    if name in scope.states:
        return check_state(node, scope, place)
    if name in scope.genome:
        return _indexed_genome(node, scope, place)
    if name in BUILTIN_INDEXED:
        return _check_data(node, scope, place)
    if name in scope.options or name in ("loss", "t") or (name == "w" and place.kind == "parameters"):
        scope.report(messages.needless_index(node.span, name))
        return None
    word = node.span.source.span(node.span.start, node.span.start + len(name))
    _report_unknown(name, word, scope, place)
    return None


def _indexed_local(node: ast.Indexed, scope: Scope, place: Place) -> t.Expr | None:
    local = _read_local(node.name, node.span, place)
    if local is None or not check_letters(node.indices, scope, place):
        return None
    own = tuple(a for a in t.ordered(local.axes) if a != "n")
    if len(node.indices) != len(own) or {i.name for i in node.indices if isinstance(i, ast.IndexName)} != set(own):
        full = declaration(node.name, "", own)
        scope.report(messages.wrong_index_count(node.span, node.name, full, len(own), len(node.indices)))
        return None
    return local


def _indexed_genome(node: ast.Indexed, scope: Scope, place: Place) -> t.Expr | None:
    entry = scope.genome[node.name]
    if place.kind == "initial":
        scope.report(messages.not_initial(node.span, node.name))
        return None
    if not check_letters(node.indices, scope, place):
        return None
    if not entry.indices:
        scope.report(messages.needless_index(node.span, node.name))
        return None
    if len(node.indices) != len(entry.indices):
        full = declaration(node.name, "", entry.indices)
        count = len(entry.indices)
        scope.report(messages.wrong_index_count(node.span, node.name, full, count, len(node.indices)))
        return None
    indices = resolve_indices(node.name, node.indices, entry.shape, scope, place)
    return None if indices is None else t.GenomeRef(letters_of(indices), node.span, node.name, indices)


# --- Data and noise --------------------------------------------------------------------------


def _check_data(node: ast.Indexed, scope: Scope, place: Place) -> t.Expr | None:
    if place.kind == "initial":
        scope.report(messages.not_initial(node.span, node.name))
        return None
    if not check_letters(node.indices, scope, place):
        return None
    if node.name == "noise":
        return _indexed_noise(node, scope, place)
    items = node.indices
    if len(items) != 1 or not isinstance(items[0], ast.IndexName):
        scope.report(messages.wrong_index_count(node.span, node.name, _data_form(node.name), 1, len(items)))
        return None
    letter = items[0].name
    problem = _data_problem(node, letter, scope, place)
    if problem is not None:
        scope.report(problem)
        return None
    return t.DataRef(frozenset((letter, "n")), node.span, node.name)


def _data_form(name: str) -> str:
    """Return how data is written in full."""
    return f"{name}[{'i' if name == 'input' else 'j'}]"


def _data_problem(node: ast.Indexed, letter: str, scope: Scope, place: Place) -> Diagnostic | None:
    if node.name == "input":
        if place.kind == "input" and letter == "i":
            return None
        help = "read it in `input i`, into a state: `x[i] = input[i]`"
        return messages.data_misplaced(node.span, "input", place.title, help)
    over_outputs = scope.extents.get(letter) == "outputs"
    if not over_outputs and (place.kind != "output" or letter != "j"):
        help = f"read it in `output j`, or over an index of the outputs: `index o : outputs` and `{node.name}[o]`"
        return messages.data_misplaced(node.span, node.name, place.title, help)
    if node.name == "prediction" and not place.loss_known:
        return messages.loss_too_early(node.span, "prediction")
    return None


def _indexed_noise(node: ast.Indexed, scope: Scope, place: Place) -> t.Noise | None:
    letters = letters_only(node.indices, scope, "name the indices that noise varies with")
    if letters is None:
        return None
    per_sample = place.kind not in ("update", "parameters") and {"i", "j"} & {*letters}
    return t.Noise(frozenset((*letters, "n") if per_sample else letters), node.span)
