"""fx = Inductor for every shipped rule, and for random rules: minutes, since each is compiled anew."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings

import rulec
from rulec.runtime.compiled import CompiledRule, Genome, State
from rulec.semantics.check import shipped_rules
from tests.numerics.test_random_programs import rules

pytestmark = [pytest.mark.experiment, pytest.mark.inductor]

RULES = sorted(p.stem for p in Path(shipped_rules()).glob("*.rule") if p.stem != "outers")


def two_steps(step: CompiledRule, genome: Genome, state: State) -> tuple[State, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    for _ in range(2):
        x = torch.randn(*step.lead_shape, 6, *step.network.input.shape, generator=generator, dtype=step.dtype)
        y = torch.softmax(torch.randn(*step.lead_shape, 6, 3, generator=generator, dtype=step.dtype), -1)
        state, out = step(genome, state, x, y)
    return state, out.prediction


@pytest.mark.parametrize("name", RULES)
def test_every_rule(name: str) -> None:
    rule = rulec.load(name)
    plain, compiled = (rule.compile("5-4-3:tanh", population=2, dtype="float64", backend=b) for b in ("fx", "inductor"))
    genome, state = plain.init_genome(0), plain.init_state(0, batch=6)
    (one, first), (other, second) = two_steps(plain, genome, state), two_steps(compiled, genome, state)
    torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-10)
    for entry, value in one.items():
        torch.testing.assert_close(value, other[entry], rtol=1e-9, atol=1e-10)


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(text=rules())
def test_random_rules(text: str) -> None:
    rule = rulec.parse(text)
    plain, compiled = (rule.compile("4-5-3:tanh", dtype="float64", loss="mse", backend=b) for b in ("fx", "inductor"))
    genome, state = plain.init_genome(0), plain.init_state(0)
    (one, first), (other, second) = two_steps(plain, genome, state), two_steps(compiled, genome, state)
    torch.testing.assert_close(first, second, rtol=1e-8, atol=1e-9)
    for entry, value in one.items():
        torch.testing.assert_close(value, other[entry], rtol=1e-8, atol=1e-9)
