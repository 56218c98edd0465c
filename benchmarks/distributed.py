"""Benchmark 8: a meta-step shared by two processes, against the same meta-step in one.

Both run in turn on the same processes, with one thread each: while the first one works alone, the other one sleeps.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import torch

import rulec
from benchmarks.contender import Row, Section
from benchmarks.environment import processors, settings
from benchmarks.fresh import Failed
from benchmarks.suite import Effort
from rulec.meta.plan import Plan, plan
from rulec.meta.processes import ALONE, Team, team_for
from rulec.runtime.compiled import CompiledRule

TITLE = "A meta-step shared by two processes"
_MARK = "result: "


@dataclass(frozen=True)
class Work:
    """A meta-step that is measured."""

    title: str
    conditions: tuple[str, str]  # of a thorough and of a quick run
    made: Callable[[bool], Plan]


def _maml(quick: bool) -> Plan:
    tasks = 4 if quick else 64
    outer = rulec.load("sgd").outer("maml")
    inner = replace(outer.inner, settings={"lr": 0.01})  # of Finn et al. for curves
    outer = replace(outer, inner=inner, settings={**outer.settings, "tasks": tasks})
    compiled = rulec.load("sgd").compile("1-8-1" if quick else "1-40-40-1", loss="mse")
    return _planned(compiled, "sinusoid", outer)


def _images(quick: bool) -> Plan:
    outer = rulec.load("sgd").outer("maml")
    outer = replace(outer, settings={**outer.settings, "tasks": 2 if quick else 16})
    layer = "conv(4)-batchnorm" if quick else "conv(32)-batchnorm"
    compiled = rulec.load("sgd").compile(f"1x8x8-{layer}-{layer}-10")
    return _planned(compiled, "digits(layout=image)", outer, batch=4 if quick else 20)


def _blur(quick: bool) -> Plan:
    net = "64-8-10" if quick else "64-32-10"
    compiled = rulec.load("blur").compile(net, population=2 if quick else 8, options={"recipe": "normalised"})
    return _planned(compiled, "digits", "adam", batch=8 if quick else 128, inner_steps=2 if quick else None)


WORK = {
    "maml": Work("MAML on curves", ("1-40-40-1, 64 tasks, 10 points, 5 updates", "1-8-1, 4 tasks"), _maml),
    "images": Work(
        "MAML on images",
        ("two convolutions of 32 filters on 8 x 8, 16 tasks, 20 images, 5 updates", "4 filters, 2 tasks"),
        _images,
    ),
    "blur": Work("BLUR on digits", ("64-32-10, population 8, batch 128, 10 updates", "64-8-10, population 2"), _blur),
}


def _planned(
    compiled: CompiledRule, task: str, outer: object, batch: int | None = None, inner_steps: int | None = None
) -> Plan:
    return plan(
        compiled,
        task,
        outer,  # type: ignore[arg-type]
        None,
        None,
        steps=1,
        seed=0,
        batch=batch,
        query=None,
        inner_steps=inner_steps,
        lr=None,
        clip=None,
        memory=None,
        patience=10,
    )


def sections(effort: Effort) -> list[Section]:
    rounds, each = effort.sized(15, 2), effort.sized(10, 1)
    effort.say("Two processes")
    if processors() < 2:
        return [Section(TITLE, "", [Row("rulec", "absent", "two processes need two processors")])]
    rows = []
    for name, found in _launched(list(WORK), effort.quick, rounds, each).items():
        one, two = (median(found[count]) for count in ("1", "2"))
        row = Row(WORK[name].title, note=WORK[name].conditions[effort.quick])
        row.values = {"1 process, ms": 1e3 * one, "2 processes, ms": 1e3 * two, "speedup": one / two}
        rows.append(row)
    return [
        Section(
            TITLE,
            f"one thread each, gloo, float32; medians of {rounds} rounds of {each} meta-steps, one process and two in turn",
            rows,
            notes=["Data are drawn, gradients summed, and the genome moved within the time."],
        )
    ]


def _launched(names: list[str], quick: bool, rounds: int, each: int) -> dict[str, dict[str, list[float]]]:
    """Measure in two processes that torchrun starts. Raises `Failed`."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    given = json.dumps([names, quick, rounds, each])
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "benchmarks.distributed", given],
        env=settings(1),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode or not lines:
        raise Failed((done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:160])
    return dict(json.loads(lines[-1][len(_MARK) :]))


# --- In the processes that torchrun started ---------------------------------------------------


def measured(made: Plan, team: Team, rounds: int, each: int) -> dict[str, list[float]]:
    """Return the seconds of a meta-step, by the number of processes, for each round but the first."""
    alone = replace(made, problem=replace(made.problem, team=ALONE))
    together = replace(made, problem=replace(made.problem, team=team))
    samples: dict[str, list[float]] = {"1": [], "2": []}
    for number in range(rounds + 1):
        for count, run in (("1", alone), ("2", together)):
            team.any(False)
            start = time.perf_counter()
            if count == "2" or team.first:
                _steps(run, each)
            team.any(False)  # until the slower one is done
            if number:
                samples[count].append((time.perf_counter() - start) / each)
    return samples


def _steps(run: Plan, each: int) -> None:
    search = run.method.begin(run.problem, run.free)
    for number in range(each):
        search, _ = run.method.step(run.problem, search, number)


def main(given: str) -> None:
    names, quick, rounds, each = json.loads(given)
    torch.set_num_threads(1)
    team = team_for(torch.device("cpu"))
    if hasattr(os, "sched_setaffinity"):  # a processor of its own
        free = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {free[team.rank % len(free)]})
    found = {name: measured(WORK[name].made(quick), team, rounds, each) for name in names}
    if team.first:
        print(_MARK + json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
