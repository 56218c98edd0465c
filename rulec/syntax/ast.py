"""The syntax tree of a `.rule` file: what was written, not yet what it means.

Spans take no part in equality, so `parse(fmt(text)) == parse(text)` compares meaning alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Union

from rulec.source import Span


@dataclass(frozen=True)
class Node:
    """Every node knows the characters it was made from."""

    span: Span = field(compare=False, repr=False, kw_only=True)

    @cached_property
    def children(self) -> tuple[Node, ...]:
        """The nodes that this one is made of, in the order of its fields."""
        parts = (getattr(self, each.name) for each in fields(self))
        items = (item for part in parts for item in (part if isinstance(part, tuple) else (part,)))
        return tuple(item for item in items if isinstance(item, Node))


def walk(root: Node) -> Iterator[Node]:
    """Yield a node and all that it is made of."""
    pending = [root]
    while pending:
        node = pending.pop()
        yield node
        pending += node.children


# --- Expressions -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Number(Node):
    text: str  # as written: `1e-8` stays `1e-8`

    @property
    def value(self) -> float:
        return float(self.text)


@dataclass(frozen=True)
class Name(Node):
    """A name without indices: `lr`, `loss`, `t`, `noise`, a scalar genome entry."""

    name: str


@dataclass(frozen=True)
class IndexName(Node):
    """An index letter, in `x[i]` or `sum[i]`."""

    name: str


@dataclass(frozen=True)
class IndexNumber(Node):
    """A fixed component, the `0` of `a[i,0]`."""

    value: int


IndexItem = Union[IndexName, IndexNumber]


@dataclass(frozen=True)
class Indexed(Node):
    """`x[i]`, `w[i,j,k]`, `a[i,0]`, `noise[i,j]`, `input[i]`."""

    name: str
    indices: tuple[IndexItem, ...]


@dataclass(frozen=True)
class Call(Node):
    """`tanh(z[j])`; with `primes`, the derivative `act'(z[j])`; with `indices`, `sum[i,k](...)` or `f[c](...)`."""

    name: str
    arguments: tuple[Expression, ...]
    indices: tuple[IndexItem, ...] = ()
    primes: int = 0
    name_span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True)
class Unary(Node):
    operator: str  # "-" or "not"
    operand: Expression


@dataclass(frozen=True)
class Binary(Node):
    operator: str  # + - * / ^  == != < <= > >=  and or
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Conditional(Node):
    """`then if condition else otherwise`; the condition is about options and is decided at compile time."""

    then: Expression
    condition: Expression
    otherwise: Expression


@dataclass(frozen=True)
class Array(Node):
    """`[[1, 0], [0, 1]]`."""

    items: tuple[Expression, ...]


Expression = Union[Number, Name, Indexed, Call, Unary, Binary, Conditional, Array]


# --- Declarations ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Use(Node):
    """`from PATH use NAME, ...`."""

    path: str
    names: tuple[Name, ...]


@dataclass(frozen=True)
class Option(Node):
    """`option states = 2`; with choices, `option backward : additive | replace = additive`."""

    name: Name
    default: Expression
    choices: tuple[Name, ...] = ()


@dataclass(frozen=True)
class Index(Node):
    """`index k, l : states`."""

    names: tuple[IndexName, ...]
    extent: Expression


@dataclass(frozen=True)
class Domain(Node):
    """`positive`, `interval(-1, 1)`."""

    name: str
    bounds: tuple[Expression, ...] = ()


@dataclass(frozen=True)
class PerLayer(Node):
    """`per layer`, or `per layer if layered` with a compile-time condition."""

    condition: Expression | None = None


@dataclass(frozen=True)
class GenomeEntry(Node):
    name: Name
    indices: tuple[IndexName, ...] = ()
    domain: Domain | None = None
    per_layer: PerLayer | None = None
    initial: Expression | None = None


@dataclass(frozen=True)
class Net(Node):
    """`net f : 6 -> 32 -> 1 (relu)`; in a genome section, or alone at the top of a file."""

    name: Name
    sizes: tuple[Expression, ...]
    activation: Name | None = None


@dataclass(frozen=True)
class State(Node):
    """An entry of `neuron`, `synapse` or `broadcast`: `keep trace[k] = 0`, `w[i,j] = normal(0, 1)`."""

    name: Name
    indices: tuple[IndexItem, ...] = ()
    initial: Expression | None = None
    keep: bool = False


@dataclass(frozen=True)
class If(Node):
    """Compile-time choice among entries, statements, sections or blocks; `elif` is an `If` in `otherwise`."""

    condition: Expression
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Genome(Node):
    entries: tuple[GenomeEntry | Net | If, ...]
    per_layer: PerLayer | None = None  # `genome per layer`: holds for every entry


@dataclass(frozen=True)
class Neuron(Node):
    entries: tuple[State | If, ...]


@dataclass(frozen=True)
class Synapse(Node):
    entries: tuple[State | If, ...]


@dataclass(frozen=True)
class Broadcast(Node):
    """`broadcast`: one value per sample (and per declared index), the same for every neuron; a third factor."""

    entries: tuple[State | If, ...]


# --- Blocks ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Assign(Node):
    target: Indexed | Name
    operator: str  # = += -= *= /=
    value: Expression


Statement = Union[Assign, If]


@dataclass(frozen=True)
class Block(Node):
    """`forward i -> j`; `kind` is input, forward, output, backward, update or generate."""

    kind: str
    indices: tuple[IndexName, ...]  # as written, left to right; empty for a bare `update`
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Repeat(Node):
    """`repeat 20:` and the blocks beneath it."""

    count: Expression
    body: tuple[Block | Repeat | If, ...]


@dataclass(frozen=True)
class Law(Node):
    name: Name
    relation: str  # == <= >= < >
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Laws(Node):
    laws: tuple[Law, ...]


Section = Union[Use, Option, Index, Genome, Neuron, Synapse, Broadcast, Block, Repeat, Laws, If]


# --- Definitions -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule(Node):
    name: Name
    doc: str | None
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Preset(Node):
    """`genome chain_rule for blur "..."`: named values of a rule's genome."""

    name: Name
    rule: Name
    doc: str | None
    entries: tuple[GenomeEntry, ...]


@dataclass(frozen=True)
class Keyword(Node):
    """`lr = 0.4` in an outer's call or clause."""

    name: Name
    value: Expression


@dataclass(frozen=True)
class Invocation(Node):
    """`sgd(lr = 0.4)`, `implicit(cg, steps = 5)`, `init(w)`, `sgd.lr`, `genome`: a name, perhaps dotted, perhaps called."""

    path: tuple[Name, ...]
    arguments: tuple[Expression, ...] = ()
    keywords: tuple[Keyword, ...] = ()
    called: bool = False


@dataclass(frozen=True)
class Within(Node):
    """`in layer -1`, `in layers 1 to 3`: connections with weights, counted from the input, or with a minus from the output."""

    first: Expression
    last: Expression | None = None


@dataclass(frozen=True)
class Inner(Node):
    """`inner sgd(lr = 0.4) in layer -1 for 5 of 100 steps on support, weighted by EXPR, plus EXPR`."""

    rule: Invocation
    within: Within | None = None
    steps: Expression | None = None
    horizon: Expression | None = None
    data: Name | None = None
    weight: Expression | None = None
    plus: tuple[Expression, ...] = ()


@dataclass(frozen=True)
class Learned(Node):
    """`init(w)`, `init(w) in layers 1 to 3`, `sgd.lr per layer`, `genome`."""

    item: Invocation
    within: Within | None = None
    per_layer: PerLayer | None = None


@dataclass(frozen=True)
class Meta(Node):
    """`meta init(w), sgd.lr`."""

    items: tuple[Learned, ...]


@dataclass(frozen=True)
class Objective(Node):
    """`minimize loss on query`, `maximize 0.1 * accuracy on query`."""

    direction: str
    value: Expression
    data: Name | None = None


@dataclass(frozen=True)
class Through(Node):
    """`through unroll`, `through unroll with checkpoint`, `through implicit(cg, steps = 5)`."""

    method: Invocation
    modifiers: tuple[Name, ...] = ()


@dataclass(frozen=True)
class By(Node):
    """`by adam(lr = 0.001), tasks = 32`."""

    optimizer: Invocation
    settings: tuple[Keyword, ...] = ()


@dataclass(frozen=True)
class Key(Node):
    """`key e = uniform(-1, 1)`: drawn anew for each task."""

    name: Name
    value: Expression


@dataclass(frozen=True)
class Tasks(Node):
    """`tasks y = permute(y, e)`, `tasks x = rotate(x, angle) on support`: what becomes of a task's data."""

    change: Keyword
    data: Name | None = None


Clause = Union[Option, Genome, Inner, Meta, Objective, Through, By, Key, Tasks]


@dataclass(frozen=True)
class Outer(Node):
    name: Name
    doc: str | None
    clauses: tuple[Clause, ...]


Definition = Union[Use, Rule, Outer, Net, Preset]


@dataclass(frozen=True)
class Module(Node):
    definitions: tuple[Definition, ...]
