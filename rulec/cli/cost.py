"""`rulec show --cost`: what a step costs as it was written, after each pass, and with its reverse."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, fx

from rulec.backend.planned import Pool, planned, planned_bytes
from rulec.backend.roofline import Machine, bound, fastest, measured, unfused_bound
from rulec.backend.stages import Setting, Stage, Unrolled, graph_cost_of, stages
from rulec.cli.console import bold, say
from rulec.cli.show import scaled
from rulec.ir.graph import Program
from rulec.runtime.rule import load
from rulec.source import RuleError

_BATCH = 64
_TRIED = 1 << 30  # bytes of a graph that is run to see how long it takes
_COLUMNS = ("products", "elementwise", "moved", "peak", "bound", "unfused")
_UNITS = ("", "", "B", "B", "s", "s")
_PREFIXES = {-9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}


def show_cost(file: str, net: str, options: Mapping[str, str]) -> int:
    """Print a table with a row for each stage, and what its numbers mean."""
    rule = load(file)
    compiled = rule.compile(net, options=options)
    setting = Setting(compiled.network, compiled.loss, compiled.dtype, _BATCH, compiled.leading)
    found = list(stages(compiled.program, setting))
    told, same = _told(found)
    machine = measured(compiled.dtype, max((c.compulsory for c in _last(found).costs), default=0))
    say(f"{bold(rule.name)} on {compiled.network.spec}: one step on {_BATCH} samples")
    say("\n" + "\n".join(_table(told, machine)) + "\n")
    say("\n".join(_meanings(machine)))
    notes = list(_notes(compiled.optimised, setting, same))
    if notes:
        say("\n" + "\n".join(notes))
    return 0


def _last(found: Sequence[Stage]) -> Stage:
    return [stage for stage in found if stage.costs][-1]


def _told(found: Sequence[Stage]) -> tuple[list[Stage], list[str]]:
    """Leave out what changes nothing against the row above, and return the names of it as well."""
    told, same = [found[0]], []
    for stage in found[1:]:
        if (stage.numbers, stage.problem) == (told[-1].numbers, told[-1].problem):
            same.append(stage.name)
        else:
            told.append(stage)
    return told, same


# --- The table -------------------------------------------------------------------------------


def _table(rows: Sequence[Stage], machine: Machine) -> Iterator[str]:
    numbers = [_numbers(stage, machine) for stage in rows if stage.costs]
    scales = [_scale([line[k] for line in numbers]) for k in range(len(_COLUMNS))]
    scales[-2:] = [_scale([x for line in numbers for x in line[-2:]])] * 2  # two times to compare
    units = ["", *(_PREFIXES[power] + unit for (power, _), unit in zip(scales, _UNITS, strict=True))]
    cells: list[list[str]] = [["stage", *_COLUMNS], units]
    for line in numbers:
        cells.append(["", *(f"{x / 10**power:.{digits}f}" for x, (power, digits) in zip(line, scales, strict=True))])
    widths = [max(len(line[k]) for line in cells) for k in range(len(_COLUMNS) + 1)]
    widths[0] = max(len(stage.name) for stage in rows)
    shown = ["  ".join(x.rjust(width) for x, width in zip(line[1:], widths[1:], strict=True)) for line in cells]
    yield f"{'stage'.ljust(widths[0])}  {shown[0]}"
    yield f"{''.ljust(widths[0])}  {shown[1]}"
    yield "  ".join("-" * width for width in widths)
    left = iter(shown[2:])
    for stage in rows:
        yield f"{stage.name.ljust(widths[0])}  {next(left) if stage.costs else stage.problem}"


def _numbers(stage: Stage, machine: Machine) -> tuple[float, ...]:
    together = sum(bound(cost, machine) for cost in stage.costs)
    return *stage.numbers, together, sum(unfused_bound(cost, machine) for cost in stage.costs)


def _scale(column: Sequence[float]) -> tuple[int, int]:
    """Return the power of ten that a column is printed in, and so many digits that its smallest number has three."""
    known = [x for x in column if x]
    if not known:
        return 0, 0
    middle = sum(map(math.log10, known)) / len(known)
    power = min(max(3 * math.floor(middle / 3), min(_PREFIXES)), max(_PREFIXES))
    power = max(power, 0) if all(x == int(x) for x in known) else power
    digits = power + 2 - math.floor(math.log10(min(known)))
    return power, min(max(digits, 0), 2 if power else 0)


# --- What is said below ----------------------------------------------------------------------


def _meanings(machine: Machine) -> Iterator[str]:
    threads = "1 thread" if machine.threads == 1 else f"{machine.threads} threads"
    yield "products     floating-point operations in matrix products and convolutions, two to a multiply-add"
    yield "elementwise  one for each number that a function gives or a reduction takes"
    yield "moved        read and written if no operation is fused with another"
    yield "peak         most that is held at once, arguments included"
    yield f"bound        the longer of: all operations at {scaled(int(machine.operations))}/s, the rate of a matrix product; arguments read once and"
    yield f"             results written once at {scaled(int(machine.bandwidth), 'B')}/s, the rate of copying {scaled(machine.copied, 'B')}; measured now, with {threads}"
    yield "unfused      the same for every operation by itself, added up"


def _notes(program: Program, setting: Setting, same: Sequence[str]) -> Iterator[str]:
    if same:
        yield f"Passes that change none of it: {', '.join(same)}."
    try:
        unrolled = Unrolled(program, setting)
    except RuleError:
        return
    yield from unread_text(unrolled.unread)
    reverse = unrolled.reverse()
    yield f"A step keeps {scaled(reverse.residual_bytes, 'B')} for its reverse."
    for name, graph in (("Forward", reverse.forward), ("Back", reverse.backward)):
        own, lent = planned_bytes(graph)
        given = graph_cost_of(graph, setting.batch).arguments
        yield (
            f"{name}, planned memory is {scaled(own + lent + given, 'B')}: {scaled(given, 'B')} of arguments, "
            f"{scaled(lent, 'B')} of results, {scaled(own, 'B')} of buffers{_took(graph, own + lent + given)}."
        )


def unread_text(unread: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Say of each state that no prediction reads who does."""
    for name, readers in unread.items():
        own = "only its own next value reads it" if readers == (name,) else f"only {', '.join(readers)} read it"
        yield f"{name} is not carried: {own if readers else 'nothing reads it'}."


def _took(graph: fx.GraphModule, size: int) -> str:
    """Say how long a graph took, unless it is too large to try."""
    if size > _TRIED:
        return ""
    pool, given = Pool(), [_filled(n.meta["val"]) for n in graph.graph.find_nodes(op="placeholder")]
    run = planned(graph, pool)
    seconds = fastest(lambda: pool.give(run(*given)))
    power, unit = (-3, "ms") if seconds >= 1e-3 else (-6, "µs")
    return f"; it took {seconds / 10**power:.3g} {unit}"


def _filled(like: Tensor) -> Tensor:
    return torch.empty_strided(like.shape, like.stride(), dtype=like.dtype).fill_(0.5)
