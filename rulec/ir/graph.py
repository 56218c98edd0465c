"""The intermediate representation: a program of blocks, each a small graph of index expressions.

An `Op` is a value in static single assignment form: it is made once, from other ops, and never changes. Its axes are
index letters; an axis that an op lacks is one along which it is constant, so broadcasting needs no op. Ops with the same
letters `i` and `j` mean the neurons of the two sides of whatever connection the block is being run on.

| op | arguments | attributes | value |
|---|---|---|---|
| constant | | value | a number |
| array | | indices, values | numbers along declared indices, nested tuples with the first index outermost |
| genome | | name, indices | a genome entry; indices are letters or fixed components |
| state | | name, side, indices | a state before the block (or, for sweeps, as it stands when the neuron is reached) |
| input, target, prediction | | letter | data of the task |
| loss | prediction? | | the task's loss per sample |
| loss_slope | prediction? | letter | its derivative with respect to the prediction |
| time | | | the step counter `t` |
| extent | | index | how many values an index takes; of `@`: at how many places of an image a neuron or a kernel stands |
| ones | | index | a one for each neuron at the end of the connection that `i` or `j` stands for |
| position | | index | which of them: 0, 1, 2, ... |
| noise | | site | standard normal numbers |
| *pointwise* | a, b, ... | | see semantics/operators.py, and add sub mul div pow neg less ... |
| act, slope | z | side, order | the layer's activation; its derivative of that order |
| rotate | x, angle | | the images turned about their middle, by interpolation between four pixels; zero beyond the edge |
| pullback | z, e | side | the transposed Jacobian of the activation, applied to e |
| reduce | a | operator, indices, places | over named indices; `places`: a mean over `n` also averages over places |
| contract | a, b, ... | indices, means, places | sum over indices of the product; indices in `means` are averaged |
| take, insert | a / a, value | at | read or replace fixed components: pairs (index, number) |
| rename | a | letters | pairs (old, new) |
| net | features | name, index, features | a multilayer perceptron over its inputs |
| solve | matrix, right | row, column | a linear system |
| stop | a | | the value, without derivative |
| grad | value? | name | gradient of the mean loss through the network's own forward pass; in a law, of the value, with respect to a state |
| change | | name | in a law: what the step adds to a state |
"""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Union

from rulec.semantics.typed import Axes, GenomeEntry, Net, OptionValue, State, Within, ordered
from rulec.source import Span

Attribute = Any
Nested = Union[float, tuple["Nested", ...]]  # a number, or an array as tuples of tuples


@dataclass(frozen=True, eq=False)
class Op:
    """One value. Arithmetic on ops makes ops, so formulas over an algebra apply to them."""

    name: str
    args: tuple[Op, ...] = ()
    attributes: tuple[tuple[str, Attribute], ...] = ()
    axes: Axes = frozenset()
    span: Span | None = field(default=None, repr=False)

    def __getitem__(self, key: str) -> Attribute:
        return dict(self.attributes)[key]

    def key(self) -> tuple[object, ...]:
        """Return what makes two ops the same value, given that equal arguments are identical objects."""
        return (self.name, tuple(id(a) for a in self.args), self.attributes, self.axes)

    def __add__(self, other: Operand) -> Op:
        return pointwise("add", self, other)

    def __radd__(self, other: Operand) -> Op:
        return pointwise("add", other, self)

    def __sub__(self, other: Operand) -> Op:
        return pointwise("sub", self, other)

    def __rsub__(self, other: Operand) -> Op:
        return pointwise("sub", other, self)

    def __mul__(self, other: Operand) -> Op:
        return pointwise("mul", self, other)

    def __rmul__(self, other: Operand) -> Op:
        return pointwise("mul", other, self)

    def __truediv__(self, other: Operand) -> Op:
        return pointwise("div", self, other)

    def __rtruediv__(self, other: Operand) -> Op:
        return pointwise("div", other, self)

    def __pow__(self, other: Operand) -> Op:
        return pointwise("pow", self, other)

    def __neg__(self) -> Op:
        return pointwise("neg", self)


Operand = Union[Op, float, int]


def constant(value: float, span: Span | None = None) -> Op:
    return Op("constant", (), (("value", float(value)),), frozenset(), span)


def array(indices: Iterable[str], values: Nested, span: Span | None = None) -> Op:
    """Return numbers along declared indices; without indices, a constant."""
    names = tuple(indices)
    if not names:
        assert isinstance(values, float)
        return constant(values, span)
    return Op("array", (), (("indices", names), ("values", values)), frozenset(names), span)


def is_constant(op: Op, value: float | None = None) -> bool:
    return op.name == "constant" and (value is None or op["value"] == value)


def pointwise(name: str, *operands: Operand, span: Span | None = None) -> Op:
    args = tuple(a if isinstance(a, Op) else constant(a) for a in operands)
    axes = frozenset().union(*(a.axes for a in args)) if args else frozenset()
    return Op(name, args, (), axes, span or next((a.span for a in args if a.span), None))


def reduce(operator: str, indices: Iterable[str], argument: Op, places: bool = False, span: Span | None = None) -> Op:
    names = tuple(indices)
    if not names:
        return argument
    axes = argument.axes if operator == "softmax" else argument.axes - set(names)
    return Op(
        "reduce",
        (argument,),
        (("operator", operator), ("indices", names), ("places", places)),
        axes,
        span or argument.span,
    )


def with_args(op: Op, args: tuple[Op, ...]) -> Op:
    """Return the op on other arguments, its axes worked out anew; an index that vanished is accounted for."""
    if all(a is b for a, b in zip(args, op.args, strict=True)):
        return op
    if op.name == "reduce":
        return reduce_any(op["operator"], op["indices"], args[0], op["places"], op.span, op.args[0].axes)
    whole: Axes = frozenset().union(*(a.axes for a in args))
    if op.name == "contract":
        before: Axes = frozenset().union(*(a.axes for a in op.args))
        return contract(args, op["indices"], op["means"], op["places"], op.span, before)
    if op.name == "take":
        at = tuple((index, number) for index, number in op["at"] if index in whole)
        return Op("take", args, (("at", at),), whole - {index for index, _ in at}, op.span) if at else args[0]
    if op.name == "rename":
        pairs = tuple((old, new) for old, new in op["letters"] if old in whole)
        table = dict(pairs)
        return (
            Op("rename", args, (("letters", pairs),), frozenset(table.get(a, a) for a in whole), op.span)
            if pairs
            else args[0]
        )
    if op.name in ("insert", "net", "solve", "loss", "loss_slope"):
        return Op(op.name, args, op.attributes, op.axes, op.span)
    return Op(op.name, args, op.attributes, whole, op.span)


def extent(index: str) -> Op:
    return Op("extent", (), (("index", index),))


def ones(index: str) -> Op:
    """Return what stands for neurons in a sum of values that are the same for all: they are counted at each connection."""
    return Op("ones", (), (("index", index),), frozenset({index}))


def counted(indices: Iterable[str], means: Iterable[str], places: bool, before: Axes, now: Axes) -> list[Op]:
    """Return by what to multiply a sum for indices that its terms had `before`, and do not have `now`.

    Samples of neurons come with the places of an image, over which only a mean that is a statistic averages.
    """
    lost = [i for i in indices if i not in now]
    with_places = "n" in lost and before & {"i", "j"} and not ("n" in means and places)
    return [extent(i) for i in [*(i for i in lost if i not in means), *("@" if with_places else "")]]


def reduce_any(
    operator: str, indices: Iterable[str], argument: Op, places: bool, span: Span | None, before: Axes
) -> Op:
    """Reduce over indices that the argument had `before` and may have lost, as `0 * x[i]` does; each is accounted for."""
    names = tuple(indices)
    lost = [i for i in names if i in ("i", "j") and i not in argument.axes]
    if is_constant(argument, 0.0) and operator != "softmax":
        return argument
    for index in lost:
        argument = ones(index) if is_constant(argument, 1.0) else argument * ones(index)
    present = tuple(i for i in names if i in argument.axes)
    value = reduce(operator, present, argument, places, span)
    if not present and operator == "norm":
        value = pointwise("abs", argument)
    elif not present and operator == "softmax":
        value = constant(1.0, span)
    if operator == "var" and not present:
        return constant(0.0, span)
    for count in counted(names, names if operator == "mean" else (), places, before, argument.axes):
        if operator in ("sum", "mean"):
            value = value * count
        elif operator == "norm":
            value = value * pointwise("sqrt", count)
        elif operator == "softmax":
            value = value / count
    return value


def contract(
    factors: Iterable[Op],
    indices: Iterable[str],
    means: Iterable[str] = (),
    places: bool = False,
    span: Span | None = None,
    before: Axes = frozenset(),
) -> Op:
    """Sum the product of the factors over the indices; average over those in `means`.

    Indices that the factors do not have are accounted for; `before`: the axes that they had.
    """
    args, names = tuple(factors), tuple(indices)
    whole: Axes = frozenset().union(*(a.axes for a in args))
    args += tuple(ones(i) for i in names if i in ("i", "j") and i not in whole)
    whole = whole.union(*(a.axes for a in args))
    counts = counted(names, tuple(means), places, before, whole)
    names = tuple(i for i in names if i in whole)
    averaged = tuple(i for i in means if i in names)
    attributes = (("indices", names), ("means", averaged), ("places", places and "n" in averaged))
    value = Op("contract", args, attributes, whole - set(names), span or args[0].span)
    return functools.reduce(operator.mul, counts, value)


class Functions:
    """The functions of an algebra over ops, for the formulas of the operator table."""

    def __getattr__(self, name: str) -> Callable[..., Op]:
        return lambda *operands: pointwise(name, *operands)


FUNCTIONS = Functions()


# --- Programs --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Write:
    """The new value of a state on a side, whole, with the letters of its declaration; or of the prediction.

    An inner problem writes `input`, `target` (what the data become) and `weight` (of each sample's loss), too.
    """

    name: str  # a state, "prediction", or "w" for the network's own parameters
    side: str
    value: Op
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Block:
    kind: (
        str  # input | forward | output | backward | update | parameters; of an inner problem: support | query | weight
    )
    writes: tuple[Write, ...]
    span: Span | None = field(default=None, compare=False, repr=False)
    signal: str | None = None  # the state that decides max-pooling, where it is no longer the first that is sent across


@dataclass(frozen=True)
class Repeat:
    count: int
    body: tuple[Block | Repeat, ...]


@dataclass(frozen=True)
class Law:
    """What must hold after every step: synapses are read as they were before it, neurons as the update saw them."""

    name: str
    relation: str  # == <= >= < >
    left: Op
    right: Op
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Program:
    """A rule, ready to be run on any network."""

    name: str
    options: dict[str, OptionValue]
    extents: dict[str, int | str]
    genome: tuple[GenomeEntry, ...]
    nets: tuple[Net, ...]
    states: tuple[State, ...]
    blocks: tuple[Block | Repeat, ...]
    laws: tuple[Law, ...] = ()
    within: Within | None = None  # the connections that learn, where not all do

    def state(self, name: str) -> State:
        return next(state for state in self.states if state.name == name)

    @property
    def acts_on_parameters(self) -> bool:
        return any(block.kind == "parameters" for block in walk_blocks(self.blocks))


def walk_blocks(blocks: Iterable[Block | Repeat]) -> Iterator[Block]:
    """Yield each block once, in order, those inside `repeat` too."""
    for block in blocks:
        if isinstance(block, Repeat):
            yield from walk_blocks(block.body)
        else:
            yield block


def map_blocks(blocks: Iterable[Block | Repeat], change: Callable[[Block], Block]) -> tuple[Block | Repeat, ...]:
    return tuple(Repeat(b.count, map_blocks(b.body, change)) if isinstance(b, Repeat) else change(b) for b in blocks)


def change_blocks(program: Program, change: Callable[[Block], Block]) -> Program:
    """Return the program with every block changed: what most passes do."""
    return replace(program, blocks=map_blocks(program.blocks, change))


def walk_ops(roots: Iterable[Op], stop: Container[int] = ()) -> Iterator[Op]:
    """Yield every op reachable from the roots once, arguments before users; look no further than the ids in `stop`."""
    seen: set[int] = set()
    stack: list[tuple[Op, bool]] = [(root, False) for root in reversed(list(roots))]
    while stack:
        op, ready = stack.pop()
        if ready:
            yield op
        elif id(op) not in seen:
            seen.add(id(op))
            stack.append((op, True))
            if id(op) not in stop:
                stack.extend((a, False) for a in reversed(op.args))


def rewrite(roots: Iterable[Op], change: Callable[[Op], Op]) -> dict[int, Op]:
    """Rebuild the graph bottom-up through `change`; return the new op of each old one by identity."""
    made: dict[int, Op] = {}
    for op in walk_ops(list(roots)):
        args = tuple(made[id(a)] for a in op.args)
        same = all(a is b for a, b in zip(args, op.args, strict=True))
        made[id(op)] = change(op if same else with_args(op, args))
    return made


def rewrite_block(block: Block, change: Callable[[Op], Op]) -> Block:
    made = rewrite([w.value for w in block.writes], change)
    return replace(block, writes=tuple(replace(w, value=made[id(w.value)]) for w in block.writes))


def rewrite_down(block: Block, change: Callable[[Op, Callable[[Op], Op]], Op]) -> Block:
    """Rebuild a block from its results down: `change` gets an op and what rebuilds the ops below it."""
    made: dict[int, tuple[Op, Op]] = {}  # with the op itself: an id means nothing once its op is gone

    def visit(op: Op) -> Op:
        if id(op) not in made:
            made[id(op)] = op, change(op, visit)
        return made[id(op)][1]

    return replace(block, writes=tuple(replace(w, value=visit(w.value)) for w in block.writes))


def uses_of(block: Block) -> Counter[int]:
    """Return how often each op is used, by identity: as an argument, or as the value of a write."""
    order = walk_ops([w.value for w in block.writes])
    return Counter([id(a) for op in order for a in op.args] + [id(w.value) for w in block.writes])


def letters(axes: Axes) -> str:
    return "[" + ",".join(ordered(axes)) + "]"
