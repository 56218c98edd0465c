"""A step and its Jacobian-vector products as one graph: forward-mode differentiation along several directions at once.

`step` maps arguments to results. The graph takes the arguments and, for each that moves, tangents with a first axis of directions; it gives
the results, and their tangents. Nothing is kept from step to step but states and tangents, however many steps there are.
Baydin et al. 2018, "Automatic Differentiation in Machine Learning: a Survey", section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from rulec.backend.rewrites import rewritten


def with_tangents(
    step: Callable[..., Sequence[Tensor]], examples: Sequence[Tensor], moving: Sequence[int], directions: int
) -> fx.GraphModule:
    """Trace for arguments like `examples`, of which those numbered in `moving` have tangents along so many directions.

    The graph's arguments are those of the step, then the tangents; its results those of the step, then theirs (directions, ...).
    """
    assert len({id(e) for e in examples}) == len(examples)

    def joint(arguments: list[Tensor], tangents: list[Tensor]) -> list[Any]:
        def of_moving(*values: Tensor) -> tuple[Tensor, ...]:
            given = list(arguments)
            for place, value in zip(moving, values, strict=True):
                given[place] = value
            return tuple(step(*given))

        now = tuple(arguments[k] for k in moving)

        def along(*direction: Tensor) -> tuple[Tensor, ...]:
            return torch.func.jvp(of_moving, now, direction)[1]  # type: ignore[no-any-return]

        turned = torch.func.vmap(along)(*tangents)
        return [*(r.contiguous() for r in of_moving(*now)), *(t.contiguous() for t in turned)]

    likes = [examples[k].new_empty(directions, *examples[k].shape) for k in moving]
    return rewritten(make_fx(joint, tracing_mode="fake")(list(examples), likes))
