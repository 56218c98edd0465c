"""The expert's version once more, with the first connection's updates put off: its weights change once in some updates.

Between two changes, what arrives at the first hidden layer is worked out from the updates themselves: an update adds
`x.T @ factor`, which a later batch `q` meets as `(q @ x.T) @ factor`. The products of batches need no gradient and are made
at once, and no weight is written for each update. Rounding differs; the mathematics does not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.contender import Answer, Contender, Run
from benchmarks.contenders.block import Genome, Rest, gradient, laid_out, step_above
from benchmarks.problems import Blur

CHUNK = 10
Above = Callable[[Genome, Rest, Tensor, Tensor], tuple[Rest, Tensor]]


class Chunk:
    """Some batches, one after another, and after them the query if they are the last."""

    def __init__(self, weight: Tensor, keep: Tensor, x: Tensor, query: Tensor | None) -> None:
        self.weight, self.keep = weight, keep
        self.steps, self.batch = x.shape[:2]
        self.rows = x.flatten(0, 1)
        asking = self.rows if query is None else torch.cat([self.rows, query])
        self.before = asking @ weight  # what would arrive if the weights stayed as they are
        self.meetings = asking @ self.rows.T
        self.factors: list[Tensor] = []

    def arriving(self) -> Tensor:
        """Return what arrives from the next batch, or from the query after the last one."""
        done = len(self.factors)
        rows = slice(done * self.batch, (done + 1) * self.batch if done < self.steps else None)
        if not done:
            return self.before[:, rows]
        met = self.meetings[rows, : done * self.batch] * self.decays(done)
        return self.keep**done * self.before[:, rows] + met @ torch.cat(self.factors, 1)

    def changed(self) -> Tensor:
        """Return the weights after all updates."""
        return self.keep**self.steps * self.weight + (self.rows.T * self.decays(self.steps)) @ torch.cat(
            self.factors, 1
        )

    def decays(self, done: int) -> Tensor:
        """Return how much is left of each row's update after `done` updates."""
        ages = torch.arange(done - 1, -1, -1, dtype=self.rows.dtype)
        return (self.keep**ages).repeat_interleave(self.batch)


def prepare(problem: Blur, wrap: Callable[[Above], Above]) -> Run:
    above, start = wrap(step_above), laid_out(problem)

    def run() -> Answer:
        genome = problem.leaves()
        weight, rest = start
        pieces = list(zip(problem.x.split(CHUNK), problem.y.split(CHUNK), strict=True))
        for number, (x, y) in enumerate(pieces):
            last = number == len(pieces) - 1
            chunk = Chunk(weight, genome["synapse_keep"], x, problem.query_x if last else None)
            for batch_y in y:
                rest, factor = above(genome, rest, chunk.arriving(), batch_y)
                chunk.factors.append(factor)
            if not last:
                weight = chunk.changed()
        return gradient(problem, genome, rest, chunk.arriving())

    return run


def _compiled(function: Above) -> Above:
    return torch.compile(function, dynamic=False, fullgraph=True)


EAGER: Contender[Blur] = Contender("by hand, updates put off, eager", partial(prepare, wrap=lambda f: f))
COMPILED: Contender[Blur] = Contender(
    "by hand, updates put off, step compiled", partial(prepare, wrap=_compiled), limit=180, slow_start=True
)
