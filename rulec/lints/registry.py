"""All kinds of findings. A new one is a file with a `Lint`, and its line here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rulec.lints import (
    batch,
    curvature,
    dead,
    division_by_zero,
    domains,
    gradients,
    growth,
    infinite_derivative,
    orders,
    outside_its_domain,
    unset,
    where_trap,
)
from rulec.lints.lint import Lint, Variant
from rulec.semantics.typed import Outer
from rulec.source import Diagnostic

LINTS: tuple[Lint, ...] = (
    dead.ENTRY,
    dead.STATE,
    unset.UNSET,
    batch.BATCH,
    growth.GROWTH,
    domains.OUTSIDE,
    domains.EDGE,
    gradients.CUT,
    orders.FIRST_ORDER,
    division_by_zero.ZERO,
    outside_its_domain.OUTSIDE,
    infinite_derivative.INFINITE,
    where_trap.TRAP,
    curvature.CURVATURE,
)


def lint(variants: Sequence[Variant]) -> Iterator[Diagnostic]:
    """Yield every finding about one rule."""
    for one in LINTS:
        yield from one.find(variants)


def lint_outer(outer: Outer, trained: Variant) -> Iterator[Diagnostic]:
    """Yield every finding about an outer step and the rule that it trains."""
    for one in LINTS:
        yield from one.find_outer(outer, trained)
