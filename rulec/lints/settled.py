"""Put numbers in the place of reads that see nothing else: of neuron states that nothing has set yet, mostly.

Before: a program whose indices of known extent are written out. After: the same values, with constants where a component of a
state is read that is the same number in every step and every neuron.
"""

from __future__ import annotations

from collections.abc import Callable

from rulec.ir.graph import Block, Op, Program, change_blocks, constant, rewrite_block
from rulec.ir.passes.fold import fold
from rulec.lints.components import Components
from rulec.lints.flow import Flow, flow_of


def settle_reads(program: Program) -> Program:
    """Return the program without the reads whose value is known; rules on parameters have none."""
    if program.acts_on_parameters:
        return program
    flow = flow_of(program)
    numbers, place = _known(flow), {id(block): number for number, block in enumerate(flow.blocks)}

    def change(block: Block) -> Block:
        return rewrite_block(block, _put_in(numbers, place[id(block)]))

    return change_blocks(program, change)


def _known(flow: Flow) -> dict[tuple[int, int], float]:
    """Return the reads of one component each whose value is known, by the number of the block and the identity of the op."""
    components = Components(flow)
    found = {}
    for block, ops in enumerate(flow.ops):
        for op in ops:
            if op.name == "state" and not any(isinstance(index, str) for index in op["indices"]):
                values = {components.number(node) for node in components.nodes(block, op, {})}
                value = values.pop() if len(values) == 1 else None
                if value is not None:
                    found[block, id(op)] = value
    return found


def _put_in(numbers: dict[tuple[int, int], float], block: int) -> Callable[[Op], Op]:
    def change(op: Op) -> Op:
        value = numbers.get((block, id(op)))
        return fold(op) if value is None else constant(value, op.span)

    return change
