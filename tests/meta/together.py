"""Small runs of every kind, for one process and for several: `torchrun ... -m tests.meta.together FOLDER`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch

import rulec
from rulec.meta.processes import rank
from rulec.meta.train import meta_train
from rulec.semantics.typed import Call

SMALL = {"steps": 3, "seed": 4, "inner_steps": 3, "episodes": 2, "held_out_every": 2}
CURVES = ("1-5-1(tanh)", "sinusoid(shots=4)")
PLANE = ("2-3-1(tanh)", "functions")


GOING = """
outer going
  genome
    decay : positive = 0.05
  inner sgd(lr = 0.3) for 3 of 6 steps on support, plus decay * norm(w)^2
  key e = normal(0, 1)
  tasks y = y + e
  meta decay
  minimize loss on query
  by adam(lr = 0.1)
"""


def _run(rule, net, task, outer, *, through=None, tasks=None, batch=8, options=None, horizon=None, text="", **axes):
    loaded = rulec.parse(rulec.load(rule).text + text) if text else rulec.load(rule)
    step = loaded.outer("going" if text else outer)
    if horizon is not None:
        step = dataclasses.replace(step, horizon=horizon)
    if through is not None:
        step = dataclasses.replace(step, through=Call(outer, (), through, step.through.span))
    if tasks is not None:
        step = dataclasses.replace(step, settings={**step.settings, "tasks": tasks})
    compiled = loaded.compile(net, loss="mse", dtype="float64", options=options or {}, **axes)
    return meta_train(compiled, task, step, batch=batch, **SMALL)


# Two processes have 2 and 3 of five tasks, and 1 and 2 of three members.
CASES = {
    "maml": lambda: _run("sgd", *CURVES, "maml", tasks=5, batch=4),
    "a task each": lambda: _run("sgd", *CURVES, "maml", tasks=2, batch=4),
    "reptile, replicas": lambda: _run("sgd", *CURVES, "reptile", tasks=5, batch=4, replicas=2),
    "imaml": lambda: _run("sgd", *CURVES, "imaml", tasks=5, batch=4),
    "noise": lambda: _run("node_perturbation", *PLANE, "first_order", tasks=3, replicas=2),
    "blur": lambda: _run("blur", *PLANE, "adam", population=3, options={"recipe": "normalised"}),
    "directions": lambda: _run("momentum", *PLANE, "forward", through={"directions": 2}, population=3),
    "differences": lambda: _run("momentum", *PLANE, "finite_difference"),
    "es": lambda: _run("momentum", *PLANE, "es", through={"pairs": 3}),
    "es, tasks": lambda: _run("backprop", *PLANE, "es", through={"pairs": 2}, tasks=3, population=2),
    "pes": lambda: _run("backprop", *PLANE, "pes", through={"pairs": 3}, horizon=6, population=3),
    "pes, tasks": lambda: _run("backprop", *PLANE, "pes", through={"pairs": 2}, horizon=6, tasks=3),
    "on, tasks": lambda: _run("sgd", *CURVES, "unroll", through={}, tasks=5, batch=4, text=GOING),
    "on, candidates": lambda: _run("sgd", *CURVES, "es", through={"pairs": 3}, batch=4, text=GOING),
    "evograd": lambda: _run("sgd", *CURVES, "evograd", through={}, tasks=3, batch=4, text=GOING, population=2),
    "cma": lambda: _run("momentum", *PLANE, "cma", population=5),
}


def numbers(name: str) -> dict[str, torch.Tensor]:
    """Run a case, and return all numbers of its result."""
    result = CASES[name]()
    scores = torch.tensor(result.scores, dtype=torch.float64)
    return {**result.genomes, **result.initial, **result.history.tensors(), "scores": scores}


def main() -> None:
    torch.set_num_threads(1)
    torch.save({name: numbers(name) for name in CASES}, Path(sys.argv[1]) / f"{rank()}.pt")


if __name__ == "__main__":
    main()
