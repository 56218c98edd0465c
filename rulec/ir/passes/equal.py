"""Store states once that go through the same updates, for an unroll that finds them equal at its beginning.

A rule may keep a synapse twice, as `w[i,j]` for the way forward and `v[j,i]` for the way back, and change both in the same way.
Whether they begin alike is no property of the program: a state comes from the caller, who may have drawn, loaded or learned
each by itself. So the pass is none of those that every program goes through. An unroll runs what it makes of a program after it
has compared the values it was given (`rulec.runtime.unrolls.alike`).

Before: any program, of which each state that `equal_states` names holds the same values as the one it is mapped to. After: the same
values in every step, in a program without those states. The order of a synapse's letters is only a way of writing, and means
nothing here.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from rulec.ir.graph import Law, Op, Program, change_blocks, rewrite, rewrite_block, walk_blocks, walk_ops
from rulec.ir.passes.share import share_subexpressions
from rulec.semantics.typed import State

_COMMUTE = frozenset({"add", "mul", "min", "max", "contract"})


def store_once(program: Program) -> Program:
    same = equal_states(program)
    if not same:
        return program

    def change(op: Op) -> Op:
        if op.name not in ("state", "change") or op["name"] not in same:
            return op
        return replace(op, attributes=tuple((k, same[v] if k == "name" else v) for k, v in op.attributes))

    def kept(program: Program) -> Program:
        return change_blocks(program, lambda b: replace(b, writes=tuple(w for w in b.writes if w.name not in same)))

    made = rewrite([side for law in program.laws for side in (law.left, law.right)], change)
    laws = tuple(Law(law.name, law.relation, made[id(law.left)], made[id(law.right)], law.span) for law in program.laws)
    states = tuple(state for state in program.states if state.name not in same)
    renamed = change_blocks(kept(program), lambda block: rewrite_block(block, change))
    return share_subexpressions(replace(renamed, states=states, laws=laws))


def equal_states(program: Program) -> dict[str, str]:
    """Map states to earlier ones that they are equal to after every step if they are before it.

    The coarsest partition of the states that steps respect: all states of a kind are taken to be equal, and classes whose members
    are then given different values are split, until none is.
    """
    lasting = [s for s in program.states if s.kind == "synapse" or s.keep]
    classes = _classes({s.name: _kind(s) for s in lasting})
    while True:
        values = _values(program, classes)
        finer = _classes({name: (first, *values[name]) for name, first in classes.items()})
        if finer == classes:
            return {name: first for name, first in classes.items() if name != first}
        classes = finer


def _kind(state: State) -> object:
    return state.kind, "".join(sorted(state.sides)), state.indices, state.keep


def _classes(told: dict[str, object]) -> dict[str, str]:
    """Return the first of those that are told alike, for each of them."""
    first: dict[object, str] = {}
    return {name: first.setdefault(key, name) for name, key in told.items()}


def _values(program: Program, classes: dict[str, str]) -> dict[str, list[object]]:
    """Return what each state is given, block by block: a number that equal values share, if states of one class are equal."""
    numbers: dict[object, int] = {}
    given: dict[str, list[object]] = defaultdict(list)
    for place, block in enumerate(walk_blocks(program.blocks)):
        own: dict[int, int] = {}
        for op in walk_ops([w.value for w in block.writes]):
            args = [own[id(a)] for a in op.args]
            attributes = tuple((k, classes.get(v, v) if op.name == "state" else v) for k, v in op.attributes)
            form = (op.name, attributes, op.axes, tuple(sorted(args) if op.name in _COMMUTE else args))
            own[id(op)] = numbers.setdefault(form, len(numbers))
        for write in block.writes:
            given[write.name].append((place, write.side, own[id(write.value)]))
    return given
