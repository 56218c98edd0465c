"""Neuron states and broadcasts that are read before anything has set them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rulec.ir.graph import Op, walk_ops
from rulec.lints.components import Node
from rulec.lints.flow import INITIAL
from rulec.lints.lint import Lint, Variant
from rulec.lints.wording import lines, name_span
from rulec.semantics import typed as t
from rulec.source import Diagnostic

_MOVES = ("insert", "rename", "take", "state")


def read_before_set(variants: Sequence[Variant]) -> Iterator[Diagnostic]:
    """Find the reads that see nothing but the zero a state begins with, in every variant that has them."""
    unset: dict[int, tuple[Variant, int, Op]] = {}
    fine: set[int] = set()
    for variant in variants:
        for block, op in _reads(variant):
            start = op.span.start if op.span else -1
            if start in fine:
                continue
            if _is_unset(variant, block, op):
                unset.setdefault(start, (variant, block, op))
            else:
                fine.add(start)
    for start, finding in unset.items():
        if start not in fine:
            yield _finding(*finding)


def _reads(variant: Variant) -> Iterator[tuple[int, Op]]:
    """Yield the reads, with their blocks, of states that begin anew in each step, at a zero that nobody wrote."""
    states = {s.name: s for s in variant.program.states if s.kind != "synapse" and not s.keep and not _has_value(s)}
    for block, ops in enumerate(variant.flow.ops):
        for op in ops:
            state = states.get(str(op["name"])) if op.name == "state" else None
            if state is not None and op.span != state.span:  # else it is made to keep the components not assigned
                yield block, op


def _has_value(state: t.State) -> bool:
    return state.initial.span != name_span(state)


def _is_unset(variant: Variant, block: int, op: Op) -> bool:
    """Whether all that a read can see is unset, and the state is not just about to take its first value from itself."""
    for source in variant.flow.sources(block, op):
        if source != INITIAL and variant.flow.writes[source.write].write.value.name not in _MOVES:
            return False
    if _into_itself(variant, block, op):
        return False
    return all(_unset(variant, node, set()) for node in variant.components.nodes(block, op, {}))


def _into_itself(variant: Variant, block: int, op: Op) -> bool:
    """Whether the state takes a new value from the read: `a[j] = keep * a[j] + ...` begins at zero."""
    own = [s.write for s in variant.flow.writes if s.block == block and s.write.name == op["name"]]
    return any(other is op for w in own if w.side == op["side"] for other in walk_ops([w.value]))


def _unset(variant: Variant, node: Node, seen: set[tuple[int, int, tuple[int, ...]]]) -> bool:
    """Whether a component that is read is the one the step began with."""
    if node.key in seen:
        return True
    seen.add(node.key)
    cell = variant.components.seen_by(node)
    return all(
        source == INITIAL
        or all(_kept(variant, assigned, cell[0], seen) for assigned in variant.components.assigned(source, cell))
        for source in variant.flow.sources(node.block, node.op)
    )


def _kept(variant: Variant, node: Node, name: str, seen: set[tuple[int, int, tuple[int, ...]]]) -> bool:
    """Whether an assignment leaves a component as it was: `a[i,0] = ...` keeps `a[i,1]`."""
    if node.op.name == "state":
        return node.op["name"] == name and _unset(variant, node, seen)
    if node.op.name not in _MOVES:
        return False
    return all(_kept(variant, argument, name, seen) for argument in variant.components.arguments(node))


def _finding(variant: Variant, block: int, op: Op) -> Diagnostic:
    state = variant.program.state(op["name"])
    partly = any(source != INITIAL for source in variant.flow.sources(block, op))
    assigned = [s.write.span.line for s in variant.flow.writes if s.write.name == state.name and s.write.span]
    where = "no block sets it"
    if assigned:
        what = "only other components are set" if partly else "set elsewhere or later"
        where = f"{what}, on {lines(list(dict.fromkeys(assigned)))}"
    anew = "neuron states begin anew in each step, those with `keep` in the first one only"
    return Diagnostic(
        "read-before-set",
        f"`{op.span.text if op.span else state.name}` is read before anything has set it",
        op.span,
        "always zero",
        notes=(where, anew) if state.kind == "neuron" else (where,),
        help=f"set it in an earlier block; or write `{state.name} = 0` in its declaration, if zero is what you mean",
        severity="warning",
    )


UNSET = Lint(
    "read-before-set",
    """A neuron state or a broadcast that is read where nothing can have set it yet.

Neuron states begin at zero in each step, so the read is zero in every step and every neuron.

    forward i -> j
      x[j] = act(sum[i](w[i,j] * x[i]) + gain * error[j])
    output j
      error[j] = target[j] - x[j]

When the sweep reaches `error[j]`, no block of this step has set it, and what an earlier step left is gone. Move the block
that sets it up, run both in a `repeat`, or declare `keep error`, which lasts from step to step.

Nothing is said if the initial value is written out (`error = 0`), nor of a state that takes its first value from
itself, as in `a[j] = keep * a[j] + ...`.""",
    read_before_set,
)
