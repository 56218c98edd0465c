"""Check that a program is well formed. A failure here is a bug of rulec, never of the rule."""

from __future__ import annotations

from rulec.ir.graph import Block, Op, Program, walk_blocks, walk_ops
from rulec.semantics.operators import POINTWISE

ARITHMETIC = {
    "add": 2,
    "sub": 2,
    "mul": 2,
    "div": 2,
    "pow": 2,
    "neg": 1,
    "not": 1,
    "less": 2,
    "less_equal": 2,
    "greater": 2,
    "greater_equal": 2,
    "equal": 2,
    "not_equal": 2,
}

_ATTRIBUTES = {
    "constant": {"value"},
    "array": {"indices", "values"},
    "genome": {"name", "indices"},
    "state": {"name", "side", "indices"},
    "input": {"letter"},
    "target": {"letter"},
    "prediction": {"letter"},
    "loss": set(),
    "loss_slope": {"letter"},
    "time": set(),
    "extent": {"index"},
    "ones": {"index"},
    "position": {"index"},
    "noise": {"site"},
    "act": {"side"},
    "slope": {"side", "order"},
    "pullback": {"side"},
    "rotate": set(),
    "reduce": {"operator", "indices", "places"},
    "contract": {"indices", "means", "places"},
    "take": {"at"},
    "insert": {"at"},
    "rename": {"letters"},
    "net": {"name", "index", "features"},
    "solve": {"row", "column"},
    "stop": set(),
    "grad": {"name"},
    "change": {"name"},
}


class MalformedProgram(AssertionError):
    """The compiler built something inconsistent."""


def verify(program: Program) -> Program:
    """Return the program unchanged, or raise `MalformedProgram` naming the op."""
    for block in walk_blocks(program.blocks):
        for op in walk_ops([w.value for w in block.writes]):
            _verify_op(op, program)
        _verify_writes(block, program)
    for op in walk_ops([side for law in program.laws for side in (law.left, law.right)]):
        _verify_op(op, program)
    return program


def _require(condition: bool, op: Op, what: str) -> None:
    if not condition:
        raise MalformedProgram(f"{op.name} {sorted(op.axes)}: {what} ({op.span})")


def _verify_op(op: Op, program: Program) -> None:
    known = {"i", "j", "n", "p", *program.extents}
    _require(op.axes <= known, op, f"unknown axes {sorted(op.axes - known)}")
    names = {key for key, _ in op.attributes}
    base = op.name.rstrip("'")
    if base in ARITHMETIC or base in POINTWISE:
        arity = ARITHMETIC.get(base) or POINTWISE[base].arity
        _require(len(op.args) == arity, op, f"{len(op.args)} arguments")
        _require(op.axes == frozenset().union(*(a.axes for a in op.args)), op, "axes are not those of its arguments")
        return
    _require(op.name in _ATTRIBUTES, op, "unknown op")
    _require(names == _ATTRIBUTES[op.name], op, f"attributes {sorted(names)}")
    if op.name == "reduce":
        _require(set(op["indices"]) <= op.args[0].axes, op, "reduces an index that is not there")
    if op.name == "contract":
        whole = frozenset().union(*(a.axes for a in op.args))
        _require(
            set(op["indices"]) <= whole and op.axes == whole - set(op["indices"]),
            op,
            "indices do not match its arguments",
        )


def _verify_writes(block: Block, program: Program) -> None:
    for write in block.writes:
        if block.kind in ("support", "query", "weight"):
            continue
        if write.name in ("prediction", "w") and not any(s.name == write.name for s in program.states):
            continue
        state = program.state(write.name)
        allowed = set(state.indices) | ({"n"} if state.kind != "synapse" else set()) | set(write.side.split(","))
        _require(write.value.axes <= allowed, write.value, f"does not fit the state `{state.name}`")
