"""Meta-learn BLUR from random genomes on real data, and hold the result against the thresholds of the fact sheet.

Each experiment writes its table to `runs/experiments/`. The best genome is chosen by its meta-training score alone; "@t" is
after t weight updates, and each baseline has the learning rate that is best at that t on meta-training data. Settings were
chosen on fold 0, by what it holds out; what is judged here is held out by fold 1.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import rulec
from rulec.meta.baselines import baselines
from rulec.meta.evaluate import Curve, evaluate
from rulec.meta.result import MetaResult
from rulec.meta.transfer import transfer_table
from rulec.report.tables import markdown_table
from rulec.runtime.compiled import CompiledRule

pytestmark = pytest.mark.experiment

OUT = Path("runs/experiments")
UPDATES = (1, 3, 5, 10, 20, 50)
SEEDS = (0, 1, 2)


def write(name: str, rows: list[dict[str, object]]) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    text = markdown_table(rows)
    (OUT / f"{name}.md").write_text(text)
    print(f"\n{name}\n{text}")


def meta_learn(
    net: str,
    task: str,
    steps: int,
    seed: int,
    loss: str = "cross_entropy",
    tasks: int | None = None,
    lr: float = 0.005,
    **options: str,
) -> tuple[CompiledRule, MetaResult]:
    rule = rulec.load("blur")
    step = rule.compile(net, population=8, loss=loss, tasks=tasks, options={"recipe": "normalised", **options})
    return step, rulec.meta_train(step, task, "adam", steps=steps, seed=seed, batch=128, lr=lr)


def row(name: str, curve: Curve) -> dict[str, object]:
    return {"": name} | {
        f"@{u}": f"{a:.3f} ± {s:.3f}" for u, a, s in zip(curve.updates, curve.accuracy, curve.accuracy_sd, strict=True)
    }


def compare(
    name: str,
    net: str,
    task: str,
    steps: int,
    threshold: float | None = None,
    margin: float | None = None,
    **settings: Any,
) -> None:
    """Meta-learn with several seeds; their mean at 10 updates must reach the threshold, and SGD's plus the margin."""
    rows, reached = [], []
    for seed in SEEDS:
        step, result = meta_learn(net, task, steps, seed, **settings)
        curve = evaluate(step, result.genome, task, updates=UPDATES, episodes=32)
        rows.append(row(f"BLUR, seed {seed}", curve))
        reached.append(curve.accuracy[UPDATES.index(10)])
    rivals = {b.name: b for b in baselines(task, net, ("sgd", "momentum", "adam"), updates=UPDATES, episodes=32)}
    rows += [row(name, rival.curve) for name, rival in rivals.items()]
    write(name, rows)
    mean = sum(reached) / len(reached)
    if threshold is not None:
        assert mean >= threshold
    if margin is not None:
        assert mean >= rivals["sgd"].curve.accuracy[UPDATES.index(10)] + margin


def test_digits() -> None:
    compare("digits", "64-32-10", "digits(fold=1)", 400, threshold=0.87, margin=0.10)


def test_digits_with_standardised_pixels() -> None:
    """Reported, not required: here tuned SGD is ahead."""
    compare("digits_standard", "64-32-10", "digits(pixels=standard, fold=1)", 400)


@pytest.mark.skipif(
    "RULEC_DATA" not in os.environ, reason="needs MNIST in IDX format: set RULEC_DATA to the folder that holds mnist/"
)
def test_mnist() -> None:
    task = "mnist(size=10, pixels=standard, fold=1)"
    compare("mnist", "100-64-10", task, 300, threshold=0.80, lr=0.01, symmetric="yes")


def test_functions() -> None:
    """Train on xor and and; held out are or, quadrant_and and nxor."""
    rows, means = [], []
    for seed in SEEDS:
        _, result = meta_learn("2-20-1", "functions", 800, seed, loss="mse", tasks=2, out="tanh", labels="plain")
        best = result.held_out[result.best]
        rows.append({"": f"seed {seed}"} | {k: f"{v[-1]:.3f}" for k, v in best.by_name.items()})
        means.append(best.accuracy[-1])
        learned = sum(c.accuracy[-1] >= 0.88 for c in result.held_out)
        rows[-1]["members over 0.88"] = f"{learned} of {len(result.held_out)}"
    write("functions", rows)
    assert min(means) >= 0.90


@pytest.mark.skipif(
    "RULEC_DATA" not in os.environ, reason="needs MNIST in IDX format: set RULEC_DATA to the folder that holds mnist/"
)
def test_transfer() -> None:
    """The same genome on other widths, depths, image sizes and data: reported, good or bad."""
    own = "mnist(size=10, pixels=standard, fold=1)"
    step, result = meta_learn("100-64-10", own, 300, 0, lr=0.01, symmetric="yes")
    pairs = [(own, net) for net in ("100-64-10", "100-256-10", "100-64-32-10", "100-64-64-64-10")]
    pairs += [
        ("mnist(size=14, pixels=standard, fold=1)", "196-64-10"),
        ("mnist(pixels=standard, fold=1)", "784-256-10"),
        ("notmnist(pixels=standard)", "784-256-10"),
        ("digits(pixels=standard)", "64-32-10"),
    ]
    curves = transfer_table(step, result.genome, pairs, episodes=16)
    write("transfer", [row(f"{c.task}, {c.network}", c) for c in curves])
    assert curves[0].accuracy[curves[0].updates.index(10)] >= 0.78  # one seed of those whose mean is judged above
