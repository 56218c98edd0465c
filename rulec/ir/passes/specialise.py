"""Put the numbers of a genome into a program: partial evaluation.

Before: a program as built, and numbers for entries of its genome. After: a program that computes what the old one did with
that genome, but for the last digits. Entries are gone from its genome, and their reads are constants, or arrays where they
have indices; zeros have removed terms, and ones products. Max-pooling is decided by what decided it before.

What stays in the genome: nets, entries per layer (their values belong to one network, programs to none), and entries with an
index over the network's outputs.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Union

from rulec.ir.graph import Block, Law, Op, Program, change_blocks, constant, rewrite, rewrite_block, with_args
from rulec.ir.numbers import known, numbers_of
from rulec.ir.passes.components import Components, take_apart
from rulec.ir.passes.fold import fold, fold_constants
from rulec.ir.passes.losses import settle_losses
from rulec.ir.passes.pullback import factors_of
from rulec.ir.passes.share import share_subexpressions
from rulec.ir.passes.terms import gather_terms
from rulec.ir.signals import signal_state
from rulec.ir.verifier import verify

if TYPE_CHECKING:
    from rulec.ir.numbers import Numbers

Values = Union[float, Sequence["Values"]]  # a number, or nested lists of them


def specialise(program: Program, genome: Mapping[str, Values], components: bool = False) -> Program:
    """Fold the entries of `genome` into the program; entries that must stay in the genome are passed over.

    Without `components`, sums over declared indices stay products of arrays, which is what runs fastest, unless most of
    their terms vanish. With `components`, every index of known extent is written out, so that each formula stands alone.
    Shapes are those of the declarations; whoever calls this has checked them.
    """
    import numpy as np

    numbers = {name: np.asarray(genome[name], dtype=float) for name in foldable(program) if name in genome}
    program = change_blocks(program, lambda block: replace(block, signal=signal_state(block)))
    program = settle_losses(program)
    program = fold_constants(_put_in(program, numbers))
    if components:
        program = share_subexpressions(take_apart(program))
        return verify(share_subexpressions(gather_terms(program)))
    return verify(fold_constants(_thin(program)))


def foldable(program: Program) -> tuple[str, ...]:
    """Return the entries of the genome that can be folded into the program."""
    return tuple(
        e.name for e in program.genome if not e.per_layer and all(isinstance(extent, int) for extent in e.shape)
    )


# --- Entries become numbers ------------------------------------------------------------------


def _put_in(program: Program, numbers: Mapping[str, Numbers]) -> Program:
    def change(op: Op) -> Op:
        if op.name != "genome" or op["name"] not in numbers:
            return op
        indices = op["indices"]
        data = numbers[op["name"]][tuple(i if isinstance(i, int) else slice(None) for i in indices)]
        return known(tuple(i for i in indices if isinstance(i, str)), data, op.span)

    made = rewrite([side for law in program.laws for side in (law.left, law.right)], change)
    laws = tuple(Law(law.name, law.relation, made[id(law.left)], made[id(law.right)], law.span) for law in program.laws)
    rest = tuple(entry for entry in program.genome if entry.name not in numbers)
    return replace(change_blocks(program, lambda block: rewrite_block(block, change)), genome=rest, laws=laws)


# --- Sums whose terms vanish -----------------------------------------------------------------


def _thin(program: Program) -> Program:
    """Write out sums over an index of an array of which at most half of the terms are left."""

    def change(block: Block) -> Block:
        parts = Components(program)
        return rewrite_block(block, lambda op: _thinned(fold(op), parts))

    return change_blocks(program, change)


def _thinned(op: Op, parts: Components) -> Op:
    if op.name != "reduce" or op["operator"] != "sum":
        return op
    for index in op["indices"]:
        if index in parts.extents:
            thinner = _without(op, index, parts)
            if thinner is not None:
                return _thinned(thinner, parts)
    return op


def _without(op: Op, index: str, parts: Components) -> Op | None:
    """Return a sum without one of its indices, or None if that does not pay."""
    argument = op.args[0]
    factors = factors_of(argument) if argument.name == "mul" else [argument]
    arrays = [f for f in factors if f.name == "array" and index in f.axes]
    if not arrays:
        return None
    inside = [f for f in factors if index in f.axes]
    outside = [f for f in factors if index not in f.axes]
    left = _left(index, arrays, parts.extents[index])
    if len(left) <= max(1, parts.extents[index] // 2):
        terms = [_product([parts.at(f, {index: number}) for f in inside]) for number in left]
        total = functools.reduce(lambda a, b: fold(a + b), terms) if terms else constant(0.0, op.span)
    else:
        renamed = _renamed(index, inside)
        if renamed is None:
            return None
        total = _product(renamed)
    rest = tuple(i for i in op["indices"] if i != index)
    value = _product([*outside, total])
    if not rest:
        return value
    attributes = (("operator", "sum"), ("indices", rest), ("places", op["places"]))
    return fold(with_args(Op("reduce", (argument,), attributes, op.axes, op.span), (value,)))


def _left(index: str, arrays: Sequence[Op], extent: int) -> list[int]:
    """Return the places of an index where none of the arrays is zero altogether."""
    import numpy as np

    alive = np.ones(extent, dtype=bool)
    for array in arrays:
        own = array["indices"]
        others = tuple(axis for axis, letter in enumerate(own) if letter != index)
        alive &= (numbers_of(array) != 0).any(axis=others)
    return [int(number) for number in np.flatnonzero(alive)]


def _renamed(index: str, factors: Sequence[Op]) -> list[Op] | None:
    """Return what a diagonal array leaves of a product summed over one of its indices: the others, with its other index."""
    import numpy as np

    for array in factors:
        if array.name != "array" or len(array["indices"]) != 2:
            continue
        data = numbers_of(array)
        (other,) = (letter for letter in array["indices"] if letter != index)
        rest = [f for f in factors if f is not array]
        if (
            data.shape[0] != data.shape[1]
            or np.any(data != np.diag(np.diag(data)))
            or any(other in f.axes for f in rest)
        ):
            continue
        return [known((other,), np.diag(data), array.span), *(_rename(f, index, other) for f in rest)]
    return None


def _rename(op: Op, old: str, new: str) -> Op:
    axes = (op.axes - {old}) | {new}
    return Op("rename", (op,), (("letters", ((old, new),)),), axes, op.span)


def _product(factors: Sequence[Op]) -> Op:
    return functools.reduce(lambda a, b: fold(operator.mul(a, b)), factors)
