"""Implicit hypergradients by conjugate gradients with nothing that keeps their matrix positive definite."""

from __future__ import annotations

from collections.abc import Iterator

from rulec.lints.lint import Lint, Variant
from rulec.semantics import typed as t
from rulec.source import Diagnostic


def unbounded(outer: t.Outer, variant: Variant) -> Iterator[Diagnostic]:
    """Find `implicit(cg)` without damping and without a term that draws the parameters anywhere."""
    method = outer.through
    solver = [*method.arguments, "cg"][0] if method.name == "implicit" else ""
    if solver != "cg" or method.settings.get("damping", 0) or outer.plus:
        return
    yield Diagnostic(
        "unbounded-curvature",
        f"nothing bounds the negative curvature that outer `{outer.name}` may meet",
        method.span,
        "conjugate gradients want a positive definite matrix",
        notes=("losses of networks curve downwards in some directions, and then the solution means nothing",),
        help="add `damping = 1` here, or a term of the inner problem, as `plus lambda / 2 * norm(w - init(w))^2`",
        severity="warning",
    )


CURVATURE = Lint(
    "unbounded-curvature",
    """An implicit hypergradient by conjugate gradients with neither damping nor a proximal term.

Conjugate gradients solve with the matrix I - dF/dw of the last update F, for gradient descent the rate times the Hessian of the loss on
the support. They need it to be positive definite. The Hessian of a network is not: with rectified units some of its
eigenvalues are below zero near most points, and a solver that meets them stops early or goes the wrong way. A term that draws the
parameters back (`plus lambda / 2 * norm(w - init(w))^2`, lambda above the most negative eigenvalue's size) or a damping moves all
eigenvalues up. Rajeswaran et al. 2019 have the first, their released code both.

    through implicit(cg, steps = 5)                 # warned of, without a term
    through implicit(cg, steps = 5, damping = 1)    # not

`implicit(neumann)` needs no such matrix, but an update that contracts.""",
    find_outer=unbounded,
)
