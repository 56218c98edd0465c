"""Benchmark 1: the gradient of a query loss through updates of BLUR, with respect to the genome; and its peak memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.contender import Answer, Contender, Row, Run, Section, outcome
from benchmarks.contenders import block, block_jax, by_rulec, chunked, products, published
from benchmarks.fresh import HOW_MEMORY, Failed, peak
from benchmarks.match import match
from benchmarks.problems import Blur, blur
from benchmarks.suite import Effort

REFERENCE = block.EAGER.name
SHORT: list[Contender[Blur]] = [
    by_rulec.gradient("kernel"),
    by_rulec.gradient("fx"),
    by_rulec.gradient("inductor"),
    published.EAGER,
    published.COMPILED,
    block.EAGER,
    block.COMPILED,
    chunked.EAGER,
    chunked.COMPILED,
    block_jax.JIT,
    products.ALONE,
]
# The published layout is left out: its synapses alone take eight times the memory, and so does all that hangs on them.
LONG: list[Contender[Blur]] = [
    by_rulec.gradient("kernel"),
    by_rulec.gradient("kernel", "unroll, least memory"),
    by_rulec.gradient("fx"),
    by_rulec.gradient("fx", "unroll, least memory"),
    block.EAGER,
    block.COMPILED,
    block.CHECKPOINTED,
    chunked.EAGER,
    chunked.COMPILED,
    block_jax.JIT,
    block_jax.CHECKPOINTED,
    products.ALONE,
]


def sections(effort: Effort) -> Iterator[Section]:
    for states in (2, 4):
        for steps in (4, 12) if effort.quick else (10, 50, 200):
            yield _section(effort, states, steps)


def problem(states: int, steps: int, quick: bool) -> Blur:
    sizes = (32, 16, 10) if quick else (784, 128, 10)
    return blur(sizes, states, replicas=4, batch=64, steps=steps)


def small(states: int) -> tuple[Blur, Answer]:
    """Return a small problem in double precision and its answer, by the expert's version."""
    tiny = blur((6, 5, 3), states, replicas=2, batch=7, steps=3)
    return tiny, outcome(block.EAGER.prepare(tiny))


def prepared(name: str, states: int, steps: int, quick: bool) -> Run:
    """Prepare a contender by its name, in a process that measures memory."""
    contender = next(c for c in LONG if c.name == name)
    return contender.prepare(problem(states, steps, quick).to(torch.float32))


def bound(given: Blur) -> int:
    """Return the bytes of sqrt(T) checkpointing: see the note in the table."""
    synapses = _bytes(block.laid_out(given).first) + sum(_bytes(t) for part in block.laid_out(given).rest for t in part)
    neurons = given.replicas * given.states * given.batch * sum(given.sizes[1:]) * given.x.element_size()
    segment = max(1, round(given.steps**0.5))
    kept = -(-given.steps // segment)
    return kept * synapses + segment * (synapses + 8 * neurons)


def _section(effort: Effort, states: int, steps: int) -> Section:
    given = problem(states, steps, effort.quick)
    effort.say(f"BLUR meta-gradient, {states} states, {steps} updates")
    contenders = effort.chosen(SHORT if steps <= 10 else LONG)
    rounds = effort.rounds if steps <= 10 else effort.sized(5, 2)
    rows = match(
        contenders,
        given.to(torch.float32),
        outcome(block.EAGER.prepare(given)),
        rounds=rounds,
        small=small(states),
        say=effort.say,
    )
    notes = [
        "`error`: largest relative difference of any gradient from the expert's version in float64; "
        "`float64`: the same on 6-5-3 with everything in float64."
    ]
    if steps > 10:
        notes += _memory(effort, rows, given, states, steps)
    return Section(
        f"BLUR meta-gradient, {states} states, {steps} updates",
        f"{given.net}, {given.replicas} replicas, batch {given.batch}, query {given.batch}, float32",
        rows,
        REFERENCE,
        "meta-gradient",
        notes,
    )


def _memory(effort: Effort, rows: list[Row], given: Blur, states: int, steps: int) -> list[str]:
    for row in rows:
        if row.status == "ok" and row.error is not None:
            effort.say(f"  memory of {row.name}")
            arguments = {"name": row.name, "states": states, "quick": effort.quick}
            per_length = next(c.per_length for c in LONG if c.name == row.name)
            try:
                row.peak = peak("benchmarks.blur_meta_gradient:prepared", arguments, steps, per_length=per_length)
            except Failed as failed:
                row.note = f"memory: {failed}"
    limit = bound(given.to(torch.float32))
    for row in rows:
        if row.peak is not None:
            row.values["peak / bound"] = row.peak / limit
    return [
        HOW_MEMORY,
        f"The bound, {limit / 2**20:.0f} MiB, is that of checkpointing every sqrt(T) updates: live synapses once per segment, and, "
        "within one segment, once per update with eight tensors of every neuron's states.",
    ]


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
