"""`rulec compile --emit passes`: what each pass is for, and what it changed."""

from __future__ import annotations

from collections.abc import Iterator

from torch import fx

from rulec.backend.stages import Setting, Unrolled
from rulec.cli.console import bold, coloured_change, say
from rulec.cli.cost import unread_text
from rulec.cli.show import scaled
from rulec.ir.account import account, count_ops
from rulec.ir.graph import Program
from rulec.ir.passes import PASSES, optimise
from rulec.ir.passes.equal import store_once
from rulec.source import RuleError


def say_passes(program: Program, setting: Setting | None) -> None:
    """Print the account of all passes over a program, and with a network that of the graphs of an unroll."""
    say(f"{bold(program.name)} as written: {count_ops(program)} operations")
    for entry in account(program, (*PASSES, store_once)):
        say(f"\n{bold(entry.name)}: {entry.about}")
        say(f"  {_became(entry.before, entry.after, 'operations')}" if entry.changes else "  nothing changed")
        for line in entry.changes:
            say("  " + coloured_change(line))
    if setting is None:
        return
    say()
    for line in _unrolled(optimise(program), setting):
        say(line)


def _became(before: int, after: int, what: str) -> str:
    return f"{before} {what}" if before == after else f"{before} {what} became {after}"


def _unrolled(program: Program, setting: Setting) -> Iterator[str]:
    try:
        unrolled = Unrolled(program, setting)
    except RuleError as error:
        yield f"{bold('on a network')}: {error.diagnostics[0].message}"
        return
    yield f"{bold('liveness')}: Leave out what no later prediction reads, on {setting.network.spec}."
    yield f"  {_became(_size(unrolled.step.graph), _size(unrolled.restricted.graph), 'operations')}"
    yield from (f"  {line}" for line in unread_text(unrolled.unread))
    yield f"  carried: {', '.join(unrolled.carried)}"
    split = unrolled.hoisted
    entries = sorted(frozenset().union(*split.reads))
    yield f"\n{bold('invariants')}: Take out of the step what is the same in every step."
    yield f"  {_became(_size(unrolled.restricted.graph), _size(split.step.graph), 'operations')}: {_size(split.before.graph)} run once, before all steps"
    if entries:
        yield f"  values handed to every step: {len(split.reads)}, of {', '.join(entries)}"
    yield f"\n{bold('reverse')}: Trace the step together with its reverse, as primitive operations, and rewrite both."
    reverse = unrolled.reverse()
    yield f"  {reverse.applied[0].before:5} operations as they were traced"
    for applied in reverse.applied:
        times = f" ({applied.places} times)" if applied.places else ""
        yield f"  {applied.after:5} {applied.about[0].lower()}{applied.about[1:]}{times or ': nowhere'}"
    forward, backward = _size(reverse.forward.graph), _size(reverse.backward.graph)
    yield f"  cut in two: {forward} forward, {backward} back, {scaled(reverse.residual_bytes, 'B')} kept in between for {setting.batch} samples"


def _size(graph: fx.Graph) -> int:
    return sum(node.op == "call_function" for node in graph.nodes)
