"""What the calls of a traced module mean: the one table of supported modules, functions and methods.

To add a module or a function that means the same as one here: add a row. For a new meaning, also add an operation.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.utils import parametrize


@dataclass(frozen=True)
class Meaning:
    """A kind of operation, and the names of its settings: a module's attributes or a function's parameters."""

    kind: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """One node of the trace, understood: what it does, to the values of which nodes, how."""

    kind: str
    inputs: tuple[fx.Node, ...]
    arguments: tuple[Any, ...]  # as written by position, nodes for tensors
    settings: Mapping[str, Any]
    module: nn.Module | None
    path: str  # of the module; empty for functions


_POOLING = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_AVERAGING = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
_NORMALISING = ("eps", "affine")

MODULES: dict[type[nn.Module], Meaning] = {
    nn.Linear: Meaning("linear"),
    nn.Conv2d: Meaning("conv"),
    nn.BatchNorm1d: Meaning("batch", _NORMALISING),
    nn.BatchNorm2d: Meaning("batch", _NORMALISING),
    nn.LayerNorm: Meaning("layer", ("eps", "normalized_shape", "elementwise_affine")),
    nn.GroupNorm: Meaning("group", ("eps", "affine", "num_groups")),
    nn.InstanceNorm2d: Meaning("instance", _NORMALISING),
    nn.ReLU: Meaning("relu"),
    nn.Tanh: Meaning("tanh"),
    nn.Sigmoid: Meaning("sigmoid"),
    nn.Softplus: Meaning("softplus", ("beta", "threshold")),
    nn.ELU: Meaning("elu", ("alpha",)),
    nn.LeakyReLU: Meaning("leaky_relu", ("negative_slope",)),
    nn.GELU: Meaning("gelu", ("approximate",)),
    nn.SiLU: Meaning("silu"),
    nn.SELU: Meaning("selu"),
    nn.Softsign: Meaning("softsign"),
    nn.Softmax: Meaning("softmax", ("dim",)),
    nn.MaxPool2d: Meaning("max_pool", _POOLING),
    nn.AvgPool2d: Meaning("avg_pool", _AVERAGING),
    nn.AdaptiveAvgPool2d: Meaning("adaptive_avg_pool", ("output_size",)),
    nn.AdaptiveMaxPool2d: Meaning("adaptive_max_pool", ("output_size", "return_indices")),
    nn.Flatten: Meaning("reshape"),
    nn.ZeroPad2d: Meaning("pad", ("padding",)),
    nn.Identity: Meaning("same"),
    nn.Dropout: Meaning("dropout", ("p", "training")),
    nn.Dropout2d: Meaning("dropout", ("p", "training")),
}

_RELU = Meaning("relu", ("inplace",))
_SOFTMAX = Meaning("softmax", ("dim",))
_ADD = Meaning("add", ("other", "alpha"))
_CAT = Meaning("cat", ("dim",))
_PAD = Meaning("pad", ("padding", "mode", "value"))
_MEAN = Meaning("mean", ("dim", "keepdim"))
_DROPOUT = Meaning("dropout", ("p", "training", "inplace"))

# The first parameter of each is the value itself, and is left out of the names.
FUNCTIONS: dict[Any, Meaning] = {
    F.relu: _RELU,
    F.relu_: Meaning("relu"),
    torch.relu: Meaning("relu"),
    torch.relu_: Meaning("relu"),
    F.tanh: Meaning("tanh"),
    torch.tanh: Meaning("tanh"),
    torch.tanh_: Meaning("tanh"),
    F.sigmoid: Meaning("sigmoid"),
    torch.sigmoid: Meaning("sigmoid"),
    torch.sigmoid_: Meaning("sigmoid"),
    torch.sin: Meaning("sin"),
    torch.sin_: Meaning("sin"),
    F.softplus: Meaning("softplus", ("beta", "threshold")),
    F.elu: Meaning("elu", ("alpha", "inplace")),
    F.leaky_relu: Meaning("leaky_relu", ("negative_slope", "inplace")),
    F.gelu: Meaning("gelu", ("approximate",)),
    F.silu: Meaning("silu", ("inplace",)),
    F.selu: Meaning("selu", ("inplace",)),
    torch.selu: Meaning("selu"),
    F.softsign: Meaning("softsign"),
    F.softmax: Meaning("softmax", ("dim", "_stacklevel", "dtype")),
    torch.softmax: _SOFTMAX,
    torch.max_pool2d: Meaning("max_pool", (*_POOLING[:5], "return_indices")),
    F.max_pool2d: Meaning("max_pool", _POOLING),
    F.avg_pool2d: Meaning("avg_pool", _AVERAGING),
    F.adaptive_avg_pool2d: Meaning("adaptive_avg_pool", ("output_size",)),
    F.adaptive_max_pool2d: Meaning("adaptive_max_pool", ("output_size", "return_indices")),
    torch.flatten: Meaning("reshape"),
    torch.reshape: Meaning("reshape"),
    torch.squeeze: Meaning("reshape"),
    torch.mean: _MEAN,
    F.pad: _PAD,
    torch.add: _ADD,
    operator.add: _ADD,
    operator.iadd: _ADD,
    torch.cat: _CAT,
    torch.concat: _CAT,
    torch.concatenate: _CAT,
    F.dropout: _DROPOUT,
    F.dropout2d: _DROPOUT,
}

METHODS: dict[str, Meaning] = {
    **{name: Meaning(name) for name in ("relu", "tanh", "sigmoid", "sin")},
    **{f"{name}_": Meaning(name) for name in ("relu", "tanh", "sigmoid", "sin")},
    "softmax": _SOFTMAX,
    **{name: Meaning("reshape") for name in ("view", "reshape", "flatten", "squeeze", "unsqueeze")},
    "mean": _MEAN,
    "add": _ADD,
    "add_": _ADD,
    "contiguous": Meaning("same"),
    "clone": Meaning("same"),
}


def supported_names() -> list[str]:
    """Return the names of the supported modules, then of the functions."""
    functions = {getattr(one, "__name__", "").strip("_") for one in FUNCTIONS} | set(METHODS)
    names = sorted(name for name in functions if name.isidentifier() and not name.endswith("_") and name != "iadd")
    return [*(one.__name__ for one in MODULES), *names]


def module_meaning(module: nn.Module) -> Meaning | None:
    """Return what a module does; a subclass counts as its parent if it computes with the parent's own code."""
    for known, meaning in MODULES.items():
        if isinstance(module, known) and all(
            getattr(type(module), name, None) is getattr(known, name, None) for name in ("forward", "_conv_forward")
        ):
            return meaning
    return None


def is_altered(module: nn.Module) -> bool:
    """Return whether hooks or parametrisations change what a module computes."""
    return bool(module._forward_hooks or module._forward_pre_hooks or parametrize.is_parametrized(module))


def read_call(node: fx.Node, modules: Mapping[str, nn.Module], constants: Mapping[fx.Node, Any]) -> Call | None:
    """Understand a node; None if it is not in the table. `constants` holds the values that are no tensors."""
    arguments = fx.map_arg(node.args, lambda one: constants.get(one, one))
    keywords = fx.map_arg(node.kwargs, lambda one: constants.get(one, one))
    if node.op == "call_module":
        path = str(node.target)
        meaning = module_meaning(modules[path])
        if meaning is None:
            return None
        settings = {name: getattr(modules[path], name) for name in meaning.settings}
        return Call(meaning.kind, nodes_in((arguments, keywords)), arguments, settings, modules[path], path)
    table: Mapping[Any, Meaning] = METHODS if node.op == "call_method" else FUNCTIONS
    meaning = table.get(node.target)
    if meaning is None:
        return None
    settings = dict(zip(meaning.settings, arguments[1:], strict=False)) | keywords
    return Call(meaning.kind, nodes_in((arguments, keywords)), arguments, settings, None, "")


def nodes_in(arguments: Any) -> tuple[fx.Node, ...]:
    """Return the nodes among nested arguments, in order, as often as they occur."""
    found: list[fx.Node] = []

    def note(node: fx.Node) -> fx.Node:
        found.append(node)
        return node

    fx.map_arg(arguments, note)
    return tuple(found)
