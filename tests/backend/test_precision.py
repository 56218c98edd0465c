"""Products of rounded factors: as close as is said, and no closer."""

from __future__ import annotations

import pytest
import torch

import rulec
from rulec.source import RuleError


def gradient(precision: str, rule: str = "blur", net: str = "20-16-4") -> list[torch.Tensor]:
    compiled = rulec.load(rule).compile(net, replicas=2, loss="mse", backend="fx", precision=precision)
    generator = torch.Generator().manual_seed(0)
    genome = {n: v.requires_grad_() for n, v in compiled.init_genome(0).items()}
    x, y = (torch.randn(3, 32, n, generator=generator) for n in (20, 4))
    prediction = compiled.lesson(genome, compiled.init_state(0), x, y, x[0])
    found = torch.autograd.grad(prediction.square().sum(), list(genome.values()), allow_unused=True)
    return [prediction.detach(), *(g for g in found if g is not None and g.abs().max() > 1e-4)]


@pytest.mark.parametrize("rule", ["blur", "backprop"])
def test_bfloat16_is_within_its_tolerance(rule: str):
    pairs = zip(gradient("full", rule), gradient("bf16", rule), strict=True)
    apart = [float((full - rounded).norm() / full.norm()) for full, rounded in pairs]
    assert 1e-5 < apart[0] < 2e-2  # of the prediction: it is rounded, and not by much
    assert all(1e-5 < slope < 1e-1 for slope in apart[1:])


def test_tf32_is_full_precision_on_a_processor():
    for full, rounded in zip(gradient("full"), gradient("tf32"), strict=True):
        assert torch.equal(full, rounded)


def test_other_words_and_kernels_are_refused():
    with pytest.raises(RuleError, match="precision"):
        rulec.load("blur").compile("3-2", precision="fp8")
    with pytest.raises(RuleError, match="kernel-in-full"):
        rulec.load("blur").compile("3-2", precision="bf16", backend="kernel")
