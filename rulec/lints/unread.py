"""What sweeps leave behind at the ends of a network and nothing ever reads, such as the error of the input layer.

It is computed all the same by whoever does not look, but it harms nobody: compilers leave it out.
"""

from __future__ import annotations

from collections.abc import Iterable

from rulec.ir.graph import Op, Program, walk_blocks, walk_ops

Unread = frozenset[tuple[str, str]]  # pairs of a neuron state and a kind of layer, "input" or "output"


def unread(program: Program) -> Unread:
    neurons = {state.name for state in program.states if state.kind == "neuron"}
    found = set()
    # At each end: the letter of its neurons, the blocks that see them from afar, and those that visit them.
    for kind, letter, across, visiting in (
        ("input", "i", ("forward", "update"), ("input", "backward")),
        ("output", "j", ("backward", "update"), ("output", "forward")),
    ):
        found |= {(name, kind) for name in neurons - _read(program, letter, across, visiting)}
    return frozenset(found)


def _read(program: Program, letter: str, across: tuple[str, ...], visiting: tuple[str, ...]) -> set[str]:
    """Return the states that are read at one end, by something that is read itself."""
    blocks = list(walk_blocks(program.blocks))
    neurons = {state.name for state in program.states if state.kind == "neuron"}
    far = [write.value for block in blocks if block.kind in across for write in block.writes]
    near = [write for block in blocks if block.kind in visiting for write in block.writes]
    read, size = _states(far, letter, program), -1
    while size < len(read):
        size = len(read)
        read |= _states([w.value for w in near if w.name in read or w.name not in neurons], letter, program)
    return read


def _states(values: Iterable[Op], letter: str, program: Program) -> set[str]:
    return {
        op["name"]
        for op in walk_ops(values)
        if op.name == "state" and program.extents.get(op["side"], op["side"]) == letter
    }
