"""Genome entries that begin outside of their domain, or on its edge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rulec.lints.beginnings import initial_range, is_drawn
from rulec.lints.intervals import POSITIVE, REALS, Interval, between, intersect
from rulec.lints.lint import Lint, Variant
from rulec.lints.wording import name_span, quoted
from rulec.semantics import typed as t
from rulec.source import Diagnostic


def beginning_outside(variants: Sequence[Variant]) -> Iterator[Diagnostic]:
    """Find initial values that lie, or may lie, outside of the entry's domain."""
    for variant in variants:
        for entry in variant.program.genome:
            law, domain = initial_range(entry.initial, {}), _values(entry.domain)
            if not _inside(law, domain, is_drawn(entry.initial)):
                yield _outside(entry, certain=intersect(law, domain) is None)


def setting_outside(outer: t.Outer, variant: Variant) -> Iterator[Diagnostic]:
    """Find numbers that an outer step gives to the inner rule's entries, and that lie outside of their domains."""
    for entry in variant.program.genome:
        given = outer.inner.settings.get(entry.name)
        if isinstance(given, (int, float)) and given not in _values(entry.domain):
            yield Diagnostic(
                "outside-domain",
                f"outer `{outer.name}` gives `{entry.name}` a value outside of its domain",
                outer.inner.span,
                f"{given:g} is not in `{entry.domain}`",
                notes=(f"`{entry.name} : {entry.domain}` in rule `{variant.rule.name}`",),
                help="change the value or the domain",
            )


def beginning_on_edge(variants: Sequence[Variant]) -> Iterator[Diagnostic]:
    """Find entries that meta-learning can hardly move, because they begin where their bijection has no finite image."""
    for variant in variants:
        for entry in variant.program.genome:
            if entry.domain.name in ("unit", "interval") and not is_drawn(entry.initial):
                law, domain = initial_range(entry.initial, {}), _values(entry.domain)
                edge = law.low if law.low == domain.low else law.high if law.high == domain.high else None
                if edge is not None and _inside(law, domain, False):
                    yield _on_edge(entry, edge)


def _values(domain: t.Domain) -> Interval:
    """Return what a genome entry of this domain may be."""
    if domain.low is not None and domain.high is not None:
        return between(domain.low, domain.high)
    return {"positive": POSITIVE, "unit": between(0.0, 1.0)}.get(domain.name, REALS)


def _inside(law: Interval, domain: Interval, drawn: bool) -> bool:
    """Whether all initial values lie in the domain. A value that is drawn never falls on the ends exactly."""
    low = law.low > domain.low or (law.low == domain.low and (drawn or law.low in domain or law.low_open))
    high = law.high < domain.high or (law.high == domain.high and (drawn or law.high in domain or law.high_open))
    return low and high


def _outside(entry: t.GenomeEntry, certain: bool) -> Diagnostic:
    note = "values outside are moved to the edge, where meta-learning can hardly move them"
    if entry.domain.name == "positive":
        note = "meta-learning begins with the logarithm of this value, which does not exist for numbers below zero"
    return Diagnostic(
        "outside-domain" if certain else "may-begin-outside-domain",
        f"the initial value of `{entry.name}` {'lies' if certain else 'may lie'} outside its domain",
        entry.initial.span,
        f"not in `{entry.domain}`" if certain else f"not always in `{entry.domain}`",
        notes=(note,),
        help="change the value or the domain" if certain else _draw_inside(entry),
        severity="error" if certain else "warning",
    )


def _draw_inside(entry: t.GenomeEntry) -> str:
    if entry.domain.name == "positive":
        return f"draw its logarithm: `exp({quoted(entry.initial.span)})`"
    domain = _values(entry.domain)
    return f"draw it inside: `uniform({domain.low:g}, {domain.high:g})`"


def _on_edge(entry: t.GenomeEntry, edge: float) -> Diagnostic:
    return Diagnostic(
        "begins-on-edge",
        f"`{entry.name}` begins on the edge of its domain, where meta-learning can hardly move it",
        name_span(entry),
        f"begins at {edge:g}, an end of `{entry.domain}`",
        notes=(
            "it is searched through the logit, which is infinite there: "
            "the value is moved inside by a millionth, and its gradient shrinks to a millionth",
        ),
        help=f"begin a little inside, or declare `{entry.name}` without a domain",
        severity="warning",
    )


OUTSIDE = Lint(
    "may-begin-outside-domain",
    """An initial value that may lie outside of the domain that its entry is declared with.

    genome
      rate : positive = normal(0, 1)

Half of the genomes of a population begin with a negative rate. Meta-learning searches `positive` entries through the
logarithm, which such a rate has not: its genome is lost from the first step. Values below or above a `unit` or an `interval`
are moved to its edge.

Draw a value that is always inside: `exp(normal(0, 1))`, `uniform(0.01, 1)`.""",
    beginning_outside,
    setting_outside,
)

EDGE = Lint(
    "begins-on-edge",
    """A genome entry that begins exactly where its domain ends.

    genome
      decay : unit = 0

Meta-learning searches `unit` and `interval` entries through the logit, so that no step can leave the domain. Its ends lie at
infinity: an entry that begins there is moved inside by a millionth of the domain's width, where the derivative is a
millionth, too. Gradient descent will not bring it back, and Adam and evolution need very long.

Begin inside, at a value that does little: `decay : unit = 0.001`. If the entry is meant to stay at the edge, it need not be
a genome entry.""",
    beginning_on_edge,
)
