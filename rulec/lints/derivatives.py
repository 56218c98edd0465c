"""Which values carry a derivative: those that what is meta-learned has a hand in.

That is the genome, and the initial values of synapses. Data and noise carry none, nor does what `stop` or a comparison
makes of a value. Through `sign` a derivative of 0 goes on, and 0 times infinity is NaN: it stops nothing.
"""

from __future__ import annotations

from rulec.ir.graph import Op, Program, walk_blocks, walk_ops
from rulec.lints.beginnings import is_drawn

BARRIERS = frozenset(("stop", "step", "not", "less", "less_equal", "greater", "greater_equal", "equal", "not_equal"))
_SOURCES = frozenset(("genome", "net", "grad", "loss", "loss_slope", "prediction"))


class Derivatives:
    """Asks of a program's ops whether they carry a derivative."""

    def __init__(self, program: Program) -> None:
        self.states = {state.name for state in program.states if state.kind == "synapse" and is_drawn(state.initial)}
        self.states.add("w")
        self._carried: dict[int, bool] = {}
        writes = [write for block in walk_blocks(program.blocks) for write in block.writes]
        size = -1
        while size < len(self.states):
            size = len(self.states)
            self._carried.clear()
            self.states |= {write.name for write in writes if self.carried_by(write.value)}

    def carried_by(self, op: Op) -> bool:
        for part in walk_ops([op], stop=self._carried):
            if id(part) not in self._carried:
                self._carried[id(part)] = self._carries(part)
        return self._carried[id(op)]

    def _carries(self, op: Op) -> bool:
        if op.name in BARRIERS:
            return False
        if op.name == "state":
            return op["name"] in self.states
        return op.name in _SOURCES or any(self._carried[id(a)] for a in passing(op))


def passing(op: Op) -> tuple[Op, ...]:
    """Return the arguments that a derivative passes on to."""
    return () if op.name in BARRIERS else op.args[1:] if op.name == "where" else op.args
