"""The matrix products of a BLUR meta-gradient alone, forward and reverse: a lower bound for everything that makes them.

The operands are random and nothing comes between the products. Per update: every forward and backward sweep product that
is read, every synapse update as one product, accumulated where it lies; and for each of them its two reverse products,
but none for what needs no gradient (the input). The query has the forward products only, and their reverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from benchmarks.contender import Answer, Contender, Run
from benchmarks.problems import Blur


@dataclass(frozen=True)
class Product:
    """`target = left @ right`, or added to what the target holds."""

    target: Tensor
    left: Tensor
    right: Tensor
    added: bool

    def make(self) -> None:
        torch.baddbmm(self.target, self.left, self.right, beta=int(self.added), out=self.target)


def prepare(problem: Blur) -> Run:
    update, query = _products(problem, learning=True), _products(problem, learning=False)

    def run() -> Answer:
        for product in [*update * problem.steps, *query]:
            product.make()
        return {}

    return run


def _products(problem: Blur, learning: bool) -> list[Product]:
    k, r, batch = problem.states, problem.replicas, problem.batch
    pairs = list(pairwise(problem.sizes))
    made: list[Product] = []
    for number, (n, m) in enumerate(pairs):
        first, last = number == 0, number == len(pairs) - 1
        # The replicas share the input, and only one state of the output is read.
        count, width = (k, r * m) if first else (r if last else k * r, m)
        made += _connection(count, batch, n, width, fixed=first, updated=learning)
        if learning and not first:
            made += _connection(k * r, batch, m, n, fixed=False, updated=True)
    return made


def _connection(count: int, batch: int, n: int, m: int, fixed: bool, updated: bool) -> list[Product]:
    """Layer `a` to layer `h` by weight `w`: the sweep and the update, and the reverse of both; `fixed`: `a` needs no gradient."""
    a, h, w = torch.randn(count, batch, n), torch.randn(count, batch, m), torch.randn(count, n, m)
    to_a, to_h, to_w = torch.empty_like(a), torch.empty_like(h), torch.zeros_like(w)
    sweep, change = Product(to_h, a, w, added=False), Product(to_w, a.mT, h, added=True)
    back = [] if fixed else [Product(to_a, h, w.mT, added=False)]
    # The reverse of the sweep changes the gradient of the weight, as the update changes the weight; and so for the others.
    return [sweep, change, *back] * (2 if updated else 1)


ALONE: Contender[Blur] = Contender("matrix products alone", prepare, "a part of the work: a lower bound", bound=True)
