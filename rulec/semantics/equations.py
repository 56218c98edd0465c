"""A rule's equations as a paper prints them: `z_j = Σ_i w_ij x_i + b_j`, `Δw_ij = −η ⟨x_i d_j⟩_n`."""

from __future__ import annotations

from dataclasses import dataclass

from rulec.semantics import typed as t
from rulec.semantics.notation import Latex, Notation, Plain
from rulec.semantics.reads import locals_of, reads

_SUM, _PRODUCT, _POWER, _ATOM = range(4)  # how tightly what was written binds
_COMPARISONS = {
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
}
_TITLES = {
    "input": "input i",
    "forward": "forward i → j",
    "output": "output j",
    "backward": "backward i ← j",
    "update": "update i → j",
    "parameters": "update of every parameter",
}

Written = tuple[str, int]  # text, how tightly it binds


@dataclass(frozen=True)
class Section:
    """The equations of one block; `depth` counts the `repeat`s around it, which have sections without equations."""

    title: str
    equations: tuple[str, ...]
    depth: int = 0


def sections(rule: t.Rule, latex: bool = False) -> tuple[Section, ...]:
    """Return the equations of each block in the order of the text, then the laws."""
    writer = _Writer(rule, Latex() if latex else Plain())
    found = [s for block in rule.blocks for s in _sections(block, writer, 0)]
    if rule.laws:
        laws = tuple(
            f"{writer.top(law.left)} {writer.math.relations[law.relation]} {writer.top(law.right)}" for law in rule.laws
        )
        found.append(Section("laws", laws))
    return tuple(found)


def render_equations(rule: t.Rule) -> str:
    """Return the equations as text, a block at a time."""
    lines: list[str] = []
    for section in sections(rule):
        indent = "  " * section.depth
        lines += ["", indent + section.title, *(f"{indent}  {equation}" for equation in section.equations)]
    return "\n".join(lines[1:])


def render_latex(rule: t.Rule) -> str:
    """Return the equations as `align*` environments, each after a comment that names its block."""
    texts = []
    for section in sections(rule, latex=True):
        rows = " \\\\\n".join("  " + _aligned(equation) for equation in section.equations)
        texts.append(f"% {section.title}" + (f"\n\\begin{{align*}}\n{rows}\n\\end{{align*}}" if rows else ""))
    return "\n".join(texts)


def _aligned(equation: str) -> str:
    """Put the `&` of an `align` in front of the first relation."""
    places = [
        (equation.find(f" {r} "), r)
        for r in ("=", Latex.arrow, Latex.drawn, *Latex.relations.values())
        if f" {r} " in equation
    ]
    at, _ = min(places)
    return f"{equation[:at]} &{equation[at + 1 :]}"


def _sections(block: t.Block | t.Repeat, writer: _Writer, depth: int) -> list[Section]:
    if isinstance(block, t.Repeat):
        inner = [s for b in block.body for s in _sections(b, writer, depth + 1)]
        return [Section(f"repeat {block.count} times", (), depth), *inner]
    return [Section(_TITLES[block.kind], tuple(writer.statement(w, block) for w in block.body), depth)]


class _Writer:
    """Write typed expressions in a notation. Two names that would become the same letter keep their own spelling."""

    def __init__(self, rule: t.Rule, math: Notation) -> None:
        self.rule, self.math = rule, math
        names = {"w", *(e.name for e in rule.genome), *(s.name for s in rule.states), *(n.name for n in rule.nets)}
        spelled = [math.name(n) for n in names]
        self.kept = {n for n in names if spelled.count(math.name(n)) > 1}

    # --- Statements ---

    def statement(self, write: t.Write, block: t.Block) -> str:
        left = self._left(write)
        value = write.value
        if write.kind == "state" and block.kind in ("update", "parameters") and isinstance(value, t.Apply):
            first = value.arguments[0] if value.arguments else None
            if value.operator in ("add", "sub") and isinstance(first, t.StateRef) and self._same(first, write):
                right, level = self.write(value.arguments[1])
                text = (
                    right
                    if value.operator == "add"
                    else self.math.minus + (self.math.group(right) if level < _PRODUCT else right)
                )
                return f"{self.math.delta}{left} = {text}"
        itself = any(self._is_itself(r.node, write) for r in reads(value, locals_of(block)))
        sign = (
            self.math.drawn
            if isinstance(value, t.Noise)
            else self.math.arrow
            if itself or self._rewrites(write)
            else "="
        )
        return f"{left} {sign} {self.top(value)}"

    def _left(self, write: t.Write) -> str:
        if write.kind == "local":
            return self._local(write.name, write.value)
        if write.kind == "prediction":
            return self.math.indexed(self.math.word("prediction"), ["j"])
        return self._state(write.name, write.side, write.indices)

    def _same(self, read: t.StateRef, write: t.Write) -> bool:
        return (read.name, read.side, read.indices) == (write.name, write.side, write.indices)

    def _is_itself(self, node: t.Expr, write: t.Write) -> bool:
        return (
            write.kind == "state"
            and isinstance(node, t.StateRef)
            and (node.name, node.side) == (write.name, write.side)
        )

    def _rewrites(self, write: t.Write) -> bool:
        return write.kind == "local" and write.version > 0

    # --- Expressions ---

    def top(self, node: t.Expr) -> str:
        return self.write(node)[0]

    def at(self, node: t.Expr, level: int) -> str:
        text, own = self.write(node)
        return self.math.group(text) if own < level else text

    def write(self, node: t.Expr) -> Written:
        return getattr(self, "_" + type(node).__name__.lower())(node)  # type: ignore[no-any-return]

    def _name(self, name: str) -> str:
        return self.math.word(name) if name in self.kept else self.math.name(name)

    def _constant(self, node: t.Constant) -> Written:
        return self.math.number(node.value), _ATOM if node.value >= 0 else _SUM

    def _genomeref(self, node: t.GenomeRef) -> Written:
        return self.math.indexed(self._name(node.name), list(map(str, node.indices))), _ATOM

    def _state(self, name: str, side: str, indices: tuple[str | int, ...]) -> str:
        letters = [letter for letter in side.split(",") if letter not in ("", "p")]
        if any(s.name == name and s.sides == "ji" for s in self.rule.states):
            letters.reverse()
        return self.math.indexed(self._name(name), [*letters, *map(str, indices)])

    def _stateref(self, node: t.StateRef) -> Written:
        return self._state(node.name, node.side, node.indices), _ATOM

    def _local(self, name: str, value: t.Expr) -> str:
        return self.math.indexed(self._name(name), [a for a in t.ordered(value.axes) if a not in ("n", "p")])

    def _localref(self, node: t.LocalRef) -> Written:
        return self._local(node.name, node), _ATOM

    def _dataref(self, node: t.DataRef) -> Written:
        if node.name == "loss":
            return self.math.loss, _ATOM
        return self.math.indexed(self.math.word(node.name), [a for a in t.ordered(node.axes) if a != "n"]), _ATOM

    def _stepcount(self, node: t.StepCount) -> Written:
        return "t", _ATOM

    def _noise(self, node: t.Noise) -> Written:
        return self.math.normal(), _ATOM

    def _stop(self, node: t.Stop) -> Written:
        return self.math.function("stop", self.top(node.argument)), _ATOM

    def _activation(self, node: t.Activation) -> Written:
        return self.math.function("act", self.top(node.argument), node.order), _ATOM

    def _diff(self, node: t.Diff) -> Written:
        return self.math.partial(self.at(node.value, _ATOM), self.top(node.variable)), _ATOM

    def _grad(self, node: t.Grad) -> Written:
        return self.math.gradient(self.at(node.value, _ATOM), self._name(node.name)), _PRODUCT

    def _change(self, node: t.Change) -> Written:
        return self.math.delta + self._name(node.name), _ATOM

    def _netcall(self, node: t.NetCall) -> Written:
        text = self.math.function(node.name, ", ".join(self.top(f.value) for f in node.arguments))
        return (text if node.index is None else self.math.indexed(text, [str(node.index)])), _ATOM

    def _solve(self, node: t.Solve) -> Written:
        inverse = self.math.power(self.at(node.matrix, _ATOM), self.math.number(-1))
        return self.math.product(inverse, self.at(node.right, _PRODUCT)), _PRODUCT

    # --- Reductions ---

    def _reduce(self, node: t.Reduce) -> Written:
        indices = list(node.indices)
        if node.operator == "sum":
            return self.math.sum(indices, self.at(node.argument, _PRODUCT)), _PRODUCT
        body = self.top(node.argument)
        if node.operator in ("mean", "norm"):
            return getattr(self.math, node.operator)(indices, body), _ATOM
        return self.math.over(node.operator, indices, body), _ATOM

    # --- Arithmetic and functions ---

    def _apply(self, node: t.Apply) -> Written:
        operator, arguments = node.operator, node.arguments
        if operator in ("add", "sub", "neg", "mul", "div", "pow"):
            return getattr(self, f"_{operator}")(*arguments)  # type: ignore[no-any-return]
        if operator == "position":
            return next(iter(node.axes)), _ATOM
        if operator in _COMPARISONS:
            relation = self.math.relations[_COMPARISONS[operator]]
            return self.math.condition(f"{self.at(arguments[0], _SUM)} {relation} {self.at(arguments[1], _SUM)}"), _ATOM
        if operator in ("sqrt", "abs"):
            spell = self.math.root if operator == "sqrt" else self.math.absolute
            return spell(self.top(arguments[0])), _ATOM
        name = operator.rstrip("'")
        return self.math.function(name, ", ".join(map(self.top, arguments)), len(operator) - len(name)), _ATOM

    def _add(self, left: t.Expr, right: t.Expr) -> Written:
        return f"{self.top(left)} + {self.at(right, _PRODUCT if self._signed(right) else _SUM)}", _SUM

    def _signed(self, node: t.Expr) -> bool:
        return (isinstance(node, t.Constant) and node.value < 0) or (
            isinstance(node, t.Apply) and node.operator == "neg"
        )

    def _sub(self, left: t.Expr, right: t.Expr) -> Written:
        return f"{self.top(left)} {self.math.minus} {self.at(right, _PRODUCT)}", _SUM

    def _neg(self, node: t.Expr) -> Written:
        return self.math.minus + self.at(node, _PRODUCT), _SUM

    def _mul(self, left: t.Expr, right: t.Expr) -> Written:
        if isinstance(left, t.Apply) and left.operator == "neg":
            return self.math.minus + self._mul(left.arguments[0], right)[0], _SUM
        before = self._factor(left)
        after = self._factor(right) if self._divides(right) else self.at(right, _PRODUCT)
        return self.math.product(before, after), _PRODUCT

    def _factor(self, node: t.Expr) -> str:
        """Write what more factors follow: a sum or a quotient would swallow them."""
        swallows = (
            (isinstance(node, t.Reduce) and node.operator == "sum")
            or isinstance(node, t.Grad)
            or self._ends_in_sum(node)
        )
        return self.math.group(self.top(node)) if swallows or self._divides(node) else self.at(node, _PRODUCT)

    def _divides(self, node: t.Expr) -> bool:
        return isinstance(self.math, Plain) and isinstance(node, t.Apply) and node.operator == "div"

    def _ends_in_sum(self, node: t.Expr) -> bool:
        if isinstance(node, t.Apply) and node.operator == "mul":
            return self._ends_in_sum(node.arguments[1])
        return isinstance(node, t.Reduce) and node.operator == "sum"

    def _div(self, left: t.Expr, right: t.Expr) -> Written:
        if not isinstance(self.math, Plain):
            return self.math.fraction(self.top(left), self.top(right)), _PRODUCT
        return self.math.fraction(self._factor(left), self.at(right, _POWER)), _PRODUCT

    def _pow(self, base: t.Expr, exponent: t.Expr) -> Written:
        return self.math.power(self.at(base, _ATOM), self.top(exponent)), _POWER


def symbol(rule: t.Rule, what: t.Write | t.State | t.GenomeEntry | str, latex: bool = False) -> str:
    """Return how the equations spell what is assigned, a declared name (without the indices of neurons), or a bare name."""
    writer = _Writer(rule, Latex() if latex else Plain())
    if isinstance(what, t.Write):
        return writer._left(what)
    if isinstance(what, str):
        return writer._name(what)
    sides = (
        [letter for letter in what.sides if what.kind == "synapse" and letter != "p"]
        if isinstance(what, t.State)
        else []
    )
    return writer.math.indexed(writer._name(what.name), [*sides, *what.indices])
