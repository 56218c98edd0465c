"""Sites: walk a block's expressions for hazards, with what each `where` on the way has to say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rulec.ir.graph import Op, Program, walk_blocks, walk_ops
from rulec.lints.conditions import Facts
from rulec.lints.derivatives import BARRIERS, Derivatives
from rulec.lints.hazards import Evaluated, Hazard, hazards, never
from rulec.lints.numbering import Numbering
from rulec.lints.reachable import Evaluation, anywhere, reachable

_LINEAR = frozenset(("add", "sub", "neg", "identity", "take", "insert", "rename"))


@dataclass(frozen=True)
class Site:
    """A hazard that is met.

    `guard` is given for a trap: under the condition of this `where` all is well, but the op is computed elsewhere too.
    """

    hazard: Hazard
    evaluation: Evaluation
    facts: Facts
    guard: Facts | None = None


@dataclass(frozen=True)
class _Step:
    """An op on the way down from what is written, and what is known where it is used.

    `wanted`: a derivative flows back to it. `factor`: a value that carries one meets it in more than a sum, so that its value
    is a factor of that derivative; this is computed everywhere, and known is only what each `where` between them says.
    """

    op: Op
    facts: Facts
    wanted: bool
    factor: Facts | None


@dataclass(frozen=True)
class Found:
    """All sites of a program, and the evaluations that led to them."""

    sites: tuple[Site, ...]
    evaluations: tuple[Evaluation, ...]
    derivatives: Derivatives


def find_sites(program: Program) -> Found | None:
    """Return where a program may meet a hazard; None if nowhere. What is safe with any state at all is not run."""
    roots = [write.value for block in walk_blocks(program.blocks) for write in block.writes]
    if all(never(op) for op in walk_ops(roots)):
        return None
    numbers, derivatives = Numbering(), Derivatives(program)
    numbers.enter(roots)
    for values in (anywhere, reachable):
        evaluations = values(program, numbers)
        sites = tuple(_distinct([site for one in evaluations for site in sites_of(one, derivatives)]))
        if not sites:
            return None
    return Found(sites, tuple(evaluations), derivatives)


def _distinct(sites: Sequence[Site]) -> Iterator[Site]:
    """Yield the worst of what happens to each op at different layers."""
    seen: set[tuple[int, int, bool]] = set()
    for site in sorted(sites, key=lambda s: s.hazard.order):
        key = (id(site.hazard.op), site.hazard.place, site.guard is None)
        if key not in seen:
            seen.add(key)
            yield site


def sites_of(evaluation: Evaluation, derivatives: Derivatives) -> Iterator[Site]:
    """Yield what may go wrong where a block is evaluated, from what it writes downwards."""
    root = evaluation.ranges.root
    stack = [_Step(write.value, root, True, None) for write in reversed(evaluation.writes)]
    seen: set[tuple[int, int, bool, int]] = set()
    while stack:
        step = stack.pop()
        key = (id(step.op), id(step.facts), step.wanted, id(step.factor))
        if key in seen:
            continue
        seen.add(key)
        if not never(step.op):
            yield from _at(step, evaluation, derivatives)
        stack.extend(reversed(list(_below(step, evaluation, derivatives))))


def _at(step: _Step, evaluation: Evaluation, derivatives: Derivatives) -> Iterator[Site]:
    here = list(_under(step.facts, step, evaluation, derivatives))
    yield from (Site(hazard, evaluation, step.facts) for hazard in here)
    known = {hazard.place: hazard.order for hazard in here}
    for hazard in _elsewhere(step, evaluation, derivatives):
        if hazard.order < known.get(hazard.place, 3):
            yield Site(hazard, evaluation, evaluation.ranges.root, _outermost(hazard, step, evaluation, derivatives))


def _under(facts: Facts, step: _Step, evaluation: Evaluation, derivatives: Derivatives) -> Iterator[Hazard]:
    if facts.possible:
        yield from hazards(step.op, Evaluated(evaluation.ranges, facts, derivatives, step.wanted))


def _elsewhere(step: _Step, evaluation: Evaluation, derivatives: Derivatives) -> Iterator[Hazard]:
    """Yield what spoils a derivative also where no `where` chooses the op."""
    root = evaluation.ranges.root
    if step.facts is root:
        return
    if step.wanted and derivatives.carried_by(step.op):
        yield from _under(root, step, evaluation, derivatives)
    elif step.factor is not None:
        yield from _under(step.factor, step, evaluation, derivatives)


def _outermost(hazard: Hazard, step: _Step, evaluation: Evaluation, derivatives: Derivatives) -> Facts:
    """Return the outermost conditions under which this does not happen."""
    facts = step.facts
    while facts.parent is not None and hazard not in _under(facts.parent, step, evaluation, derivatives):
        facts = facts.parent
    return facts


def _below(step: _Step, evaluation: Evaluation, derivatives: Derivatives) -> Iterator[_Step]:
    op, ranges, factor = step.op, evaluation.ranges, step.factor
    if op.name == "where":
        yield _Step(op.args[0], step.facts, False, factor)
        for place, truth in ((1, True), (2, False)):
            chosen = None if factor is None else factor.under(op, truth, ranges)
            yield _Step(op.args[place], step.facts.under(op, truth, ranges), step.wanted, chosen)
        return
    wanted = step.wanted and op.name not in BARRIERS
    if wanted and not _is_linear(op) and derivatives.carried_by(op):
        factor = ranges.root
    elif op.name in BARRIERS and op.name != "stop":  # a comparison with what is infinite is 0 or 1
        factor = None
    bound = _bound(op)
    for argument in op.args:
        yield _Step(argument, step.facts.outside(bound), wanted, None if factor is None else factor.outside(bound))


def _is_linear(op: Op) -> bool:
    return op.name in _LINEAR or (op.name == "reduce" and op["operator"] in ("sum", "mean"))


def _bound(op: Op) -> frozenset[str]:
    """Return the letters that mean something else inside an op."""
    if op.name == "reduce":
        return frozenset(op["indices"])
    if op.name in ("take", "insert"):
        return frozenset(index for index, _ in op["at"])
    if op.name == "rename":
        return frozenset(letter for pair in op["letters"] for letter in pair)
    return frozenset()
