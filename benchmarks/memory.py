"""Benchmark 4: peak memory against the number of inner steps, for each kind of unroll; and of iMAML's meta-step beside that of MAML."""

from __future__ import annotations

from collections.abc import Sequence

import torch

import rulec
from benchmarks.contender import Row, Run, Section, answer
from benchmarks.contenders import by_rulec
from benchmarks.fresh import HOW_MEMORY, Failed, peak
from benchmarks.problems import blur
from benchmarks.suite import Effort
from rulec.meta.plan import plan
from rulec.tasks.fewshot import FewShot


def sizes(quick: bool) -> tuple[int, ...]:
    return (32, 16, 10) if quick else (784, 128, 10)


def prepared(kind: str, steps: int, quick: bool) -> Run:
    given = blur(sizes(quick), 2, replicas=4, batch=64, steps=steps).to(torch.float32)
    return by_rulec.prepare_gradient(given, "kernel", kind)


# Meta-steps that differ in the hypergradient alone: weights are drawn back to where they began in all of them.
THROUGH = {
    "unroll": "unroll",
    "unroll with checkpoint": "unroll with checkpoint",
    "implicit, 5 steps of CG": "implicit(cg, steps = 5)",
    "first order": "first_order",
}
FEW_SHOT = """
outer few_shot
  option updates = 1
  inner sgd(lr = 0.1) for updates steps on support, plus norm(w - init(w))^2
  meta init(w)
  minimize loss on query
  through {through}
  by adam(lr = 0.001), tasks = 16
"""


def few_shot_net(quick: bool) -> str:
    return "1x8x8-conv(4,stride=2)-batchnorm-5" if quick else "1x28x28-" + "conv(32,stride=2)-batchnorm-" * 4 + "5"


def meta_step(kind: str, steps: int, quick: bool) -> Run:
    """Prepare one meta-step: 16 tasks of five ways and one shot, 15 queries of each class, on images of noise."""
    size = 8 if quick else 28
    images = list(torch.rand(20, 16, 1, size, size, generator=torch.Generator().manual_seed(0)))
    task = FewShot("noise", images, images, ways=5, shots=1, queries=15)
    rule = rulec.parse(rulec.load("sgd").text + FEW_SHOT.format(through=THROUGH[kind]))
    compiled = rule.compile(few_shot_net(quick), loss=task.loss, input_shape=task.input_shape, outputs=task.outputs)
    made = plan(
        compiled,
        task,
        rule.outer("few_shot", {"updates": steps}),
        None,
        None,
        steps=None,
        seed=0,
        batch=None,
        query=None,
        inner_steps=None,
        lr=None,
        clip=None,
        memory=None,
        patience=1,
    )
    search = made.method.begin(made.problem, made.free)
    return lambda: answer(made.method.step(made.problem, search, 0)[0].free)


def sections(effort: Effort) -> list[Section]:
    unrolls = _section(
        effort,
        "Peak memory against updates",
        f"rulec kernel, BLUR meta-gradient, {'-'.join(map(str, sizes(effort.quick)))}, 2 states, 4 replicas, batch 64, float32",
        "prepared",
        list(by_rulec.KINDS),
        (2, 4) if effort.quick else (5, 10, 20, 50, 100, 200),
    )
    steps = _section(
        effort,
        "Peak memory of a meta-step against updates",
        f"gradient descent and a pull to the initial weights, 5 ways, 1 shot, 16 tasks, {few_shot_net(effort.quick)}, float32",
        "meta_step",
        list(THROUGH),
        (2, 4) if effort.quick else (4, 16, 64),
    )
    return [unrolls, steps]


def _section(
    effort: Effort, title: str, conditions: str, prepare: str, kinds: Sequence[str], counts: Sequence[int]
) -> Section:
    """Measure each kind for each number of updates, each in a process of its own."""
    rows, lines = [], {}
    for kind in kinds:
        effort.say(f"{title}, {kind}")
        row = Row(kind)
        found: list[float] = []
        for steps in counts:
            try:
                found.append(peak(f"benchmarks.memory:{prepare}", {"kind": kind, "quick": effort.quick}, steps))
            except Failed as failed:
                row.status, row.note = "failed", f"{steps} updates: {failed}"
                break
            row.values[f"{steps} updates, MiB"] = found[-1] / 2**20
        if len(found) > 1:
            grown = found[-1] - found[-2]
            row.values["MiB per further update"] = grown / 2**20 / (counts[len(found) - 1] - counts[len(found) - 2])
        rows.append(row)
        lines[kind] = {"x": [float(c) for c in counts[: len(found)]], "y": [b / 2**20 for b in found]}
    notes = [HOW_MEMORY, "`first order` is no full gradient."]
    return Section(title, conditions, rows, notes=notes, lines=lines, axes=("updates", "MiB"))
