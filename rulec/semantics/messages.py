"""Every semantic diagnostic: one function per id, all the words in one place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from rulec.source import Diagnostic, Span


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that `name` was probably meant to be, or None.

    One slip (a letter more, less, changed, or two swapped) in every three letters. Single letters are near nothing but
    their own capitals and doubles: guessing among them is noise.
    """
    scored = [(_slips(name.lower(), other.lower()), _unlike(name, other), other) for other in candidates]
    close = [entry for entry in scored if entry[0] <= _allowed(name, entry[2])]
    return min(close)[2] if close else None


def _allowed(name: str, other: str) -> int:
    if len(other) == 1:
        return len(name) - 1 if set(name.lower()) == {other.lower()} and len(name) <= 2 else 0
    return max(1, max(len(name), len(other)) // 3) if len(name) > 1 else 0


def _unlike(name: str, other: str) -> float:
    return 1 - difflib.SequenceMatcher(None, name.lower(), other.lower()).ratio()


def _slips(left: str, right: str) -> int:
    """Count insertions, deletions, changes and swaps of neighbours between two words (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(right, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]


def suggest(name: str, candidates: Iterable[str], otherwise: str = "") -> str:
    close = nearest(name, candidates)
    return f"did you mean `{close}`?" if close else otherwise


def listing(names: Iterable[str]) -> str:
    return ", ".join(f"`{n}`" for n in names) or "none"


def _many(count: int, thing: str) -> str:
    several = {"index": "indices"}.get(thing, thing + "s")
    return f"{count} {thing if count == 1 else several}"


def _values(extent: object) -> str:
    """Say what an index runs over."""
    if isinstance(extent, int):
        return _many(extent, "value")
    return {"outputs": "the outputs", "n": "samples"}.get(str(extent), "neurons")


# --- Names -----------------------------------------------------------------------------------


def unknown_name(span: Span, name: str, candidates: Sequence[str], local: Span | None = None) -> Diagnostic:
    """`local`: where a block of this rule assigns the name, as one of its own."""
    declare = f"declare `{name}` under `genome`, `neuron`, `synapse` or `broadcast`"
    if local is None:
        help, notes = suggest(name, candidates, declare), tuple[str, ...]()
    elif local.start > span.start:
        help, notes = "assign it above this line", (f"it is assigned on line {local.line}, below",)
    else:
        help, notes = declare, (f"a local name, assigned on line {local.line}: it ends with its block",)
    return Diagnostic("unknown-name", f"nothing is called `{name}` here", span, "not declared", notes, help)


def unknown_function(span: Span, name: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-function",
        f"there is no function `{name}`",
        span,
        "not a function, a net or a reduction",
        help=suggest(name, candidates, f"declare a net: `net {name} : 1 -> 16 -> 1`; docs/language.md lists functions"),
    )


def not_a_function(span: Span, name: str, what: str) -> Diagnostic:
    return Diagnostic(
        "not-a-function",
        f"`{name}` is no function",
        span,
        what,
        help=f"to multiply, write `{name} * (...)`",
    )


def option_not_function(span: Span, name: str, value: str) -> Diagnostic:
    return Diagnostic(
        "not-a-function",
        f"option `{name}` is `{value}`, which is no function",
        span,
        "called like a function",
        help=f"give it an activation: `option {name} = tanh`",
    )


def unknown_activation(span: Span, name: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-activation",
        f"there is no activation `{name}`",
        span,
        "not an activation",
        notes=(f"known: {listing(candidates)}",),
        help=suggest(name, candidates, "use one of these"),
    )


def unknown_index(span: Span, name: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-index",
        f"the index `{name}` is not declared",
        span,
        "not an index",
        notes=("`i`, `j` and `n` are built in; all others are declared",),
        help=suggest(name, candidates, f"declare it: `index {name} : 2`"),
    )


def number_for_index(span: Span, number: int, help: str) -> Diagnostic:
    return Diagnostic(
        "number-for-index", f"`{number}` is a number, where an index letter belongs", span, "not a letter", help=help
    )


def unknown_entry(span: Span, name: str, rule: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-entry",
        f"the genome of rule `{rule}` has no entry `{name}`",
        span,
        "not an entry",
        notes=(f"its entries are {listing(candidates)}",),
        help=suggest(name, candidates, "remove it, or declare the entry in the rule"),
    )


def preset_declares(span: Span, name: str, what: str) -> Diagnostic:
    return Diagnostic(
        "preset-declaration",
        f"named genome values give `{name}` {what}, which the rule has declared already",
        span,
        "only the value may be given",
        help=f"write `{name} = ...`",
    )


def preset_without_value(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "preset-without-value",
        f"`{name}` is named, but gets no value",
        span,
        "no value",
        help=f"write `{name} = 1`, say",
    )


def unknown_domain(span: Span, name: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-domain",
        f"there is no domain `{name}`",
        span,
        "not a domain",
        notes=("domains are `real`, `positive`, `unit` and `interval(a, b)`",),
        help=suggest(name, candidates, "use one of these"),
    )


def unknown_option(name: str, owner: str, candidates: Sequence[str], what: str = "rule") -> Diagnostic:
    return Diagnostic(
        "unknown-option",
        f"{what} `{owner}` has no option `{name}`",
        notes=(f"its options are {listing(candidates)}",),
        help=suggest(name, candidates, f"leave it out, or declare it in the {what}: `option {name} = ...`"),
    )


def conditional_declaration(span: Span, what: str) -> Diagnostic:
    return Diagnostic(
        "conditional-declaration",
        f"{what} may not depend on an option",
        span,
        "inside an `if`",
        help="move the line out of the `if`",
    )


def wrong_option_value(
    name: str, value: object, expected: str, span: Span | None = None, close: str | None = None
) -> Diagnostic:
    return Diagnostic(
        "wrong-option-value",
        f"option `{name}` cannot be `{value}`",
        span,
        f"expected {expected}" if span else "",
        notes=() if span else (f"expected {expected}",),
        help=f"did you mean `{close}`?" if close else f"give {expected}",
    )


def duplicate_name(span: Span, name: str, before: Span) -> Diagnostic:
    return Diagnostic(
        "duplicate-name",
        f"`{name}` is declared twice",
        span,
        "second declaration",
        notes=(f"first declared on line {before.line}",),
        help="rename one of the two, or remove it",
    )


def reserved_name(span: Span, name: str, meaning: str) -> Diagnostic:
    return Diagnostic(
        "reserved-name",
        f"`{name}` has a meaning of its own and cannot be declared",
        span,
        meaning,
        help=f"choose another name, such as `{name}_`",
    )


def unused_local(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "unused-local",
        f"`{name}` is assigned but never read",
        span,
        "a local name of this block",
        help="remove the line, or declare it as a state to keep its value",
    )


def unknown_rule(span: Span | None, name: str, candidates: Sequence[str], where: str = "here") -> Diagnostic:
    return Diagnostic(
        "unknown-rule",
        f"there is no rule `{name}` {where}",
        span,
        "not defined" if span else "",
        notes=(f"defined: {listing(candidates)}",),
        help=suggest(name, candidates, "define it, or import it: `from FILE.rule use NAME`"),
    )


def unknown_import(span: Span, name: str, path: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-import",
        f"`{path}` defines no `{name}`",
        span,
        "not in that file",
        notes=(f"it defines {listing(candidates)}",),
        help=suggest(name, candidates, "import one of these"),
    )


def import_not_found(span: Span, path: str, stems: Sequence[str]) -> Diagnostic:
    """`stems`: the files there are, without `.rule`."""
    close = nearest(path.removesuffix(".rule"), stems)
    return Diagnostic(
        "import-not-found",
        f"there is no file `{path}`",
        span,
        "neither beside this file nor among the shipped rules",
        help=f"did you mean `{close}.rule`?" if close else "give a path relative to this file",
    )


def import_cycle(span: Span, chain: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "import-cycle",
        "these files import each other",
        span,
        "leads back here",
        notes=(" -> ".join(chain),),
        help="move what both need into a third file",
    )


# --- Indices and axes ------------------------------------------------------------------------


def unreduced_sample(span: Span, target: str, cause: str) -> Diagnostic:
    return Diagnostic(
        "unreduced-sample",
        f"the update of `{target}` still carries the sample index `n`",
        span,
        "one value per sample",
        notes=("synapse states have no sample axis; neuron states have one",),
        help=f"average over the batch: `mean[n]({cause})`",
    )


def unreduced_index(span: Span, index: str, target: str, cause: str) -> Diagnostic:
    return Diagnostic(
        "unreduced-index",
        f"the index `{index}` is neither on the left nor reduced",
        span,
        f"one value per `{index}`",
        notes=(f"the left side is `{target}`",),
        help=f"reduce it: `sum[{index}]({cause})`",
    )


def sample_in_parameter(span: Span, target: str) -> Diagnostic:
    return Diagnostic(
        "sample-in-parameter-update",
        f"`{target}` has one value per parameter, but the right side has one per sample",
        span,
        "one value per sample",
        help=f"average over the batch: `mean[n]({span.text})`",
    )


def index_not_in_block(span: Span, index: str, block: str) -> Diagnostic:
    side = {"i": "presynaptic ", "j": "postsynaptic "}.get(index, "")
    knows = {"input i": "use `i`", "output j": "use `j`"}.get(block, "write the rule per synapse: `update i -> j`")
    return Diagnostic(
        "index-not-in-block",
        f"`{block}` has no {side}index `{index}`",
        span,
        f"`{index}` is not bound here",
        notes=("`forward`, `backward` and `update i -> j` bind `i` and `j`, `input` and `output` one of them",),
        help=knows,
    )


def absent_reduction(span: Span, operator: str, index: str) -> Diagnostic:
    return Diagnostic(
        "absent-reduction-index",
        f"`{operator}[{index}]` of something that has no index `{index}`",
        span,
        f"does not vary with `{index}`",
        help=f"remove `{index}` from the brackets, or put the index on what is meant to vary",
    )


def repeated_index(span: Span, index: str) -> Diagnostic:
    return Diagnostic(
        "repeated-index",
        f"the index `{index}` stands twice in one pair of brackets",
        span,
        "already used",
        notes=("diagonals are not taken silently",),
        help="use another index, declared with the same extent",
    )


def wrong_index_count(span: Span, name: str, declared: str, expected: int, given: int) -> Diagnostic:
    return Diagnostic(
        "wrong-index-count",
        f"`{name}` takes {_many(expected, 'index')}, not {given}",
        span,
        f"{given} given",
        notes=(f"its full form is `{declared}`",),
        help=f"write `{declared}`",
    )


def local_indices(span: Span, name: str, own: Sequence[str]) -> Diagnostic:
    form = f"{name}[{','.join(own)}]" if own else name
    return Diagnostic(
        "local-indices",
        f"the indices of `{name}` are not those of its value",
        span,
        "a local name of this block",
        notes=("the value varies with " + (listing(own) if own else "no index"),),
        help=f"write `{form} = ...`" + (f", or `{name} = ...`" if own else ""),
    )


def missing_index(span: Span, name: str, forms: Sequence[str]) -> Diagnostic:
    """`forms`: how the name may be written in full; the first of two is the presynaptic neuron's."""
    written = f"write `{forms[0]}`"
    if len(forms) > 1:
        written = f"write `{forms[0]}` for the presynaptic neuron, `{forms[1]}` for the postsynaptic one"
    return Diagnostic("missing-index", f"`{name}` needs its indices", span, "which of its values?", help=written)


def needless_index(span: Span, name: str) -> Diagnostic:
    return Diagnostic("needless-index", f"`{name}` takes no indices", span, "none here", help=f"write `{name}`")


def extent_mismatch(span: Span, index: str, extent: object, name: str, expected: object) -> Diagnostic:
    fitting = "index o : outputs" if expected == "outputs" else f"index q : {expected}"
    return Diagnostic(
        "extent-mismatch",
        f"the index `{index}` runs over {_values(extent)}, but this axis of `{name}` over {_values(expected)}",
        span,
        _values(extent),
        help=f"use an index declared like `{fitting}`",
    )


def component_out_of_range(span: Span, value: int, name: str, extent: int) -> Diagnostic:
    return Diagnostic(
        "component-out-of-range",
        f"`{name}` has no component {value}",
        span,
        f"the axis has {extent}",
        notes=("components count from 0",),
        help=f"use 0 to {extent - 1}" if extent > 1 else "use 0",
    )


def swapped_indices(span: Span, name: str, declared: str) -> Diagnostic:
    return Diagnostic(
        "swapped-indices",
        f"`{name}` is used with its neurons the wrong way round",
        span,
        "order of the indices",
        notes=("a synapse leads from `i` to `j` in every block; the order of the letters is that of the declaration",),
        help=f"write `{declared}`",
    )


def not_a_neuron_index(span: Span, name: str, index: str, forms: Sequence[str]) -> Diagnostic:
    place = "the first index" if len(forms) > 1 else "these indices"
    return Diagnostic(
        "not-a-neuron-index",
        f"{place} of `{name}` must say which neuron"
        if len(forms) > 1
        else f"{place} of `{name}` must say which neurons",
        span,
        f"`{index}` is not a neuron",
        help="write " + " or ".join(f"`{form}`" for form in forms),
    )


def bad_extent(span: Span, value: object) -> Diagnostic:
    return Diagnostic(
        "bad-extent",
        f"an index cannot run over {value}",
        span,
        "expected a whole number from 1",
        help="give a whole number, an option, or `outputs` (the size of the output layer)",
    )


def bad_repeat_count(span: Span, value: object) -> Diagnostic:
    return Diagnostic(
        "bad-repeat-count",
        f"blocks cannot be repeated {value} times",
        span,
        "expected a whole number from 1",
        help="give a whole number, or an option that is one",
    )


def bad_step_count(span: Span, value: object) -> Diagnostic:
    return Diagnostic(
        "bad-step-count",
        f"the inner rule cannot run for {value} steps",
        span,
        "expected a whole number from 1",
        help="give a whole number, or an option that is one",
    )


def bad_net_size(span: Span, value: object) -> Diagnostic:
    return Diagnostic(
        "bad-net-size",
        f"a layer of a net cannot have {value} units",
        span,
        "expected a whole number from 1",
        help="give a whole number, or an option that is one",
    )


def malformed_locality(span: Span, classes: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "malformed-locality",
        "this does not say how local an update is",
        span,
        "not `locality(STATE) <= CLASS`",
        notes=(f"classes are {', '.join(f'`{one}`' for one in classes)}, from the most local to the least",),
        help=f"write it as in `plausible : locality(w) <= {classes[1]}`",
    )


def not_so_local(span: Span, state: str, kind: str, why: str, law: str, allowed: str) -> Diagnostic:
    return Diagnostic(
        "not-so-local",
        f"the update of `{state}` is of class {kind}, and the law `{law}` allows `{allowed}` at most",
        span,
        "what makes it so",
        notes=(why,),
        help="change what the update reads, or allow more in the law",
    )


def axes_differ(span: Span, left: str, right: str) -> Diagnostic:
    return Diagnostic(
        "law-axes-differ",
        "the two sides of the law have different axes",
        span,
        f"{left} on the left, {right} on the right",
        help="reduce or index both sides alike",
    )


# --- Blocks and lifetimes --------------------------------------------------------------------


def wrong_header_index(span: Span, kind: str, expected: str) -> Diagnostic:
    return Diagnostic(
        "wrong-header-index",
        f"a block `{kind}` binds `{expected}`",
        span,
        "other letters, or another order",
        notes=("`i` is the presynaptic neuron and `j` the postsynaptic one",),
        help=f"write `{kind} {expected}`",
    )


def other_synapse(span: Span, target: str, declared: str) -> Diagnostic:
    return Diagnostic(
        "wrong-side",
        "`update` computes the synapse between `i` and `j`",
        span,
        f"`{target}` is another one",
        help=f"set `{declared}`",
    )


def wrong_side(span: Span, kind: str, target: str, expected: str) -> Diagnostic:
    return Diagnostic(
        "wrong-side",
        f"`{kind}` computes {expected}",
        span,
        f"cannot set `{target}` here",
        help={
            "input": "set the input layer's states: `x[i] = input[i]`",
            "forward": "set the postsynaptic neuron, whose index is `j`",
            "backward": "set the presynaptic neuron, whose index is `i`",
            "output": "set a state of the output layer, whose index is `j`, or `prediction[j]`",
            "update": "set a synapse state here, and neuron states in `forward` or `backward`",
        }[kind],
    )


def read_only(span: Span, name: str, what: str) -> Diagnostic:
    return Diagnostic(
        "read-only",
        f"`{name}` cannot be assigned",
        span,
        what,
        help="assign another name, or declare a state for what changes",
    )


def loss_too_early(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "loss-before-output",
        f"`{name}` is not known yet",
        span,
        "nothing above sets `prediction`",
        help="set `prediction[j]` in an `output j` block above this line",
    )


def data_misplaced(span: Span, name: str, block: str, help: str) -> Diagnostic:
    return Diagnostic("data-misplaced", f"`{name}` cannot be read in `{block}`", span, "not available here", help=help)


def prediction_misplaced(span: Span, block: str) -> Diagnostic:
    return Diagnostic(
        "prediction-misplaced",
        f"`prediction` cannot be set in `{block}`",
        span,
        "not the output layer",
        help="set it in `output j`: `prediction[j] = x[j]`",
    )


def prediction_index(span: Span) -> Diagnostic:
    return Diagnostic(
        "prediction-index",
        "`prediction` has one value per output neuron `j`",
        span,
        "other indices",
        help="write `prediction[j]`",
    )


def call_misplaced(span: Span, name: str, home: str, example: str) -> Diagnostic:
    return Diagnostic(
        "call-misplaced", f"`{name}` belongs in {home}", span, "has no meaning here", help=f"write it as in `{example}`"
    )


def no_prediction(span: Span, rule: str) -> Diagnostic:
    return Diagnostic(
        "no-prediction",
        f"rule `{rule}` never sets `prediction`",
        span,
        "no `output` block does",
        help="add a block `output j` with `prediction[j] = ...`",
    )


def no_effect(span: Span, rule: str) -> Diagnostic:
    return Diagnostic(
        "no-effect",
        f"rule `{rule}` has no `update` block, so nothing is learned",
        span,
        "never changes a synapse",
        help="add `update i -> j` (per synapse) or `update` (per parameter)",
    )


def input_not_set(span: Span, rule: str) -> Diagnostic:
    return Diagnostic(
        "input-not-set",
        f"rule `{rule}` sweeps forward but never reads the data",
        span,
        "no `input i` block",
        help="add a block `input i` with `x[i] = input[i]`",
    )


def mixed_updates(span: Span, others: str) -> Diagnostic:
    return Diagnostic(
        "mixed-updates",
        f"a bare `update` acts on the network's own parameters, but this rule has {others}",
        span,
        "no indices",
        help="write `update i -> j`, or drop the sweeps and the indices of synapse states",
    )


def synapse_needs_indices(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "synapse-needs-indices",
        f"`{name}` does not say which synapses it lives on",
        span,
        "no indices",
        notes=("without indices a state has one value per parameter, in rules with a bare `update`",),
        help=f"write `{name}[i,j]` for one value per synapse, `{name}[j]` for one per neuron",
    )


def neuron_declared_with_index(span: Span, name: str, index: str, rest: Sequence[str]) -> Diagnostic:
    def form(letters: Sequence[str]) -> str:
        return f"{name}[{','.join(letters)}]" if letters else name

    return Diagnostic(
        "neuron-index-declared",
        f"neuron states are declared without `{index}`",
        span,
        "every neuron has one value per sample anyway" if index == "n" else "every neuron has one anyway",
        help=f"write `{form(rest)}` here"
        + ("" if index == "n" else f", and `{form([index, *rest])}` where it is used"),
    )


def neuron_index_late(span: Span, declared: str) -> Diagnostic:
    return Diagnostic(
        "neuron-index-late",
        "the neurons of a synapse state come before its other indices",
        span,
        "comes too late",
        help=f"write `{declared}`",
    )


def state_without_neuron(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "synapse-without-neuron",
        f"synapse state `{name}` names no neuron",
        span,
        "neither `i` nor `j`",
        help=f"write `{name}[i,j]`, or declare it under `genome` if it is shared by all",
    )


def keep_misplaced(span: Span, name: str, kind: str) -> Diagnostic:
    why = "survives from step to step anyway" if kind == "synapse" else "always begins anew in each step"
    return Diagnostic(
        "keep-misplaced", f"`keep` has no meaning for the {kind} state `{name}`", span, why, help="remove `keep`"
    )


def needs_initial(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "no-initial-value",
        f"synapse state `{name}` has no initial value",
        span,
        "survives from step to step, so it must start somewhere",
        help=f"add one: `{name} = 0` or `{name} = normal(0, 1 / sqrt(fan_in))`",
    )


def not_available(span: Span, what: str, instead: str) -> Diagnostic:
    return Diagnostic(
        "not-available-yet", f"{what} is not available yet", span, "understood, but cannot be compiled", help=instead
    )


# --- Values and functions --------------------------------------------------------------------


def outside_domain(span: Span, name: str, value: float, domain: str) -> Diagnostic:
    return Diagnostic(
        "outside-domain",
        f"the initial value of `{name}` lies outside its domain",
        span,
        f"{value:g} is not in `{domain}`",
        help="change the value or the domain",
    )


def bad_interval(span: Span) -> Diagnostic:
    return Diagnostic(
        "bad-interval",
        "an interval needs two numbers, the smaller first",
        span,
        "empty or unfinished",
        help="write it as in `interval(-1, 1)`",
    )


def wrong_argument_count(span: Span, name: str, expected: str, given: object) -> Diagnostic:
    return Diagnostic(
        "wrong-argument-count",
        f"`{name}` takes {expected}, not {given}",
        span,
        f"{given} given",
        help=f"give `{name}` {expected}",
    )


def reduction_without_index(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "reduction-without-index",
        f"`{name}` does not say over which index",
        span,
        "no index in brackets",
        help=f"name it: `{name}[i](...)` over presynaptic neurons, `{name}[n](...)` over the batch",
    )


def not_a_reduction(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "not-a-reduction",
        f"`{name}` is no reduction and takes no index",
        span,
        "indices make no sense here",
        help=f"write `{name}(...)`",
    )


def no_derivative(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "no-derivative",
        f"`{name}` has no derivative `{name}'`",
        span,
        "only `act` and functions of one argument have one",
        help="use `diff(expression, variable)`",
    )


def high_derivative(span: Span, name: str, most: int) -> Diagnostic:
    return Diagnostic(
        "high-derivative",
        f"this derivative of `{name}` is of an order higher than {most}",
        span,
        "too many primes",
        help=f"write `{name}{chr(39) * most}(...)` at most",
    )


def no_path(span: Span, variable: str) -> Diagnostic:
    return Diagnostic(
        "no-derivative-path",
        f"`{variable}` does not reach the differentiated expression",
        span,
        "this derivative is zero everywhere",
        help="differentiate with respect to a state from which it is computed",
    )


def not_differentiable(span: Span, operation: str) -> Diagnostic:
    return Diagnostic(
        "not-differentiable",
        f"a rule cannot differentiate through {'a net' if operation == 'net' else f'`{operation}`'}",
        span,
        "leads through it",
        help="differentiate the parts before and after it, or use `grad(loss, w)` in a bare `update`",
    )


def outdated_value(span: Span, variable: str) -> Diagnostic:
    return Diagnostic(
        "outdated-value",
        f"the derivative with respect to `{variable}` needs a value that has changed since",
        span,
        "computed in an earlier block",
        help="keep that value in a state of its own, and compute from it what is differentiated",
    )


def diff_variable(span: Span) -> Diagnostic:
    return Diagnostic(
        "diff-variable",
        "the second argument of `diff` must be a state or a local name",
        span,
        "an expression" if not span.text.isidentifier() else "not a state",
        help="write it as in `diff(loss, z[j])`",
    )


def solve_right(span: Span, column: str) -> Diagnostic:
    return Diagnostic(
        "solve-right-side",
        f"the right side of `solve` varies with `{column}`, the index of the solution",
        span,
        "has both indices",
        help="give it the first index alone: `solve[k,l](A[k,l], b[k])`",
    )


def no_synapse(span: Span, name: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "not-a-synapse-state",
        f"`{name}` is no synapse state, and only those are updated",
        span,
        "not a synapse state",
        notes=(f"synapse states: {listing(candidates)}",),
        help=suggest(name, candidates, "use one of these"),
    )


def grad_misplaced(span: Span) -> Diagnostic:
    return Diagnostic(
        "grad-misplaced",
        "`grad` belongs in a bare `update` block or in a law",
        span,
        "per-synapse blocks compute their own gradients",
        help="write the rule over all parameters: `update` with `g = grad(loss, w)`",
    )


def grad_arguments(span: Span) -> Diagnostic:
    return Diagnostic(
        "grad-arguments",
        "`grad` takes the loss and `w`",
        span,
        "other derivatives are written with `diff`",
        help="write `grad(loss, w)`",
    )


def act_without_neuron(span: Span, sides: int, other: str) -> Diagnostic:
    """`sides`: how many neurons the value belongs to; `other`: the index to be reduced, where that is clear."""
    label = ("belongs to no neuron", "the same for all samples", "belongs to two neurons")[min(sides, 2)]
    return Diagnostic(
        "act-without-neuron",
        "`act` is the activation of a layer: it takes one value per neuron and sample",
        span,
        label,
        help=f"sum over the other neurons first: `act(sum[{other}]({span.text}))`"
        if sides > 1 and other
        else "give it a neuron's value, as in `act(z[j])`, or name an activation: `tanh(...)`",
    )


def net_size(span: Span, name: str, expected: int, given: int) -> Diagnostic:
    return Diagnostic(
        "net-input-size",
        f"the net `{name}` takes {_many(expected, 'input')}, not {given}",
        span,
        f"{given} given",
        notes=("`concat[k](a[j,k])` gives one input per `k`",),
        help=f"declare `net {name} : {given} -> ...`, or give {_many(expected, 'value')}"
        if given
        else f"give {_many(expected, 'value')}",
    )


def net_output(span: Span, name: str, size: int, given: object) -> Diagnostic:
    return Diagnostic(
        "net-output-size",
        f"the net `{name}` has {_many(size, 'output')}",
        span,
        f"read as {given}",
        help=f"index the output: `{name}[k](...)` with `index k : {size}`" if size > 1 else f"write `{name}(...)`",
    )


def net_output_taken(span: Span, name: str, index: str) -> Diagnostic:
    return Diagnostic(
        "net-output-index",
        f"the inputs of the net `{name}` vary with `{index}` already",
        span,
        "names the output too",
        notes=("diagonals are not taken silently",),
        help="index the output with another letter, declared with the same extent",
    )


def concat_extent(span: Span, index: str, extent: object) -> Diagnostic:
    return Diagnostic(
        "concat-extent",
        f"a net takes a fixed number of inputs, but `{index}` runs over {extent}",
        span,
        "no fixed number",
        help=f"give `concat` an index declared with a number, or reduce `{index}` first: `mean[{index}](...)`",
    )


def initial_shape(span: Span, name: str, expected: Sequence[object], given: Sequence[int]) -> Diagnostic:
    shape, own = (" x ".join(map(str, sizes)) for sizes in (given, expected))
    return Diagnostic(
        "initial-shape",
        f"the initial value of `{name}` does not fit its indices",
        span,
        f"this array has shape {shape}",
        notes=(f"`{name}` has shape {own}" if own else f"`{name}` is a single number",),
        help="give an array of that shape, or a number for all entries" if expected else "give a single number",
    )


def eye_shape(span: Span, name: str, declared: str) -> Diagnostic:
    return Diagnostic(
        "initial-shape",
        f"the initial value of `{name}` does not fit its indices",
        span,
        "a matrix needs two declared indices",
        notes=(f"the full form is `{declared}`",),
        help="give a number, or declare two indices: `index k, l : 2`",
    )


def initial_from_other(span: Span, name: str, source: str, declared: str, other: str) -> Diagnostic:
    return Diagnostic(
        "initial-shape",
        f"`{name}` cannot begin as a copy of `{source}`",
        span,
        "lives on other synapses, or has other indices",
        notes=(f"`{declared}` and `{other}`",),
        help="give a number, an array or `normal(m, s)`",
    )


def random_neuron_initial(span: Span, name: str, kind: str) -> Diagnostic:
    return Diagnostic(
        "random-neuron-initial",
        f"the {kind} state `{name}` must begin with values known in advance",
        span,
        "drawn, or known only with the network",
        notes=("numbers, options, arrays and `eye` are known; synapse states may be drawn, for they begin only once",),
        help="begin with a number, and assign `noise` in a block",
    )


def shared_fan(span: Span, name: str, size: str) -> Diagnostic:
    return Diagnostic(
        "shared-fan",
        f"`{size}` is the size of a connection, and the genome entry `{name}` begins without one",
        span,
        "of which connection?",
        help=f"use a number, or let a synapse state begin with `{size}`",
    )


def ragged_array(span: Span) -> Diagnostic:
    return Diagnostic(
        "ragged-array",
        "the rows of this array differ in length" if span.text.count("[") > 1 else "this array is empty",
        span,
        "not rectangular" if span.text.count("[") > 1 else "no entries",
        help="give every row the same number of entries" if span.text.count("[") > 1 else "give it entries: `[1, 0]`",
    )


def array_misplaced(span: Span) -> Diagnostic:
    return Diagnostic(
        "array-misplaced",
        "arrays stand in initial values only",
        span,
        "not an initial value",
        help=f"declare a genome entry with this value: `c[k] = {span.text}`",
    )


def sample_misplaced(span: Span, name: str) -> Diagnostic:
    instead = {
        "normal": "draw standard normal numbers with `noise`: `m + s * noise`",
        "uniform": "draw standard normal numbers with `noise`, or begin a synapse state with `uniform(a, b)`",
        "eye": "compare two indices: `(k == l)` is one where they agree",
    }
    keep = f"keep it in a synapse state: `s[j] = {name}`"
    return Diagnostic(
        "initial-only",
        f"`{name}` belongs in initial values",
        span,
        "not an initial value",
        help=instead.get(name, keep),
    )


def not_initial(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "not-initial",
        f"`{name}` is not known when initial values are drawn",
        span,
        "no part of an initial value",
        notes=(
            "known are numbers, options, arithmetic, arrays, `eye`, `fan_in`, `fan_out`, `outputs`, `normal(m, s)`,"
            " `uniform(a, b)`, and for synapse states those declared above",
        ),
        help="begin with one of these, and assign the value in a block",
    )


def not_constant(span: Span, name: str, options: Sequence[str] = ()) -> Diagnostic:
    return Diagnostic(
        "not-constant",
        f"`{name}` is not known when the rule is compiled",
        span,
        "neither a number nor an option",
        help=suggest(
            name, options, "use numbers and options here; `where(condition, a, b)` chooses while the rule runs"
        ),
    )


def not_finite(span: Span, text: str) -> Diagnostic:
    return Diagnostic(
        "constant-not-finite",
        f"`{text}` is no finite number",
        span,
        "too large, or not real",
        help="change the constant or the option",
    )


def choice_as_truth(span: Span, name: str, value: str) -> Diagnostic:
    return Diagnostic(
        "choice-as-condition",
        f"option `{name}` is a word, which neither holds nor fails",
        span,
        f"`{value}`",
        help=f"compare it: `{name} == {value}`",
    )


def not_a_number(span: Span, name: str, value: str, activation: bool) -> Diagnostic:
    return Diagnostic(
        "not-a-number",
        f"option `{name}` is `{value}`, which is no number",
        span,
        "a number is needed here",
        help=f"call it: `{name}(...)`" if activation else f"compare it: `1 if {name} == {value} else 0`",
    )


def division_by_zero(span: Span) -> Diagnostic:
    return Diagnostic(
        "constant-division-by-zero",
        "this divides by a constant zero",
        span,
        "zero",
        help="change the constant or the option",
    )
