"""Train a module of your own with a learning rule: a convolutional network with a residual connection, without its backward pass.

The genome is the one that 02_meta_learn_it.py has written, on a network of another shape; without it, a copy in the rule's file.
Run from the root of the repository: .venv/bin/python examples/03_your_own_module.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import rulec
from rulec.meta.genome_file import load_genome
from rulec.network import render_network
from rulec.runtime.compiled import CompiledRule, Genome
from rulec.tasks.registry import task_from

LEARNED = Path("runs/mixture/genome.safetensors")


class Residual(nn.Module):
    """Any code that torch.fx can trace will do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(n, 8, 3, padding=1) for n in (1, 8, 8))
        self.head = nn.Linear(8 * 4 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(x))
        x = functional.relu(x + self.third(functional.relu(self.second(x))))
        return self.head(functional.max_pool2d(x, 2).flatten(1))


def genome_for(step: CompiledRule, path: Path) -> Genome:
    """Return the genome of a file, checked against the rule; if there is none, the values that the rule begins with."""
    if not path.exists():
        print(f"{path} is not there: going on with `genome learned` of the rule's file")
        return step.init_genome()
    return load_genome(path, step).genome


def main(steps: int, genome_file: Path) -> None:
    torch.manual_seed(0)
    module = Residual()

    # The module is traced; the genome of the rule fits any network, for it says what happens at a neuron and at a synapse.
    step = rulec.load("examples/mixture.rule").compile(module, input_shape=(1, 8, 8), genome="learned")
    print(render_network(step.network), "\n")
    genome = genome_for(step, genome_file)

    # Learning starts from the module's own weights. Feedback synapses, which a module does not have, are drawn.
    state = step.from_module(module, step.init_state(seed=0))

    digits = task_from("digits(layout=image, pixels=standard)")
    lesson = digits.episode(seed=0, steps=steps, batch=64)
    exam = digits.episode(seed=0, steps=1, batch=1, query=400, held_out=True)
    images, labels = exam.query_x[0], exam.query_y[0]

    print(f"before: the module's accuracy is {digits.accuracy(module(images), labels):.3f} on held-out digits")
    for x, y in zip(lesson.support_x[:, 0], lesson.support_y[:, 0], strict=True):
        state, _ = step(genome, state, x, y)
    step.to_module(state, module)  # the weights go back
    print(f"after {steps} updates: {digits.accuracy(module(images), labels):.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a module with a learning rule.")
    parser.add_argument("--steps", type=int, default=50, help="weight updates (50)")
    parser.add_argument("--genome", type=Path, default=LEARNED, help=f"a genome file of 02 ({LEARNED})")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # tensors as small as these gain nothing from more
    main(arguments.steps, arguments.genome)
