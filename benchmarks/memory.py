"""Benchmark 4: peak memory against the number of inner steps, for each kind of unroll."""

from __future__ import annotations

import torch

from benchmarks.contender import Row, Run, Section
from benchmarks.contenders import by_rulec
from benchmarks.fresh import HOW_MEMORY, Failed, peak
from benchmarks.problems import blur
from benchmarks.suite import Effort


def sizes(quick: bool) -> tuple[int, ...]:
    return (32, 16, 10) if quick else (784, 128, 10)


def prepared(kind: str, steps: int, quick: bool) -> Run:
    given = blur(sizes(quick), 2, replicas=4, batch=64, steps=steps).to(torch.float32)
    return by_rulec.prepare_gradient(given, "kernel", kind)


def sections(effort: Effort) -> list[Section]:
    counts = (2, 4) if effort.quick else (5, 10, 20, 50, 100, 200)
    rows, lines = [], {}
    for kind in by_rulec.KINDS:
        effort.say(f"Memory, {kind}")
        row = Row(kind)
        found: list[float] = []
        for steps in counts:
            try:
                found.append(peak("benchmarks.memory:prepared", {"kind": kind, "quick": effort.quick}, steps))
            except Failed as failed:
                row.status, row.note = "failed", f"{steps} updates: {failed}"
                break
            row.values[f"{steps} updates, MiB"] = found[-1] / 2**20
        if len(found) > 1:
            grown = found[-1] - found[-2]
            row.values["MiB per further update"] = grown / 2**20 / (counts[len(found) - 1] - counts[len(found) - 2])
        rows.append(row)
        lines[kind] = {"x": [float(c) for c in counts[: len(found)]], "y": [b / 2**20 for b in found]}
    return [
        Section(
            "Peak memory against updates",
            f"rulec kernel, BLUR meta-gradient, {'-'.join(map(str, sizes(effort.quick)))}, 2 states, 4 replicas, batch 64, float32",
            rows,
            notes=[HOW_MEMORY, "`first order` is no full gradient."],
            lines=lines,
            axes=("updates", "MiB"),
        )
    ]
