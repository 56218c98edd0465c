"""Rules through whose updates no gradient passes to earlier ones, though an outer step asks for it."""

from __future__ import annotations

from collections.abc import Iterator

from rulec.ir.graph import Op
from rulec.lints.flow import INITIAL, lasts
from rulec.lints.gradients import scores_alone, unreached
from rulec.lints.lint import Lint, Variant
from rulec.lints.paths import Key, Paths, cut_name
from rulec.lints.wording import quoted
from rulec.semantics import typed as t
from rulec.source import Diagnostic

EXACT = ("auto", "unroll", "truncated", "forward", "implicit", "neumann")
_LINEAR = ("add", "sub", "neg", "rename", "take", "insert", "stop")
_ROUNDS = 8  # more than there are nested repeats

# How a value depends on what earlier steps left: not at all; as a state that is carried on, times numbers that no data enter;
# or in another way, by what the neurons make of it.
NOT, CARRIED, LEARNED = 0, 1, 2


class Orders:
    """How each value of a program depends on the lasting states as the step found them."""

    def __init__(self, paths: Paths, through_cuts: bool) -> None:
        self.paths, self.through_cuts = paths, through_cuts
        self.made: dict[Key, int] = dict.fromkeys(paths.ops, NOT)
        self.plain: dict[Key, bool] = {}
        for key, op in paths.ops.items():  # arguments first
            self.plain[key] = self._plain(key, op)
        for _ in range(_ROUNDS):
            before = dict(self.made)
            for key, op in paths.ops.items():
                self.made[key] = max(self.made[key], self._order(key, op))
            if before == self.made:
                break

    def _plain(self, key: Key, op: Op) -> bool:
        """Whether a value is made of genome entries and numbers alone."""
        if not op.args:
            return op.name in ("constant", "genome", "extent", "position", "time")
        return all(self.plain[key[0], id(a)] for a in op.args)

    def _order(self, key: Key, op: Op) -> int:
        flow = self.paths.flow
        if op.name in ("grad", "network"):
            return LEARNED
        if op.name == "state" and lasts(flow.program, str(op["name"])):
            sources = flow.sources(key[0], op)
            found = [CARRIED] if any(s == INITIAL or s.earlier for s in sources) else [NOT]
            return max(found + [self.made[self.paths.root(s)] for s in sources if s != INITIAL and not s.earlier])
        edges = [e for e in self.paths.edges[key] if not e.earlier and (self.through_cuts or not e.cut)]
        parts = {e.used: self.made[e.used] for e in edges}
        most = max(parts.values(), default=NOT)
        if most != CARRIED or op.name in _LINEAR or not op.args:
            return most
        if op.name == "reduce" and op["operator"] in ("sum", "mean") and "n" not in op["indices"]:
            return most
        if op.name in ("mul", "div") and self._by_a_number(key, op, parts):
            return most
        return LEARNED

    def _by_a_number(self, key: Key, op: Op, parts: dict[Key, int]) -> bool:
        others = [a for a in op.args if not parts.get((key[0], id(a)), NOT)]
        divides = op.name == "div" and parts.get((key[0], id(op.args[1])), NOT) != NOT
        return len(others) == 1 and self.plain[key[0], id(others[0])] and not divides


def silently_first_order(outer: t.Outer, variant: Variant) -> Iterator[Diagnostic]:
    """Find an outer step that asks for an exact gradient of a rule whose updates cut all that makes it one."""
    if (
        outer.through.name not in EXACT
        or scores_alone(outer)
        or any(any(True for _ in unreached(outer, m, variant)) for m in outer.meta)
    ):
        return
    paths = variant.paths
    updates = _updates(paths)
    whole, left = Orders(paths, True), Orders(paths, False)
    if not any(whole.made[key] == LEARNED for key in updates) or any(left.made[key] == LEARNED for key in updates):
        return
    reached = paths.reached(updates, across_steps=False)
    cuts = [op for op in paths.cuts(reached, {key for key, order in whole.made.items() if order != NOT}) if op.span]
    if cuts:
        yield _finding(outer, variant, cuts[0])


def _updates(paths: Paths) -> list[Key]:
    """Return the new values of lasting states that a later prediction depends on."""
    live = paths.reached(paths.predictions, through_cuts=True)
    sites = [s for s in paths.flow.writes if lasts(paths.flow.program, s.write.name)]
    return [key for s in sites if (key := (s.block, id(s.write.value))) in live]


def _finding(outer: t.Outer, variant: Variant, cut: Op) -> Diagnostic:
    span = cut.span
    near = span is not None and span.source is outer.span.source
    asked = f"asked for on line {outer.through.span.line}: `through {quoted(outer.through.span)}`"
    fact = f"line {span.line} of rule `{variant.rule.name}`, `{quoted(span)}`" if span is not None else ""
    return Diagnostic(
        "silently-first-order",
        f"outer `{outer.name}` wants the exact gradient, but no update of rule `{variant.rule.name}` passes one to those before",
        span if near else outer.through.span,
        f"{cut_name(cut)} cuts what the update owes to earlier ones",
        notes=(
            asked if near else f"cut on {fact}",
            "what is left is a first-order gradient, without second derivatives",
        ),
        help="write `through first_order` if that is what you want; or take the cut away",
    )


FIRST_ORDER = Lint(
    "silently-first-order",
    """An outer step asks for the exact gradient, and the rule it trains lets only the first-order one pass.

    rule sgd
    ...
    update
      w -= lr * stop(grad(loss, w))

    outer maml
      inner sgd for 5 steps on support
      meta init(w), sgd.lr
      through unroll

An exact gradient asks how each update changes those after it. With everything in `stop` that depends on earlier updates (or
behind `sign`, `step`, a comparison), the answer is always: not at all, but for what a state carries on unchanged or decayed.
What comes out is a first-order gradient, without second derivatives, at the price of the exact one and under its name.

If that is meant, say so: `through first_order`. If not, take the cut away. Cuts that leave another way for the gradient are
not reported, and neither are rules whose updates do not depend on earlier ones in the first place.""",
    find_outer=silently_first_order,
)
