"""Divisions whose denominator can be 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rulec.lints.cases import Case, cases
from rulec.lints.lint import Lint, Variant
from rulec.source import Diagnostic

_EXPLANATION = """A division whose denominator can be 0: in some step, for some data, or for some genome.

    forward i -> j
      y[j] = x[j] / mean[j](x[j]^2)       # 0 in a layer whose neurons are all silent

    update
      w -= lr * m / (1 - beta^(t - 1))    # in the first step t is 1

The quotient is infinite there, or NaN where 0 is divided by 0, and so is all that is computed from it. Declare as positive
what is positive, add something small to what is not negative, and replace the 0 in what may have either sign:

      y[j] = x[j] / (mean[j](x[j]^2) + 1e-12)
      y[j] = x[j] / where(z[j] == 0, 1, z[j])

What is above 0 for certain is not reported: `positive` genome entries, `exp(x)`, `1 + x^2`, `1 - beta^t` with a `unit` beta."""


def _find(variants: Sequence[Variant]) -> Iterator[Diagnostic]:
    for case in cases(variants, "division-by-zero"):
        yield _diagnostic(case)


def _diagnostic(case: Case) -> Diagnostic:
    where = f"every {case.argument} is 0" if case.operator == "norm" else f"{case.argument} is 0"
    return Diagnostic(
        "division-by-zero",
        f"{case.expression} divides by zero where {where}",
        case.span,
        "can be 0",
        case.notes(*(() if case.operator in ("div", "pow") else ("the derivative is infinite there, too",))),
        help=case.help("keep it from 0"),
        severity="warning",
    )


ZERO = Lint("division-by-zero", _EXPLANATION, _find)
