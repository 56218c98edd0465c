"""A chain of layers for hand-written rules: the three maps of each connection, from torch's own operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Map = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Map] = {
    "identity": lambda z: z,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "softplus": F.softplus,
    "relu": torch.relu,
    "silu": F.silu,
    "relu_tanh": lambda z: torch.relu(torch.tanh(z)),
}

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # one number per sample
    "mse": lambda prediction, target: ((prediction - target) ** 2).mean(1),
    "cross_entropy": lambda prediction, target: -(torch.log_softmax(prediction, 1) * target).sum(1),
}


@dataclass(frozen=True)
class Link:
    """A connection and the layer it leads to: `path` lies before the weights, `linear(seen, w)` applies them."""

    path: Map
    linear: Callable[[Tensor, Tensor], Tensor]
    act: Map
    layer: str

    def send(self, w: Tensor, x: Tensor) -> Tensor:
        return self.linear(self.path(x), w)

    def back(self, w: Tensor, x: Tensor, d: Tensor) -> Tensor:
        """Carry `d` from the target's neurons to those of the source, whose signal `x` decides max-pooling."""
        return pulled(lambda u: self.send(w, u), x, d)

    def outer(self, x: Tensor, d: Tensor, w: Tensor) -> Tensor:
        """Sum the product of what the weights see of `x` with `d`, over samples and places; `w` gives the shape."""
        return pulled(lambda u: self.linear(self.path(x), u), w, d)

    def slope(self, z: Tensor, d: Tensor) -> Tensor:
        return pulled(self.act, z, d)


def pulled(function: Map, at: Tensor, cotangent: Tensor) -> Tensor:
    """Return the transposed Jacobian of a function times a cotangent."""
    point = at.detach().requires_grad_()
    return torch.autograd.grad(function(point), point, cotangent)[0]


def per_channel(d: Tensor) -> Tensor:
    """Sum over samples and places: what reaches a bias."""
    return d.sum((0, *range(2, d.ndim)))


def spread(b: Tensor, ndim: int) -> Tensor:
    """Give a value per channel the axes of places."""
    return b.reshape(-1, *[1] * (ndim - 2))


@dataclass(frozen=True)
class Chain:
    """The same network as a spec, written with torch's own functions."""

    spec: str
    input_shape: tuple[int, ...]
    links: tuple[Link, ...]
    outputs: int


def dense(act: str, layer: str, path: Map = lambda x: x) -> Link:
    return Link(path, lambda seen, w: seen @ w, ACTIVATIONS[act], layer)


def conv(act: str, layer: str, path: Map = lambda x: x, **settings: int) -> Link:
    return Link(path, lambda seen, w: F.conv2d(seen, w, None, **settings), ACTIVATIONS[act], layer)


def dense_chain(act: str = "tanh", depth: int = 3, last: str = "identity") -> Chain:
    sizes = (5, 6, 4, 5)[:depth]
    layers = [f"hidden{k}" for k in range(1, depth)]
    spec = f"{'-'.join(map(str, sizes))}-3({last}) : {act}"
    return Chain(spec, (5,), (*(dense(act, layer) for layer in layers), dense(last, "output")), 3)


def conv_chain(act: str = "tanh", last: str = "identity") -> Chain:
    """Strides, groups, padding; average pooling in between and before the dense layer."""
    spec = f"2x8x8-conv(4)-avgpool-conv(6, stride=2, groups=2, kernel=3, padding=1)-avgpool-3({last}) : {act}"
    return Chain(
        spec,
        (2, 8, 8),
        (
            conv(act, "hidden1", padding=1),
            conv(act, "hidden2", lambda x: F.avg_pool2d(x, 2), stride=2, groups=2, padding=1),
            dense(last, "output", lambda x: F.avg_pool2d(x, 2).flatten(1)),
        ),
        3,
    )


def max_chain(act: str = "tanh") -> Chain:
    """Overlapping windows, padding, and no padding at all."""
    spec = f"2x7x7-conv(3, kernel=2x3, padding=0x1)-maxpool(3, stride=2, padding=1)-conv(4, kernel=2, padding=0)-maxpool-3 : {act}"
    return Chain(
        spec,
        (2, 7, 7),
        (
            conv(act, "hidden1", padding=(0, 1)),
            conv(act, "hidden2", lambda x: F.max_pool2d(x, 3, 2, 1)),
            dense("identity", "output", lambda x: F.max_pool2d(x, 2).flatten(1)),
        ),
        3,
    )
