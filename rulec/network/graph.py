"""The network a rule acts on: layers of neurons, connections between them.

A connection takes the values of its source layers, passes them along a *path* of operations without weights
(pooling, flattening, concatenation, ...), and applies its *weights*. What the weights see is the presynaptic
side `i` of a rule; the target layer is the postsynaptic side `j`. Normalisation and activation belong to the layer.
Nothing here needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

Shape = tuple[int, ...]  # (features,) or (channels, height, width); the batch axis is never part of it


# --- Paths: trees of operations without weights -----------------------------------------------


@dataclass(frozen=True)
class Leaf:
    """The value of a layer."""

    layer: str


@dataclass(frozen=True)
class Flatten:
    """(channels, height, width) to (features,), row-major as in torch."""

    source: Path


@dataclass(frozen=True)
class Pool:
    """Max or average pooling over height and width, as `torch.nn.functional.{max,avg}_pool2d`."""

    source: Path
    kind: str  # "max" | "avg"
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    count_include_pad: bool = True  # avg only


@dataclass(frozen=True)
class Pad:
    """Zero padding of height and width: (left, right, top, bottom)."""

    source: Path
    amounts: tuple[int, int, int, int]


@dataclass(frozen=True)
class Concat:
    """Concatenation along channels (or features)."""

    sources: tuple[Path, ...]


@dataclass(frozen=True)
class Add:
    """Elementwise sum: a residual addition of closed layers."""

    sources: tuple[Path, ...]


Path = Union[Leaf, Flatten, Pool, Pad, Concat, Add]


# --- Weights ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dense:
    """Every input to every output; stored by rules as (inputs, outputs), `x @ w`."""

    inputs: int
    outputs: int


@dataclass(frozen=True)
class Conv:
    """Two-dimensional convolution; stored as torch stores it, (outputs, inputs / groups, height, width)."""

    inputs: int
    outputs: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


Weights = Union[Dense, Conv]


# --- Layers and connections -------------------------------------------------------------------


@dataclass(frozen=True)
class Norm:
    """Normalisation of a layer's input, before its activation.

    `batch`: statistics over batch and places, always of the present batch (never running averages).
    `layer`: over all of `axes` trailing axes; `group`: over each of `groups` channel groups and places;
    `instance`: over places of each channel. `affine`: the network has a scale and shift per channel (or per
    normalised element for `layer`), named `<layer>.scale` and `<layer>.shift` among the network's parameters.
    """

    kind: str  # "batch" | "layer" | "group" | "instance"
    eps: float = 1e-5
    affine: bool = False
    groups: int = 1
    module: str = ""  # path of the module it came from, where a traced module keeps the scale and shift


@dataclass(frozen=True)
class Layer:
    """A layer of neurons. `activation` is a name of the operator table (`relu`, `tanh`, `identity`, ...)."""

    name: str
    shape: Shape
    activation: str = "identity"
    norm: Norm | None = None
    module: str = ""  # path of the module it came from, for messages


@dataclass(frozen=True)
class Connection:
    """From the layers at the leaves of `path`, through `weights` (None: passed on as it is), to layer `target`."""

    name: str
    path: Path
    weights: Weights | None
    target: str
    input_shape: Shape  # what the weights see
    bias: bool = False  # the network's own parameters include a bias here
    module: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the source layers, in order of first appearance."""
        return tuple(dict.fromkeys(leaves(self.path)))


def leaves(path: Path) -> tuple[str, ...]:
    if isinstance(path, Leaf):
        return (path.layer,)
    if isinstance(path, (Concat, Add)):
        return tuple(name for source in path.sources for name in leaves(source))
    return leaves(path.source)


@dataclass(frozen=True)
class Network:
    """Layers in topological order, the input first and the output last, and the connections among them."""

    layers: tuple[Layer, ...]
    connections: tuple[Connection, ...]  # ordered by target layer, then as met
    spec: str  # as given, or the module's class

    @property
    def input(self) -> Layer:
        return self.layers[0]

    @property
    def output(self) -> Layer:
        return self.layers[-1]

    def layer(self, name: str) -> Layer:
        return next(layer for layer in self.layers if layer.name == name)

    def incoming(self, layer: str) -> tuple[Connection, ...]:
        return tuple(c for c in self.connections if c.target == layer)

    def outgoing(self, layer: str) -> tuple[Connection, ...]:
        return tuple(c for c in self.connections if layer in c.sources)

    @property
    def weighted(self) -> tuple[Connection, ...]:
        return tuple(c for c in self.connections if c.weights is not None)
