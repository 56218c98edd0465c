"""Benchmark 8: one outer step of MAML on Omniglot, with and without second derivatives; and its peak memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from benchmarks.adaptation import Maml, characters
from benchmarks.contender import Contender, Row, Run, Section, outcome
from benchmarks.contenders import maml
from benchmarks.fresh import HOW_MEMORY, Failed, peak
from benchmarks.match import match
from benchmarks.suite import Effort

TASKS = 16
CONTENDERS: list[Contender[Maml]] = [
    maml.RULEC,
    maml.RULEC_LEAST,
    maml.RULEC_FX,
    maml.RULEC_INDUCTOR,
    maml.FUNC,
    maml.FUNC_EACH,
    maml.COMPILED,
    maml.HIGHER,
    maml.TORCHOPT,
    maml.JAX,
]


def sections(effort: Effort) -> Iterator[Section]:
    for filters in (4,) if effort.quick else (32, 64):
        for steps in (2,) if effort.quick else (1, 5):
            for straight in (False, True):
                yield _section(effort, filters, steps, straight)


def problem(filters: int, steps: int, quick: bool) -> Maml:
    """Return the problem in double precision."""
    return characters(filters, 3 if quick else TASKS, steps)


def prepared(name: str, filters: int, straight: bool, steps: int, quick: bool) -> Run:
    """Prepare a contender by its name, in a process that measures memory."""
    contender = next(c for c in (maml.FIRST_ORDER if straight else CONTENDERS) if c.name == name)
    return contender.prepare(problem(filters, steps, quick).to(torch.float32))


def _section(effort: Effort, filters: int, steps: int, straight: bool) -> Section:
    title = f"MAML on Omniglot, {filters} filters, {steps} update{'s' * (steps > 1)}{', first order' * straight}"
    effort.say(title)
    given = problem(filters, steps, effort.quick)
    tiny = characters(2, tasks=2, steps=2, ways=3, size=12)
    contenders = effort.chosen(maml.FIRST_ORDER if straight else CONTENDERS)
    reference = maml.FIRST_ORDER[1] if straight else maml.FUNC
    rows = match(
        contenders,
        given.to(torch.float32),
        outcome(reference.prepare(given)),
        rounds=effort.rounds,
        small=(tiny, outcome(reference.prepare(tiny))),
        say=effort.say,
    )
    _memory(effort, rows, contenders, filters, steps, straight)
    return Section(
        title,
        f"5 ways, 1 shot, 1 to be judged by, {given.x.shape[-1]} x {given.x.shape[-1]}, four convolutions of stride 2 with batch "
        f"normalisation, {len(given.x)} tasks, rate {given.lr}, float32",
        rows,
        reference.name,
        "meta-gradient",
        [
            "`error`: largest difference of any gradient from torch.func in float64, relative to the largest gradient of all "
            f"({given.x.shape[1]} classes: those of biases under a normalisation are zero); `float64`: the same on a small network.",
            HOW_MEMORY,
        ],
    )


def _memory(
    effort: Effort, rows: list[Row], contenders: Sequence[Contender[Maml]], filters: int, steps: int, straight: bool
) -> None:
    for row, contender in zip(rows, contenders, strict=True):
        if row.status == "ok" and not (effort.quick and row is not rows[0]):
            effort.say(f"  memory of {row.name}")
            arguments = {"name": row.name, "filters": filters, "straight": straight, "quick": effort.quick}
            try:
                row.peak = peak("benchmarks.omniglot_maml:prepared", arguments, steps, per_length=contender.per_length)
            except Failed as failed:
                row.note = f"memory: {failed}"
