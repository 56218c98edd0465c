"""The value of every node of a trace, found by running it on tensors without data: shapes, and what is overwritten."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from rulec.network.graph import Shape

BATCH = 2


class FailedCall(Exception):
    """A call that torch refuses, with the shapes it was given."""

    def __init__(self, node: fx.Node, reason: str, shapes: list[Shape]) -> None:
        super().__init__(reason)
        self.node, self.reason, self.shapes = node, reason, shapes


@dataclass
class Values:
    """`of` holds the value of each node; `overwritten` says, for (reader, node), by which call the node was changed."""

    of: dict[fx.Node, Any] = field(default_factory=dict)
    overwritten: dict[tuple[fx.Node, fx.Node], fx.Node] = field(default_factory=dict)

    @property
    def constants(self) -> dict[fx.Node, Any]:
        """The values that hold no tensors: sizes and what is computed from them."""
        return {node: value for node, value in self.of.items() if not holds_tensor(value)}


def evaluate(nodes: Iterable[fx.Node], root: nn.Module, input_shape: Shape) -> Values:
    """Run `nodes`, in order, on a batch on the meta device; raise `FailedCall` where torch refuses.

    Neither the parameters nor the running averages of `root` change.
    """
    values, stale = Values(), dict[fx.Node, fx.Node]()
    modules = dict(root.named_modules())
    like = next((one for one in root.parameters() if one.is_floating_point()), torch.empty(0))
    with torch.device("meta"), torch.no_grad():
        data = torch.empty((BATCH, *input_shape), dtype=like.dtype)
        for node in nodes:
            versions = {one: _versions(values.of[one]) for one in node.all_input_nodes}
            values.of[node] = data if node.op == "placeholder" else _run(node, values.of, root, modules)
            if holds_tensor(values.of[node]) or node.op == "output":
                reads = {(node, one): stale[one] for one in node.all_input_nodes if one in stale}
                values.overwritten.update(reads)
            for one, before in versions.items():
                if _versions(values.of[one]) != before:
                    stale |= {alias: node for alias in _aliases(one, values.of) if alias is not node}
    return values


def in_place(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Return whether a call may overwrite its input, so that it matters even if its result is not used."""
    if node.op == "call_module":
        return bool(getattr(modules.get(str(node.target)), "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    overwrites = name.endswith("_") and not name.endswith("__")
    return overwrites or node.target is operator.iadd or bool(node.kwargs.get("inplace"))


def holds_tensor(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(holds_tensor(one) for one in value)
    return isinstance(value, Tensor)


def _run(node: fx.Node, known: Mapping[fx.Node, Any], root: nn.Module, modules: Mapping[str, nn.Module]) -> Any:
    arguments: Any = fx.map_arg(node.args, known.__getitem__)
    keywords: Any = fx.map_arg(node.kwargs, known.__getitem__)
    try:
        if node.op == "call_module":
            return _run_module(modules[str(node.target)], arguments, keywords)
        if node.op == "call_method":
            return getattr(arguments[0], str(node.target))(*arguments[1:], **keywords)
        if node.op == "get_attr":
            value = operator.attrgetter(str(node.target))(root)
            return value.to("meta") if isinstance(value, Tensor) else value
        if node.op == "output":
            return arguments[0]
        assert callable(node.target)
        return node.target(*arguments, **keywords)
    except Exception as error:  # whatever torch or the module's own code raises is a fact about the user's module
        shapes = [tuple(one.shape[1:]) for one in _tensors((arguments, tuple(keywords.values())))]
        raise FailedCall(node, _first_line(error), shapes) from error


def _run_module(module: nn.Module, arguments: Any, keywords: Any) -> Any:
    """Call a module with stand-ins for its parameters and buffers, so that running averages stay as they are."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    stand_ins: dict[str, Tensor] = {name: tensor.to("meta") for name, tensor in tensors.items()}
    return functional_call(module, stand_ins, arguments, keywords)


def _versions(value: Any) -> tuple[int, ...]:
    return tuple(one._version for one in _tensors(value))


def _aliases(node: fx.Node, known: Mapping[fx.Node, Any]) -> list[fx.Node]:
    """Return the nodes that share memory with a node's value."""
    storages = {one.untyped_storage()._cdata for one in _tensors(known[node])}
    return [
        other
        for other, value in known.items()
        if any(one.untyped_storage()._cdata in storages for one in _tensors(value))
    ]


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, (tuple, list)):
        return [tensor for one in value for tensor in _tensors(one)]
    return [value] if isinstance(value, Tensor) else []


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
