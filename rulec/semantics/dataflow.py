"""Which state is made from what, assignment by assignment in the order of the text: the plan of a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rulec.semantics import typed as t
from rulec.semantics.equations import symbol
from rulec.semantics.reads import Read, locals_of, reads

KINDS = ("data", "genome", "synapse", "neuron", "broadcast")
_TITLES = {
    "input": "input i",
    "forward": "forward i → j",
    "output": "output j",
    "backward": "backward i ← j",
    "update": "update i → j",
    "parameters": "update",
}
_DATA = {
    "input": "\\mathrm{input}",
    "target": "\\mathrm{target}",
    "loss": "\\mathcal{L}",
    "grad": "\\nabla\\mathcal{L}",
    "t": "t",
    "noise": "\\mathrm{noise}",
}


@dataclass(frozen=True)
class Row:
    """A value that lasts: `label` is LaTeX."""

    name: str
    kind: str
    label: str


@dataclass(frozen=True)
class Column:
    """One assignment. `reads` are rows and whether they are read through a sum over neurons; `itself`: it reads what it replaces."""

    row: str
    label: str
    reads: tuple[tuple[str, bool], ...]
    itself: bool


@dataclass(frozen=True)
class Band:
    """The columns of one block, or of a repeated group of blocks: `first` to `last`, both included."""

    title: str
    first: int
    last: int


@dataclass(frozen=True)
class Dataflow:
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    blocks: tuple[Band, ...]
    repeats: tuple[Band, ...]


def dataflow(rule: t.Rule) -> Dataflow:
    """Return the rows and columns; genome entries and data that nothing reads are left out."""
    plan = _Plan(rule)
    plan.visit(rule.blocks)
    used = {c.row for c in plan.columns} | {name for c in plan.columns for name, _ in c.reads}
    rows = tuple(row for row in _rows(rule) if row.name in used)
    return Dataflow(rows, tuple(plan.columns), tuple(plan.blocks), tuple(plan.repeats))


def _rows(rule: t.Rule) -> Iterator[Row]:
    yield from (Row(name, "data", label) for name, label in _DATA.items())
    yield from (Row(e.name, "genome", symbol(rule, e, latex=True)) for e in rule.genome)
    yield from (Row(n.name, "genome", symbol(rule, n.name, latex=True) + "(\\cdot)") for n in rule.nets)
    states = sorted(rule.states, key=lambda s: KINDS.index(s.kind))
    if rule.acts_on_parameters:
        yield Row("w", "synapse", "w")
    yield from (Row(s.name, s.kind, symbol(rule, s, latex=True)) for s in states)
    yield Row("prediction", "data", "\\mathrm{prediction}")


class _Plan:
    def __init__(self, rule: t.Rule) -> None:
        self.rule = rule
        self.columns: list[Column] = []
        self.blocks: list[Band] = []
        self.repeats: list[Band] = []

    def visit(self, blocks: tuple[t.Block | t.Repeat, ...]) -> None:
        for block in blocks:
            first = len(self.columns)
            if isinstance(block, t.Repeat):
                self.visit(block.body)
                self.repeats.append(Band(f"{block.count} times", first, len(self.columns) - 1))
                continue
            self.columns += [self._column(w, block) for w in block.body if w.kind != "local"]
            if len(self.columns) > first:
                self.blocks.append(Band(_TITLES[block.kind], first, len(self.columns) - 1))

    def _column(self, write: t.Write, block: t.Block) -> Column:
        marks: dict[str, bool] = {}
        itself = False
        for read in reads(write.value, locals_of(block)):
            name, across = _row_of(read.node), self._across(read)
            if name is None:
                continue
            if name == write.name and not across:
                itself = True
            else:
                marks[name] = marks.get(name, False) or across
        return Column(write.name, symbol(self.rule, write, latex=True), tuple(marks.items()), itself)

    def _across(self, read: Read) -> bool:
        letters = {x for x in read.node.axes if x in ("i", "j") or self.rule.extents.get(x) in ("i", "j")}
        return any(letters & set(r.indices) for r in read.under)


def _row_of(node: t.Expr) -> str | None:
    match node:
        case t.StateRef(name=name) | t.GenomeRef(name=name) | t.DataRef(name=name) | t.NetCall(name=name):
            return name
        case t.StepCount():
            return "t"
        case t.Noise():
            return "noise"
        case t.Grad():
            return "grad"
    return None
