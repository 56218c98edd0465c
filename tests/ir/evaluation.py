"""A small evaluator of index expressions for the tests: named axes in numpy, one case per op."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rulec.ir.graph import Op, walk_ops
from rulec.oracle.arrays import POINTWISE, Array, combine, reduce_axes, scalar

SIZES = {"n": 3, "i": 4, "j": 2, "k": 2, "l": 3, "@": 1}  # without images, a neuron stands at one place


def state(name: str, letters: str) -> Op:
    """A leaf: the test gives its value under this name."""
    return Op("state", (), (("name", name), ("side", ""), ("indices", ())), frozenset(letters))


def random_array(letters: str, generator: np.random.Generator, low: float = 0.3, high: float = 1.7) -> Array:
    return Array(tuple(letters), generator.uniform(low, high, [SIZES[letter] for letter in letters]))


def evaluate(root: Op, given: Mapping[str, Array]) -> Array:
    """Return the value of an expression whose states have these values."""
    values: dict[int, Array] = {}
    for op in walk_ops([root]):
        values[id(op)] = _value(op, [values[id(a)] for a in op.args], given)
    return values[id(root)]


def aligned(value: Array, letters: str) -> np.ndarray:
    """Return the data with these axes in this order, spread where the value does not vary."""
    return np.broadcast_to(value.spread(tuple(letters)), [SIZES[letter] for letter in letters])


def _value(op: Op, args: list[Array], given: Mapping[str, Array]) -> Array:
    match op.name:
        case "constant":
            return scalar(op["value"])
        case "array":
            return Array(op["indices"], np.asarray(op["values"]))
        case "extent":
            return scalar(SIZES[op["index"]])
        case "ones":
            return Array((op["index"],), np.ones(SIZES[op["index"]]))
        case "state":
            return given[op["name"]]
        case "reduce":
            return reduce_axes(op["operator"], args[0], op["indices"])
        case "contract":
            return _contracted(op, args)
        case "rename":
            return args[0].renamed(dict(op["letters"]))
        case "take":
            return _taken(args[0], op["at"])
        case "insert":
            return _inserted(args[0], args[1], op)
        case "stop":
            return args[0]
    return combine(POINTWISE[op.name], *args)


def _contracted(op: Op, args: list[Array]) -> Array:
    product = combine(lambda *factors: np.prod(np.broadcast_arrays(*factors), axis=0), *args)
    total = reduce_axes("sum", product, op["indices"])
    count = np.prod([SIZES[index] for index in op["means"]])
    return Array(total.axes, total.data / count)


def _taken(array: Array, at: tuple[tuple[str, int], ...]) -> Array:
    for index, number in at:
        axis = array.axes.index(index)
        array = Array(array.axes[:axis] + array.axes[axis + 1 :], np.take(array.data, number, axis))
    return array


def _inserted(array: Array, part: Array, op: Op) -> Array:
    letters = tuple(sorted(op.axes))
    data = np.array(np.broadcast_to(array.spread(letters), [SIZES[letter] for letter in letters]))
    place = tuple(dict(op["at"]).get(letter, slice(None)) for letter in letters)
    rest = tuple(letter for letter in letters if letter not in dict(op["at"]))
    data[place] = part.spread(rest)
    return Array(letters, data)
