"""Diagnostics of outer steps: one function per id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rulec.semantics.messages import listing, suggest
from rulec.source import Diagnostic, Span


def missing_clauses(span: Span, outer: str, examples: Mapping[str, str]) -> Diagnostic:
    """`examples`: for each keyword that is missing, how such a clause may read."""
    clauses = "clause" if len(examples) == 1 else "clauses"
    return Diagnostic(
        "missing-clause",
        f"outer `{outer}` lacks the {clauses} {listing(examples)}",
        span,
        "incomplete",
        help=f"add {listing(examples.values())}" + (", each on a line of its own" if len(examples) > 1 else ""),
    )


def duplicate_clause(span: Span, clause: str, first: int) -> Diagnostic:
    return Diagnostic(
        "duplicate-clause",
        f"`{clause}` is given twice",
        span,
        "second time",
        notes=(f"first given on line {first}",),
        help="keep one of them",
    )


def repeated_setting(span: Span, name: str) -> Diagnostic:
    return Diagnostic("repeated-setting", f"`{name}` is given twice", span, "second time", help="keep one of them")


def unknown_hypergradient(span: Span, name: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-hypergradient",
        f"there is no hypergradient `{name}`",
        span,
        "not a way through the inner loop",
        notes=(f"known: {listing(candidates)}",),
        help=suggest(name, candidates, "use one of these"),
    )


def unknown_extra(span: Span, text: str) -> Diagnostic:
    return Diagnostic(
        "unknown-extra",
        f"`{text}` is no term that the inner problem can have besides its loss",
        span,
        "not understood here",
        notes=("a term is a number times `norm(w - init(w))^2`, or times `norm(w)^2`",),
        help="write `plus lambda / 2 * norm(w - init(w))^2`",
    )


def unknown_key(span: Span, text: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-key",
        f"a key cannot be drawn as `{text}`",
        span,
        "not a way to draw a key",
        notes=("a key is one random number, or one permutation of the outputs, for each task",),
        help=f"write one of {listing(candidates)}",
    )


def key_numbers(span: Span, kind: str, example: str) -> Diagnostic:
    return Diagnostic(
        "key-numbers",
        f"`{kind}` has the wrong number of arguments",
        span,
        "not these",
        help=f"write it like `{example}`",
    )


def unused_key(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "unused-key",
        f"the key `{name}` changes nothing",
        span,
        "drawn, and read nowhere",
        help=f"use it, as in `tasks y = y + {name}` or `tasks y = permute(y, {name})`, or remove it",
    )


def one_sided_key(span: Span, name: str, side: str) -> Diagnostic:
    other = "query" if side == "support" else "support"
    return Diagnostic(
        "one-sided-key",
        f"the key `{name}` reaches the {side} alone",
        span,
        f"the {other} does not know it",
        notes=("what is learned from the support could not be right on the query: a key is part of the task",),
        help=f"leave out `on {side}`: the change is then made on both",
    )


def unknown_data(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "unknown-data",
        f"a task has no data `{name}`",
        span,
        "neither `x` nor `y`",
        notes=("`x` are the inputs, `y` the targets",),
        help="write `tasks x = ...` or `tasks y = ...`",
    )


def unknown_side(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "wrong-data",
        f"there is no `{name}` to change",
        span,
        "a task has a support and a query",
        help="write `on support` or `on query`; without either, both are changed",
    )


def key_and_genome(span: Span, key: str, entries: Sequence[str]) -> Diagnostic:
    told = f"`{entries[0]}`, which is learned" if entries else "`noise`"
    return Diagnostic(
        "key-and-genome",
        f"one change of the data reads the key `{key}` and {told}",
        span,
        "two kinds of numbers in one",
        notes=(
            "keys change the data before the compiled step sees them, what is learned or noisy changes them inside",
        ),
        help="write two clauses `tasks`, one after the other",
    )


def learned_query(span: Span, text: str) -> Diagnostic:
    return Diagnostic(
        "learned-target",
        f"`{text}` would change the targets by which the outer step judges",
        span,
        "learned or noisy, and on the query",
        help="add `on support`",
    )


def not_on_data(span: Span, text: str, known: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "not-on-data",
        f"`{text}` cannot be computed on the data of a task",
        span,
        "neither arithmetic nor one of the functions for data",
        notes=(f"functions for data: {listing(known)}",),
        help="compute with `x` or `y`, numbers and keys alone",
    )


def permutation_as_number(span: Span, name: str, target: str) -> Diagnostic:
    return Diagnostic(
        "permutation-as-number",
        f"the key `{name}` is a permutation, not a number",
        span,
        "used as a number",
        help=f"write `tasks y = permute(y, {name})`",
    )


def bad_operation(span: Span, name: str) -> Diagnostic:
    meant = {
        "rotate": ("turns the images `x` by one angle, in radians", "tasks x = rotate(x, angle)"),
        "permute": ("permutes the outputs `y` by a key that is a permutation", "tasks y = permute(y, e)"),
    }[name]
    return Diagnostic("bad-operation", f"`{name}` {meant[0]}", span, "something else", help=f"write `{meant[1]}`")


def weight_varies(span: Span) -> Diagnostic:
    return Diagnostic(
        "weight-varies",
        "the loss is weighted by one number for each sample",
        span,
        "varies with more than the sample, or is drawn",
        help="use `loss` and the outer step's genome, as in `weighted by f(loss)`",
    )


def factor_varies(span: Span) -> Diagnostic:
    return Diagnostic(
        "factor-varies",
        "the factor of a term is one number",
        span,
        "varies",
        help="use numbers and entries of the outer step's genome",
    )


def bad_layers(span: Span) -> Diagnostic:
    return Diagnostic(
        "bad-layers",
        "connections are counted from 1, or from -1 backwards",
        span,
        "not such whole numbers",
        help="write `in layer 1` (nearest to the input), `in layer -1` (nearest to the output) or `in layers 1 to 3`",
    )


def empty_layers(span: Span, first: int, last: int) -> Diagnostic:
    return Diagnostic(
        "bad-layers",
        f"there is nothing from {first} to {last}",
        span,
        "the wrong way round",
        help=f"write `{last} to {first}`",
    )


def layers_misplaced(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "layers-misplaced",
        f"`{name}` has no layers to choose from",
        span,
        "only initial values have",
        help="write it as in `init(w) in layers 1 to 3`, or declare the entry `per layer` in the rule",
    )


def per_layer_misplaced(span: Span, name: str) -> Diagnostic:
    what = "initial values belong to layers already" if name == "init" else "what is learned is fixed in the text"
    return Diagnostic(
        "per-layer-misplaced",
        f"`per layer` cannot stand here: {what}",
        span,
        "not here",
        help="write it behind an entry alone, as in `meta sgd.lr per layer`",
    )


def bad_horizon(span: Span, steps: int, horizon: int) -> Diagnostic:
    return Diagnostic(
        "bad-horizon",
        f"inner loops of {horizon} updates are no whole number of {steps} updates",
        span,
        f"{horizon} is no multiple of {steps}",
        help=f"use {steps * max(1, horizon // steps)} or {steps * (horizon // steps + 1)}",
    )


def reaches_no_loss(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "reaches-no-loss",
        f"`{name}` reaches no loss: nothing can be learned about it",
        span,
        "read neither in the inner problem nor in a change of the data",
        help="read it in `weighted by`, `plus` or `tasks`, or remove it",
    )


def unread_by_loss(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "reaches-no-loss",
        f"`evograd` finds nothing out about `{name}`",
        span,
        "the loss of the support does not depend on it",
        notes=(
            "evograd perturbs the synapses and lets the support choose among them: what is learned must change the support's loss, as a weight, a "
            "term or a change of the data does",
        ),
        help="learn entries of the outer step's own genome, or write `through one_step`",
    )


def not_learned(span: Span, name: str, outer: str) -> Diagnostic:
    return Diagnostic(
        "not-learned",
        f"`{name}` is declared by the outer step `{outer}`, which does not learn it",
        span,
        "not among `meta`",
        help=f"add it: `meta {name}`; a number that is fixed is an `option`",
    )


def unknown_norm(span: Span, name: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-norm",
        f"`{name}` is nothing whose norm could be kept small",
        span,
        "neither an entry of a genome nor initial values",
        notes=(f"known: {listing(candidates)}",),
        help=suggest(name, candidates, "use one of these"),
    )


def unknown_setting(span: Span, name: str, candidates: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-setting",
        f"there is no setting `{name}` here",
        span,
        "not a setting",
        notes=(f"known: {listing(candidates)}",),
        help=suggest(name, candidates, "remove it"),
    )


def positional_setting(span: Span, rule: str) -> Diagnostic:
    return Diagnostic(
        "positional-setting",
        f"`{rule}` takes its settings by name",
        span,
        "which setting?",
        help=f"name it: `lr = {span.text}`",
    )


def unknown_objective(span: Span, name: str, direction: str, candidates: Sequence[str]) -> Diagnostic:
    turn = f"write `maximize {name}`" if name == "accuracy" and direction == "minimize" else "use one of these"
    return Diagnostic(
        "unknown-objective",
        f"an outer step cannot {direction} `{name}`",
        span,
        "not an objective",
        notes=(
            "objectives are `minimize loss`, `minimize error` and `maximize accuracy`, on query or support, and "
            "`minimize norm(...)^2` of what is learned, with a factor if need be",
        ),
        help=turn if name in candidates else suggest(name, candidates, turn),
    )


def wrong_data(span: Span, name: str, expected: str) -> Diagnostic:
    return Diagnostic(
        "wrong-data",
        f"this clause runs on `{expected}`, not `{name}`",
        span,
        f"`{name}` is not allowed here",
        help=f"write `on {expected}`",
    )


def unknown_meta(span: Span, name: str, candidates: Sequence[str], rule: str) -> Diagnostic:
    return Diagnostic(
        "unknown-meta-parameter",
        f"`{name}` cannot be meta-learned",
        span,
        "not a meta-parameter",
        notes=(f"known: {listing(candidates)}",),
        help=suggest(name, candidates, f"give `genome`, an entry of the inner rule as `{rule}.NAME`, or `init(w)`"),
    )
