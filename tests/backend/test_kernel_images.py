"""Generated convolutions and pools against torch, with their derivatives; and unrolls of networks that have them."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import rulec
from rulec.backend.kernel import build
from tests.backend.test_kernel import run_function
from tests.rules.by_hand.networks import compiled_on
from tests.runtime.test_unroll import Case, assert_same

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RULEC_CXX", raising=False)
    monkeypatch.setattr(build, "FLAGS", tuple("-O1" if flag == "-O3" else flag for flag in build.FLAGS))


def image(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def with_derivatives(function: Callable[..., Tensor]) -> Callable[..., list[Tensor]]:
    """Return the value, and the derivatives of a sum of tanh of it by every argument, whose derivatives are part of a third."""

    def made(*given: Tensor) -> list[Tensor]:
        leaves = [g.detach().requires_grad_() for g in given]
        with torch.enable_grad():
            value = function(*leaves)
            slopes = torch.autograd.grad(value.tanh().sum(), leaves, create_graph=True)
            again = torch.autograd.grad(sum(s.square().sum() for s in slopes), leaves)
        return [value.detach(), *(s.detach() for s in slopes), *again]

    return made


def assert_alike(function: Callable[..., Tensor], *given: Tensor) -> None:
    whole = with_derivatives(function)
    for one, other in zip(run_function(whole, list(given)), whole(*given), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


CONVOLUTIONS = [
    {},
    {"stride": 2, "padding": 1},
    {"stride": (1, 2), "padding": (0, 2), "dilation": (2, 1)},
    {"groups": 2, "padding": 1},
]


@pytest.mark.parametrize("settings", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("turned", [False, True], ids=["plain", "transposed"])
def test_convolutions(settings: dict[str, object], turned: bool):
    groups = int(settings.get("groups", 1))  # type: ignore[call-overload]
    x, weight = image(2, 4, 6, 7), image(4, 3, 3, 2) if turned else image(6, 4 // groups, 3, 2)
    convolve = F.conv_transpose2d if turned else F.conv2d
    assert_alike(lambda x, w: convolve(x, w, **settings), x, weight)  # type: ignore[operator]


def test_a_convolution_with_one_number_per_patch_copies_nothing():
    assert_alike(F.conv2d, image(2, 3, 4, 4), image(5, 3, 1, 1))


def test_a_bias():
    assert_alike(F.conv2d, image(2, 3, 4, 4), image(5, 3, 2, 2), image(5))


POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: F.avg_pool2d(x, 2),
    "mean with padding": lambda x: F.avg_pool2d(x, 3, stride=2, padding=1),
    "mean without counting padding": lambda x: F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False),
    "mean, rounded up": lambda x: F.avg_pool2d(x, 2, stride=2, ceil_mode=True),
    "mean with a divisor": lambda x: F.avg_pool2d(x, (2, 3), divisor_override=4),
}


@pytest.mark.parametrize("name", POOLS)
def test_means_of_patches(name: str):
    assert_alike(POOLS[name], image(2, 3, 5, 7))


@pytest.mark.parametrize("settings", [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}], ids=str)
def test_largest_of_patches(settings: dict[str, int]):
    def picked(x: Tensor) -> list[Tensor]:
        flat = x.flatten(2)
        values, places = F.max_pool2d(x, return_indices=True, **settings)
        where = places.flatten(2)
        taken = flat.gather(-1, where)
        return [values, taken, torch.zeros_like(flat).scatter_add(-1, where, taken.tanh())]

    x = image(2, 3, 5, 6)
    for one, other in zip(run_function(picked, [x]), picked(x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


NETWORKS = [("blur", "2x4x4-conv(3,padding=1)-avgpool-2"), ("backprop", "1x6x6-conv(3,stride=2)-conv(2)-maxpool-2")]


@pytest.mark.parametrize(("name", "net"), NETWORKS, ids=[name for name, _ in NETWORKS])
def test_unrolls_are_those_of_a_loop_under_autograd(name: str, net: str):
    compiled = rulec.load(name).compile(net, replicas=2, loss="mse", dtype="float64", backend="kernel")
    assert_same(Case(compiled, 3), ("unroll", "lesson"))


@pytest.mark.experiment
@pytest.mark.parametrize("net", ["conv", "residual"])
@pytest.mark.parametrize("name", ["blur", "backprop", "adam", "equilibrium_propagation", "node_perturbation"])
def test_more_networks(name: str, net: str):
    assert_same(Case(compiled_on(rulec.load(name), net, loss="mse", backend="kernel"), 3), ("unroll", "lesson"))
