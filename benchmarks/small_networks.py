"""Benchmark 2: a population of genomes, each with replicas of a small network; forward only, and with the meta-gradient."""

from __future__ import annotations

import torch

from benchmarks.contender import Contender, Section, outcome
from benchmarks.contenders import by_rulec, vmap, vmap_jax
from benchmarks.match import match
from benchmarks.problems import Blur, blur
from benchmarks.suite import Effort

FORWARD: list[Contender[Blur]] = [
    by_rulec.forward("kernel"),
    by_rulec.forward("fx"),
    by_rulec.forward("inductor"),
    vmap.FORWARD,
    vmap_jax.FORWARD,
]
GRADIENT: list[Contender[Blur]] = [
    by_rulec.gradient("kernel"),
    by_rulec.gradient("fx"),
    by_rulec.gradient("inductor"),
    vmap.GRADIENT,
    vmap.COMPILED,
    vmap_jax.GRADIENT,
]


def sections(effort: Effort) -> list[Section]:
    states, steps = 2, 10
    population, replicas = effort.sized(64, 4), effort.sized(16, 2)
    given = blur((2, 20, 1), states, replicas, batch=32, steps=effort.sized(steps, 3), population=population)
    tiny = blur((2, 5, 1), states, 2, batch=7, steps=3, population=3)
    found = []
    for title, contenders, reference in (
        ("forward only", FORWARD, vmap.FORWARD),
        ("with meta-gradient", GRADIENT, vmap.GRADIENT),
    ):
        effort.say(f"Small networks, {title}")
        rows = match(
            effort.chosen(contenders),
            given.to(torch.float32),
            outcome(reference.prepare(given)),
            rounds=effort.rounds,
            small=(tiny, outcome(reference.prepare(tiny))),
            say=effort.say,
        )
        found.append(
            Section(
                f"Small networks, {title}",
                f"BLUR, {given.net}, {states} states, population {population} x {replicas} replicas, batch {given.batch}, "
                f"{given.steps} updates, float32",
                rows,
                reference.name,
                "inner loop" if title == "forward only" else "meta-gradient",
            )
        )
    return found
