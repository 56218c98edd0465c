"""The interpreter, the fx graph and Inductor give the same steps: every rule, every option, both losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rulec import RuleError, load
from rulec.oracle.interpreter import interpret
from rulec.runtime.compiled import CompiledRule
from tests.rules.by_hand.networks import NETS, RULES, choices, compiled_on, gentle
from tests.rules.by_hand.step import Tensors, apart, disturbed, noise_of, random_batches

CLOSE, STEPS = 1e-10, 3
VARIANTS = [
    pytest.param(name, options, id="-".join([name, *(f"{k}={v}" for k, v in options.items())]))
    for name in RULES for options in choices(load(name))
]


def interpreted(compiled: CompiledRule, genome: Tensors, state: Tensors, x: Tensor, y: Tensor, noise: Tensors) -> tuple[Tensors, Tensor, Tensor]:
    """Run the numpy interpreter on the program as built, before any pass of the compiler."""
    arrays = {key: value.numpy() for key, value in state.items() if key not in ("t", "seed")}
    drawn = {key: value.numpy() for key, value in noise.items()}

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        assert drawn[name].shape == shape
        return drawn[name]

    result = interpret(compiled.program, compiled.network, compiled.loss, {key: value.numpy() for key, value in genome.items()},
                       arrays, x.numpy(), y.numpy(), int(state["t"]) + 1, draw)
    new = {key: torch.from_numpy(np.asarray(value)) for key, value in result.state.items()}
    return new, torch.from_numpy(np.array(result.prediction)), torch.tensor(result.loss, dtype=torch.float64)


def assert_interpreted(compiled: CompiledRule, net: str) -> None:
    genome, state = gentle(compiled.init_genome(0)), disturbed(compiled.init_state(0, batch=6), size=0.2)
    if compiled.program.acts_on_parameters:  # running means of squares
        state = {key: value.abs() if key.startswith("v.") else value for key, value in state.items()}
    for x, y in random_batches(NETS[net].shape, NETS[net].outputs, STEPS):
        noise = noise_of(compiled, state, len(x))
        expected, prediction, loss = interpreted(compiled, genome, state, x, y, noise)
        state, output = compiled(genome, state, x, y)
        assert set(expected) == set(state) - {"t", "seed"}
        assert max(apart(expected[key], state[key]) for key in expected) < CLOSE
        assert apart(prediction, output.prediction) < CLOSE
        assert apart(loss, output.loss) < CLOSE


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_interpreter(name: str, options: Mapping[str, Any], net: str, loss: str) -> None:
    try:
        compiled = compiled_on(load(name), net, loss=loss, options=options)
    except RuleError as error:
        print("REFUSED", name, options, net, error.diagnostics[0].id, error.diagnostics[0].label)
        raise
    assert_interpreted(compiled, net)
