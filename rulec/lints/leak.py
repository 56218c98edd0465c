"""Rules whose prediction depends on the target of the same step: no compiled step could predict with them.

The blocks run in order, as in `flow`, with the question whether the target has reached a component at a place in the place of
its value. What an earlier step left may well depend on the target of that step: that is learning.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rulec.ir.graph import Block, Op, Repeat
from rulec.ir.signals import clamped_states
from rulec.lints.components import Cell, Node
from rulec.lints.flow import OWN, Source, is_own
from rulec.lints.lint import Variant
from rulec.source import Diagnostic, Span

_TARGETS = ("target", "loss", "loss_slope")
_SWEEPS = ("forward", "backward")

Reached = set[tuple[Cell, str]]  # components, and where on the network; nowhere in particular for what is no neuron's


def target_leak(variant: Variant) -> Diagnostic | None:
    """Return what is to be said if the prediction depends on the target."""
    span = _Walk(variant).run()
    if span is None:
        return None
    return Diagnostic(
        "target-leak",
        f"the prediction of rule `{variant.rule.name}` depends on the target",
        span,
        "would not be known when predicting",
        help="set `prediction` before the target enters",
    )


class _Walk:
    """Run the blocks of one step. `now`: what the target has reached."""

    def __init__(self, variant: Variant) -> None:
        self.program, self.flow, self.components = variant.program, variant.flow, variant.components
        self.number = {id(block): number for number, block in enumerate(self.flow.blocks)}
        self.kinds = {state.name: state.kind for state in self.program.states}
        self.clamped = clamped_states(self.program)
        self.now: Reached = set()
        self.span: Span | None = None

    def run(self) -> Span | None:
        """Return where the prediction is set, if it depends on the target."""
        self._run(self.program.blocks)
        return self.span if ("prediction", ()) in {cell for cell, _ in self.now} else None

    def _run(self, nodes: tuple[Block | Repeat, ...]) -> None:
        for node in nodes:
            if isinstance(node, Block):
                self._visit(node)
                continue
            for _ in range(node.count):
                before = self.now
                self._run(node.body)
                if before == self.now:
                    break

    def _visit(self, block: Block) -> None:
        """Let a block set what it sets: a sweep place by place, layers between first; all others everything at once."""
        own = OWN.get(block.kind, ((), ()))[0]
        for places in [(p,) for p in sorted(own, key="hidden".__ne__)] if block.kind in _SWEEPS else [own]:
            sites = [(n, s.write) for n, s in enumerate(self.flow.writes) if s.block == self.number[id(block)]]
            made = {(write.name, place) for _, write in sites for place in self._set(write.name, block.kind, places)}
            new: Reached = set()
            while True:  # layers between read each other while a sweep goes through them
                view = _View(block.kind, places, made, self.now, new)
                found = {
                    (cell, place)
                    for number, write in sites
                    for cell in self.components.cells(write.name)
                    if self._depends(self.components.assigned(Source(number, False), cell), view)
                    for name, place in made
                    if name == write.name
                }
                if found == new:
                    break
                new = found
            self.now = {(cell, place) for cell, place in self.now if (cell[0], place) not in made} | new
        self.span = next((write.span for write in block.writes if write.name == "prediction"), self.span)

    def _set(self, name: str, kind: str, places: tuple[str, ...]) -> tuple[str, ...]:
        """Return where a block gives a state its new value."""
        if self.kinds.get(name) != "neuron":
            return ("",)
        return tuple(p for p in places if not (p == "input" and kind != "input" and name in self.clamped))

    def _depends(self, nodes: Iterable[Node], view: _View) -> bool:
        """Whether the target has reached one of some components of ops."""
        pending, seen = list(nodes), set()
        while pending:
            node = pending.pop()
            if node.key in seen:
                continue
            seen.add(node.key)
            cell = self.components.read_by(node)
            if node.op.name in _TARGETS or (cell is not None and self._reached(node.op, cell, view)):
                return True
            pending += self.components.used_by(node)
        return False

    def _reached(self, op: Op, cell: Cell, view: _View) -> bool:
        sweeping, name = view.kind in _SWEEPS, cell[0]
        if self.kinds.get(name) != "neuron":
            return (cell, "") in (view.before | view.new if sweeping else view.before)
        if is_own(self.program, op, view.kind):
            return any((cell, place) in view.before for place in view.places)
        others = OWN[view.kind][1]
        return any((cell, p) in (view.new if sweeping and (name, p) in view.made else view.before) for p in others)


class _View(NamedTuple):
    """A block at some of its places: what it sets there, and what the target had reached before and has now."""

    kind: str
    places: tuple[str, ...]
    made: set[tuple[str, str]]
    before: Reached
    new: Reached
