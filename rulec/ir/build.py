"""Lower a typed rule to the IR: locals and partial writes become values, derivatives are worked out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rulec.ir.differentiate import NoDerivative, differentiate
from rulec.ir.graph import (
    Block,
    Law,
    Op,
    Program,
    Repeat,
    Write,
    constant,
    pointwise,
    reduce_any,
    walk_ops,
    with_args,
)
from rulec.ir.passes.pullback import pull_back_activations
from rulec.ir.verifier import verify
from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.indices import neuron_side
from rulec.semantics.scope import Scope
from rulec.source import Diagnostics, RuleError


@dataclass
class _Program:
    """What carries over from block to block while the program is built."""

    rule: t.Rule
    definitions: dict[str, Op] = field(default_factory=dict)  # state or "prediction" -> its last value at `j`
    sites: int = 0


def build(rule: t.Rule) -> Program:
    """Return the program of a rule. Raises `RuleError` where a derivative does not exist."""
    context = _Program(rule)
    blocks = tuple(_build_any(b, context) for b in rule.blocks)
    laws = tuple(_build_law(law, context) for law in rule.laws)
    program = Program(rule.name, rule.options, rule.extents, rule.genome, rule.nets, rule.states, blocks, laws)
    return verify(pull_back_activations(program))


def build_values(values: Sequence[t.Expr], names: Mapping[str, t.Expr], sites: int) -> list[Op]:
    """Build expressions that belong to no rule: `names` are what their local names stand for, noise is counted from `sites`."""
    span = values[0].span
    rule = t.Rule("", None, {}, {}, (), (), (), (), (), span)
    builder = _BlockBuilder(t.Block("output", (), span), _Program(rule, sites=sites))
    builder.locals = {(name, 0): value for name, value in names.items()}
    return [builder.expression(value, statistic=False) for value in values]


def _build_law(law: t.Law, context: _Program) -> Law:
    """Build both sides as an update would, which sees what a law sees."""
    kind = "parameters" if context.rule.acts_on_parameters else "update"
    builder = _BlockBuilder(t.Block(kind, (), law.span), context)
    left, right = (builder.expression(side, statistic=False) for side in (law.left, law.right))
    return Law(law.name, law.relation, left, right, law.span)


def _build_any(block: t.Block | t.Repeat, context: _Program) -> Block | Repeat:
    if isinstance(block, t.Repeat):
        return Repeat(block.count, tuple(_build_any(b, context) for b in block.body))
    return _BlockBuilder(block, context).build()


class _BlockBuilder:
    """One block: statements in order, each reading what those before it have assigned."""

    def __init__(self, block: t.Block, context: _Program) -> None:
        self.block = block
        self.context = context
        self.rule = context.rule
        self.states: dict[tuple[str, str], Op] = {}  # (state, side) -> value so far in this block
        self.locals: dict[tuple[str, int], t.Expr] = {}
        self.made: dict[tuple[int, bool], Op] = {}
        self.kept: list[t.Expr] = []  # keeps ids of `made` alive
        self.prediction: Op | None = None

    def build(self) -> Block:
        writes: dict[tuple[str, str], Write] = {}
        for statement in self.block.body:
            write = self._statement(statement)
            if write is not None:
                writes[(write.name, write.side)] = write
        if self.block.kind in ("forward", "output"):
            for write in writes.values():
                if write.side == "j":
                    self.context.definitions[write.name] = write.value
        return Block(self.block.kind, tuple(writes.values()), self.block.span)

    def _statement(self, statement: t.Write) -> Write | None:
        if statement.kind == "local":
            self.locals[(statement.name, statement.version)] = statement.value
            self._freeze(statement.value)
            return None
        value = self.expression(statement.value, statistic=self.block.kind not in ("update", "parameters"))
        if statement.kind == "prediction":
            self.prediction = value
            self.context.definitions["prediction"] = value
            return Write("prediction", "j", value, statement.span)
        value = self._whole(statement, value)
        self.states[(statement.name, statement.side)] = value
        return Write(statement.name, statement.side, value, statement.span)

    def _freeze(self, value: t.Expr) -> None:
        """Evaluate a local when it is assigned, so that later assignments to what it reads do not change it."""
        for statistic in (False, True):
            self.expression(value, statistic)

    def _whole(self, statement: t.Write, value: Op) -> Op:
        """Turn the value of `a[j,0] = ...` or `a[j,l] = ...` into one of the whole state, with its own letters."""
        if statement.name == "w" and statement.side == "p":
            return value
        state = self.rule.state(statement.name)
        pairs = tuple(zip(state.indices, statement.indices, strict=True))
        fixed = tuple((own, item) for own, item in pairs if isinstance(item, int))
        renames = tuple(
            (item, own) for own, item in pairs if isinstance(item, str) and item != own and item in value.axes
        )
        value = rename(value, renames)
        if not fixed:
            return value
        before = self.states.get((statement.name, statement.side)) or self._state(state, statement.side)
        return Op("insert", (before, value), (("at", fixed),), before.axes | value.axes, statement.span)

    def _state(self, state: t.State, side: str) -> Op:
        neurons = frozenset(side.split(",")) - {""}
        sample = frozenset() if state.kind == "synapse" else frozenset("n")
        axes = neurons | frozenset(state.indices) | sample
        return Op("state", (), (("name", state.name), ("side", side), ("indices", state.indices)), axes, state.span)

    # --- Expressions ---

    def expression(self, node: t.Expr, statistic: bool) -> Op:
        """Build an expression. `statistic`: a mean over `n` here is one over samples and places, not a pooled change."""
        key = (id(node), statistic)
        if key not in self.made:
            self.kept.append(node)
            self.made[key] = getattr(self, "_" + type(node).__name__.lower())(node, statistic)
        return self.made[key]

    def _constant(self, node: t.Constant, statistic: bool) -> Op:
        return constant(node.value, node.span)

    def _genomeref(self, node: t.GenomeRef, statistic: bool) -> Op:
        return Op("genome", (), (("name", node.name), ("indices", node.indices)), node.axes, node.span)

    def _stateref(self, node: t.StateRef, statistic: bool) -> Op:
        value = self._current(node)
        if value is None:
            return Op(
                "state", (), (("name", node.name), ("side", node.side), ("indices", node.indices)), node.axes, node.span
            )
        if node.side == "p":
            return value
        pairs = tuple(zip(self.rule.state(node.name).indices, node.indices, strict=True))
        fixed = tuple((own, item) for own, item in pairs if isinstance(item, int) and own in value.axes)
        if fixed:
            value = Op("take", (value,), (("at", fixed),), value.axes - {own for own, _ in fixed}, node.span)
        return rename(
            value,
            tuple((own, item) for own, item in pairs if isinstance(item, str) and own != item and own in value.axes),
        )

    def _current(self, node: t.StateRef) -> Op | None:
        """Return the value assigned earlier in this block, if any; a lateral letter reads it renamed."""
        value = self.states.get((node.name, node.side))
        if value is not None or not node.side:
            return value
        own = ",".join(neuron_side(letter, self._scope()) or letter for letter in node.side.split(","))
        value = self.states.get((node.name, own))
        if value is None:
            return None
        pairs = tuple((a, b) for a, b in zip(own.split(","), node.side.split(","), strict=True) if a != b)
        return rename(value, pairs)

    def _scope(self) -> Scope:
        return Scope(Diagnostics(), extents=dict(self.rule.extents))

    def _dataref(self, node: t.DataRef, statistic: bool) -> Op:
        if node.name == "loss":
            args = () if self.prediction is None else (self.prediction,)
            return Op("loss", args, (), frozenset("n"), node.span)
        letter = next(iter(node.axes - {"n"}))
        if node.name == "prediction" and self.prediction is not None:
            return rename(self.prediction, (("j", letter),) if letter != "j" else ())
        return Op(node.name, (), (("letter", letter),), node.axes, node.span)

    def _stepcount(self, node: t.StepCount, statistic: bool) -> Op:
        return Op("time", span=node.span)

    def _noise(self, node: t.Noise, statistic: bool) -> Op:
        if not statistic and (id(node), True) in self.made:
            return self.made[(id(node), True)]
        if statistic and (id(node), False) in self.made:
            return self.made[(id(node), False)]
        self.context.sites += 1
        return Op("noise", (), (("site", self.context.sites - 1),), node.axes, node.span)

    def _localref(self, node: t.LocalRef, statistic: bool) -> Op:
        return self.expression(self.locals[(node.name, node.version)], statistic)

    def _apply(self, node: t.Apply, statistic: bool) -> Op:
        if node.operator == "position":
            return Op("position", (), (("index", next(iter(node.axes))),), node.axes, node.span)
        args = [self.expression(a, statistic) for a in node.arguments]
        if node.operator.endswith("'"):
            return self._slope(node, args[0])
        return pointwise(node.operator, *args, span=node.span)

    def _slope(self, node: t.Apply, argument: Op) -> Op:
        """`tanh'(z)`, `tanh''(z)`: differentiate the named function, then put the argument in."""
        name = node.operator.rstrip("'")
        free = Op("state", (), (("name", "z"), ("side", ""), ("indices", ())), argument.axes, node.span)
        value = pointwise(name, free, span=node.span)
        for _ in range(len(node.operator) - len(name)):
            value = differentiate(value, free) or constant(0.0)
        return substitute(value, {id(free): argument})

    def _activation(self, node: t.Activation, statistic: bool) -> Op:
        argument = self.expression(node.argument, statistic)
        if node.order == 0:
            return Op("act", (argument,), (("side", node.side),), argument.axes, node.span)
        return Op("slope", (argument,), (("side", node.side), ("order", node.order)), argument.axes, node.span)

    def _reduce(self, node: t.Reduce, statistic: bool) -> Op:
        over_samples = "n" in node.indices
        argument = self.expression(node.argument, statistic or over_samples)
        return reduce_any(
            node.operator, node.indices, argument, over_samples and statistic, node.span, node.argument.axes
        )

    def _diff(self, node: t.Diff, statistic: bool) -> Op:
        value = self.expression(node.value, statistic)
        variable = self.expression(node.variable, statistic)
        value = self._trace_back(value, node)
        try:
            derivative = differentiate(value, variable)
        except NoDerivative as error:
            raise RuleError([messages.not_differentiable(node.span, error.op.name)]) from None
        if derivative is None:
            raise RuleError([messages.no_path(node.span, node.variable.span.text)])
        if any(op.name == "outdated" for op in walk_ops([derivative])):
            raise RuleError([messages.outdated_value(node.span, node.variable.span.text)])
        return derivative

    def _trace_back(self, value: Op, node: t.Diff) -> Op:
        """Express what is differentiated through the variable: follow states back to how they were computed."""
        if not isinstance(node.variable, t.StateRef):
            return value
        variable = node.variable
        own = self.context.definitions.get(variable.name)
        leaf = self.expression(variable, True)
        definitions = self.context.definitions
        stop = {} if own is None else {id(own): self._state(self.rule.state(variable.name), variable.side)}
        done: dict[str, Op] = {}

        def resolve(name: str) -> Op:
            if name not in done:
                done[name] = substitute(definitions[name], stop, _outdated)
            return done[name]

        def change(op: Op) -> Op:
            op = _read_directly(op)
            if op.name == "loss" and not op.args and "prediction" in definitions:
                return Op("loss", (resolve("prediction"),), (), op.axes, op.span)
            if op.name != "state" or op["side"] != variable.side:
                return op
            if op["name"] == variable.name:
                return leaf if op["indices"] == variable.indices else op
            return self._select(op, resolve(op["name"])) if op["name"] in definitions else op

        return substitute(substitute(value, stop, change), {}, change)

    def _select(self, read: Op, value: Op) -> Op:
        """Read a whole-state value the way the state op `read` does."""
        pairs = tuple(zip(self.rule.state(read["name"]).indices, read["indices"], strict=True))
        fixed = tuple((own, item) for own, item in pairs if isinstance(item, int) and own in value.axes)
        if fixed:
            value = Op("take", (value,), (("at", fixed),), value.axes - {own for own, _ in fixed}, read.span)
        return rename(
            value,
            tuple((own, item) for own, item in pairs if isinstance(item, str) and own != item and own in value.axes),
        )

    def _grad(self, node: t.Grad, statistic: bool) -> Op:
        args = (self.expression(node.value, True),) if node.axes != frozenset("p") else ()
        return Op("grad", args, (("name", node.name),), node.axes, node.span)

    def _change(self, node: t.Change, statistic: bool) -> Op:
        return Op("change", (), (("name", node.name),), node.axes, node.span)

    def _stop(self, node: t.Stop, statistic: bool) -> Op:
        argument = self.expression(node.argument, statistic)
        return Op("stop", (argument,), (), argument.axes, node.span)

    def _netcall(self, node: t.NetCall, statistic: bool) -> Op:
        args = tuple(self.expression(f.value, statistic) for f in node.arguments)
        features = tuple(f.index for f in node.arguments)
        return Op(
            "net", args, (("name", node.name), ("index", node.index), ("features", features)), node.axes, node.span
        )

    def _solve(self, node: t.Solve, statistic: bool) -> Op:
        args = (self.expression(node.matrix, statistic), self.expression(node.right, statistic))
        return Op("solve", args, (("row", node.row), ("column", node.column)), node.axes, node.span)


def _outdated(op: Op) -> Op:
    """Mark what an earlier block read and what may have changed since, or belongs to other neurons."""
    if op.name == "state" or (op.name == "reduce" and "i" in op["indices"]):
        return Op("outdated", (), (), op.axes, op.span)
    return _read_directly(op)


def _read_directly(op: Op) -> Op:
    """Read a component of a whole state, or the state under other letters, with one op instead of two."""
    if op.name == "take" and op.args[0].name == "insert":
        inserted = op.args[0]
        if op["at"] == inserted["at"]:
            return inserted.args[1]
        if len(op["at"]) == 1 and [i for i, _ in op["at"]] == [i for i, _ in inserted["at"]]:
            return _read_directly(with_args(op, (inserted.args[0],)))
    if op.name not in ("take", "rename") or op.args[0].name != "state":
        return op
    state = op.args[0]
    table = dict(op["at"] if op.name == "take" else op["letters"])
    if not set(table) <= set(state["indices"]):
        return op
    indices = tuple(table.get(i, i) for i in state["indices"])
    return Op("state", (), (("name", state["name"]), ("side", state["side"]), ("indices", indices)), op.axes, op.span)


def rename(value: Op, pairs: tuple[tuple[str, str], ...]) -> Op:
    pairs = tuple((old, new) for old, new in pairs if old in value.axes)
    if not pairs:
        return value
    table = dict(pairs)
    axes = frozenset(table.get(a, a) for a in value.axes)
    return Op("rename", (value,), (("letters", pairs),), axes, value.span)


def substitute(root: Op, table: Mapping[int, Op], change: Callable[[Op], Op] = lambda op: op) -> Op:
    """Replace ops by identity, then rebuild what uses them."""
    made: dict[int, Op] = {}
    for op in walk_ops([root], stop=table):
        if id(op) in table:
            made[id(op)] = table[id(op)]
        else:
            made[id(op)] = change(with_args(op, tuple(made[id(a)] for a in op.args)))
    return made[id(root)]
