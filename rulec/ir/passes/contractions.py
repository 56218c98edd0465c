"""Bring sums of products into the form the three bilinear maps need.

Before: `reduce` of sum or mean over any expression. After: each is a linear combination of `contract` ops, whose factors
each live in one space (presynaptic neuron, postsynaptic neuron, synapse, or none); what does not vary with the reduced
indices stands outside. Sums that mix spaces, such as `x[i] - y[j] * w[i,j]`, are multiplied out; others are kept whole.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass, replace

from rulec.ir.graph import (
    Block,
    Op,
    Program,
    change_blocks,
    constant,
    contract,
    counted,
    is_constant,
    ones,
    rewrite_block,
    walk_ops,
)
from rulec.ir.signals import ACROSS
from rulec.semantics.typed import Axes
from rulec.source import Span

Term = tuple[float, list[Op]]


def form_contractions(program: Program) -> Program:
    per_layer = frozenset(e.name for e in program.genome if e.per_layer)
    per_layer |= {net.name for net in program.nets if net.per_layer}

    def change(block: Block) -> Block:
        return rewrite_block(block, functools.partial(_form, across=ACROSS.get(block.kind, ""), per_layer=per_layer))

    return change_blocks(program, change)


@dataclass(frozen=True)
class _Sum:
    """What a reduction sums over; the indices in `means` are averaged."""

    indices: tuple[str, ...]
    means: frozenset[str]
    places: bool
    span: Span | None


@dataclass(frozen=True)
class _Bound:
    """What ties a value to one connection, in a sum over the neurons at its other end, where several may meet."""

    across: str
    per_layer: frozenset[str]

    def holds(self, op: Op) -> bool:
        return any(self._ties(o) for o in walk_ops([op]))

    def _ties(self, op: Op) -> bool:
        if op.name in ("genome", "net"):
            return op["name"] in self.per_layer
        if op.name == "state":
            return "," in op["side"]
        return op.name in ("reduce", "contract") and self.across in op["indices"]


def _form(op: Op, across: str, per_layer: frozenset[str]) -> Op:
    if op.name != "reduce" or op["operator"] not in ("sum", "mean"):
        return op
    indices = op["indices"]
    outer = _Sum(indices, frozenset(indices if op["operator"] == "mean" else ()), op["places"], op.span)
    total: Op | None = None
    for sign, factors in _terms(op.args[0]):
        bound = _Bound(across, per_layer) if across in indices else None
        term = _contracted(sign, *_opened(factors, outer), bound, op.args[0].axes)
        total = term if total is None else total + term
    return constant(0.0) if total is None else total


def _is_mixed(op: Op) -> bool:
    """Whether a value has one number per sample and synapse, which no single space holds."""
    return {"n", "i", "j"} <= op.axes


def _terms(op: Op) -> list[Term]:
    """Write a value as a sum of products, multiplying out only what mixes spaces."""
    if op.name == "neg":
        return [(-sign, factors) for sign, factors in _terms(op.args[0])]
    if op.name == "mul":
        left, right = (_terms(a) for a in op.args)
        return [(s * r, [*f, *g]) for s, f in left for r, g in right]
    if op.name in ("add", "sub") and _is_mixed(op):
        flip = -1.0 if op.name == "sub" else 1.0
        return [*_terms(op.args[0]), *((flip * sign, factors) for sign, factors in _terms(op.args[1]))]
    if op.name == "div" and not _is_mixed(op.args[1]):
        return [(sign, [*factors, 1.0 / op.args[1]]) for sign, factors in _terms(op.args[0])]
    if op.name == "pow" and is_constant(op.args[1], 2.0) and _is_mixed(op):
        return _terms(op.args[0] * op.args[0])
    if is_constant(op):
        return [(op["value"], [])]
    return [(1.0, [op])]


def _opened(factors: list[Op], outer: _Sum) -> tuple[list[Op], _Sum]:
    """Merge inner sums into the outer one: mean[n](y * sum[k](m * x)) is one contraction over n and k."""
    opened: list[Op] = []
    indices = outer.indices
    for place, factor in enumerate(factors):
        inner = factor["indices"] if factor.name == "contract" and not factor["means"] else ()
        taken = frozenset().union(*(f.axes for k, f in enumerate(factors) if k != place), indices, "ijn")
        if inner and not taken & set(inner):
            opened += factor.args
            indices += inner
        else:
            opened.append(factor)
    return opened, replace(outer, indices=indices)


def _contracted(sign: float, factors: list[Op], outer: _Sum, bound: _Bound | None, whole: Axes) -> Op:
    """Pull out what the sum does not touch, then contract each connected group of factors. `whole`: the axes of all terms.

    What belongs to one connection stays inside a sum over connections: outside it would be one number for all of them.
    """
    indices = set(outer.indices)
    lost = [i for i in ("i", "j") if i in indices and not any(i in f.axes for f in factors)]
    factors = [*factors, *map(ones, lost)]
    apart = [(f, bound is not None and bound.holds(f)) for f in factors if not f.axes & indices]
    inside, parts = [f for f, held in apart if held], [f for f, held in apart if not held]
    for group in _connected([f for f in factors if f.axes & indices], indices):
        held = frozenset().union(*(f.axes for f in group)) & indices
        if bound is not None and bound.across in held:
            group, inside = [*inside, *group], []
        order = [i for i in outer.indices if i in held]
        parts.append(contract(group, order, sorted(outer.means & held), outer.places, outer.span))
        indices -= held
    rest = frozenset(outer.indices) - indices
    parts += [*inside, *counted(sorted(indices), outer.means, outer.places, whole, rest)]
    if sign != 1.0 or not parts:
        parts.append(constant(sign))
    return functools.reduce(operator.mul, parts)


def _connected(factors: list[Op], indices: set[str]) -> list[list[Op]]:
    """Group factors that share a reduced index, directly or through others."""
    groups: list[tuple[set[str], list[Op]]] = []
    for factor in factors:
        held, members = set(factor.axes & indices), [factor]
        apart = []
        for other_held, others in groups:
            if other_held & held:
                held |= other_held
                members = [*others, *members]
            else:
                apart.append((other_held, others))
        groups = [*apart, (held, members)]
    return [members for _, members in groups]
