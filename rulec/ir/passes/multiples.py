"""Add up the multiples of one synapse state: `w + (keep - 1) * w` becomes `keep * w`.

Before: subexpressions shared. After: the same values but for the last digits; in a sum that is used as one value, each
synapse state stands once, multiplied by the sum of what it was multiplied by.
"""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Callable, Sequence

from rulec.ir.graph import (
    Block,
    Op,
    Program,
    change_blocks,
    constant,
    is_constant,
    rewrite_down,
    uses_of,
    with_args,
)
from rulec.ir.passes.fold import fold
from rulec.ir.passes.pullback import factors_of

_SUMS = ("add", "sub", "neg")

Term = tuple[float, Op]  # a sign, and a product


def collect_multiples(program: Program) -> Program:
    return change_blocks(program, _collect)


def _collect(block: Block) -> Block:
    uses = uses_of(block)

    def change(op: Op, visit: Callable[[Op], Op]) -> Op:
        terms = _terms(op, lambda inner: uses[id(inner)] == 1) if op.name in ("add", "sub") else []
        if not _repeats(terms):
            return with_args(op, tuple(visit(a) for a in op.args))
        return _collected([(sign, visit(term)) for sign, term in terms])

    return rewrite_down(block, change)


def _terms(op: Op, opens: Callable[[Op], bool], sign: float = 1.0) -> list[Term]:
    """Write a sum as terms, the sums in it too as far as `opens` says so."""
    found: list[Term] = []
    for argument, own in zip(op.args, (-sign if op.name == "neg" else sign, -sign if op.name == "sub" else sign)):  # noqa: B905
        inner = argument.name in _SUMS and opens(argument)
        found += _terms(argument, opens, own) if inner else [(own, argument)]
    return found


def _base(product: Op) -> Op | None:
    """Return the one synapse state that a product is a multiple of."""
    states = [f for f in _factors(product) if f.name == "state" and f.axes & {"i", "j", "p"} and "n" not in f.axes]
    return states[0] if len(states) == 1 else None


def _factors(product: Op) -> list[Op]:
    return factors_of(product) if product.name == "mul" else [product]


def _repeats(terms: Sequence[Term]) -> bool:
    counts = Counter(id(base) for _, product in terms if (base := _base(product)) is not None)
    return any(count > 1 for count in counts.values())


def _collected(terms: Sequence[Term]) -> Op:
    groups: dict[int, list[Term]] = {}
    for sign, product in terms:
        base = _base(product)
        groups.setdefault(id(product if base is None else base), []).append((sign, product))
    return _added([part for group in groups.values() for part in _together(group)])


def _together(group: list[Term]) -> list[Term]:
    """Return terms with the same base as one."""
    base = _base(group[0][1])
    if base is None or len(group) == 1:
        return group
    multipliers = [(sign, _product([f for f in _factors(product) if f is not base])) for sign, product in group]
    return [(1.0, fold(_sum(multipliers) * base))]


def _product(factors: Sequence[Op]) -> Op:
    return functools.reduce(operator.mul, factors) if factors else constant(1.0)


def _sum(terms: Sequence[Term]) -> Op:
    """Add up, the numbers among the terms as one."""
    opened: list[Term] = []
    for sign, op in terms:
        opened += _terms(op, lambda _: True, sign) if op.name in _SUMS else [(sign, op)]
    number = sum(sign * op["value"] for sign, op in opened if is_constant(op))
    return _added([*((s, op) for s, op in opened if not is_constant(op)), (1.0, constant(number))])


def _added(terms: Sequence[Term]) -> Op:
    """Add up, beginning with a term that is not subtracted if there is one."""
    ordered = sorted(terms, key=lambda term: term[0] < 0)
    first = ordered[0][1] if ordered[0][0] > 0 else fold(-ordered[0][1])
    return functools.reduce(lambda total, t: fold(total + t[1] if t[0] > 0 else total - t[1]), ordered[1:], first)
