"""The typed tree: a rule whose options are chosen, whose names are resolved and whose axes are known.

Axes are index letters: `n` the sample, `i` and `j` the neurons of the two sides, `p` the parameter (in rules that act on
every parameter of a network alike), and the declared ones. A neuron state carries `n` though nobody writes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Union

from rulec.source import Span

Axes = frozenset[str]
Extent = Union[int, str]  # a number, or "outputs": the size of the network's output layer

NOTHING: Axes = frozenset()


def ordered(axes: Axes) -> tuple[str, ...]:
    """Return the axes in reading order: n, i, j, p, then the declared ones by name."""
    first = [a for a in ("n", "i", "j", "p") if a in axes]
    return (*first, *sorted(axes - set(first)))


# --- Expressions -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Expr:
    axes: Axes
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Constant(Expr):
    value: float


@dataclass(frozen=True)
class Matrix(Expr):
    """An array of numbers, as initial values have it; shape and entries, row-major."""

    shape: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class GenomeRef(Expr):
    name: str
    indices: tuple[str | int, ...]


@dataclass(frozen=True)
class StateRef(Expr):
    """A state as seen from `side`: "i", "j", "ij" (a synapse), "p" (a parameter) or "" (a broadcast value)."""

    name: str
    side: str
    indices: tuple[str | int, ...]  # the declared ones, in the order of the declaration


@dataclass(frozen=True)
class DataRef(Expr):
    """`input`, `target`, `prediction` or `loss`."""

    name: str


@dataclass(frozen=True)
class StepCount(Expr):
    """`t`: 1 in the first step."""


@dataclass(frozen=True)
class Noise(Expr):
    """Independent standard normal numbers along the axes."""


@dataclass(frozen=True)
class LocalRef(Expr):
    name: str
    version: int


@dataclass(frozen=True)
class Apply(Expr):
    """A pointwise function or arithmetic: add sub mul div pow neg less equal ..., or a name of the operator table."""

    operator: str
    arguments: tuple[Expr, ...]


def apply(operator: str, span: Span, *arguments: Expr) -> Apply:
    """Return the operator applied; it varies with whatever its arguments vary with."""
    axes = NOTHING.union(*(a.axes for a in arguments))
    return Apply(axes, span, operator, arguments)


@dataclass(frozen=True)
class Activation(Expr):
    """The layer's own activation (`order` 0) or its derivatives, for the neurons of `side`."""

    side: str
    order: int
    argument: Expr


@dataclass(frozen=True)
class Reduce(Expr):
    operator: str
    indices: tuple[str, ...]
    argument: Expr


@dataclass(frozen=True)
class Diff(Expr):
    """The derivative of `value` with respect to `variable`: summed over everything `value` has and `variable` has not."""

    value: Expr
    variable: Expr


@dataclass(frozen=True)
class Grad(Expr):
    """The gradient of a scalar through the network with respect to its parameters, or to the synapse state `name`."""

    value: Expr
    name: str


@dataclass(frozen=True)
class Features(Expr):
    """One argument of a net: a value, or with `index` a vector of `extent` of them."""

    value: Expr
    index: str | None
    extent: Extent


@dataclass(frozen=True)
class NetCall(Expr):
    name: str
    index: str | int | None  # the index of the output vector
    arguments: tuple[Features, ...]


@dataclass(frozen=True)
class Solve(Expr):
    """x with sum[l](matrix[k,l] * x[l]) = right[k]."""

    matrix: Expr
    right: Expr
    row: str
    column: str


@dataclass(frozen=True)
class Stop(Expr):
    argument: Expr


@dataclass(frozen=True)
class Sample(Expr):
    """`normal(m, s)` or `uniform(a, b)`, in initial values."""

    law: str
    first: Expr
    second: Expr


@dataclass(frozen=True)
class Identity(Expr):
    """`eye`, in initial values: one where the last two axes agree."""


@dataclass(frozen=True)
class SizeRef(Expr):
    """`fan_in` or `fan_out` of the connection, in initial values; `outputs` of the network."""

    name: str


@dataclass(frozen=True)
class Change(Expr):
    """`update(w)` in a law: what the update block adds to `w`."""

    name: str


# --- Declarations ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Domain:
    name: str = "real"
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return f"interval({self.low:g}, {self.high:g})" if self.name == "interval" else self.name


@dataclass(frozen=True)
class GenomeEntry:
    name: str
    indices: tuple[str, ...]
    shape: tuple[Extent, ...]
    domain: Domain
    per_layer: bool
    initial: Expr
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Net:
    """A multilayer perceptron shared by everything that calls it; its weights are genome entries."""

    name: str
    sizes: tuple[int, ...]
    activation: str
    per_layer: bool
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class State:
    """`kind` is neuron, synapse or broadcast. `sides`: "j" (per neuron), "ij" (per synapse), "p" (per parameter), "" (broadcast)."""

    name: str
    kind: str
    sides: str
    indices: tuple[str, ...]  # the declared ones
    shape: tuple[Extent, ...]
    keep: bool
    initial: Expr
    span: Span = field(compare=False, repr=False)


# --- Blocks ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Write:
    """Assign to a state (or to `prediction`, or to a local name) the value; fixed components stand in `indices`."""

    kind: str  # "state" | "prediction" | "local"
    name: str
    side: str
    indices: tuple[str | int, ...]
    version: int
    value: Expr
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Block:
    kind: str  # input | forward | output | backward | update | parameters (a bare update)
    body: tuple[Write, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Repeat:
    count: int
    body: tuple[Block | Repeat, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Law:
    name: str
    relation: str
    left: Expr
    right: Expr
    span: Span = field(compare=False, repr=False)


OptionValue = Union[int, float, str, bool]


@dataclass(frozen=True)
class Rule:
    """A rule with its options chosen."""

    name: str
    doc: str | None
    options: dict[str, OptionValue]
    extents: dict[str, Extent]
    genome: tuple[GenomeEntry, ...]
    nets: tuple[Net, ...]
    states: tuple[State, ...]
    blocks: tuple[Block | Repeat, ...]
    laws: tuple[Law, ...]
    span: Span = field(compare=False, repr=False)

    def state(self, name: str) -> State:
        return next(state for state in self.states if state.name == name)

    @property
    def acts_on_parameters(self) -> bool:
        """Whether this is an optimiser-like rule: one bare `update` over the network's own parameters."""
        return any(isinstance(b, Block) and b.kind == "parameters" for b in self.blocks)


# --- Outer steps -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A name with arguments: `sgd(lr = 0.4)`, `implicit(cg, steps = 5)`, `init(w)`, `sgd.lr`."""

    name: str
    arguments: tuple[OptionValue, ...]
    settings: dict[str, OptionValue]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Within:
    """Connections with weights, from `first` to `last`: 1 is the one nearest to the input, -1 the one nearest to the output."""

    first: int
    last: int

    def places(self, count: int) -> range:
        """Return which of `count` connections these are, counted from 0; none where the network is too small."""
        first, last = (n - 1 if n > 0 else count + n for n in (self.first, self.last))
        return range(max(first, 0), min(last, count - 1) + 1)


@dataclass(frozen=True)
class Learned:
    """What an outer step learns: `genome`, an entry by name, or the initial values of states, perhaps of some connections.

    `per_layer`: the entry gets a value for each connection, though its rule gives it one for all.
    """

    name: str
    arguments: tuple[str, ...]
    within: Within | None
    per_layer: bool
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Extra:
    """A term of the inner problem besides the loss: `weight` times the squared norm of `w`, or of `w - init(w)`.

    `stopped`: no derivative passes to the outer step by way of `init(w)`.
    """

    weight: Expr
    from_start: bool
    stopped: bool
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Key:
    """A random number or permutation, drawn anew for each task: `uniform(a, b)`, `normal(m, s)`, `one_of(a, b, ...)`, `permutation`."""

    name: str
    kind: str
    numbers: tuple[float, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Recast:
    """What becomes of a task's inputs (`x`) or targets (`y`): of the support, of the query, or of both.

    `operator` is `set` (to `value`), `rotate` (by the angle `value`) or `permute` (by the key `value`). `key` and `entries` name what `value`
    reads: a key of the task, or the outer step's own genome.
    """

    target: str
    operator: str
    value: Expr
    sides: tuple[str, ...]
    keys: frozenset[str]
    entries: frozenset[str]
    noisy: bool
    span: Span = field(compare=False, repr=False)

    @property
    def of_program(self) -> bool:
        """Whether the compiled step makes the change, because something is learned or drawn in it; otherwise the data are changed."""
        return bool(self.entries) or self.noisy


@dataclass(frozen=True)
class Objective:
    """`weight` times `loss` or `error` on `support` or `query`, or times the squared norm of what is learned: to be minimised."""

    weight: float
    quantity: str  # loss | error | norm
    on: str  # support | query; of a norm: an entry, or "init(w)"
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Outer:
    """An outer step. `inner.name` is "rule" where whoever runs it names the rule.

    `genome` and `nets` are its own, learned beside the rule's. Of the inner problem, `within` says which connections learn, `steps` how many
    updates are made before they are judged, `horizon` after how many the inner loop begins anew, `weight` by what each sample's loss is
    multiplied, and `plus` what is added to it; `changes` is what becomes of the data, `keys` what is drawn for that.
    """

    name: str
    doc: str | None
    options: dict[str, OptionValue]
    genome: tuple[GenomeEntry, ...]
    nets: tuple[Net, ...]
    inner: Call
    within: Within | None
    steps: int
    horizon: int | None
    weight: Expr | None
    plus: tuple[Extra, ...]
    keys: tuple[Key, ...]
    changes: tuple[Recast, ...]
    meta: tuple[Learned, ...]
    objectives: tuple[Objective, ...]
    through: Call
    checkpoint: bool
    optimizer: Call
    settings: dict[str, OptionValue]
    span: Span = field(compare=False, repr=False)

    @property
    def own(self) -> tuple[GenomeEntry | Net, ...]:
        """What the outer step itself declares to be learned."""
        return (*self.genome, *self.nets)

    @property
    def changes_inner_problem(self) -> bool:
        """Whether the inner problem is more than the rule on the data as they come."""
        program = any(change.of_program for change in self.changes)
        widened = any(item.per_layer for item in self.meta)
        return bool(self.own or self.within or self.weight or self.plus or program or widened)
