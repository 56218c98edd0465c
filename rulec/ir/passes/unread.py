"""Remove what no prediction ever depends on: states, or components of them, that are set and not read.

Before: a program as built, or taken apart. After: the same predictions in every step, with fewer states. What an `input` block
sets stays as long as anything of that state is read, since it keeps sweeps from overwriting the data. What decides
max-pooling stays, too. A program that would have nothing left to learn is returned as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from rulec.ir.graph import Block, Op, Program, Repeat, Write, walk_blocks, walk_ops
from rulec.ir.signals import signal_state
from rulec.semantics import typed as t

Place = tuple[str | int, ...]
Key = tuple[str, Place]  # a state, and numbers or letters for its indices


def drop_unread(program: Program) -> Program:
    live = _live(program)
    blocks = tuple(b for block in program.blocks if (b := _thinned(block, program, live)) is not None)
    if not {"update", "parameters"} & {b.kind for b in walk_blocks(blocks)}:
        return program
    kept = {name for name, _ in live}
    return replace(program, blocks=blocks, states=tuple(s for s in program.states if s.name in kept))


def _live(program: Program) -> set[Key]:
    """Return everything that a prediction depends on, perhaps many steps later."""
    live: set[Key] = {("prediction", ())} | ({("w", ())} if program.acts_on_parameters else set())
    for block in walk_blocks(program.blocks):
        signal = signal_state(block) if block.kind == "forward" else None
        if signal is not None:
            live.add((signal, (0,) * len(program.state(signal).indices)))
    writes = [(block.kind, write) for block in walk_blocks(program.blocks) for write in block.writes]
    while True:
        reads = {
            key
            for kind, write in writes
            for place, value in _parts(write, program)
            if _is_live((write.name, place), live, kind)
            for key in _reads(value)
        }
        reads |= {key for state in program.states if _named(state.name, live) for key in _begins_as(state.initial)}
        if reads <= live:
            return live
        live |= reads


def _named(name: str, live: set[Key]) -> bool:
    return any(name == other for other, _ in live)


def _is_live(key: Key, live: set[Key], kind: str) -> bool:
    if kind == "input":
        return _named(key[0], live)
    return any(key[0] == name and _meet(key[1], place) for name, place in live)


def _meet(one: Place, other: Place) -> bool:
    return all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in zip(one, other, strict=True))


def _reads(value: Op) -> Iterator[Key]:
    for op in walk_ops([value]):
        if op.name == "state":
            yield op["name"], op["indices"]


def _begins_as(initial: t.Expr) -> Iterator[Key]:
    """Yield the states whose beginning another one copies."""
    if isinstance(initial, t.StateRef):
        yield initial.name, initial.indices
    elif isinstance(initial, t.Apply):
        for argument in initial.arguments:
            yield from _begins_as(argument)


def _parts(write: Write, program: Program) -> list[tuple[Place, Op]]:
    """Return the components that a write puts together, last ones first, then what they are put into."""
    own = _indices(write, program)
    value, parts = write.value, []
    while value.name == "insert" and {i for i, _ in value["at"]} <= set(own):
        at = dict(value["at"])
        parts.append((tuple(at.get(str(i), i) for i in own), value.args[1]))
        value = value.args[0]
    return [*parts, (own, value)]


def _indices(write: Write, program: Program) -> Place:
    return next((s.indices for s in program.states if s.name == write.name), ())


def _thinned(block: Block | Repeat, program: Program, live: set[Key]) -> Block | Repeat | None:
    if isinstance(block, Repeat):
        body = tuple(b for inner in block.body if (b := _thinned(inner, program, live)) is not None)
        return Repeat(block.count, body) if body else None
    writes = tuple(w for write in block.writes if (w := _kept(write, program, live, block.kind)) is not None)
    return replace(block, writes=writes) if writes else None


def _kept(write: Write, program: Program, live: set[Key], kind: str) -> Write | None:
    parts = _parts(write, program)
    kept = [part for part in parts if _is_live((write.name, part[0]), live, kind)]
    if len(kept) == len(parts) or write.name == "prediction":
        return write
    components, base = kept[:-1] if kept and kept[-1] is parts[-1] else kept, parts[-1][1]
    if not components:
        return None
    covered = len({place for place, _ in parts[:-1]}) == _count(write, program)
    value = _before(write, program) if covered else base
    for place, part in reversed(components):
        at = tuple((i, n) for i, n in zip(_indices(write, program), place, strict=True) if isinstance(n, int))
        axes = value.axes | part.axes | {str(i) for i, _ in at}
        value = Op("insert", (value, part), (("at", at),), axes, part.span)
    return replace(write, value=value)


def _count(write: Write, program: Program) -> int:
    """Return how many components a state has; none if that depends on the network."""
    sizes = [program.extents[str(letter)] for letter in _indices(write, program)]
    return math.prod(size if isinstance(size, int) else 0 for size in sizes)


def _before(write: Write, program: Program) -> Op:
    """Return the state as it stands before the block."""
    state = program.state(write.name)
    sample = frozenset() if state.kind == "synapse" else frozenset("n")
    axes = frozenset(write.side.split(",")) - {""} | frozenset(state.indices) | sample
    return Op("state", (), (("name", state.name), ("side", write.side), ("indices", state.indices)), axes, state.span)
