"""Check expressions: names, indices, arguments. A poisoned expression is None, so one mistake is reported once."""

from __future__ import annotations

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.constants import BOOLEANS, evaluate, evaluate_number, spelling
from rulec.semantics.operators import BUILTIN_INDEXED, INITIAL, INITIAL_NAMES, POINTWISE, REDUCTIONS, SPECIAL
from rulec.semantics.scope import Place, Scope, declaration
from rulec.source import Diagnostic, Span
from rulec.syntax import ast

_ARITHMETIC = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "^": "pow",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
    "==": "equal",
    "!=": "not_equal",
    "and": "mul",
    "or": "max",
}

_MOST_PRIMES = 3  # of a derivative: each one makes the formula several times as long


def check_expression(node: ast.Expression, scope: Scope, place: Place) -> t.Expr | None:
    """Return the typed expression, or None after reporting what is wrong with it."""
    match node:
        case ast.Number():
            return t.Constant(t.NOTHING, node.span, node.value)
        case ast.Name():
            return _check_name(node, scope, place)
        case ast.Indexed():
            return _check_indexed(node, scope, place)
        case ast.Call():
            return _check_call(node, scope, place)
        case ast.Unary(operand=operand):
            inner = check_expression(operand, scope, place)
            name = "neg" if node.operator == "-" else "not"
            return inner and t.Apply(inner.axes, node.span, name, (inner,))
        case ast.Binary():
            return _check_binary(node, scope, place)
        case ast.Conditional():
            chosen = evaluate(node.condition, scope.options, scope.found)
            if chosen is None:
                return None
            return check_expression(node.then if chosen else node.otherwise, scope, place)
        case ast.Array():
            return _check_array(node, scope, place)
    raise AssertionError(node)


def apply(operator: str, span: Span, *arguments: t.Expr) -> t.Apply:
    axes = frozenset().union(*(a.axes for a in arguments))
    return t.Apply(axes, span, operator, arguments)


def _check_binary(node: ast.Binary, scope: Scope, place: Place) -> t.Expr | None:
    left, right = check_expression(node.left, scope, place), check_expression(node.right, scope, place)
    if left is None or right is None:
        return None
    if node.operator == "/" and isinstance(right, t.Constant) and right.value == 0:
        scope.report(messages.division_by_zero(node.right.span))
        return None
    return apply(_ARITHMETIC[node.operator], node.span, left, right)


def _check_array(node: ast.Array, scope: Scope, place: Place) -> t.Expr | None:
    if place.kind != "initial":
        scope.report(messages.array_misplaced(node.span))
        return None
    read = _array_values(node, scope)
    return read and t.Matrix(t.NOTHING, node.span, read[0], read[1])


def _array_values(node: ast.Array, scope: Scope) -> tuple[tuple[int, ...], tuple[float, ...]] | None:
    shapes: set[tuple[int, ...]] = set()
    values: list[float] = []
    for item in node.items:
        if isinstance(item, ast.Array):
            inner = _array_values(item, scope)
            if inner is None:
                return None
            shapes.add(inner[0])
            values += inner[1]
        else:
            number = evaluate_number(item, scope.options, scope.found)
            if number is None:
                return None
            shapes.add(())
            values.append(float(number))
    if len(shapes) != 1:
        scope.report(messages.ragged_array(node.span))
        return None
    return (len(node.items), *shapes.pop()), tuple(values)


# --- Names without indices -------------------------------------------------------------------


def _check_name(node: ast.Name, scope: Scope, place: Place) -> t.Expr | None:
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
        return _bare_state(name, span, scope, place)
    if place.kind in ("parameters", "law") and name == "w":
        return t.StateRef(frozenset("p"), span, "w", "p", ())
    if name in BOOLEANS:
        return t.Constant(t.NOTHING, span, float(BOOLEANS[name]))
    return _builtin_name(name, span, scope, place)


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
        scope.report(messages.missing_index(span, name, [f"{name}[{'i' if name == 'input' else 'j'}]"]))
        return None
    if name in scope.extents or name in place.sides:
        return t.Apply(frozenset((name,)), span, "position", ())
    report_unknown(name, span, scope, place)
    return None


def report_unknown(name: str, span: Span, scope: Scope, place: Place) -> None:
    """Report a name that nothing has. Where no other name is near, one declaration mends all its uses: told once."""
    candidates = [*scope.value_names(), *place.locals]
    local = scope.declared_at.get(name)
    scope.report(messages.unknown_name(span, name, candidates, local))
    if local is not None or messages.nearest(name, candidates) is None:
        scope.broken.add(name)


def _read_local(name: str, span: Span, place: Place) -> t.Expr | None:
    local = place.locals[name]
    local.read = True
    return None if local.axes is None else t.LocalRef(local.axes, span, name, local.version)


def _option_as_number(name: str, span: Span, scope: Scope) -> t.Expr | None:
    value = scope.options[name]
    if isinstance(value, str):
        scope.report(messages.not_a_number(span, name, value, value in (*POINTWISE, "act")))
        return None
    return t.Constant(t.NOTHING, span, float(value))


def _bare_state(name: str, span: Span, scope: Scope, place: Place) -> t.Expr | None:
    state = scope.states[name]
    if place.kind == "initial":
        return t.StateRef(t.NOTHING, span, name, state.sides, ())
    if state.sides == "p":
        return t.StateRef(frozenset("p"), span, name, "p", ())
    if state.kind == "broadcast" and not state.indices:
        return t.StateRef(frozenset("n"), span, name, "", ())
    scope.report(messages.missing_index(span, name, _forms(state, place)))
    return None


def _forms(state: t.State, place: Place) -> list[str]:
    """Return how a state can be written in full where both neurons are bound, or the one that is."""
    if state.sides != "j":
        return [declaration(state.name, state.sides, state.indices)]
    letters = [letter for letter in ("i", "j") if letter in place.sides] or ["i", "j"]
    return [declaration(state.name, letter, state.indices) for letter in letters]


# --- Names with indices ----------------------------------------------------------------------


def _check_indexed(node: ast.Indexed, scope: Scope, place: Place) -> t.Expr | None:
    name = node.name
    if name in place.locals:
        return _indexed_local(node, scope, place)
    if scope.is_poisoned(name):
        return None
    if name in scope.states:
        return check_state(node, scope, place)
    if name in scope.genome:
        return _check_genome(node, scope, place)
    if name in BUILTIN_INDEXED:
        return _check_data(node, scope, place)
    if name in scope.options or name in ("loss", "t") or (name == "w" and place.kind == "parameters"):
        scope.report(messages.needless_index(node.span, name))
        return None
    report_unknown(name, Span(node.span.source, node.span.start, node.span.start + len(name)), scope, place)
    return None


def check_letters(items: tuple[ast.IndexItem, ...], scope: Scope, place: Place) -> bool:
    """Report indices that are undeclared, not bound in this block, or used twice."""
    good = True
    seen: set[str] = set()
    for item in items:
        if not isinstance(item, ast.IndexName):
            continue
        if item.name in seen:
            scope.report(messages.repeated_index(item.span, item.name))
            good = False
        seen.add(item.name)
        good &= _check_letter(item, scope, place)
    return good


def known_index(item: ast.IndexName, scope: Scope) -> bool:
    """Whether a letter is declared; report it once if it is not."""
    if item.name in scope.extents:
        return True
    if not scope.is_poisoned(item.name):
        scope.report(messages.unknown_index(item.span, item.name, scope.index_names()))
        scope.broken.add(item.name)
    return False


def _check_letter(item: ast.IndexName, scope: Scope, place: Place) -> bool:
    if item.name == "n":
        return True
    if item.name not in ("i", "j") and not known_index(item, scope):
        return False
    side = neuron_side(item.name, scope)
    if side is not None and side not in place.sides:
        scope.report(messages.index_not_in_block(item.span, item.name, place.title))
        return False
    return True


def _indexed_local(node: ast.Indexed, scope: Scope, place: Place) -> t.Expr | None:
    local = _read_local(node.name, node.span, place)
    if local is None or not check_letters(node.indices, scope, place):
        return None
    own = tuple(a for a in t.ordered(local.axes) if a != "n")
    if {i.name for i in node.indices if isinstance(i, ast.IndexName)} != set(own):
        full = declaration(node.name, "", own)
        scope.report(messages.wrong_index_count(node.span, node.name, full, len(own), len(node.indices)))
        return None
    return local


def resolve_indices(
    node: ast.Indexed, items: tuple[ast.IndexItem, ...], shape: tuple[t.Extent, ...], scope: Scope, place: Place
) -> tuple[str | int, ...] | None:
    """Check the declared indices of a reference against the declared extents; return letters and numbers."""
    resolved: list[str | int] = []
    for item, extent in zip(items, shape, strict=True):
        if isinstance(item, ast.IndexNumber):
            if isinstance(extent, int) and not 0 <= item.value < extent:
                scope.report(messages.component_out_of_range(item.span, item.value, node.name, extent))
                return None
            resolved.append(item.value)
            continue
        own = scope.extent(item.name)
        if item.name == "j" and place.kind == "output":
            own = "outputs"
        if own != extent:
            runs = {"n": "samples", "i": "neurons", "j": "neurons"}.get(item.name, own)
            scope.report(messages.extent_mismatch(item.span, item.name, runs, node.name, extent))
            return None
        resolved.append(item.name)
    return tuple(resolved)


def _letters(indices: tuple[str | int, ...]) -> t.Axes:
    return frozenset(i for i in indices if isinstance(i, str))


def _check_genome(node: ast.Indexed, scope: Scope, place: Place) -> t.Expr | None:
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
    indices = resolve_indices(node, node.indices, entry.shape, scope, place)
    return None if indices is None else t.GenomeRef(_letters(indices), node.span, node.name, indices)


def neuron_side(letter: str, scope: Scope) -> str | None:
    """Return the side a letter stands for: `i`, `j`, or the side of an index declared as `index m : j`."""
    if letter in ("i", "j"):
        return letter
    owner = scope.extents.get(letter)
    return owner if owner in ("i", "j") else None


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
    indices = resolve_indices(node, node.indices[neurons:], state.shape, scope, place)
    if indices is None:
        return None
    axes = _letters(indices) | frozenset(letters)
    if state.kind in ("neuron", "broadcast"):
        axes |= {"n"}
    return t.StateRef(axes, node.span, node.name, ",".join(letters), indices)


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


def _check_data(node: ast.Indexed, scope: Scope, place: Place) -> t.Expr | None:
    if place.kind == "initial":
        scope.report(messages.not_initial(node.span, node.name))
        return None
    if not check_letters(node.indices, scope, place):
        return None
    letters = tuple(i.name for i in node.indices if isinstance(i, ast.IndexName))
    number = next((i for i in node.indices if isinstance(i, ast.IndexNumber)), None)
    if node.name == "noise":
        if number is not None:
            scope.report(
                messages.number_for_index(number.span, number.value, "name the indices that noise varies with")
            )
            return None
        return _noise(node, frozenset(letters), place)
    if len(node.indices) != 1 or not letters:
        full = f"{node.name}[{'i' if node.name == 'input' else 'j'}]"
        scope.report(messages.wrong_index_count(node.span, node.name, full, 1, len(node.indices)))
        return None
    problem = _data_problem(node, letters[0], scope, place)
    if problem is not None:
        scope.report(problem)
        return None
    return t.DataRef(frozenset((*letters, "n")), node.span, node.name)


def _noise(node: ast.Indexed, axes: t.Axes, place: Place) -> t.Noise:
    if place.kind not in ("update", "parameters") and axes & {"i", "j"}:
        axes |= {"n"}
    return t.Noise(axes, node.span)


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


# --- Calls -----------------------------------------------------------------------------------


def _check_call(node: ast.Call, scope: Scope, place: Place) -> t.Expr | None:
    name, word = node.name, node.name_span or node.span
    option = scope.options.get(name)
    if isinstance(option, str) and (option == "act" or option in POINTWISE):
        name = option
    if node.primes and not _has_slope(name):
        scope.report(
            messages.no_derivative(word, node.name) if _is_function(name, scope) else _no_function(node, scope)
        )
        return None
    if node.primes > _MOST_PRIMES:
        scope.report(messages.high_derivative(word, node.name, _MOST_PRIMES))
        return None
    if name in scope.nets:
        return _check_net(node, scope, place)
    if scope.is_poisoned(name):
        for argument in node.arguments:
            check_expression(argument, scope, place)
        return None
    if not _is_function(name, scope):
        scope.report(_no_function(node, scope))
        return None
    return _check_known(node, name, scope, place)


def _has_slope(name: str) -> bool:
    return name == "act" or (name in POINTWISE and POINTWISE[name].arity == 1)


def _is_function(name: str, scope: Scope) -> bool:
    return name in POINTWISE or name in SPECIAL or name in REDUCTIONS or name in INITIAL or name in scope.nets


def _no_function(node: ast.Call, scope: Scope) -> Diagnostic:
    """Say what is called as if it were a function."""
    name, word = node.name, node.name_span or node.span
    if name in scope.options:
        return messages.option_not_function(word, name, spelling(scope.options[name]))
    if name in scope.genome or name in scope.states:
        return messages.not_a_function(word, name, "a genome entry" if name in scope.genome else "a state")
    return messages.unknown_function(word, name, [*POINTWISE, *SPECIAL, *REDUCTIONS, *scope.nets, *INITIAL])


def _check_known(node: ast.Call, name: str, scope: Scope, place: Place) -> t.Expr | None:
    """Check a call of a built-in function, whose name an option may have given."""
    word = node.name_span or node.span
    if name in REDUCTIONS and (node.indices or name not in POINTWISE):
        return _check_reduction(node, scope, place)
    if name in INITIAL:
        return _check_sample(node, scope, place)
    if name == "solve":
        return _check_solve(node, scope, place)
    if name == "concat":
        scope.report(messages.call_misplaced(word, "concat", "the arguments of a net", "f(x[j], concat[k](a[j,k]))"))
        return None
    if node.indices:
        scope.report(messages.not_a_reduction(word, node.name))
        return None
    if name in ("diff", "grad", "update", "init"):
        return _check_special(node, name, scope, place)
    arguments = [check_expression(a, scope, place) for a in node.arguments]
    known = [a for a in arguments if a is not None]
    return _check_function(node, name, known, scope, place) if len(known) == len(arguments) else None


def _check_function(node: ast.Call, name: str, arguments: list[t.Expr], scope: Scope, place: Place) -> t.Expr | None:
    arity = 1 if name in ("act", "stop") else POINTWISE[name].arity
    if len(arguments) != arity:
        if name in ("min", "max") and len(arguments) == 1:
            scope.report(messages.reduction_without_index(node.name_span or node.span, name))
        else:
            words = "1 argument" if arity == 1 else f"{arity} arguments"
            scope.report(messages.wrong_argument_count(node.span, node.name, words, len(arguments)))
        return None
    if name == "act":
        return _check_act(node, arguments[0], scope, place)
    if name == "stop":
        return t.Stop(arguments[0].axes, node.span, arguments[0])
    return apply(name + "'" * node.primes, node.span, *arguments)


def _check_act(node: ast.Call, argument: t.Expr, scope: Scope, place: Place) -> t.Expr | None:
    sides = {side for letter in argument.axes if (side := neuron_side(letter, scope))}
    if len(sides) != 1 or "n" not in argument.axes:
        other = {"forward": "i", "backward": "j"}.get(place.kind, "") if "n" in argument.axes else ""
        scope.report(messages.act_without_neuron(node.arguments[0].span, len(sides), other))
        return None
    return t.Activation(argument.axes, node.span, sides.pop(), node.primes, argument)


def _check_reduction(node: ast.Call, scope: Scope, place: Place) -> t.Expr | None:
    if not node.indices:
        scope.report(messages.reduction_without_index(node.name_span or node.span, node.name))
        return None
    if len(node.arguments) != 1:
        scope.report(messages.wrong_argument_count(node.span, node.name, "1 argument", len(node.arguments)))
        return None
    good = check_letters(node.indices, scope, place)
    argument = check_expression(node.arguments[0], scope, place)
    if argument is None or not good:
        return None
    names = letters_only(node.indices, scope)
    if names is None or not _all_present(node, argument, scope):
        return None
    axes = argument.axes if node.name == "softmax" else argument.axes - set(names)
    return t.Reduce(axes, node.span, node.name, names, argument)


def letters_only(items: tuple[ast.IndexItem, ...], scope: Scope) -> tuple[str, ...] | None:
    """Return index letters; a number among them is reported."""
    number = next((item for item in items if isinstance(item, ast.IndexNumber)), None)
    if number is not None:
        scope.report(messages.number_for_index(number.span, number.value, "name an index, such as `i` or `n`"))
        return None
    return tuple(item.name for item in items if isinstance(item, ast.IndexName))


def _all_present(node: ast.Call, argument: t.Expr, scope: Scope) -> bool:
    for item in node.indices:
        if isinstance(item, ast.IndexName) and item.name not in argument.axes:
            scope.report(messages.absent_reduction(item.span, node.name, item.name))
            return False
    return True


def _check_sample(node: ast.Call, scope: Scope, place: Place) -> t.Expr | None:
    if place.kind != "initial":
        scope.report(messages.sample_misplaced(node.span, node.name))
        return None
    if len(node.arguments) != 2:
        scope.report(messages.wrong_argument_count(node.span, node.name, "2 arguments", len(node.arguments)))
        return None
    first, second = (check_expression(a, scope, place) for a in node.arguments)
    return None if first is None or second is None else t.Sample(t.NOTHING, node.span, node.name, first, second)


def _check_special(node: ast.Call, name: str, scope: Scope, place: Place) -> t.Expr | None:
    expected = SPECIAL[name][0]
    if len(node.arguments) != expected:
        words = "1 argument" if expected == 1 else f"{expected} arguments"
        scope.report(messages.wrong_argument_count(node.span, name, words, len(node.arguments)))
        return None
    if name == "diff":
        return _check_diff(node, scope, place)
    if name == "grad":
        return _check_grad(node, scope, place)
    return _check_change(node, name, scope, place)


def _check_change(node: ast.Call, name: str, scope: Scope, place: Place) -> t.Expr | None:
    """`update(w)` in a law; `init(w)` in an outer's clauses."""
    argument = node.arguments[0]
    if place.kind != "law" or name == "init":
        home, example = (
            ("`laws`", "gradient : update(w) == -lr * grad(loss, w)")
            if name == "update"
            else ("an outer's clauses", "meta init(w)")
        )
        scope.report(messages.call_misplaced(node.name_span or node.span, name, home, example))
        return None
    if not isinstance(argument, ast.Name):
        scope.report(messages.call_misplaced(argument.span, argument.span.text, "other places", "update(w)"))
        return None
    if scope.is_poisoned(argument.name):
        return None
    state = scope.states.get(argument.name)
    if (state is None and argument.name != "w") or (state is not None and state.kind != "synapse"):
        synapses = [s.name for s in scope.states.values() if s.kind == "synapse"]
        scope.report(messages.no_synapse(argument.span, argument.name, synapses))
        return None
    return t.Change(_whole_axes(state), node.span, argument.name)


def _whole_axes(state: t.State | None) -> t.Axes:
    """The axes of all of a synapse state; the network's own parameters if there is none."""
    return frozenset("p") if state is None else frozenset(state.sides) | frozenset(state.indices)


def _check_diff(node: ast.Call, scope: Scope, place: Place) -> t.Expr | None:
    value, variable = (check_expression(a, scope, place) for a in node.arguments)
    if value is None or variable is None:
        return None
    if not isinstance(variable, (t.StateRef, t.LocalRef)):
        scope.report(messages.diff_variable(node.arguments[1].span))
        return None
    return t.Diff(variable.axes, node.span, value, variable)


def _check_grad(node: ast.Call, scope: Scope, place: Place) -> t.Expr | None:
    if place.kind not in ("parameters", "law"):
        scope.report(messages.grad_misplaced(node.name_span or node.span))
        return None
    value, variable = node.arguments
    name = variable.name if isinstance(variable, ast.Name) else ""
    checked = check_expression(value, scope, place)
    if checked is None or scope.is_poisoned(name):
        return None
    if name != "w" and not (place.kind == "law" and name in scope.states):
        scope.report(messages.grad_arguments(variable.span))
        return None
    if not (checked.axes <= {"n"} if place.kind == "law" else _is_mean_loss(checked)):
        scope.report(messages.grad_arguments(value.span))
        return None
    state = scope.states.get(name) if place.kind == "law" else None
    return t.Grad(_whole_axes(state), node.span, checked, name)


def _is_mean_loss(value: t.Expr) -> bool:
    """Whether a value is `loss` or `mean[n](loss)`, whose gradients are the same: that of the mean over the batch."""
    if isinstance(value, t.Reduce) and value.operator == "mean":
        value = value.argument
    return isinstance(value, t.DataRef) and value.name == "loss"


# --- Nets and linear systems -----------------------------------------------------------------


def _check_net(node: ast.Call, scope: Scope, place: Place) -> t.Expr | None:
    net = scope.nets[node.name]
    features = [_check_feature(argument, scope, place) for argument in node.arguments]
    known = [f for f in features if f is not None]
    if len(known) < len(features) or not check_letters(node.indices, scope, place):
        return None
    total = sum(f.extent for f in known if isinstance(f.extent, int))
    if total != net.sizes[0]:
        scope.report(messages.net_size(node.span, node.name, net.sizes[0], total))
        return None
    axes: t.Axes = frozenset().union(*(f.axes for f in known))
    if not _check_output(node, net, axes, scope):
        return None
    index = _output_index(node)
    return t.NetCall(axes | _letters((index,) if index is not None else ()), node.span, node.name, index, tuple(known))


def _output_index(node: ast.Call) -> str | int | None:
    """Return the index of the output vector; None: a single output."""
    item = node.indices[0] if node.indices else None
    return item.name if isinstance(item, ast.IndexName) else None if item is None else item.value


def _check_output(node: ast.Call, net: t.Net, axes: t.Axes, scope: Scope) -> bool:
    """Whether a net's output is read as what it is: one number, a component, or a vector along an index."""
    size, word = net.sizes[-1], node.name_span or node.span
    index = _output_index(node)
    if index is None or len(node.indices) > 1:
        if index is not None or size > 1:
            read = f"a table of {len(node.indices)} indices" if index is not None else "one number"
            scope.report(messages.net_output(word, node.name, size, read))
        return index is None and size == 1
    item = node.indices[0]
    if isinstance(index, int):
        if index >= size:
            scope.report(messages.component_out_of_range(item.span, index, node.name, size))
        return index < size
    extent = scope.extent(index)
    if extent != size:
        counted = {"n": "samples", "i": "neurons", "j": "neurons"}.get(index, f"{extent} values")
        scope.report(messages.net_output(item.span, node.name, size, counted))
    elif index in axes:
        scope.report(messages.net_output_taken(item.span, node.name, index))
    return extent == size and index not in axes


def _check_feature(argument: ast.Expression, scope: Scope, place: Place) -> t.Features | None:
    """Check one argument of a net: a value, or `concat[k](...)` for one value per `k`."""
    if not (isinstance(argument, ast.Call) and argument.name == "concat"):
        value = check_expression(argument, scope, place)
        return None if value is None else t.Features(value.axes, argument.span, value, None, 1)
    if len(argument.indices) != 1 or len(argument.arguments) != 1:
        expected, given = "1 index and 1 argument", f"{len(argument.indices)} and {len(argument.arguments)}"
        scope.report(messages.wrong_argument_count(argument.span, "concat", expected, given))
        return None
    good = check_letters(argument.indices, scope, place)
    value = check_expression(argument.arguments[0], scope, place)
    names = letters_only(argument.indices, scope)
    if value is None or not good or names is None or not _all_present(argument, value, scope):
        return None
    extent = scope.extent(names[0])
    if not isinstance(extent, int):
        runs = "samples" if names[0] == "n" else "outputs" if extent == "outputs" else "neurons"
        scope.report(messages.concat_extent(argument.indices[0].span, names[0], runs))
        return None
    return t.Features(value.axes - {names[0]}, argument.span, value, names[0], extent)


def _check_solve(node: ast.Call, scope: Scope, place: Place) -> t.Expr | None:
    """`solve[k,l](A[k,l], b[k])`: the x[l] with sum[l](A[k,l] * x[l]) = b[k]."""
    if len(node.indices) != 2 or len(node.arguments) != 2:
        expected, given = "2 indices and 2 arguments", f"{len(node.indices)} and {len(node.arguments)}"
        scope.report(messages.wrong_argument_count(node.span, "solve", expected, given))
        return None
    good = check_letters(node.indices, scope, place)
    matrix, right = (check_expression(a, scope, place) for a in node.arguments)
    names = letters_only(node.indices, scope)
    if matrix is None or right is None or not good or names is None:
        return None
    row, column = names
    first, second = node.indices
    for letter, item, value in ((row, first, matrix), (column, second, matrix), (row, first, right)):
        if letter not in value.axes:
            scope.report(messages.absent_reduction(item.span, "solve", letter))
            return None
    if column in right.axes:
        scope.report(messages.solve_right(node.arguments[1].span, column))
        return None
    if scope.extent(row) != scope.extent(column) or scope.extent(row) is None:
        runs = [scope.extent(letter) or "neurons" for letter in names]
        scope.report(messages.extent_mismatch(second.span, column, runs[1], "solve", runs[0]))
        return None
    axes = (matrix.axes | right.axes) - {row} | {column}
    return t.Solve(axes, node.span, matrix, right, row, column)
