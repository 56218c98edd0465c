"""Check expressions: names, indices, arguments. A poisoned expression is None, so one mistake is reported once."""

from __future__ import annotations

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.constants import BOOLEANS, evaluate
from rulec.semantics.operators import BUILTIN_INDEXED, INITIAL, INITIAL_NAMES, POINTWISE, REDUCTIONS, SPECIAL
from rulec.semantics.scope import Place, Scope, declaration
from rulec.source import Span
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
        scope.report(messages.division_by_zero(node.span))
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
            number = evaluate(item, scope.options, scope.found)
            if number is None or isinstance(number, str):
                if number is not None:
                    scope.report(messages.not_constant(item.span, str(number)))
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
        entry = scope.genome[name]
        if place.kind == "initial":
            scope.report(messages.not_initial(span, name))
            return None
        if entry.indices:
            scope.report(messages.missing_index(span, name, declaration(name, "", entry.indices)))
            return None
        return t.GenomeRef(t.NOTHING, span, name, ())
    if name in scope.states:
        return _bare_state(name, span, scope, place)
    if place.kind in ("parameters", "law") and name == "w":
        return t.StateRef(frozenset("p"), span, "w", "p", ())
    if name in BOOLEANS:
        return t.Constant(t.NOTHING, span, float(BOOLEANS[name]))
    return _builtin_name(name, span, scope, place)


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
        letter = "i" if name == "input" else "j"
        scope.report(messages.missing_index(span, name, f"{name}[{letter}]"))
        return None
    if name in scope.extents:
        return t.Apply(frozenset((name,)), span, "position", ())
    if name in place.sides:
        return t.Apply(frozenset((name,)), span, "position", ())
    scope.report(messages.unknown_name(span, name, [*scope.value_names(), *place.locals]))
    return None


def _misplaced(scope: Scope, diagnostic: messages.Diagnostic) -> None:
    scope.report(diagnostic)


def _read_local(name: str, span: Span, place: Place) -> t.Expr | None:
    local = place.locals[name]
    local.read = True
    return None if local.axes is None else t.LocalRef(local.axes, span, name, local.version)


def _option_as_number(name: str, span: Span, scope: Scope) -> t.Expr | None:
    value = scope.options[name]
    if isinstance(value, str):
        scope.report(messages.not_a_number(span, name, value))
        return None
    return t.Constant(t.NOTHING, span, float(value))


def _bare_state(name: str, span: Span, scope: Scope, place: Place) -> t.Expr | None:
    state = scope.states[name]
    if state.sides == "p":
        return t.StateRef(frozenset("p"), span, name, "p", ())
    if state.kind == "broadcast" and not state.indices:
        return t.StateRef(frozenset("n"), span, name, "", ())
    if place.kind == "initial" and state.kind == "synapse":
        return t.StateRef(t.NOTHING, span, name, state.sides, ())
    sides = {"ij": "ij"}.get(state.sides, "i" if place.kind in ("input",) else "j")
    scope.report(
        messages.missing_index(span, name, declaration(name, sides if state.kind != "broadcast" else "", state.indices))
    )
    return None


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
    if name in scope.options or name in ("loss", "t"):
        scope.report(messages.needless_index(node.span, name))
        return None
    candidates = [*scope.value_names(), *place.locals]
    scope.report(
        messages.unknown_name(Span(node.span.source, node.span.start, node.span.start + len(name)), name, candidates)
    )
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


def _check_letter(item: ast.IndexName, scope: Scope, place: Place) -> bool:
    if item.name in scope.extents or item.name in scope.ignored:
        owner = scope.extents.get(item.name)
        if owner in ("i", "j") and owner not in place.sides:
            scope.report(messages.index_not_in_block(item.span, item.name, place.title))
            return False
        return item.name in scope.extents
    if item.name in ("i", "j"):
        if item.name not in place.sides and place.kind != "initial":
            scope.report(messages.index_not_in_block(item.span, item.name, place.title))
            return False
        return True
    if item.name == "n":
        return True
    scope.report(messages.unknown_index(item.span, item.name, scope.index_names()))
    return False


def _indexed_local(node: ast.Indexed, scope: Scope, place: Place) -> t.Expr | None:
    local = _read_local(node.name, node.span, place)
    if local is None or not check_letters(node.indices, scope, place):
        return None
    letters = frozenset(i.name for i in node.indices if isinstance(i, ast.IndexName))
    if letters != local.axes - {"n"}:
        full = declaration(node.name, "", tuple(a for a in t.ordered(local.axes) if a != "n"))
        scope.report(messages.wrong_index_count(node.span, node.name, full, len(local.axes - {"n"}), len(node.indices)))
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
        own: t.Extent | None = scope.extent(item.name)
        if item.name == "j" and place.kind == "output":
            own = "outputs"
        if own is None:
            scope.report(messages.extent_mismatch(item.span, item.name, "neurons", node.name, extent))
            return None
        if own != extent:
            scope.report(messages.extent_mismatch(item.span, item.name, own, node.name, extent))
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
    if len(node.indices) != len(entry.indices):
        full = declaration(node.name, "", entry.indices)
        if not entry.indices:
            scope.report(messages.needless_index(node.span, node.name))
            return None
        scope.report(messages.wrong_index_count(node.span, node.name, full, len(entry.indices), len(node.indices)))
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
    neurons = {"j": 1, "ij": 2}.get(state.sides, 0)
    full = declaration(state.name, {"j": "j", "ij": "ij", "ji": "ji"}.get(state.sides, ""), state.indices)
    neurons = 2 if state.sides == "ji" else neurons
    if len(node.indices) != neurons + len(state.indices):
        scope.report(
            messages.wrong_index_count(node.span, node.name, full, neurons + len(state.indices), len(node.indices))
        )
        return None
    letters = _neuron_letters(node, node.indices[:neurons], state, full, scope)
    if letters is None:
        return None
    indices = resolve_indices(node, node.indices[neurons:], state.shape, scope, place)
    if indices is None:
        return None
    axes = _letters(indices) | frozenset(letters)
    if state.kind in ("neuron", "broadcast"):
        axes |= {"n"}
    side = ",".join(letters)
    return t.StateRef(axes, node.span, node.name, side, indices)


def _neuron_letters(
    node: ast.Indexed, items: tuple[ast.IndexItem, ...], state: t.State, full: str, scope: Scope
) -> tuple[str, ...] | None:
    letters: list[str] = []
    for item in items:
        side = neuron_side(item.name, scope) if isinstance(item, ast.IndexName) else None
        if side is None:
            text = item.name if isinstance(item, ast.IndexName) else str(item.value)
            scope.report(messages.not_a_neuron_index(item.span, node.name, text))
            return None
        letters.append(item.name)
    if len(letters) == 2:
        sides = [neuron_side(letter, scope) for letter in letters]
        if sides != list(state.sides):
            scope.report(messages.swapped_indices(node.span, node.name, full))
            return None
        if state.sides == "ji":
            letters.reverse()
    return tuple(letters)


def _check_data(node: ast.Indexed, scope: Scope, place: Place) -> t.Expr | None:
    if place.kind == "initial":
        scope.report(messages.not_initial(node.span, node.name))
        return None
    if not check_letters(node.indices, scope, place):
        return None
    letters = tuple(i.name for i in node.indices if isinstance(i, ast.IndexName))
    if node.name == "noise":
        axes = frozenset(letters)
        if place.kind not in ("update", "parameters") and axes & {"i", "j"}:
            axes |= {"n"}
        return t.Noise(axes, node.span)
    if len(node.indices) != 1 or not letters:
        letter = "i" if node.name == "input" else "j"
        scope.report(messages.wrong_index_count(node.span, node.name, f"{node.name}[{letter}]", 1, len(node.indices)))
        return None
    if node.name == "input":
        if place.kind != "input" or letters != ("i",):
            help = "read it in `input i`, into a state: `x[i] = input[i]`"
            scope.report(messages.data_misplaced(node.span, "input", place.title, help))
            return None
    elif place.kind != "output" and scope.extents.get(letters[0]) != "outputs":
        help = f"read it in `output j`, or over an index of the outputs: `index o : outputs` and `{node.name}[o]`"
        scope.report(messages.data_misplaced(node.span, node.name, place.title, help))
        return None
    if node.name == "prediction" and not place.loss_known:
        scope.report(messages.loss_too_early(node.span, "prediction"))
        return None
    return t.DataRef(frozenset((*letters, "n")), node.span, node.name)


# --- Calls -----------------------------------------------------------------------------------


def _check_call(node: ast.Call, scope: Scope, place: Place) -> t.Expr | None:
    name = node.name
    option = scope.options.get(name)
    if isinstance(option, str) and (option == "act" or option in POINTWISE):
        name = option
    if node.indices and name in REDUCTIONS:
        return _check_reduction(node, scope, place)
    if name in scope.nets:
        return _check_net(node, scope, place)
    if name in INITIAL:
        return _check_sample(node, scope, place)
    if scope.is_poisoned(name):
        for argument in node.arguments:
            check_expression(argument, scope, place)
        return None
    if name == "solve":
        return _check_solve(node, scope, place)
    if name in REDUCTIONS and name not in POINTWISE:
        scope.report(messages.reduction_without_index(node.name_span or node.span, name))
        return None
    if name not in POINTWISE and name not in SPECIAL:
        names = [*POINTWISE, *SPECIAL, *REDUCTIONS, *scope.nets, *INITIAL]
        scope.report(messages.unknown_function(node.name_span or node.span, node.name, names))
        return None
    if node.indices and not (name == "concat"):
        scope.report(messages.not_a_reduction(node.span, node.name))
        return None
    if name in ("diff", "grad", "update", "init"):
        return _check_special(node, name, scope, place)
    if name == "concat":
        scope.report(
            messages.data_misplaced(node.span, "concat", "this place", "give it to a net: `f(x[j], concat[k](a[j,k]))`")
        )
        return None
    arguments = [check_expression(a, scope, place) for a in node.arguments]
    if any(a is None for a in arguments):
        return None
    return _check_function(node, name, [a for a in arguments if a is not None], scope, place)


def _check_function(node: ast.Call, name: str, arguments: list[t.Expr], scope: Scope, place: Place) -> t.Expr | None:
    arity = 1 if name in ("act", "stop") else POINTWISE[name].arity
    if len(arguments) != arity:
        if name in ("min", "max") and len(arguments) == 1:
            scope.report(messages.reduction_without_index(node.name_span or node.span, name))
            return None
        words = "1 argument" if arity == 1 else f"{arity} arguments"
        scope.report(messages.wrong_argument_count(node.span, node.name, words, len(arguments)))
        return None
    if node.primes and (arity != 1 or name == "stop"):
        scope.report(messages.no_derivative(node.name_span or node.span, node.name))
        return None
    if name == "act":
        return _check_act(node, arguments[0], scope, place)
    if name == "stop":
        return t.Stop(arguments[0].axes, node.span, arguments[0])
    if node.primes:
        return t.Apply(arguments[0].axes, node.span, name + "'" * node.primes, tuple(arguments))
    return apply(name, node.span, *arguments)


def _check_act(node: ast.Call, argument: t.Expr, scope: Scope, place: Place) -> t.Expr | None:
    sides = {side for letter in argument.axes if (side := neuron_side(letter, scope))}
    if len(sides) != 1 or "n" not in argument.axes:
        scope.report(messages.act_without_neuron(node.span))
        return None
    return t.Activation(argument.axes, node.span, sides.pop(), node.primes, argument)


def _check_reduction(node: ast.Call, scope: Scope, place: Place) -> t.Expr | None:
    if len(node.arguments) != 1:
        scope.report(messages.wrong_argument_count(node.span, node.name, "1 argument", len(node.arguments)))
        return None
    good = check_letters(node.indices, scope, place)
    argument = check_expression(node.arguments[0], scope, place)
    if argument is None or not good:
        return None
    names: list[str] = []
    for item in node.indices:
        if not isinstance(item, ast.IndexName):
            scope.report(messages.unknown_index(item.span, str(item.value), scope.index_names()))
            return None
        if item.name not in argument.axes:
            scope.report(messages.absent_reduction(item.span, node.name, item.name))
            return None
        names.append(item.name)
    axes = argument.axes if node.name == "softmax" else argument.axes - set(names)
    return t.Reduce(axes, node.span, node.name, tuple(names), argument)


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
    """`update(w)` in a law; `init(w)` in an outer's extra terms."""
    argument = node.arguments[0]
    if place.kind != "law" or not isinstance(argument, ast.Name):
        help = "`update(w)` stands in `laws`" if name == "update" else "`init(w)` stands in an outer's clauses"
        scope.report(messages.data_misplaced(node.span, name, place.title, help))
        return None
    if scope.is_poisoned(argument.name):
        return None
    state = scope.states.get(argument.name)
    if state is None and argument.name != "w":
        scope.report(messages.unknown_name(argument.span, argument.name, list(scope.states)))
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
        scope.report(messages.grad_misplaced(node.span))
        return None
    value, variable = node.arguments
    name = variable.name if isinstance(variable, ast.Name) else ""
    checked = check_expression(value, scope, place)
    if checked is None or scope.is_poisoned(name):
        return None
    known = name == "w" or (place.kind == "law" and name in scope.states)
    if not known or not checked.axes <= {"n"}:
        scope.report(messages.grad_arguments(node.span))
        return None
    state = scope.states.get(name) if place.kind == "law" else None
    return t.Grad(_whole_axes(state), node.span, checked, name)


# --- Nets and linear systems -----------------------------------------------------------------


def _check_net(node: ast.Call, scope: Scope, place: Place) -> t.Expr | None:
    net = scope.nets[node.name]
    features = [_check_feature(argument, scope, place) for argument in node.arguments]
    if any(f is None for f in features) or not check_letters(node.indices, scope, place):
        return None
    known = [f for f in features if f is not None]
    total = sum(f.extent for f in known if isinstance(f.extent, int))
    if total != net.sizes[0]:
        scope.report(messages.net_size(node.span, node.name, net.sizes[0], total))
        return None
    index = _net_output(node, net, scope)
    if index is False:
        return None
    axes = frozenset().union(*(f.axes for f in known)) | ({index} if isinstance(index, str) else frozenset())
    return t.NetCall(axes, node.span, node.name, index, tuple(known))


def _net_output(node: ast.Call, net: t.Net, scope: Scope) -> str | int | bool | None:
    """Return the index of the output vector (None: a single output), or False after a report."""
    size = net.sizes[-1]
    if not node.indices:
        if size == 1:
            return None
        scope.report(messages.net_output(node.span, node.name, size, "one number"))
        return False
    item = node.indices[0]
    extent = scope.extent(item.name) if isinstance(item, ast.IndexName) else size if item.value < size else 0
    if len(node.indices) != 1 or extent != size:
        scope.report(messages.net_output(node.span, node.name, size, f"{extent} values"))
        return False
    return item.name if isinstance(item, ast.IndexName) else item.value


def _check_feature(argument: ast.Expression, scope: Scope, place: Place) -> t.Features | None:
    if isinstance(argument, ast.Call) and argument.name == "concat":
        if (
            len(argument.indices) != 1
            or len(argument.arguments) != 1
            or not isinstance(argument.indices[0], ast.IndexName)
        ):
            scope.report(
                messages.wrong_argument_count(
                    argument.span, "concat", "1 index and 1 argument", len(argument.arguments)
                )
            )
            return None
        value = check_expression(argument.arguments[0], scope, place)
        item = argument.indices[0]
        extent = scope.extent(item.name)
        if value is None:
            return None
        if item.name not in value.axes or not isinstance(extent, int):
            scope.report(messages.absent_reduction(item.span, "concat", item.name))
            return None
        return t.Features(value.axes - {item.name}, argument.span, value, item.name, extent)
    value = check_expression(argument, scope, place)
    return value and t.Features(value.axes, argument.span, value, None, 1)


def _check_solve(node: ast.Call, scope: Scope, place: Place) -> t.Expr | None:
    """`solve[k,l](A[k,l], b[k])`: the x[l] with sum[l](A[k,l] * x[l]) = b[k]."""
    if len(node.indices) != 2 or len(node.arguments) != 2:
        scope.report(
            messages.wrong_argument_count(node.span, "solve", "2 indices and 2 arguments", len(node.arguments))
        )
        return None
    good = check_letters(node.indices, scope, place)
    matrix, right = (check_expression(a, scope, place) for a in node.arguments)
    if matrix is None or right is None or not good:
        return None
    row, column = (str(item.name) if isinstance(item, ast.IndexName) else "" for item in node.indices)
    for letter, item, value in (
        (row, node.indices[0], matrix),
        (column, node.indices[1], matrix),
        (row, node.indices[0], right),
    ):
        if letter not in value.axes:
            scope.report(messages.absent_reduction(item.span, "solve", letter))
            return None
    if scope.extent(row) != scope.extent(column):
        scope.report(
            messages.extent_mismatch(node.indices[1].span, column, scope.extent(column), "solve", scope.extent(row))
        )
        return None
    axes = (matrix.axes | right.axes) - {row} | {column}
    return t.Solve(axes, node.span, matrix, right, row, column)
