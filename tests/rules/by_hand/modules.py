"""Modules to trace, with everything a path can hold, and the names of their parameters in a rule's state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rulec.network.graph import Dense, Network


class ResidualDense(nn.Module):
    """Two residual additions, one through weights of its own."""

    def __init__(self, act: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.short, self.last = nn.Linear(5, 6, bias=False), nn.Linear(6, 3)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.first(x))
        h = self.act(self.second(h) + h)
        h = self.act(self.third(h) + self.short(x))
        return self.last(h)


class ConcatDense(nn.Module):
    """Later layers read earlier ones side by side, the input among them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 4), nn.Linear(9, 6), nn.Linear(15, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.sigmoid(self.a(x))
        b = F.gelu(self.b(torch.cat([x, a], 1)))
        return self.c(torch.cat([a, b, x], 1))


class ResidualConv(nn.Module):
    """Two blocks with normalisation; the second changes the size, with a strided shortcut.

    Rules have one bias per layer. Without normalisation the shortcut ends in the same layer as the third convolution.
    """

    def __init__(
        self, norm: Callable[[int], nn.Module] = nn.BatchNorm2d, act: Callable[[Tensor], Tensor] = torch.relu
    ) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(2, 4, 3, padding=1), norm(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding=1), norm(4)
        self.conv3, self.norm3 = nn.Conv2d(4, 6, 3, padding=1, stride=2), norm(6)
        alone = not isinstance(self.norm3, nn.Identity)
        self.short, self.head, self.act = nn.Conv2d(4, 6, 1, stride=2, bias=alone), nn.Linear(6, 3), act

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.norm1(self.conv1(x)))
        h = self.act(self.norm2(self.conv2(h)) + h)
        h = self.act(self.norm3(self.conv3(h)) + self.short(h))
        return self.head(F.adaptive_avg_pool2d(h, 1).flatten(1))


class ConcatConv(nn.Module):
    """Channels side by side, then overlapping max-pooling of both, dilation and groups."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(6, 4, 3, padding=2, dilation=2, groups=2)
        self.c, self.head = nn.Conv2d(10, 10, 3, groups=10), nn.Linear(10, 3)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        a = F.silu(self.a(x))
        b = torch.tanh(self.b(torch.cat([x, a], 1)))
        h = F.max_pool2d(torch.cat([a, b, x], 1), 3, 2, 1)
        h = F.softplus(self.c(h))
        return torch.tanh(self.norm(self.head(F.avg_pool2d(h, 2, 1, 1, count_include_pad=False).mean((2, 3)))))


class Padded(nn.Module):
    """Zero padding on some sides, "same" padding of an even kernel, and a residual sum of pooled values."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 3, 2, padding="same"), nn.Conv2d(3, 3, 3, padding=1)
        self.pad, self.head = nn.ZeroPad2d((1, 0, 2, 1)), nn.Linear(3 * 5 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.tanh(self.a(self.pad(x)))
        b = torch.sigmoid(self.b(a) + a)
        h = F.max_pool2d(a, 2) + F.avg_pool2d(b, 2)
        return self.head(F.pad(h, (0, 0, 0, 0)).flatten(1))


def dense_norm(norm: Callable[[int], nn.Module], hidden: Callable[[Tensor], Tensor] = torch.tanh) -> nn.Module:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm1, self.second = nn.Linear(5, 6), norm(6), nn.Linear(6, 6)
            self.norm2, self.third = norm(6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = hidden(self.norm1(self.first(x)))
            return self.third(hidden(self.norm2(self.second(h))))

    return Normed()


@dataclass(frozen=True)
class Traced:
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    norm: bool = False


MODULES: dict[str, Traced] = {
    "residual-dense": Traced(ResidualDense, (5,)),
    "residual-dense-relu": Traced(lambda: ResidualDense(torch.relu), (5,)),
    "concat-dense": Traced(ConcatDense, (5,)),
    "batchnorm-dense": Traced(lambda: dense_norm(nn.BatchNorm1d), (5,), norm=True),
    "layernorm-dense": Traced(lambda: dense_norm(nn.LayerNorm), (5,), norm=True),
    "softmax-dense": Traced(lambda: dense_norm(nn.LayerNorm, lambda z: torch.softmax(z, 1)), (5,), norm=True),
    "residual-conv-batchnorm": Traced(ResidualConv, (2, 6, 6), norm=True),
    "residual-conv-batchnorm-fixed": Traced(
        lambda: ResidualConv(lambda n: nn.BatchNorm2d(n, affine=False)), (2, 6, 6), norm=True
    ),
    "residual-conv-groupnorm": Traced(lambda: ResidualConv(lambda n: nn.GroupNorm(2, n), F.silu), (2, 6, 6), norm=True),
    "residual-conv-instancenorm": Traced(
        lambda: ResidualConv(lambda n: nn.InstanceNorm2d(n, affine=True), F.gelu), (2, 6, 6), norm=True
    ),
    "residual-conv": Traced(lambda: ResidualConv(lambda n: nn.Identity(), torch.tanh), (2, 6, 6)),
    "concat-conv": Traced(ConcatConv, (2, 7, 7), norm=True),
    "padded": Traced(Padded, (2, 7, 7)),
}


def made(name: str) -> nn.Module:
    """Return a module in double precision with every parameter at random, normalising by the present batch."""
    torch.manual_seed(0)
    module = MODULES[name].make().double().train()
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data = (
            torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / max(1, parameter[0].numel()) ** 0.5
        )
    return module


def weights(module: nn.Module, network: Network) -> Iterator[tuple[str, Tensor, bool]]:
    """Yield (connection, the module's own parameter, whether the state has it transposed)."""
    for connection in network.weighted:
        yield connection.name, module.get_submodule(connection.module).weight, isinstance(connection.weights, Dense)


def biases(module: nn.Module, network: Network) -> Iterator[tuple[str, str, Tensor]]:
    """Yield (connection, target layer, the module's own parameter)."""
    for connection in network.weighted:
        if connection.bias:
            yield connection.name, connection.target, module.get_submodule(connection.module).bias


def norms(module: nn.Module, network: Network) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield (layer, scale, shift) of affine normalisations."""
    for layer in network.layers:
        if layer.norm is not None and layer.norm.affine:
            owner = module.get_submodule(layer.norm.module)
            yield layer.name, owner.weight, owner.bias
