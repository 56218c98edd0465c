"""What hand-written rules share: their form, and the comparison with the compiled ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rulec.runtime.compiled import CompiledRule
from rulec.runtime.rule import Rule
from tests.rules.by_hand.chain import LOSSES, Chain

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Task:
    """What a hand-written step reads. `noise` is named after its site in the rule and its place in the network."""

    chain: Chain
    genome: Mapping[str, Tensor]
    x: Tensor
    y: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
    noise: Mapping[str, Tensor]

    @property
    def batch(self) -> int:
        return len(self.x)


Step = Callable[[Task, Tensors], tuple[Tensors, Tensor]]  # the task and the state to the next state and the prediction


def random_batches(
    shape: tuple[int, ...], outputs: int, count: int, size: int = 6, seed: int = 0
) -> list[tuple[Tensor, Tensor]]:
    """Return batches with inputs of both signs and targets that are distributions over the outputs."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(count):
        x = torch.randn(size, *shape, generator=generator, dtype=torch.float64)
        y = torch.softmax(2 * torch.randn(size, outputs, generator=generator, dtype=torch.float64), 1)
        batches.append((x, y))
    return batches


def disturbed(values: Tensors, seed: int = 1, size: float = 0.3) -> Tensors:
    """Move every number off its initial value, so that none is zero or one by chance; `t` and `seed` stay."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: value
        if not value.is_floating_point()
        else value + size * torch.randn(value.shape, generator=generator, dtype=value.dtype)
        for name, value in values.items()
    }


def scaled(genome: Tensors) -> Tensors:
    """Scale every number of a genome a little; positive ones stay positive and units stay below one."""
    return {name: value * 0.9 for name, value in genome.items()}


def noise_of(compiled: CompiledRule, state: Tensors, batch: int) -> Tensors:
    """Return the noise that the next step will draw, by site."""
    drawn = compiled.noise_of(compiled.lowered, int(state["seed"]), int(state["t"]) + 1, batch)
    return {site.name: value for site, value in zip(compiled.lowered.noise, drawn, strict=True)}


def difference(
    rule: Rule,
    by_hand: Step,
    chain: Chain,
    loss: str = "mse",
    steps: int = 3,
    options: Mapping[str, object] | None = None,
) -> float:
    """Run both from one disturbed state and return the largest difference in states, predictions and losses."""
    compiled = rule.compile(chain.spec, loss=loss, dtype="float64", options=options)  # type: ignore[arg-type]
    genome, state = scaled(compiled.init_genome(0)), disturbed(compiled.init_state(0))
    own, worst = {k: v for k, v in state.items() if k not in ("t", "seed")}, 0.0
    for x, y in random_batches(chain.input_shape, chain.outputs, steps):
        task = Task(chain, genome, x, y, LOSSES[loss], noise_of(compiled, state, len(x)))
        state, output = compiled(genome, state, x, y)
        own, prediction = by_hand(task, own)
        assert set(own) == set(state) - {"t", "seed"}
        gaps = [apart(own[name], state[name]) for name in own]
        worst = max(
            [worst, apart(prediction, output.prediction), apart(task.loss(prediction, y).mean(), output.loss), *gaps]
        )
    return worst


def apart(a: Tensor, b: Tensor) -> float:
    """Return the largest difference, relative where numbers are large; what is not a number is infinitely far off."""
    assert a.shape == b.shape, (a.shape, b.shape)
    gap = ((a - b).abs() / (1 + b.abs())).max().item() if a.numel() else 0.0
    return gap if gap == gap else float("inf")
