"""The IR as text, one op a line: what `rulec compile --emit ir` prints and what tests compare."""

from __future__ import annotations

from rulec.ir.graph import Block, Law, Op, Program, Repeat, letters, walk_ops
from rulec.semantics.typed import State


def render_program(program: Program) -> str:
    lines = [f"program {program.name}"]
    lines += [f"  index {name} : {extent}" for name, extent in program.extents.items()]
    for entry in program.genome:
        domain = f" : {entry.domain}" if entry.domain.name != "real" else ""
        lines.append(
            f"  genome {entry.name}{_brackets(entry.indices)}{domain}{' per layer' if entry.per_layer else ''}"
        )
    lines += [f"  net {net.name} : {' -> '.join(map(str, net.sizes))} ({net.activation})" for net in program.nets]
    lines += [f"  {state.kind} {render_state(state)}" for state in program.states]
    counter = [0]
    for block in program.blocks:
        lines += _render(block, "  ", counter)
    for law in program.laws:
        lines += _render_law(law, "  ", counter)
    return "\n".join(lines) + "\n"


def render_state(state: State) -> str:
    neurons = "" if state.kind == "neuron" else {"p": ""}.get(state.sides, state.sides)
    return ("keep " if state.keep else "") + state.name + _brackets((*neurons, *state.indices))


def _brackets(indices: tuple[str, ...]) -> str:
    return f"[{','.join(indices)}]" if indices else ""


def _render(block: Block | Repeat, indent: str, counter: list[int]) -> list[str]:
    if isinstance(block, Repeat):
        lines = [f"{indent}repeat {block.count}"]
        for inner in block.body:
            lines += _render(inner, indent + "  ", counter)
        return lines
    return [f"{indent}{block.kind}", *render_block(block, indent + "  ", counter)]


def _render_law(law: Law, indent: str, counter: list[int]) -> list[str]:
    names: dict[int, str] = {}
    lines = [f"{indent}law {law.name}", *_render_ops((law.left, law.right), names, indent + "  ", counter)]
    return [*lines, f"{indent}  holds {names[id(law.left)]} {law.relation} {names[id(law.right)]}"]


def render_block(block: Block, indent: str = "", counter: list[int] | None = None) -> list[str]:
    """Print a block's ops in order, each where it is first needed, then the write that needs it."""
    counter = counter if counter is not None else [0]
    names: dict[int, str] = {}
    lines: list[str] = []
    for write in block.writes:
        lines += _render_ops((write.value,), names, indent, counter)
        side = f"@{write.side}" if write.side else ""
        lines.append(f"{indent}write {write.name}{side} {names[id(write.value)]}")
    return lines


def _render_ops(roots: tuple[Op, ...], names: dict[int, str], indent: str, counter: list[int]) -> list[str]:
    lines: list[str] = []
    for op in walk_ops(roots):
        if id(op) not in names:
            names[id(op)] = f"%{counter[0]}"
            counter[0] += 1
            lines.append(f"{indent}{names[id(op)]} : {letters(op.axes)} = {_operation(op, names)}")
    return lines


def _operation(op: Op, names: dict[int, str]) -> str:
    words = [op.name]
    words += [f"{key}={_attribute(value)}" for key, value in op.attributes if value not in (False, (), None, "")]
    words += [names[id(a)] for a in op.args]
    return " ".join(words)


def _attribute(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return "(" + ",".join(_attribute(v) for v in value) + ")"
    return str(value)
