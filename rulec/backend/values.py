"""Values of the lowering: nodes of an fx graph whose axes carry labels.

Labels, in the one order that every value keeps: the leading axes `P` (population), `T` (task) and `R` (replica); the
declared indices; `n` (sample); `i iy ix` and `j jy jx` (features and places of the two sides); `p*` (the axes of a parameter);
`q ky kx` (input channels and places of a convolution kernel, whose output channels are `j`). Labels that a value lacks are
broadcast.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

import torch
from torch import fx
from torch.nn import functional

from rulec.semantics.operators import POINTWISE
from rulec.source import Span

LEADING = ("P", "T", "R")
PLACES = ("iy", "ix", "jy", "jx")

_INFIX: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
    "neg": operator.neg,
}


_PRIMITIVES: dict[str, Callable[..., Any]] = {
    "exp": torch.exp,
    "log": torch.log,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "softplus": functional.softplus,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "sign": torch.sign,
    "sin": torch.sin,
    "cos": torch.cos,
    "erf": torch.erf,
}

_COMPARISONS: dict[str, Callable[..., Any]] = {
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "equal": operator.eq,
    "not_equal": operator.ne,
}


@dataclass(frozen=True, eq=False)
class Value:
    """A node (or a number) with labelled axes. Arithmetic emits nodes, so the operator table's formulas apply."""

    emit: Emitter = field(repr=False)
    node: Any
    labels: tuple[str, ...]

    def __add__(self, other: Operand) -> Value:
        return self.emit.pointwise("add", self, other)

    def __radd__(self, other: Operand) -> Value:
        return self.emit.pointwise("add", other, self)

    def __sub__(self, other: Operand) -> Value:
        return self.emit.pointwise("sub", self, other)

    def __rsub__(self, other: Operand) -> Value:
        return self.emit.pointwise("sub", other, self)

    def __mul__(self, other: Operand) -> Value:
        return self.emit.pointwise("mul", self, other)

    def __rmul__(self, other: Operand) -> Value:
        return self.emit.pointwise("mul", other, self)

    def __truediv__(self, other: Operand) -> Value:
        return self.emit.pointwise("div", self, other)

    def __rtruediv__(self, other: Operand) -> Value:
        return self.emit.pointwise("div", other, self)

    def __pow__(self, other: Operand) -> Value:
        return self.emit.pointwise("pow", self, other)

    def __neg__(self) -> Value:
        return self.emit.pointwise("neg", self)

    @property
    def key(self) -> tuple[Any, tuple[str, ...]]:
        """Return what tells values apart."""
        return self.node, self.labels

    @property
    def is_number(self) -> bool:
        return isinstance(self.node, (int, float))


Operand = Union[Value, float, int]


class Emitter:
    """Append nodes to an fx graph, keeping labels and source spans."""

    def __init__(self, declared: Sequence[str], sizes: dict[str, int], dtype: torch.dtype) -> None:
        self.graph = fx.Graph()
        self.dtype = dtype
        self.sizes = dict(sizes)  # of leading axes and declared indices
        self.span: Span | None = None
        order = [
            *LEADING,
            *declared,
            "n",
            "i",
            "iy",
            "ix",
            "j",
            "jy",
            "jx",
            "p0",
            "p1",
            "p2",
            "p3",
            "q",
            "ky",
            "kx",
            "*",
        ]
        self.known: dict[Any, fx.Node] = {}
        self.stacks: dict[Any, tuple[str, tuple[Value, ...]]] = {}  # what was stacked along which label
        self.rank = {label: place for place, label in enumerate(order)}

    def number(self, value: float) -> Value:
        return Value(self, value, ())

    def placeholder(self, name: str, labels: tuple[str, ...], moves: bool) -> Value:
        """Add an argument; `moves`: derivatives with respect to it are wanted."""
        node = self.graph.placeholder(name)
        node.meta["moves"] = moves
        return Value(self, node, labels)

    def moves(self, value: Value) -> bool:
        return isinstance(value.node, fx.Node) and bool(value.node.meta["moves"])

    def call(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
        """Append a call, or return the node that computes the same already."""
        key = (target, _frozen(args), _frozen(tuple(sorted(kwargs.items()))))
        if key not in self.known:
            node = self.graph.call_function(target, args, kwargs)
            node.meta["span"] = self.span
            node.meta["moves"] = any(n.meta["moves"] for n in node.all_input_nodes)
            self.known[key] = node
        return self.known[key]

    def make(self, labels: tuple[str, ...], target: Callable[..., Any], *args: Any, **kwargs: Any) -> Value:
        return Value(self, self.call(target, *args, **kwargs), labels)

    # --- Labels ---

    def batch_of(self, value: Value) -> fx.Node:
        """Return the number of samples of a value that has them."""
        return self.call(torch.Tensor.size, value.node, value.labels.index("n"))

    def sort(self, labels: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(set(labels), key=self.rank.__getitem__))

    def union(self, *values: Value) -> tuple[str, ...]:
        return self.sort(label for value in values for label in value.labels)

    def permuted(self, value: Value, labels: Sequence[str]) -> Value:
        """Reorder the axes; `labels` has the same members."""
        if tuple(labels) == value.labels:
            return value
        order = tuple(value.labels.index(label) for label in labels)
        return self.make(tuple(labels), torch.permute, value.node, order)

    def canonical(self, value: Value) -> Value:
        return self.permuted(value, self.sort(value.labels))

    def renamed(self, value: Value, table: dict[str, str]) -> Value:
        if not any(label in table for label in value.labels):
            return value
        renamed = self.canonical(Value(self, value.node, tuple(table.get(label, label) for label in value.labels)))
        if value.key in self.stacks:
            index, parts = self.stacks[value.key]
            self.stacks[renamed.key] = (table.get(index, index), tuple(self.renamed(p, table) for p in parts))
        return renamed

    def spread(self, value: Value, labels: Sequence[str], *, leading: bool = False) -> Any:
        """Return the node with axes in this order, missing ones of length one; those in front are left to broadcasting."""
        if value.is_number:
            return value.node
        value = self.permuted(value, [label for label in labels if label in value.labels])
        index = tuple(slice(None) if label in value.labels else None for label in labels)
        while index and index[0] is None and not leading:
            index = index[1:]
        return self.call(operator.getitem, value.node, index) if None in index else value.node

    def expanded(self, value: Value, labels: Sequence[str], sizes: Sequence[Any]) -> Value:
        """Return the value with all of these axes, at these sizes (-1: as it is)."""
        node = value.node
        if value.is_number:
            full = [1 if s == -1 else s for s in sizes]
            return self.make(tuple(labels), torch.full, tuple(full), float(node), dtype=self.dtype)
        node = self.spread(value, labels, leading=True)
        if set(labels) == set(value.labels):
            return Value(self, node, tuple(labels))
        shape = tuple(-1 if label in value.labels else size for label, size in zip(labels, sizes, strict=True))
        return self.make(tuple(labels), torch.Tensor.expand, node, shape)

    # --- Arithmetic ---

    def pointwise(self, name: str, *operands: Operand) -> Value:
        values = [v if isinstance(v, Value) else self.number(v) for v in operands]
        define = POINTWISE[name].define if name in POINTWISE else None
        if define is not None:
            result = define(Algebra(self), *values)
            return result if isinstance(result, Value) else self.number(result)
        if all(v.is_number for v in values) and name in _INFIX:
            return self.number(_INFIX[name](*(v.node for v in values)))
        same = _unchanged(name, values)
        if same is not None:
            return same
        labels = self.union(*values)
        nodes = [self.spread(v, labels) for v in values]
        return Value(self, self._emit_pointwise(name, nodes), labels)

    def _emit_pointwise(self, name: str, nodes: list[Any]) -> fx.Node:
        if name in _INFIX:
            if name == "pow" and nodes[1] == 2.0:
                return self.call(operator.mul, nodes[0], nodes[0])
            return self.call(_INFIX[name], *nodes)
        if all(isinstance(n, (int, float)) for n in nodes):
            nodes = [self._tensor(n) for n in nodes]
        if name in _COMPARISONS:
            return self.call(torch.Tensor.to, self.call(_COMPARISONS[name], *nodes), self.dtype)
        if name == "step":
            return self.call(torch.Tensor.to, self.call(operator.gt, nodes[0], 0), self.dtype)
        if name == "not":
            return self.call(torch.Tensor.to, self.call(operator.eq, nodes[0], 0), self.dtype)
        tensors = [self._tensor(n) for n in nodes]
        if name == "where":
            return self.call(torch.where, self.call(operator.ne, tensors[0], 0), *tensors[1:])
        if name in ("min", "max"):
            return self.call(torch.minimum if name == "min" else torch.maximum, *tensors)
        return self.call(_PRIMITIVES[name], *tensors)

    def _tensor(self, node: Any) -> Any:
        if not isinstance(node, (int, float)):
            return node
        return self.call(torch.tensor, float(node), dtype=self.dtype)

    # --- Reductions ---

    def reduce(self, name: str, value: Value, labels: Iterable[str]) -> Value:
        over = tuple(label for label in value.labels if label in set(labels))
        if not over or value.is_number:
            return value
        dims = tuple(value.labels.index(label) for label in over)
        rest = tuple(label for label in value.labels if label not in over)
        if name == "softmax":
            return self._softmax(value, dims)
        functions: dict[str, Callable[[], fx.Node]] = {
            "sum": lambda: self.call(torch.sum, value.node, dims),
            "mean": lambda: self.call(torch.mean, value.node, dims),
            "max": lambda: self.call(torch.amax, value.node, dims),
            "min": lambda: self.call(torch.amin, value.node, dims),
            "var": lambda: self.call(torch.var, value.node, dims, correction=0),
            "norm": lambda: self.call(
                torch.sqrt, self.call(torch.sum, self.call(operator.mul, value.node, value.node), dims)
            ),
        }
        return Value(self, functions[name](), rest)

    def _softmax(self, value: Value, dims: tuple[int, ...]) -> Value:
        if len(dims) == 1:
            return self.make(value.labels, torch.softmax, value.node, dims[0])
        highest = self.call(torch.amax, value.node, dims, keepdim=True)
        weights = self.call(torch.exp, self.call(operator.sub, value.node, highest))
        return self.make(value.labels, operator.truediv, weights, self.call(torch.sum, weights, dims, keepdim=True))


def _unchanged(name: str, values: Sequence[Value]) -> Value | None:
    """Return what `0 * x`, `1 * x`, `x + 0`, `x - 0` and `x / 1` are without arithmetic. As in the IR, `0 * x` is 0 for any x."""
    if name not in ("add", "sub", "mul", "div"):
        return None
    left, right = values
    zeros, ones = ([v.is_number and v.node == number for v in values] for number in (0, 1))
    if name == "mul" and any(zeros):
        return left if zeros[0] else right
    if (name in ("add", "sub") and zeros[1]) or (name in ("mul", "div") and ones[1]):
        return left
    return right if (name == "add" and zeros[0]) or (name == "mul" and ones[0]) else None


def _frozen(argument: Any) -> Any:
    """Return a hashable stand-in; numbers of different types differ."""
    if isinstance(argument, (tuple, list)):
        return (type(argument).__name__, *(_frozen(a) for a in argument))
    if isinstance(argument, slice):
        return ("slice", argument.start, argument.stop, argument.step)
    return (type(argument).__name__, argument) if isinstance(argument, (int, float, bool)) else argument


def component(value: Value, index: str, number: int) -> Value:
    """Read a fixed component of an axis; a value without the axis is the same everywhere along it."""
    if index not in value.labels:
        return value
    stacked, parts = value.emit.stacks.get(value.key, ("", ()))
    if stacked == index:
        return parts[number]
    rest = tuple(x for x in value.labels if x != index)
    return value.emit.make(rest, torch.select, value.node, value.labels.index(index), number)


def size_of(label: str, values: Sequence[Value]) -> Any:
    """Return the length of an axis: known beforehand, or read off one of the values that have it."""
    emit = values[0].emit
    if label in emit.sizes:
        return emit.sizes[label]
    owner = next(v for v in values if label in v.labels)
    return emit.call(torch.Tensor.size, owner.node, owner.labels.index(label))


class Algebra:
    """The functions of an algebra over values, for the formulas of the operator table."""

    def __init__(self, emit: Emitter) -> None:
        self.emit = emit

    def __getattr__(self, name: str) -> Callable[..., Value]:
        return lambda *operands: self.emit.pointwise(name, *operands)
