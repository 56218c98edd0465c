"""The problem of the BLUR benchmarks: what every contender is given, in no contender's own layout.

The published recipe of `rules/blur.rule`: relu(tanh(.)) in both sweeps and tanh at the output, additive feedback, separate
forward and backward synapses with a bias, updates summed over the batch. The answer is the gradient of the mean squared
error on a query batch, after `steps` updates, with respect to every number of the genome.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

MATRICES = ("forward_mix", "backward_mix", "pre", "post")
SCALARS = ("neuron_keep", "neuron_gain", "synapse_keep", "synapse_gain")
GENOME = MATRICES + SCALARS


@dataclass(frozen=True)
class Blur:
    """A support sequence, a query, a genome and initial synapses.

    `genome`: matrices (states, states) and scalars, each with the population in front if there is one. Synapses, one tensor
    per connection: `forward` and `backward` (replicas, states, from, to), `bias` (replicas, states, to); genomes of a
    population start from the same ones. `x` (steps, batch, inputs) and `y` (steps, batch, outputs) are shared by all.
    """

    sizes: tuple[int, ...]
    states: int
    replicas: int
    population: int | None
    genome: Mapping[str, Tensor]
    forward: tuple[Tensor, ...]
    backward: tuple[Tensor, ...]
    bias: tuple[Tensor, ...]
    x: Tensor
    y: Tensor
    query_x: Tensor
    query_y: Tensor

    @property
    def net(self) -> str:
        return "-".join(map(str, self.sizes))

    @property
    def steps(self) -> int:
        return self.x.shape[0]

    @property
    def batch(self) -> int:
        return self.x.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.x.dtype

    def to(self, dtype: torch.dtype) -> Blur:
        """Return the same problem with rounded or widened numbers."""
        return replace(
            self,
            genome={name: value.to(dtype) for name, value in self.genome.items()},
            forward=tuple(v.to(dtype) for v in self.forward),
            backward=tuple(v.to(dtype) for v in self.backward),
            bias=tuple(v.to(dtype) for v in self.bias),
            **{name: getattr(self, name).to(dtype) for name in ("x", "y", "query_x", "query_y")},
        )

    def leaves(self) -> dict[str, Tensor]:
        """Return a copy of the genome that gradients are taken with respect to."""
        return {name: self.genome[name].detach().clone().requires_grad_() for name in GENOME}


def blur(
    sizes: tuple[int, ...],
    states: int,
    replicas: int,
    batch: int,
    steps: int,
    *,
    population: int | None = None,
    query: int | None = None,
    seed: int = 1,
) -> Blur:
    """Draw a problem in double precision.

    Synapses are kept by 0.97 and the mixes are small: over long unrolls gradients then neither vanish nor explode, and can be
    compared. How long the work takes does not depend on it.
    """
    source = torch.Generator().manual_seed(seed)
    lead = () if population is None else (population,)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=source, dtype=torch.float64)

    def uniform(*shape: int) -> Tensor:
        return 2 * torch.rand(shape, generator=source, dtype=torch.float64) - 1

    genome = {name: 0.5 * normal(*lead, states, states) for name in MATRICES}
    typical = {"neuron_keep": 0.9, "neuron_gain": 0.8, "synapse_keep": 0.97, "synapse_gain": 0.05 / batch}
    genome |= {name: value * (1 + 0.01 * normal(*lead)) for name, value in typical.items()}
    pairs = list(pairwise(sizes))
    asked = query or batch
    labels = torch.randint(sizes[-1], (steps + 1, max(batch, asked)), generator=source)
    marks = 2 * torch.nn.functional.one_hot(labels, sizes[-1]).double() - 1
    return Blur(
        sizes,
        states,
        replicas,
        population,
        genome,
        tuple(uniform(replicas, states, n, m) / n**0.5 for n, m in pairs),
        tuple(uniform(replicas, states, n, m) / m**0.5 for n, m in pairs),
        tuple(uniform(replicas, states, m) / n**0.5 for n, m in pairs),
        uniform(steps, batch, sizes[0]),
        marks[:steps, :batch],
        uniform(asked, sizes[0]),
        marks[steps, :asked],
    )
