"""Every semantic diagnostic: one function per id, all the words in one place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from rulec.source import Diagnostic, Span


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.6)
    return close[0] if close else None


def _suggest(name: str, candidates: Iterable[str], otherwise: str = "") -> str:
    close = nearest(name, candidates)
    return f"did you mean `{close}`?" if close else otherwise


def _listing(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(f"`{n}`" for n in names) if names else "none"


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s" if not thing.endswith("x") else f"{count} indices"


# --- Names -----------------------------------------------------------------------------------


def unknown_name(span: Span, name: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-name",
        f"nothing is called `{name}` here",
        span,
        "not declared",
        help=_suggest(name, candidates, "declare it as a genome entry, a state or an option"),
    )


def unknown_function(span: Span, name: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-function",
        f"there is no function `{name}`",
        span,
        "not a function, a net or a reduction",
        help=_suggest(
            name, candidates, "named activations, `exp`, `log`, `sum[i]`, ... are listed in docs/language.md"
        ),
    )


def unknown_index(span: Span, name: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-index",
        f"the index `{name}` is not declared",
        span,
        "not an index",
        notes=("`i`, `j` and `n` are built in; all others are declared",),
        help=_suggest(name, candidates, f"declare it: `index {name} : 2`"),
    )


def unknown_domain(span: Span, name: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-domain",
        f"there is no domain `{name}`",
        span,
        "not a domain",
        notes=("domains are `real`, `positive`, `unit` and `interval(a, b)`",),
        help=_suggest(name, candidates, "use one of these"),
    )


def unknown_option(name: str, rule: str, candidates: Sequence[str], span: Span | None = None) -> Diagnostic:
    return Diagnostic(
        "unknown-option",
        f"rule `{rule}` has no option `{name}`",
        span,
        "not an option" if span else "",
        notes=(f"its options are {_listing(candidates)}",),
        help=_suggest(name, candidates, "remove it, or declare the option in the rule"),
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
        help="rename one of the two",
    )


def reserved_name(span: Span, name: str, meaning: str) -> Diagnostic:
    return Diagnostic(
        "reserved-name",
        f"`{name}` has a meaning of its own and cannot be declared",
        span,
        meaning,
        help=f"choose another name, such as `{name}_`",
    )


def unused_local(span: Span, name: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unused-local",
        f"`{name}` is assigned but never read",
        span,
        "a local name of this block",
        help=_suggest(name, candidates, "remove the line, or declare it as a state to keep its value"),
    )


def unknown_rule(span: Span | None, name: str, candidates: Sequence[str], where: str = "here") -> Diagnostic:
    return Diagnostic(
        "unknown-rule",
        f"there is no rule `{name}` {where}",
        span,
        "not defined" if span else "",
        notes=(f"defined: {_listing(candidates)}",),
        help=_suggest(name, candidates, "define it, or import it: `from FILE.rule use NAME`"),
    )


def unknown_import(span: Span, name: str, path: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-import",
        f"`{path}` defines no `{name}`",
        span,
        "not in that file",
        notes=(f"it defines {_listing(candidates)}",),
        help=_suggest(name, candidates, "import one of these"),
    )


def import_not_found(span: Span, path: str) -> Diagnostic:
    return Diagnostic(
        "import-not-found",
        f"the file `{path}` cannot be read",
        span,
        "looked for beside this file and in the shipped rules",
        help="give a path relative to this file",
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


def unreduced_index(span: Span, index: str, target: str) -> Diagnostic:
    return Diagnostic(
        "unreduced-index",
        f"the index `{index}` is neither on the left nor reduced",
        span,
        f"one value per `{index}`",
        notes=(f"the left side is `{target}`",),
        help=f"reduce it: `sum[{index}](...)`",
    )


def sample_in_parameter(span: Span, target: str) -> Diagnostic:
    return Diagnostic(
        "sample-in-parameter-update",
        f"`{target}` has one value per parameter, but the right side has one per sample",
        span,
        "one value per sample",
        help="use `grad(loss, w)`, which averages over the batch",
    )


def index_not_in_block(span: Span, index: str, block: str) -> Diagnostic:
    side = {"i": "presynaptic", "j": "postsynaptic", "n": "sample"}.get(index, "")
    return Diagnostic(
        "index-not-in-block",
        f"`{block}` has no {side} index `{index}`".replace("  ", " "),
        span,
        f"`{index}` is not bound here",
        help="an `input i` block knows `i`, an `output j` block `j`; `forward i -> j` and `update i -> j` know both",
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
        notes=(f"it is declared `{declared}`",),
        help=f"write it as `{declared}`",
    )


def missing_index(span: Span, name: str, declared: str) -> Diagnostic:
    return Diagnostic(
        "missing-index",
        f"`{name}` needs its indices",
        span,
        "which neuron or synapse?",
        notes=(f"`{declared}` is the full form",),
        help=f"write `{declared}`",
    )


def needless_index(span: Span, name: str) -> Diagnostic:
    return Diagnostic("needless-index", f"`{name}` has no indices", span, "a single number", help=f"write `{name}`")


def extent_mismatch(span: Span, index: str, extent: object, name: str, expected: object) -> Diagnostic:
    return Diagnostic(
        "extent-mismatch",
        f"the index `{index}` runs over {extent}, but this axis of `{name}` has {expected}",
        span,
        f"`{index}` : {extent}",
        help=f"use an index that is declared with extent {expected}",
    )


def component_out_of_range(span: Span, value: int, name: str, extent: object) -> Diagnostic:
    return Diagnostic(
        "component-out-of-range",
        f"`{name}` has no component {value}",
        span,
        f"the axis has {extent}",
        notes=("components count from 0",),
        help=f"use 0 to {int(extent) - 1}" if isinstance(extent, int) else "use a smaller number",
    )


def swapped_indices(span: Span, name: str, declared: str) -> Diagnostic:
    return Diagnostic(
        "swapped-indices",
        f"`{name}` is read with its neurons the wrong way round",
        span,
        "order of the indices",
        notes=(f"it is declared `{declared}`",),
        help=f"write `{declared}`",
    )


def not_a_neuron_index(span: Span, name: str, index: str) -> Diagnostic:
    return Diagnostic(
        "not-a-neuron-index",
        f"the first index of `{name}` says which neuron: `i` or `j`",
        span,
        f"`{index}` is not a neuron",
        help=f"write `{name}[i...]` for the presynaptic neuron, `{name}[j...]` for the postsynaptic one",
    )


def bad_extent(span: Span, value: object) -> Diagnostic:
    return Diagnostic(
        "bad-extent",
        f"an index cannot run over {value}",
        span,
        "expected a whole number from 1, or `outputs`",
        help="give a whole number, an option, or `outputs` (the size of the output layer)",
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
        "other letters have no meaning here",
        notes=("`i` is the presynaptic neuron and `j` the postsynaptic one",),
        help=f"write `{kind} {expected}`",
    )


def wrong_side(span: Span, kind: str, target: str, expected: str) -> Diagnostic:
    return Diagnostic(
        "wrong-side",
        f"`{kind}` computes {expected}",
        span,
        f"cannot set `{target}` here",
        help={
            "input": "set the input layer's states: `x[i] = input[i]`",
            "forward": "set the postsynaptic neuron: `...[j] = ...`",
            "backward": "set the presynaptic neuron: `...[i] = ...`",
            "output": "set the output layer's states or `prediction[j]`",
            "update": "set a synapse state, such as `w[i,j]`",
        }[kind],
    )


def read_only(span: Span, name: str, what: str) -> Diagnostic:
    return Diagnostic(
        "read-only",
        f"`{name}` cannot be assigned",
        span,
        what,
        help="genome entries and options are fixed while a rule runs; declare a state for what changes",
    )


def loss_too_early(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "loss-before-output",
        f"`{name}` is not known yet",
        span,
        "no `output` block before this line sets `prediction`",
        help="set `prediction[j]` in an `output j` block above",
    )


def data_misplaced(span: Span, name: str, block: str, help: str) -> Diagnostic:
    return Diagnostic("data-misplaced", f"`{name}` cannot be read in `{block}`", span, "not available here", help=help)


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


def mixed_updates(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "mixed-updates",
        "a bare `update` acts on the network's own parameters, but this rule has synapses of its own",
        span,
        f"`{name}` is declared per synapse",
        help="write `update i -> j`, or drop the sweeps and the indexed synapse states",
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


def neuron_declared_with_index(span: Span, name: str, index: str) -> Diagnostic:
    return Diagnostic(
        "neuron-index-declared",
        f"neuron states are declared without `{index}`",
        span,
        "every neuron has one anyway",
        help=f"write `{name}` here and `{name}[{index}]` where it is used",
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
    return Diagnostic(
        "keep-misplaced",
        f"`keep` has no meaning for the {kind} state `{name}`",
        span,
        "kept anyway" if kind == "synapse" else "set anew in each step",
        help="remove `keep`",
    )


def needs_initial(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "no-initial-value",
        f"synapse state `{name}` has no initial value",
        span,
        "survives from step to step, so it must start somewhere",
        help=f"add one: `{name} = 0` or `= normal(0, 1 / sqrt(fan_in))`",
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
        f"{value:g} is not {domain}",
        help="change the value or the domain",
    )


def bad_interval(span: Span) -> Diagnostic:
    return Diagnostic(
        "bad-interval",
        "an interval needs two numbers, the smaller first",
        span,
        "empty or unfinished",
        help="write `interval(-1, 1)`",
    )


def wrong_argument_count(span: Span, name: str, expected: str, given: int) -> Diagnostic:
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
        "only functions of one argument have one",
        help="use `diff(expression, variable)`",
    )


def no_path(span: Span, variable: str) -> Diagnostic:
    return Diagnostic(
        "no-derivative-path",
        f"`{variable}` does not reach the differentiated expression",
        span,
        "this derivative is zero everywhere",
        help="differentiate with respect to a state from which it is computed",
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
        "the second argument of `diff` must be a state",
        span,
        "not a state",
        help="write `diff(loss, z[j])`",
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


def act_without_neuron(span: Span) -> Diagnostic:
    return Diagnostic(
        "act-without-neuron",
        "`act` is the activation of a layer, but this value belongs to no neuron",
        span,
        "neither `[i]` nor `[j]`",
        help="give it a neuron's value, as in `act(z[j])`, or name an activation: `tanh(...)`",
    )


def net_size(span: Span, name: str, expected: int, given: int) -> Diagnostic:
    return Diagnostic(
        "net-input-size",
        f"the net `{name}` takes {_many(expected, 'input')}, not {given}",
        span,
        f"{given} given",
        help=f"declare `net {name} : {given} -> ...`, or give {_many(expected, 'value')}; `concat[k](a[j,k])` gives one per `k`",
    )


def net_output(span: Span, name: str, size: int, given: object) -> Diagnostic:
    return Diagnostic(
        "net-output-size",
        f"the net `{name}` has {_many(size, 'output')}",
        span,
        f"read as {given}",
        help=f"index the output: `{name}[k](...)` with `index k : {size}`" if size > 1 else f"write `{name}(...)`",
    )


def initial_shape(span: Span, name: str, expected: Sequence[object], given: Sequence[int]) -> Diagnostic:
    return Diagnostic(
        "initial-shape",
        f"the initial value of `{name}` has shape {list(given)}, not {list(expected)}",
        span,
        f"shape {list(given)}",
        help="give an array of that shape, a single number, `eye` or `normal(m, s)`",
    )


def ragged_array(span: Span) -> Diagnostic:
    return Diagnostic(
        "ragged-array",
        "the rows of this array differ in length",
        span,
        "not rectangular",
        help="give every row the same number of entries",
    )


def array_misplaced(span: Span) -> Diagnostic:
    return Diagnostic(
        "array-misplaced",
        "arrays stand in initial values only",
        span,
        "not an initial value",
        help="declare a genome entry with this value",
    )


def sample_misplaced(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "initial-only",
        f"`{name}` draws or sizes initial values only",
        span,
        "not an initial value",
        help="use `noise` in blocks",
    )


def not_initial(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "not-initial",
        f"`{name}` is not known when initial values are drawn",
        span,
        "changes while the rule runs",
        help="use numbers, options, `fan_in`, `fan_out`, `normal(m, s)`, `uniform(a, b)`, `eye`, or a synapse state declared above",
    )


def not_constant(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "not-constant",
        f"`{name}` is not known when the rule is compiled",
        span,
        "neither a number nor an option",
        help="use numbers and options here; `where(condition, a, b)` chooses while the rule runs",
    )


def not_a_number(span: Span, name: str, value: object) -> Diagnostic:
    return Diagnostic(
        "not-a-number",
        f"option `{name}` is `{value}`, which is no number",
        span,
        "a number is needed here",
        help=f"compare it: `{name} == {value}`",
    )


def division_by_zero(span: Span) -> Diagnostic:
    return Diagnostic(
        "constant-division-by-zero",
        "this divides by a constant zero",
        span,
        "always infinite",
        help="change the constant or the option",
    )


# --- Outer steps -----------------------------------------------------------------------------


def missing_clause(span: Span, outer: str, clause: str, example: str) -> Diagnostic:
    return Diagnostic(
        "missing-clause", f"outer `{outer}` has no `{clause}` clause", span, "incomplete", help=f"add `{example}`"
    )


def duplicate_clause(span: Span, clause: str) -> Diagnostic:
    return Diagnostic("duplicate-clause", f"`{clause}` is given twice", span, "second time", help="keep one of them")


def unknown_hypergradient(span: Span, name: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-hypergradient",
        f"there is no hypergradient `{name}`",
        span,
        "not a way through the inner loop",
        notes=(f"known: {_listing(candidates)}",),
        help=_suggest(name, candidates, "use one of these"),
    )


def hypergradient_not_available(span: Span, name: str, available: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "not-available-yet",
        f"the hypergradient `{name}` is not available yet",
        span,
        "understood, but cannot be run",
        notes=(f"available: {_listing(available)}",),
        help="use `through unroll` (add `with checkpoint` to save memory)",
    )


def unknown_setting(span: Span, name: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-setting",
        f"there is no setting `{name}` here",
        span,
        "not a setting",
        notes=(f"known: {_listing(candidates)}",),
        help=_suggest(name, candidates, "remove it"),
    )


def wrong_data(span: Span, name: str, expected: str) -> Diagnostic:
    return Diagnostic(
        "wrong-data",
        f"this clause runs on `{expected}`, not `{name}`",
        span,
        f"`{name}` is not allowed here",
        help=f"write `on {expected}`",
    )


def unknown_meta(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "unknown-meta-parameter",
        f"`{name}` cannot be meta-learned",
        span,
        "not a meta-parameter",
        help="give `genome`, an entry of the inner rule such as `sgd.lr`, or `init(w)`",
    )
