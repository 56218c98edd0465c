"""Logarithms, roots and powers of what may be negative, and the logarithm of 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rulec.lints.cases import Case, cases
from rulec.lints.lint import Lint, Variant
from rulec.source import Diagnostic

_EXPLANATION = """A logarithm, root or power of what may be negative, or the logarithm of 0.

    forward i -> j
      y[j] = log(x[j])                                      # NaN for a negative x, minus infinity for 0
      s[j] = sqrt(mean[n](x[j]^2) - mean[n](x[j])^2)        # rounding takes the difference below 0

Powers count that are no whole numbers: `x^0.5`, or `x^p` with p from the genome. Write what cannot be negative, or cut it
off:

      y[j] = log(max(x[j], 1e-12))
      s[j] = sqrt(var[n](x[j]) + 1e-9)

What has the right sign for certain is not reported: squares, variances and sums of them, `log(1 + exp(x))`, `positive` genome
entries, states that begin at 0 and only ever take in what is not negative."""


def _find(variants: Sequence[Variant]) -> Iterator[Diagnostic]:
    for case in cases(variants, "outside-its-domain"):
        yield _diagnostic(case)


def _diagnostic(case: Case) -> Diagnostic:
    fate, where = ("NaN", "below 0") if case.bad == "negative" else ("minus infinity", "0")
    return Diagnostic(
        "outside-its-domain",
        f"{case.expression} is {fate} where {case.argument} is {where}",
        case.span,
        f"{case.argument} can be {'negative' if case.bad == 'negative' else '0'}",
        case.notes(),
        help=case.help("cut it off above 0" if case.bad == "negative" else "keep it from 0"),
        severity="warning",
    )


OUTSIDE = Lint("outside-its-domain", _EXPLANATION, _find)
