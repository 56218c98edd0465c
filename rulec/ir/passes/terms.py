"""Write sums as a paper does: a number in front of each term, and each term once.

Before: a program as built, or taken apart. After: the same values but for the last digits; the numbers of a product are one
number in front of it, or a sign; numbers stand outside of sums, means and variances; a sum that is used in one place joins the sum it is
used in, and terms that differ in their numbers alone are one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from rulec.ir.graph import Block, Op, Program, change_blocks, constant, is_constant, pointwise, walk_ops, with_args
from rulec.ir.passes.fold import fold

Term = tuple[float, Op | None]  # a number and what it multiplies; None: nothing


def gather_terms(program: Program) -> Program:
    return change_blocks(program, _gather)


def _gather(block: Block) -> Block:
    roots = [w.value for w in block.writes]
    order = list(walk_ops(roots))
    uses = Counter(id(a) for op in order for a in op.args) + Counter(id(root) for root in roots)
    made: dict[int, Op] = {}
    gathering = _Gathering()
    for op in order:
        args = tuple(made[id(a)] for a in op.args)
        single = tuple(uses[id(a)] == 1 for a in op.args)
        made[id(op)] = gathering.change(with_args(op, args), single)
    return replace(block, writes=tuple(replace(w, value=made[id(w.value)]) for w in block.writes))


class _Gathering:
    """One block; equal ops are one object, so that terms can be compared."""

    def __init__(self) -> None:
        self.known: dict[tuple[object, ...], Op] = {}
        self.sums: dict[int, list[Term]] = {}  # the terms of each sum that was made

    def change(self, op: Op, single: tuple[bool, ...]) -> Op:
        if op.name in ("add", "sub"):
            return self._sum(op, single)
        if op.name in ("mul", "neg", "div"):
            return self._scaled(*self._term(op))
        if op.name == "reduce" and op["operator"] in ("sum", "mean", "var"):
            number, rest = self._term(op.args[0])
            if rest is not None and number != 1.0:
                number = number**2 if op["operator"] == "var" else number
                return self._scaled(number, self._one(with_args(op, (rest,))))
        return self._one(op)

    def _one(self, op: Op) -> Op:
        op = fold(op)
        return self.known.setdefault(op.key(), op)

    def _term(self, op: Op) -> Term:
        """Split a value into a number and the rest."""
        if is_constant(op):
            return op["value"], None
        if op.name == "neg":
            number, rest = self._term(op.args[0])
            return -number, rest
        if op.name == "mul":
            (a, left), (b, right) = (self._term(x) for x in op.args)
            if left is None or right is None:
                return a * b, right if left is None else left
            return a * b, op if a == b == 1.0 else self._one(pointwise("mul", left, right, span=op.span))
        if op.name == "div":
            (a, left), (b, right) = (self._term(x) for x in op.args)
            if b == 0.0 or (a == b == 1.0 and left is not None and right is not None):
                return 1.0, op
            if right is None:
                return a / b, left
            return a / b, self._one(pointwise("div", constant(1.0) if left is None else left, right, span=op.span))
        return 1.0, op

    def _scaled(self, number: float, rest: Op | None) -> Op:
        if rest is None or number == 0.0:
            return self._one(constant(number))
        if number == 1.0:
            return self._one(rest)
        if number == -1.0:
            return self._one(pointwise("neg", rest, span=rest.span))
        return self._one(pointwise("mul", self._one(constant(number)), rest, span=rest.span))

    def _sum(self, op: Op, single: tuple[bool, ...]) -> Op:
        terms = list(self._collected(op, single).values())
        total: Op | None = None
        for number, rest in (term for term in terms if term[0] != 0.0):
            if total is None:
                total = self._scaled(number, rest)
            else:
                name = "sub" if number < 0 else "add"
                total = self._one(pointwise(name, total, self._scaled(abs(number), rest), span=op.span))
        if total is None:
            return self._one(constant(0.0, op.span))
        self.sums[id(total)] = terms
        return total

    def _collected(self, op: Op, single: tuple[bool, ...]) -> dict[int, Term]:
        """Return the terms of a sum, those of the sums in it that nothing else uses among them."""
        terms: dict[int, Term] = {}
        for argument, alone, sign in zip(op.args, single, (1.0, -1.0 if op.name == "sub" else 1.0), strict=True):
            number, rest = self._term(argument)
            inner = self.sums.get(id(rest)) if alone and abs(number) == 1.0 else None
            for own, what in [(1.0, rest)] if inner is None else inner:
                key = 0 if what is None else id(what)
                terms[key] = (terms.get(key, (0.0, what))[0] + sign * number * own, what)
        return terms
