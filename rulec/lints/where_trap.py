"""A `where` that hides a bad value, but not its derivative."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rulec.lints.cases import Case, cases
from rulec.lints.lint import Lint, Variant
from rulec.source import Diagnostic

_EXPLANATION = """A `where` that hides a bad value, but not its derivative.

    forward i -> j
      y[j] = where(x[j] > 0, sqrt(x[j]), 0)     # where x is 0, the meta-gradient is NaN

`where(condition, a, b)` computes both a and b everywhere, and then chooses. A bad value that is not chosen does the result
no harm. It does the derivative: what is not chosen gets the derivative 0, which is multiplied by the slope of the function
that failed, and 0 times infinity is NaN. Guard the inside as well, so that the function never sees a bad argument; the outer
`where` still chooses the result:

      y[j] = where(x[j] > 0, sqrt(where(x[j] > 0, x[j], 1)), 0)

What carries no derivative is not reported: `where(input[i] > 0, log(input[i]), 0)` is fine."""


def _find(variants: Sequence[Variant]) -> Iterator[Diagnostic]:
    for case in cases(variants, "where-trap"):
        yield _diagnostic(case)


def _diagnostic(case: Case) -> Diagnostic:
    every = "every " if case.operator == "norm" else ""
    where = f"{every}{case.argument} is {'0 or below' if case.bad == 'negative' else '0'}"
    return Diagnostic(
        "where-trap",
        f"{case.expression} is computed everywhere, also where {case.unchosen}",
        case.span,
        f"{'infinite or NaN' if case.order == 0 else 'its derivative is infinite'} where {where}",
        case.notes("the derivative of what is not chosen is multiplied by 0, and 0 times infinity is NaN"),
        help=case.help("guard the inside too"),
        severity="warning",
    )


TRAP = Lint("where-trap", _EXPLANATION, _find)
