"""Which primitive operations can write where they are told, and what their values look like in memory."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ELEMENTWISE = _words("""
    add sub mul div neg exp log tanh sigmoid sqrt rsqrt abs sgn sign sin cos erf pow maximum minimum where gt lt ge le
    eq ne reciprocal clamp_min clamp_max clamp tanh_backward sigmoid_backward threshold_backward softplus
    softplus_backward logical_and masked_fill logical_not relu rsub
""")
_WHOLE = _words("""
    bmm mm baddbmm addmm sum mean amax amin cat stack gather _softmax _log_softmax clone _to_copy
""")
_QUICK = _words("""
    add sub mul div neg exp log tanh sigmoid sqrt rsqrt abs sin cos maximum minimum bmm mm baddbmm addmm
""")  # functions of torch itself are called faster than overloads

Key = tuple[torch.Size, tuple[int, ...], torch.dtype, torch.device]


def is_view(node: fx.Node) -> bool:
    """Whether a value is another way to look at the memory of its first argument."""
    target = node.target
    if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload):
        return False
    return bool(target.is_view) or target.overloadpacket.__name__ in ("_unsafe_view", "detach", "alias")


def name_of(node: fx.Node) -> str:
    return node.target.overloadpacket.__name__ if isinstance(node.target, torch._ops.OpOverload) else ""


def out_variant(node: fx.Node) -> tuple[Any, str, bool] | None:
    """Return what computes a node into given memory, the name of that argument, and whether it is a mere copy."""
    name = name_of(node)
    if name not in ELEMENTWISE and name not in _WHOLE:
        return None
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or not _is_dense(value):
        return None
    if name in ("clone", "_to_copy"):
        return operator.pos, "", True
    if name == "relu":
        return _relu, "out", False
    return _matching(node.target)


def _relu(value: Tensor, *, out: Tensor) -> Tensor:
    return torch.clamp_min(value, 0, out=out)


_FOUND: dict[Any, tuple[Any, str, bool] | None] = {}


def _matching(target: Any) -> tuple[Any, str, bool] | None:
    """Find the overload that takes the same arguments and the result's place."""
    if target not in _FOUND:
        packet, own = target.overloadpacket, [(a.name, str(a.type)) for a in target._schema.arguments]
        _FOUND[target] = None
        for overload in packet.overloads():
            other = getattr(packet, overload)
            outs = [a for a in other._schema.arguments if a.is_out]
            rest = [(a.name, str(a.type)) for a in other._schema.arguments if not a.is_out]
            if len(outs) == 1 and rest == own:
                name = packet.__name__
                _FOUND[target] = getattr(torch, name) if name in _QUICK else other, outs[0].name, False
    return _FOUND[target]


def _is_dense(value: Tensor) -> bool:
    """Whether a tensor fills its memory without gaps or overlaps."""
    expected = 1
    for stride, size in sorted((s, n) for s, n in zip(value.stride(), value.shape, strict=True) if n != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def form_of(node: fx.Node) -> tuple[tuple[int, ...], tuple[int, ...], torch.dtype]:
    value = node.meta["val"]
    return tuple(value.shape), tuple(value.stride()), value.dtype


def key_of(node: fx.Node) -> Key:
    value = node.meta["val"]
    return value.shape, tuple(value.stride()), value.dtype, value.device


def bytes_of(node: fx.Node) -> int:
    value = node.meta["val"]
    return int(value.numel() * value.element_size())
