"""Cases: hazards that a rule may meet, told by its own text, each with its cause and with the rewrite that mends it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from rulec.ir.graph import Op, is_constant, walk_ops
from rulec.lints.conditions import Facts
from rulec.lints.hazards import Bad, Evaluated, Hazard, hazards
from rulec.lints.intervals import REALS, Interval, hull
from rulec.lints.lint import Variant
from rulec.lints.ranges import is_whole
from rulec.lints.reasons import Asking, reason
from rulec.lints.rewrites import Rewrite, Subject, rewrite
from rulec.lints.sites import Found, Site
from rulec.lints.written import Text, Written, failing_place, is_pasteable, is_repeatable, one_line, quoted
from rulec.semantics import typed as t
from rulec.semantics.constants import spelling
from rulec.source import Span


@dataclass(frozen=True)
class Case:
    """One finding, before it is put into words.

    `expression` fails where `argument` is bad; both are quoted. `taken`: the derivative is one that the rule itself takes,
    by `diff` or a prime. `unchosen`: when the `where` around it does not choose it.
    """

    id: str
    span: Span
    expression: str
    argument: str
    operator: str
    bad: Bad
    order: int
    reason: str
    offer: Callable[[], Rewrite | None]
    taken: bool
    unchosen: str
    choice: str  # the options under which it is found, where those are not the defaults

    @cached_property
    def rewrite(self) -> Rewrite | None:
        """Return what to paste, if there is something that stands its trial."""
        return self.offer()

    def notes(self, *more: str) -> tuple[str, ...]:
        """Return how the bad value is reached, and what else there is to say."""
        return (self.reason, *more, *((f"found with {self.choice}",) if self.choice else ()))

    def help(self, action: str) -> str:
        """Return the rewrite to paste; without one, the action alone."""
        if self.rewrite is None:
            return action
        action = self.rewrite.action or action
        if self.rewrite.span.line != self.span.line:
            return f"{action}, on line {self.rewrite.span.line}: `{self.rewrite.shown}`"
        return f"{action}: `{self.rewrite.shown}`"


def cases(variants: Sequence[Variant], kind: str) -> Iterator[Case]:
    """Yield the cases of one kind, in a rule with its options chosen in all these ways; the same place once."""
    told: set[tuple[int, int]] = set()
    for variant in variants:
        for case in _cases(variant, _choice(variant, variants[0])):
            place = (id(case.span.source), case.span.start)
            if case.id == kind and place not in told:
                told.add(place)
                yield case


def _choice(variant: Variant, default: Variant) -> str:
    """Return the options that differ from their defaults, as in `recipe=normalised`."""
    chosen, usual = variant.rule.options, default.rule.options
    return ", ".join(f"`{name} = {spelling(value)}`" for name, value in chosen.items() if value != usual.get(name))


def _cases(variant: Variant, choice: str) -> Iterator[Case]:
    found = variant.sites
    if found is None:
        return
    telling = _Telling(variant, found, choice)
    told: set[tuple[int, int]] = set()
    for site in sorted(found.sites, key=telling.rank):
        case = telling.case(site)
        if case is not None and (case.span.start, case.span.end) not in told:
            told.add((case.span.start, case.span.end))
            yield case


class _Telling:
    """Tell the sites of one program."""

    def __init__(self, variant: Variant, found: Found, choice: str) -> None:
        self.program, self.found, self.choice = variant.program, found, choice
        self.text = Text(variant.rule)

    def written(self, site: Site) -> Written | None:
        return self.text.written(site.hazard.op)

    def rank(self, site: Site) -> tuple[bool, bool, int, bool]:
        """Of two sites at the same place, the lower one is told.

        What the text says comes before what derivatives of it say, a value that fails before a derivative, and a root that is
        NaN before the division by it.
        """
        hazard = site.hazard
        return self.written(site) is None, site.guard is not None, hazard.order, hazard.kind != "outside-its-domain"

    def case(self, site: Site) -> Case | None:
        written = self.written(site)
        if written is not None:
            return self._written_case(site, written)
        written = self.text.derived_from(site.hazard.argument)
        if written is None or site.hazard.order == 2:
            return None
        return self._told(site, self._derived(site, written), "infinite-derivative", written.span, taken=True)

    def _written_case(self, site: Site, written: Written) -> Case:
        root = self._root_below(site)
        if root is not None:
            site = replace(site, hazard=root)
        below = self.written(site) or written
        id = "where-trap" if site.guard else "division-by-zero" if root is not None else site.hazard.kind
        return self._told(site, self._subject(site, below), id, written.span, taken=False)

    def _root_below(self, site: Site) -> Hazard | None:
        """Return the hazard of the root that a division divides by: guarded inside, it is safe in both ways."""
        hazard = site.hazard
        if hazard.kind != "division-by-zero" or hazard.op.name != "div":
            return None
        seen = Evaluated(site.evaluation.ranges, site.facts, self.found.derivatives, True)
        below = [h for h in hazards(hazard.argument, seen) if h.order == 1 and self.text.written(h.op)]
        return below[0] if below else None

    # --- Subjects ---

    def _subject(self, site: Site, written: Written) -> Subject:
        hazard = site.hazard
        arguments = tuple(self._lies(a, site) for a in hazard.op.args)
        either = hazard.op.name == "div" or (hazard.op.name == "pow" and is_whole(hazard.op.args[1]))
        return Subject(written, hazard.place, arguments, hazard.order, either, self._condition(site))

    def _lies(self, op: Op, site: Site) -> Interval | float:
        """Return where an op's value lies in all evaluations of its block, whatever conditions hold."""
        if is_constant(op) and op["value"] != 0:
            return float(op["value"])
        block = site.evaluation.block
        return hull(*(one.ranges.of(op) for one in self.found.evaluations if one.block is block))

    def _derived(self, site: Site, written: Written) -> Subject:
        """Return the expression whose derivative the rule takes, and that derivative fails."""
        parts = [self._lies_at(node, site) for node in written.arguments]
        order = site.hazard.order + (0 if written.primes else 1)
        whole = isinstance(parts[-1], float) and parts[-1].is_integer()
        either = written.operator == "div" or (written.operator == "pow" and whole)
        return Subject(written, failing_place(written.operator), tuple(parts), order, either)

    def _lies_at(self, node: t.Expr, site: Site) -> Interval | float:
        if isinstance(node, t.Constant):
            return node.value
        known = self._op_at(node.span, site)
        return REALS if known is None else self._lies(known, site)

    def _op_at(self, span: Span, site: Site) -> Op | None:
        """Return the op that was written at a place: the first there, before those that derivatives have brought in."""
        return next((op for op in walk_ops([site.hazard.op]) if self.text.stands_for(span, op)), None)

    def _condition(self, site: Site) -> tuple[str, bool] | None:
        where = self._where(site.guard)
        return (
            None if where is None or site.guard is None else (one_line(where.arguments[0].span.text), site.guard.truth)
        )

    def _unchosen(self, site: Site) -> str:
        where = self._where(site.guard)
        if where is None or site.guard is None:
            return "`where` does not choose it"
        return f"{quoted(where.arguments[0].span)} {'does not hold' if site.guard.truth else 'holds'}"

    def _where(self, guard: Facts | None) -> t.Apply | None:
        chooser = None if guard is None else guard.chooser
        nodes = [] if chooser is None else self.text.at(chooser.span)
        return next((n for n in nodes if isinstance(n, t.Apply) and n.operator == "where"), None)

    # --- Words that all kinds share ---

    def _told(self, site: Site, subject: Subject, id: str, expression: Span, taken: bool) -> Case:
        written, bad = subject.written, site.hazard.bad
        argument = written.arguments[subject.place].span
        span = written.span
        if id == "division-by-zero" and written.operator == "div":
            span = argument
        asking = Asking(self.program, self.found.evaluations, site.evaluation)
        cause = (self._op_at(argument, site) if taken else None) or site.hazard.argument
        return Case(
            id,
            span,
            quoted(expression),
            quoted(argument),
            written.operator,
            bad,
            subject.order,
            reason(cause, bad, asking),
            lambda: self._offer(site, subject),
            taken,
            self._unchosen(site),
            self.choice,
        )

    def _offer(self, site: Site, subject: Subject) -> Rewrite | None:
        declared = self._declaration(site.hazard.argument)
        if declared is not None and site.guard is None:
            return declared
        if site.guard is not None and not self._may_move(site.guard, subject):
            return None
        return rewrite(subject)

    def _may_move(self, guard: Facts, subject: Subject) -> bool:
        """Whether the condition of a `where` means the same where the expression stands."""
        where = self._where(guard)
        if where is None:
            return False
        condition = where.arguments[0].span
        if not (is_pasteable(condition) and is_repeatable(condition)):
            return False
        locals_in_it = any(
            isinstance(node, t.LocalRef) and condition.start <= node.span.start < condition.end
            for node in self.text.nodes
        )
        return where.span.start <= subject.written.span.start < where.span.end or not locals_in_it

    def _declaration(self, op: Op) -> Rewrite | None:
        """Declare a genome entry as positive that begins above zero, where it alone is the cause."""
        if op.name != "genome":
            return None
        entry = next(e for e in self.program.genome if e.name == op["name"])
        begins = entry.initial
        read = re.fullmatch(r"(\w+(?:\[[^\]]*\])?)((?:\s+per layer)?)\s*=\s*([^#\n]+)", entry.span.text)
        if entry.domain.name != "real" or read is None or not isinstance(begins, t.Constant) or begins.value <= 0:
            return None
        text = f"{read[1]} : positive{read[2]} = {read[3]}"
        return Rewrite(entry.span, text, text, "declare it as positive")
