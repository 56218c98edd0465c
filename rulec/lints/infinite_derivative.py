"""Values that exist while their derivatives do not: the root at 0, the norm of zeros, small powers of 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rulec.lints.cases import Case, cases
from rulec.lints.lint import Lint, Variant
from rulec.source import Diagnostic

_EXPLANATION = """A value that is finite, with a derivative that is not.

    update
      v = beta * v + (1 - beta) * g^2     # 0 for a parameter whose gradient is 0
      w -= lr * g / (sqrt(v) + eps)       # finite; its derivative with respect to beta is NaN

The slope of a root is infinite at 0, and so is that of `x^p` for p below 1; for p below 2 it is the second derivative that
fails. The norm of a vector of zeros has no derivative at all. A rule runs well on such values until a meta-gradient passes
there and becomes infinite, or NaN: infinity times zero. Adding eps outside of the root does not help. Keep the argument
itself from 0, by less than any value that matters:

      w -= lr * g / (sqrt(v + 1e-24) + eps)
      size = sqrt(sum[i](x[i]^2) + 1e-24)     # instead of norm[i](x[i])

What needs no derivative is not reported, `sqrt(stop(v))` for one."""


def _find(variants: Sequence[Variant]) -> Iterator[Diagnostic]:
    for case in cases(variants, "infinite-derivative"):
        yield _diagnostic(case)


def _diagnostic(case: Case) -> Diagnostic:
    what = ("", "the derivative of ", "the second derivative of ")[case.order] + case.expression
    fate, where = "infinite" if case.order < 2 else "infinite or NaN", case.argument
    if case.operator == "norm":
        fate, where = "undefined", f"every {case.argument}"
    return Diagnostic(
        "infinite-derivative",
        f"{what} is {fate} where {where} is 0",
        case.span,
        f"{where} can be 0",
        case.notes(*_consequence(case)),
        help=case.help("keep it from 0"),
        severity="warning",
    )


def _consequence(case: Case) -> tuple[str, ...]:
    if case.order == 0:
        return ()
    if case.taken and case.order == 1:
        return ("the rule takes that derivative itself, where it differentiates the expression",)
    if case.taken:
        return ("the rule takes the first one itself, and a meta-gradient that passes there the second",)
    if case.order == 1:
        return ("the value is finite, but a meta-gradient that passes here is infinite or NaN",)
    return (
        "the first derivative is finite; what differentiates twice, as implicit hypergradients do, meets the second",
    )


INFINITE = Lint("infinite-derivative", _EXPLANATION, _find)
