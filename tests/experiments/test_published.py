"""What papers report, on as much data as there is: minutes to an hour each, run by `make experiments`."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import rulec
from rulec.meta.evaluate import Curve, evaluate
from rulec.meta.hypergradients import READERS, Settings
from rulec.meta.outer import fitted
from rulec.meta.plan import Plan
from rulec.meta.result import MetaResult
from rulec.meta.train import meta_train
from rulec.report.tables import text_table
from rulec.runtime.compiled import CompiledRule
from rulec.semantics.typed import Call
from rulec.tasks.registry import task_from
from rulec.tasks.task import Task
from tests.meta.conftest import planned

pytestmark = pytest.mark.experiment
needs_data = pytest.mark.skipif("RULEC_DATA" not in os.environ, reason="needs the archives of Omniglot: set RULEC_DATA")

FEW_SHOT = """
outer few_shot "Finn et al. 2017, with the settings of the experiment"
  option rate = 0.01
  option tasks = 25
  option updates = 1
  option lr = 0.001
  inner sgd(lr = rate) for updates steps on support{pull}
  meta init(w)
  minimize loss on query
  through {through}
  by adam(lr = lr), tasks = tasks
"""
PULL = ", plus {strength} / 2 * norm(w - init(w))^2"
OMNIGLOT = "1x28x28-" + "-".join(["conv(32,stride=2)-batchnorm"] * 4) + "-5"
SEEDS = (0, 1, 2)
EPISODES = 600


# --- Learning --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Learned:
    """Initial weights after so many outer steps, and the seconds of processor time that these took."""

    compiled: CompiledRule  # with what the outer step adds to the loss
    result: MetaResult
    task: Task
    steps: int
    seconds: float

    def judged(self, updates: Sequence[int], query: int, together: bool = True) -> Curve:
        """Learn on held-out tasks as in training: the same tasks for every seed and every method."""
        return evaluate(
            self.compiled,
            self.result.genome,
            self.task,
            updates=updates,
            episodes=EPISODES,
            query=query,
            initial=self.result.initial,
            together=together,
        )


def learned(
    folder: Path,
    task: str,
    net: str,
    query: int,
    steps: Sequence[int],
    *,
    through: str = "unroll",
    pull: float | None = None,
    seed: int = 0,
    options: Mapping[str, float] | None = None,
) -> Iterator[Learned]:
    """Meta-train the initial weights of gradient descent; yield where it stands after each number of outer steps."""
    extra = "" if pull is None else PULL.format(strength=pull)
    rule = rulec.parse(rulec.load("sgd").text + FEW_SHOT.format(through=through, pull=extra))
    data = task_from(task)
    compiled = rule.compile(net, loss=data.loss, input_shape=data.input_shape, outputs=data.outputs)
    outer = rule.outer("few_shot", options)
    seconds = 0.0
    for count in steps:
        start = time.process_time()
        result = meta_train(
            compiled, data, outer, steps=count, query=query, clip=1e6, seed=seed, out=folder, resume=count > steps[0]
        )
        seconds += time.process_time() - start
        assert result.bad_steps == (0,)
        yield Learned(fitted(outer, compiled), result, data, count, seconds)


def shown(title: str, rows: list[dict[str, object]]) -> None:
    print(f"\n{title}\n{text_table(rows)}", flush=True)


def interval(curve: Curve, updates: int, what: str = "accuracy") -> tuple[float, float]:
    """Return a mean over test tasks and half of its 95% interval."""
    row = next(row for row in curve.rows() if row["updates"] == updates)
    return float(str(row[what])), float(str(row[f"{what}_ci95"]))


def spread(values: Sequence[float]) -> str:
    """Write the mean over seeds and their standard deviation."""
    return f"{statistics.mean(values):.3f} sd {statistics.stdev(values):.3f}"


# --- MAML ------------------------------------------------------------------------------------


def test_maml_on_sinusoids(tmp_path: Path):
    """Finn et al. 2017, figure 2: ten points, one update of a rate of 0.01 in training; errors over 600 curves."""
    rows, found = [], []
    for seed in SEEDS:
        ((here),) = learned(tmp_path / str(seed), "sinusoid(shots=10)", "1-40-40-1", 10, (10_000,), seed=seed)
        curve = here.judged((0, 1, 10), 100)
        values = [interval(curve, updates, "loss") for updates in curve.updates]
        rows.append(
            {"seed": seed} | {f"@{t}": "{:.3f} ± {:.3f}".format(*v) for t, v in zip(curve.updates, values, strict=True)}
        )
        found.append([mean for mean, _ in values])
    means = [statistics.mean(column) for column in zip(*found, strict=True)]
    shown("Mean squared error on 600 curves", rows)
    print("over seeds:", *(spread(column) for column in zip(*found, strict=True)), sep="  ")
    assert means[0] > 2.5 and means[1] <= 0.6 and means[2] <= 0.2


@needs_data
def test_maml_on_omniglot_and_its_first_order(tmp_path: Path):
    """Five ways, one shot, on the two small archives; whole alphabets held out. The paper has 98.7% on all of Omniglot.

    Batch normalisation is always of the present batch; a query is predicted as one (transductive), or sample by sample
    beside the support. A gradient without its second-order part, or with a wrong one, is what first order is compared for.
    """
    options = {"rate": 0.4, "tasks": 16}
    rows, found = [], {}
    for through in ("unroll", "first_order"):
        for seed in SEEDS:
            given = (tmp_path / f"{through}{seed}", "omniglot(ways=5, shots=1)", OMNIGLOT, 75, (400, 800))
            for here in learned(*given, through=through, seed=seed, options=options):
                row: dict[str, object] = {"through": through, "steps": here.steps, "seed": seed}
                for together in (True, False):
                    curve = here.judged((0, 1, 3), 25, together)
                    how = "" if together else ", alone"
                    row |= {f"@{t}{how}": "{:.3f} ± {:.3f}".format(*interval(curve, t)) for t in curve.updates}
                    found[through, here.steps, seed, together] = [interval(curve, t) for t in curve.updates]
                rows.append(row | {"cpu, s": f"{here.seconds:.0f}"})
                shown("Accuracy on 600 tasks", rows)
    for steps in (400, 800):
        for together in (True, False):
            exact, first = (
                [found[through, steps, seed, together][1] for seed in SEEDS] for through in ("unroll", "first_order")
            )
            print(f"{steps} steps, together {together}: exact", spread([m for m, _ in exact]), end=", ")
            print("first order", spread([m for m, _ in first]))
            one = max(half for _, half in first)
            assert statistics.mean(m for m, _ in exact) >= statistics.mean(m for m, _ in first) - one
    alone = [found["unroll", 800, seed, False] for seed in SEEDS]
    assert statistics.mean(at[1][0] for at in alone) >= 0.80 and max(at[0][0] for at in alone) < 0.25


# --- iMAML -----------------------------------------------------------------------------------

STRENGTH = 2.0  # lambda of Rajeswaran et al. 2019
RATE = 0.004  # below 2 / the largest curvature that updates meet on a curve
RELEASED = 22.0  # the released code's matrix is proportional to H + 24; rate * (H + lambda) + damping has to be


def test_cosine_of_hypergradients_on_sinusoids():
    """Conjugate gradients, the released code's matrix and first order beside a dense solve of (I + H / lambda) x = slope."""
    made = pulled_on_curves()
    rows, kept = [], []
    for number in range(20):
        exact, slope, least = solved_densely(made, number)
        found = {
            "CG, 5 steps": implicit(made, number, 5),
            "CG, 100 steps": implicit(made, number, 100),
            "CG, 5 steps, released matrix": implicit(made, number, 5, RELEASED * RATE),
            "first order": slope,
        }
        cosines = {name: float(torch.cosine_similarity(value, exact, dim=0)) for name, value in found.items()}
        rows.append({"curve": number, "least curvature": least} | cosines)
        kept += [cosines] if least > -STRENGTH else []
    shown("Cosine to the dense solve, in float64", rows)

    def mean(name: str, among: Sequence[Mapping[str, object]]) -> float:
        return statistics.mean(float(str(row[name])) for row in among)

    print(f"means over all 20: { {name: round(mean(name, rows), 3) for name in kept[0]} }")
    print(f"over the {len(kept)} whose matrix is positive: { {name: round(mean(name, kept), 3) for name in kept[0]} }")
    assert len(kept) >= 10
    assert min(row["CG, 100 steps"] for row in kept) > 0.999
    assert mean("CG, 5 steps", kept) > mean("CG, 5 steps, released matrix", kept) > mean("first order", kept)
    assert mean("CG, 5 steps", rows) > mean("first order", rows) + 0.3


def pulled_on_curves() -> Plan:
    """One curve at a time, 16 updates with the pull, from random initial weights."""
    text = FEW_SHOT.format(through="unroll", pull=PULL.format(strength=STRENGTH))
    rule = rulec.parse(rulec.load("sgd").text + text)
    compiled = rule.compile("1-40-40-1", loss="mse", dtype="float64")
    outer = rule.outer("few_shot", {"rate": RATE, "tasks": 1, "updates": 16})
    return planned(compiled, task_from("sinusoid(shots=10)"), outer, batch=None, query=100, inner_steps=16)


def implicit(made: Plan, number: int, steps: int, damping: float = 0.0) -> Tensor:
    outer = made.problem.outer
    call = Call("implicit", ("cg",), {"steps": steps, "damping": damping}, outer.through.span)
    method = READERS["implicit"](replace(outer, through=call), Settings(1e9, 5, None))
    return flat(method.gradient(made.problem, made.free, number)[1])  # type: ignore[attr-defined]


def solved_densely(made: Plan, number: int) -> tuple[Tensor, Tensor, float]:
    """Write the network by hand; return the exact hypergradient, the slope of the query, and the least curvature."""
    problem = made.problem
    inner = problem.begun(made.free, number)
    names = [name.removeprefix("init(").removesuffix(")") for name in made.free]
    end = problem.updated(inner, inner.state, 0, problem.inner_steps)
    sizes, shapes = [end[n].numel() for n in names], [end[n].shape[2:] for n in names]

    def loss(weights: Tensor, x: Tensor, y: Tensor) -> Tensor:
        pieces = weights.split(sizes)
        w = {n.removeprefix("w."): v.reshape(s) for n, v, s in zip(names, pieces, shapes, strict=True)}
        for c in ("c1", "c2", "c3"):
            x = (torch.relu(x) if c != "c1" else x) @ w[f"{c}.weight"] + w[f"{c}.bias"]
        return ((x - y) ** 2).mean()

    weights, data = flat({n: end[n] for n in names}), inner.batches
    curvature = torch.func.hessian(loss)(weights, data.x[0, 0, 0], data.y[0, 0, 0])
    slope = torch.func.grad(loss)(weights, data.query_x[0, 0], data.query_y[0, 0])
    exact = torch.linalg.solve(torch.eye(len(weights), dtype=weights.dtype) + curvature / STRENGTH, slope)
    return exact, slope, float(torch.linalg.eigvalsh(curvature)[0])


def flat(values: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([value.detach().flatten() for value in values.values()])


@needs_data
def test_imaml_on_omniglot(tmp_path: Path):
    """Five ways, one shot, 16 updates, 400 outer steps; each method with the rates that were best after 60 on training tasks.

    The damping of 0.5 stands beside a curvature times the rate of 0.4: conjugate gradients solve with the curvature that a pull of 1.27 leaves, and
    `lambda` itself stays small. MAML differentiates through all updates; theory promises no order.
    """
    methods: dict[str, tuple[str, float | None, float]] = {
        "implicit": ("implicit(cg, steps = 5, damping = 0.5)", 0.02, 0.4),
        "unroll": ("unroll", None, 0.2),
        "first order": ("first_order", None, 0.4),
    }
    rows, found = [], {}
    for name, (through, pull, rate) in methods.items():
        for seed in SEEDS:
            for here in learned(
                tmp_path / f"{name} {seed}",
                "omniglot(ways=5, shots=1)",
                OMNIGLOT,
                75,
                (0, 160, 400),
                through=through,
                pull=pull,
                seed=seed,
                options={"rate": rate, "tasks": 16, "updates": 16, "lr": 0.01},
            ):
                row: dict[str, object] = {"method": name, "seed": seed, "steps": here.steps}
                for together in (True, False):
                    mean, half = interval(here.judged((16,), 25, together), 16)
                    found.setdefault((name, here.steps, together), []).append(mean)
                    row["@16" if together else "@16, alone"] = f"{mean:.3f} ± {half:.3f}"
                rows.append(row | {"cpu, s": f"{here.seconds:.0f}"})
                shown("Accuracy on 600 tasks", rows)
    print(*(f"{key}: {spread(values)}" for key, values in found.items()), sep="\n")
    for together in (True, False):
        implicit, unroll = (statistics.mean(found[name, 400, together]) for name in ("implicit", "unroll"))
        assert implicit > statistics.mean(found["implicit", 0, together]) + 0.3
        assert unroll - implicit < 0.03


def test_memory_of_imaml_does_not_grow_with_updates():
    """Peak of a meta-step, each in a process of its own: with sixteen times the updates the same, where `unroll` takes a multiple."""
    from benchmarks.fresh import peak

    def measured(kind: str, steps: int) -> float:
        return peak("benchmarks.memory:meta_step", {"kind": kind, "quick": False}, steps) / 2**20

    kinds = ("unroll", "unroll with checkpoint", "implicit, 5 steps of CG")
    found = {kind: [measured(kind, steps) for steps in (4, 16, 64)] for kind in kinds}
    rows = [
        {"through": kind} | dict(zip(("4, MiB", "16", "64"), values, strict=True)) for kind, values in found.items()
    ]
    shown("Peak memory of a meta-step, by updates", rows)
    flat_one, unrolled = found["implicit, 5 steps of CG"], found["unroll"]
    assert max(flat_one) < 1.15 * min(flat_one)
    assert unrolled[2] > 4 * unrolled[0] and unrolled[2] > 3 * flat_one[2]
