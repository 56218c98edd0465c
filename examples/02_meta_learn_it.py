"""Meta-learn the four numbers in the genome of a rule, so that twenty updates teach as much as they can.

The outer step differentiates the loss after twenty updates with respect to the genome, and moves the genome; each of its steps
starts from fresh synapses and fresh data. The genome and two pictures are written to a folder; 03_your_own_module.py goes on with
them. Run from the root of the repository: .venv/bin/python examples/02_meta_learn_it.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import rulec
from rulec.meta.evaluate import evaluate
from rulec.meta.train import Progress
from rulec.report.plots import learning_curves, training_curves

TASK = "digits(pixels=standard)"
INNER_STEPS = 20
UPDATES = (0, 1, 2, 5, 10, 20, 50)


def show(progress: Progress) -> None:
    after = f"loss {progress.loss[0]:.3f}   accuracy {progress.accuracy[0]:.3f}"
    print(f"meta-step {progress.done:3}   after the inner loop: {after}")


def main(steps: int, out: Path) -> None:
    # The rule of this file is a mixture: errors through feedback synapses, momentum, decay, and feedback that may follow the
    # forward synapses. How much of each is left to the genome.
    rule = rulec.load("examples/mixture.rule")
    step = rule.compile("1x8x8-conv(8)-conv(8,pool=2)-10")
    begun = step.init_genome()

    # `adam` is one of the outer steps that come with rulec: exact gradients through the inner loop, and Adam on the genome.
    # Run a second time, it goes on from where it was: there is nothing left to do, and the results are shown again.
    settings = {
        "steps": steps,
        "inner_steps": INNER_STEPS,
        "lr": 0.05,
        "batch": 64,
        "out": out,
        "resume": (out / "history.jsonl").exists(),
    }
    result = rulec.meta_train(step, TASK, "adam", progress=show, **settings)

    print("\nentry     domain     begun at    learned")
    for name, entry in step.genome_spec.items():
        print(f"{name:8}  {entry.domain!s:9}  {begun[name]:8.4f}   {result.genome[name]:8.4f}")

    # Judged on digits that neither the inner loops nor the outer step have seen, with synapses drawn anew.
    curves = {
        "as declared": evaluate(step, begun, TASK, updates=UPDATES, batch=64),
        "meta-learned": evaluate(step, result.genome, TASK, updates=UPDATES, batch=64),
    }
    print()
    for name, curve in curves.items():
        print(f"{name:13} accuracy {curve.at(INNER_STEPS):.3f} after {INNER_STEPS} updates")

    learning = learning_curves(curves, out / "learning.png", trained_for=INNER_STEPS)
    for path in (*result.paths.values(), learning, training_curves(result.history, out / "training.png")):
        print(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Meta-learn a small genome on digits.")
    parser.add_argument("--steps", type=int, default=40, help="meta-steps (40)")
    parser.add_argument("--out", type=Path, default=Path("runs/mixture"), help="where files go (runs/mixture)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # tensors as small as these gain nothing from more
    try:
        main(arguments.steps, arguments.out)
    except rulec.RuleError as error:
        raise SystemExit(str(error)) from None
