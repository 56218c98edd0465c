"""Genome entries that no gradient reaches: they act on the prediction, but only through what has no derivative."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rulec.ir.graph import Op
from rulec.lints.lint import Lint, Variant
from rulec.lints.paths import Key, Paths, cut_name
from rulec.lints.wording import lines, listing, name_span, quoted
from rulec.semantics import typed as t
from rulec.source import Diagnostic

GRADIENTS = ("auto", "unroll", "first_order", "truncated", "forward", "implicit", "neumann", "one_step")
_ONE_STEP = ("first_order", "one_step")  # nothing passes from an update to the one before, but along a state itself


def cut_entries(variants: Sequence[Variant]) -> Iterator[Diagnostic]:
    """Find entries that reach a prediction in some variant, and differentiably in none."""
    declared: dict[str, t.GenomeEntry | t.Net] = {}
    for variant in variants:
        declared = entries_of(variant) | declared
    found: dict[
        int, dict[str, Sequence[Op]]
    ] = {}  # by the first cut: where several entries meet one, it is one finding
    for name in declared:
        if any(_learnable(variant, name) for variant in variants):
            continue
        acting = next((v for v in variants if any(cell[0] == name for cell in v.components.live)), None)
        if acting is not None:
            cuts = acting.paths.cuts(acting.paths.exact, acting.paths.depending_on(acting.paths.named(name)))
            span = cuts[0].span or name_span(declared[name])
            found.setdefault(span.start, {})[name] = cuts
    for cut in found.values():
        yield _cut(cut, declared)


def entries_of(variant: Variant) -> dict[str, t.GenomeEntry | t.Net]:
    """Return what meta-learning can change, by name."""
    entries: dict[str, t.GenomeEntry | t.Net] = {one.name: one for one in variant.program.genome}
    return entries | {net.name: net for net in variant.program.nets}


def _learnable(variant: Variant, name: str) -> bool:
    return any(key in variant.paths.exact for key in variant.paths.named(name))


def _cut(found: Mapping[str, Sequence[Op]], declared: Mapping[str, t.GenomeEntry | t.Net]) -> Diagnostic:
    """Tell of the entries that are cut at one place first, each with all its cuts."""
    names = listing([f"`{name}`" for name in found])
    first, cuts = next(iter(found.items()))
    one = len(found) == 1
    return Diagnostic(
        "gradient-cut",
        f"no gradient reaches {names}: {'it' if one else 'they'} can be learned by evolution only",
        cuts[0].span or name_span(declared[first]),
        f"{cut_name(cuts[0])} lets no derivative pass",
        notes=tuple(_more(name, cuts) for name, cuts in found.items()),
        help=f"let {names} act by way of something that has a derivative, or learn {'it' if one else 'them'} `through cma`",
        severity="warning",
    )


def _more(name: str, cuts: Sequence[Op]) -> str:
    places = dict.fromkeys(op.span.line for op in cuts if op.span)
    others = f", or through cuts on {lines(list(places)[1:])}" if len(places) > 1 else ""
    return f"all that `{name}` acts on passes here{others}"


# --- Outer steps -----------------------------------------------------------------------------


def cut_meta(outer: t.Outer, variant: Variant) -> Iterator[Diagnostic]:
    """Find what an outer step learns by gradients, and no gradient reaches."""
    if outer.through.name in GRADIENTS and not (outer.through.name == "auto" and scores_alone(outer)):
        for item in outer.meta:
            yield from unreached(outer, item, variant)


def scores_alone(outer: t.Outer) -> bool:
    """Whether an objective has no derivative."""
    return any(objective.quantity == "error" for objective in outer.objectives)


def unreached(outer: t.Outer, item: t.Learned, variant: Variant) -> Iterator[Diagnostic]:
    """Yield what is wrong with each name of an item of `meta`; for the whole genome only if nothing of it is reached."""
    paths, reached = variant.paths, reached_by(outer, variant.paths)
    live = {name for name, _ in variant.components.live}
    if item.name == "init":
        begins = live & paths.states_read(paths.last if outer.through.name in _ONE_STEP else reached)
        for name in map(str, item.arguments or ("w",)):
            if name not in begins:
                reading = [key for key, op in paths.ops.items() if name in live and _reads(op, name)]
                yield _unreached(outer, item, f"the initial value of `{name}`", reading, variant)
        return
    if item.name in {one.name for one in outer.own}:
        return  # whether it reaches a loss is seen where the outer step is checked
    whole = item.name == "genome"
    names = list(entries_of(variant)) if whole else [item.name.split(".", 1)[1]]
    targets = [key for name in names if name in live for key in paths.named(name)]
    if names and not reached & set(targets):
        yield _unreached(outer, item, "the genome" if whole else f"`{names[0]}`", targets, variant)


def reached_by(outer: t.Outer, paths: Paths) -> set[Key]:
    """Return the ops that the gradient of an outer step reaches."""
    return paths.first_order if outer.through.name in _ONE_STEP else paths.exact


def _reads(op: Op, name: str) -> bool:
    return op.name in ("state", "grad", "network") and op["name"] == name


def _unreached(outer: t.Outer, item: t.Learned, what: str, targets: Sequence[Key], variant: Variant) -> Diagnostic:
    paths, reached = variant.paths, reached_by(outer, variant.paths)
    wanted = paths.depending_on(targets)
    places = [(op.span, f"{cut_name(op)} lets no derivative pass") for op in paths.cuts(reached, wanted)]
    if not places and outer.through.name in _ONE_STEP:
        places = [(op.span, "a first-order gradient ends here") for op in _earlier(paths, reached, wanted)]
    span, label = places[0] if places else (None, "")
    near = span is not None and span.source is outer.span.source
    fact = f"no prediction of rule `{variant.rule.name}` depends on it"
    if span is not None:
        fact = f"line {span.line} of rule `{variant.rule.name}`, `{quoted(span)}`: {label}"
    return Diagnostic(
        "gradient-cut",
        f"outer `{outer.name}` learns {what} `through {outer.through.name}`, but no gradient reaches it",
        span if near else item.span,
        label if near else "no gradient comes here",
        notes=(f"to be learned on line {item.span.line}: `{quoted(item.span)}`",) if near else (fact,),
        help=_way_out(outer, bool(places)),
    )


def _way_out(outer: t.Outer, acts: bool) -> str:
    if not acts:
        return "leave it out of `meta`, or use it in the rule"
    exact = "`through unroll`, " if outer.through.name in _ONE_STEP else ""
    return f"write {exact}`through cma`, leave it out of `meta`, or take the cut away"


def _earlier(paths: Paths, reached: set[Key], wanted: set[Key]) -> list[Op]:
    """Return the reads of what an earlier step left, beyond which a first-order gradient does not look."""
    found = [paths.ops[e.user] for key in reached for e in paths.edges[key] if e.earlier and e.used in wanted - reached]
    return sorted(dict.fromkeys(found), key=lambda op: op.span.start if op.span else 0)


CUT = Lint(
    "gradient-cut",
    """Something that is to be meta-learned acts on the prediction, but no gradient comes back from there.

    update i -> j
      w[i,j] -= 0.1 * sign(threshold - abs(e[j])) * x[i]

Wherever `sign` has a derivative, it is zero, so the gradient with respect to `threshold` is exactly zero: `through unroll` would
run and leave `threshold` as it is. The same goes for `step`, for comparisons, for the condition of `where`, and for what stands
in `stop`. What reaches the prediction on another way, with a derivative, is not reported.

For a rule alone this is a warning, because evolution (`through cma`) needs no gradient. It is an error in an outer step that
learns the entry by gradients. Use something with a slope (`tanh(10 * x)`, `sigmoid(x - threshold)`), or evolution.

`through first_order` stops between one step and the next: what acts on a later step alone, by way of a state that only the
next step reads, has no gradient there either.""",
    cut_entries,
    cut_meta,
)
