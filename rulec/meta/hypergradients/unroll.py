"""The exact hypergradient: reverse-mode differentiation through every update of the inner loop.

With `checkpoint` only the states between updates are kept, and each update is computed again on the way back: memory grows with
the size of the states instead of with that of everything in between. Noise is keyed by the state, so it repeats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rulec.meta.hypergradients.descent import Descent, reverse_gradient
from rulec.meta.hypergradients.interface import Settings
from rulec.meta.hypergradients.reading import check_differentiable, no_settings
from rulec.meta.objective import Scored
from rulec.meta.optimizers import optimizer_of
from rulec.meta.parameters import Free
from rulec.meta.problem import Problem, plain
from rulec.runtime.compiled import CompiledRule, Genome, State
from rulec.semantics.typed import Outer


@final
@dataclass(frozen=True)
class Unroll(Descent):
    """`through unroll`, and `through unroll with checkpoint`."""

    checkpointed: bool

    def gradient(self, problem: Problem, free: Free, number: int) -> tuple[Scored, Free]:
        return reverse_gradient(problem, free, number, again if self.checkpointed else plain)


def again(step: CompiledRule, genome: Genome, state: State, x: Tensor, y: Tensor) -> State:
    """Make one update whose insides are forgotten, and computed again for the gradient."""
    return checkpoint(plain, step, genome, state, x, y, use_reentrant=False, preserve_rng_state=False)


def read(outer: Outer, settings: Settings) -> Unroll:
    no_settings(outer)
    check_differentiable(outer)
    return Unroll(optimizer_of(outer), settings.clip, settings.patience, outer.checkpoint)
