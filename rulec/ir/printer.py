"""The IR as text, one op a line: what `rulec compile --emit ir` prints and what tests compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rulec.ir.graph import Block, Law, Op, Program, Repeat, letters, walk_blocks, walk_ops
from rulec.semantics.typed import State

Names = Mapping[int, str]  # of the ops of one block or law, by identity


def roots_of(program: Program) -> list[tuple[Op, ...]]:
    """Return what each block writes, and the two sides of each law: one graph of ops for each, in the order of the text."""
    blocks = [tuple(write.value for write in block.writes) for block in walk_blocks(program.blocks)]
    return [*blocks, *((law.left, law.right) for law in program.laws)]


def numbered(program: Program) -> list[Names]:
    """Name every op by a number, in the order in which they are printed."""
    names: list[Names] = []
    for roots in roots_of(program):
        begin = sum(map(len, names))
        names.append({id(op): f"%{begin + place}" for place, op in enumerate(walk_ops(roots))})
    return names


def render_program(program: Program, names: list[Names] | None = None) -> str:
    """Print a program; `names` has those of its ops, for each block and each law."""
    lines = [f"program {program.name}"]
    lines += [f"  index {name} : {extent}" for name, extent in program.extents.items()]
    for entry in program.genome:
        domain = f" : {entry.domain}" if entry.domain.name != "real" else ""
        lines.append(
            f"  genome {entry.name}{_brackets(entry.indices)}{domain}{' per layer' if entry.per_layer else ''}"
        )
    lines += [f"  net {net.name} : {' -> '.join(map(str, net.sizes))} ({net.activation})" for net in program.nets]
    lines += [f"  {state.kind} {render_state(state)}" for state in program.states]
    known = iter(numbered(program) if names is None else names)
    for block in program.blocks:
        lines += _render(block, "  ", known)
    for law in program.laws:
        lines += _render_law(law, "  ", next(known))
    return "\n".join(lines) + "\n"


def render_state(state: State) -> str:
    neurons = "" if state.kind == "neuron" else {"p": ""}.get(state.sides, state.sides)
    return ("keep " if state.keep else "") + state.name + _brackets((*neurons, *state.indices))


def _brackets(indices: tuple[str, ...]) -> str:
    return f"[{','.join(indices)}]" if indices else ""


def _render(block: Block | Repeat, indent: str, known: Iterator[Names]) -> list[str]:
    """Print a block's ops in order, each where it is first needed, then the write that needs it."""
    if isinstance(block, Repeat):
        return [f"{indent}repeat {block.count}", *(x for b in block.body for x in _render(b, indent + "  ", known))]
    names, done = next(known), set[int]()
    lines = [f"{indent}{block.kind}"]
    for write in block.writes:
        lines += _render_ops((write.value,), names, done, indent + "  ")
        side = f"@{write.side}" if write.side else ""
        lines.append(f"{indent}  write {write.name}{side} {names[id(write.value)]}")
    return lines


def _render_law(law: Law, indent: str, names: Names) -> list[str]:
    lines = [f"{indent}law {law.name}", *_render_ops((law.left, law.right), names, set(), indent + "  ")]
    return [*lines, f"{indent}  holds {names[id(law.left)]} {law.relation} {names[id(law.right)]}"]


def _render_ops(roots: tuple[Op, ...], names: Names, done: set[int], indent: str) -> list[str]:
    new = [op for op in walk_ops(roots) if id(op) not in done]
    done.update(map(id, new))
    return [f"{indent}{names[id(op)]} : {letters(op.axes)} = {_operation(op, names)}" for op in new]


def _operation(op: Op, names: Names) -> str:
    words = [op.name]
    words += [
        f"{key}={_attribute(value)}"
        for key, value in op.attributes
        if value is not False and value not in ((), None, "")
    ]
    words += [names[id(a)] for a in op.args]
    return " ".join(words)


def _attribute(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return "(" + ",".join(_attribute(v) for v in value) + ")"
    return str(value)
