"""What each kind of call does to signals: one function per kind, from a `Step` to the signal it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import fx, nn

from rulec.network.calls import Call
from rulec.network.draft import Draft, Signal
from rulec.network.graph import Conv, Dense, Flatten, Norm, Pad, Path, Pool, Shape

Pair = tuple[int, int]


class Unmappable(Exception):
    """A supported call with a setting that is not; says why, and what to do instead."""

    def __init__(self, reason: str, help: str) -> None:
        super().__init__(reason)
        self.reason, self.help = reason, help


@dataclass(frozen=True)
class Step:
    """A call, the signals it reads, and the shape torch says it gives (the batch axis left out)."""

    draft: Draft
    call: Call
    inputs: tuple[Signal, ...]
    shape: Shape

    @property
    def signal(self) -> Signal:
        return self.inputs[0]

    def setting(self, name: str, default: Any = None) -> Any:
        return self.call.settings.get(name, default)


def apply_call(step: Step) -> Signal:
    """Return the signal a call gives; raise `Unmappable` if its settings or shapes have no meaning here."""
    if step.call.kind in _FIXED:
        return _activation(step)
    return _OPERATIONS[step.call.kind](step)


# --- Weights ---------------------------------------------------------------------------------


def _linear(step: Step) -> Signal:
    module = step.call.module
    assert isinstance(module, nn.Linear)
    _need_rank(step, 1, "put a `Flatten` before it")
    weights = Dense(module.in_features, module.out_features)
    return step.draft.weigh(step.signal, weights, bias=module.bias is not None, module=step.call.path)


def _conv(step: Step) -> Signal:
    module = step.call.module
    assert isinstance(module, nn.Conv2d)
    _need_rank(step, 3, "give it channels, height and width")
    padding, extra = _conv_padding(module)
    if module.padding_mode != "zeros" and (any(padding) or any(extra)):
        raise Unmappable(f'it pads by "{module.padding_mode}"', 'use `padding_mode="zeros"`')
    signal = step.signal
    if any(extra):
        signal = step.draft.through(signal, lambda path: Pad(path, extra))
    kernel, stride, dilation = _pair(module.kernel_size), _pair(module.stride), _pair(module.dilation)
    weights = Conv(module.in_channels, module.out_channels, kernel, stride, padding, dilation, module.groups)
    return step.draft.weigh(signal, weights, bias=module.bias is not None, module=step.call.path)


def _conv_padding(module: nn.Conv2d) -> tuple[Pair, tuple[int, int, int, int]]:
    """Return the padding on both sides, or, where "same" needs more on the right, all of it as a `Pad`."""
    if module.padding == "valid":
        return (0, 0), (0, 0, 0, 0)
    if module.padding != "same":
        return _pair(module.padding), (0, 0, 0, 0)
    height, width = (
        dilation * (kernel - 1) for dilation, kernel in zip(module.dilation, module.kernel_size, strict=True)
    )
    if height % 2 == 0 and width % 2 == 0:
        return (height // 2, width // 2), (0, 0, 0, 0)
    return (0, 0), (width // 2, width - width // 2, height // 2, height - height // 2)


# --- Normalisation and activation ------------------------------------------------------------


def _norm(step: Step) -> Signal:
    module = step.call.module
    assert module is not None
    kind = step.call.kind
    if kind == "layer" and tuple(step.setting("normalized_shape")) != step.signal.shape:
        raise Unmappable("it normalises only a part of each sample", "normalise over the whole shape of a sample")
    affine = bool(step.setting("affine", step.setting("elementwise_affine")))
    if affine and getattr(module, "bias", None) is None:
        raise Unmappable("it has a scale and no shift", "use `bias=True`, or `elementwise_affine=False`")
    return step.draft.normalise(
        step.signal, Norm(kind, float(step.setting("eps")), affine, step.setting("num_groups", 1), step.call.path)
    )


# The only values of their settings for which activations have a name.
_FIXED: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("relu", "tanh", "sigmoid", "silu", "selu", "softsign", "sin", "softmax")},
    "softplus": {"beta": 1, "threshold": 20},
    "elu": {"alpha": 1.0},
    "leaky_relu": {"negative_slope": 0.01},
    "gelu": {"approximate": "none"},
}


def _activation(step: Step) -> Signal:
    name = step.call.kind
    for setting, value in _FIXED[name].items():
        if step.setting(setting, value) != value:
            raise Unmappable(f"its `{setting}` is {step.setting(setting)!r}", f"use `{setting}={value!r}`")
    if name == "softmax" and (len(step.shape) != 1 or step.setting("dim") not in (1, -1)):
        raise Unmappable("softmax is over the features of a dense layer", "flatten before it and use `dim=1`")
    known = step.signal.module or step.call.path
    return step.draft.settle(step.signal, name, name="" if known else name, module=step.call.path)


def _same(step: Step) -> Signal:
    return step.signal


def _dropout(step: Step) -> Signal:
    if step.setting("training", True) and step.setting("p", 0.5) > 0:
        raise Unmappable(
            f"it drops values at random, p = {step.setting('p', 0.5):g}",
            "set `p=0`, or call `.eval()` on it before tracing",
        )
    return step.signal


# --- Operations without weights --------------------------------------------------------------


def _max_pool(step: Step) -> Signal:
    if _pair(step.setting("dilation", 1)) != (1, 1):
        raise Unmappable("its windows are dilated", "use `dilation=1`")
    return _pool(step, "max", True)


def _avg_pool(step: Step) -> Signal:
    if step.setting("divisor_override") is not None:
        raise Unmappable("it has a divisor of its own", "remove `divisor_override`")
    return _pool(step, "avg", bool(step.setting("count_include_pad", True)))


def _pool(step: Step, kind: str, count_include_pad: bool) -> Signal:
    _need_rank(step, 3, "give it channels, height and width")
    if step.setting("return_indices", False):
        raise Unmappable("it returns indices", "use `return_indices=False`")
    kernel, padding = _pair(step.setting("kernel_size")), _pair(step.setting("padding", 0))
    stride = step.setting("stride")
    stride = kernel if stride is None or stride == [] else _pair(stride)
    pooled = step.draft.through(step.signal, lambda path: Pool(path, kind, kernel, stride, padding, count_include_pad))
    if pooled.shape != step.shape:
        raise Unmappable("it rounds the number of windows up", "use `ceil_mode=False`")
    return pooled


def _adaptive_avg_pool(step: Step) -> Signal:
    return _adaptive_pool(step, "avg")


def _adaptive_max_pool(step: Step) -> Signal:
    if step.setting("return_indices", False):
        raise Unmappable("it returns indices", "use `return_indices=False`")
    return _adaptive_pool(step, "max")


def _adaptive_pool(step: Step, kind: str) -> Signal:
    _need_rank(step, 3, "give it channels, height and width")
    before, after = step.signal.shape[1:], step.shape[1:]
    if any(old % new for old, new in zip(before, after, strict=True)):
        raise Unmappable(
            f"{before[0]}x{before[1]} places do not divide evenly into {after[0]}x{after[1]}",
            "use an `output_size` that divides the height and the width",
        )
    kernel = (before[0] // after[0], before[1] // after[1])
    return step.draft.through(step.signal, lambda path: Pool(path, kind, kernel, kernel))


def _mean(step: Step) -> Signal:
    axes = step.setting("dim")
    axes = axes if isinstance(axes, (tuple, list)) else (axes,)
    if len(step.signal.shape) != 3 or None in axes or {axis % 4 for axis in axes} != {2, 3}:
        raise Unmappable("a mean is taken over height and width alone", "write `mean(dim=(2, 3))`")
    places = (step.signal.shape[1], step.signal.shape[2])
    flat = not step.setting("keepdim", False)

    def pool(path: Path) -> Path:
        pooled = Pool(path, "avg", places, places)
        return Flatten(pooled) if flat else pooled

    return step.draft.through(step.signal, pool)


def _reshape(step: Step) -> Signal:
    """Flatten, or nothing. Axes of size one that come and go in between, as in two squeezes, are let pass."""
    shape = step.signal.shape
    if step.shape == shape:
        return step.signal
    if step.shape == (prod(shape),):
        return step.draft.through(step.signal, Flatten)
    if [size for size in step.shape if size > 1] == [size for size in shape if size > 1]:
        return step.signal
    raise Unmappable(
        "it is neither a flattening nor the same shape",
        "flatten to one axis, or give the data to the network in its final shape",
    )


def _pad(step: Step) -> Signal:
    _need_rank(step, 3, "give it channels, height and width")
    amounts = step.setting("padding")
    amounts = tuple(amounts) if isinstance(amounts, (tuple, list)) else (amounts,) * 4
    amounts = amounts + (0,) * (4 - len(amounts))
    if step.setting("mode", "constant") != "constant" or step.setting("value") not in (None, 0):
        raise Unmappable("it pads with other values than zero", "pad with zeros")
    if any(amounts[4:]) or min(amounts) < 0:
        raise Unmappable("it does more than pad height and width", "pad height and width by zero or more")
    left, right, top, bottom = amounts[:4]
    return step.draft.through(step.signal, lambda path: Pad(path, (left, right, top, bottom)))


def _add(step: Step) -> Signal:
    numbers = [one for one in (*step.call.arguments, step.setting("other", 0)) if not isinstance(one, fx.Node)]
    if any(number != 0 for number in numbers[:2]):
        raise Unmappable("it adds a number", "leave it out, or let a bias do it")
    if step.setting("alpha", 1) != 1:
        raise Unmappable("it scales what it adds", "use `alpha=1`")
    if any(one.shape != step.shape for one in step.inputs):
        raise Unmappable("it adds values of different shapes", "bring both to one shape, as with a 1x1 convolution")
    return step.draft.add(step.inputs)


def _cat(step: Step) -> Signal:
    axis = step.setting("dim", 0) % (len(step.shape) + 1)
    if axis != 1 or any(len(one.shape) != len(step.shape) for one in step.inputs):
        raise Unmappable("it joins along another axis than channels or features", "use `dim=1`")
    return step.draft.concat(step.inputs)


def _need_rank(step: Step, rank: int, help: str) -> None:
    if len(step.signal.shape) != rank:
        raise Unmappable(f"it sees {len(step.signal.shape)} axes besides the batch", help)


def _pair(value: Any) -> Pair:
    if isinstance(value, int):
        return value, value
    values = tuple(value)
    return int(values[0]), int(values[-1])


_OPERATIONS: dict[str, Callable[[Step], Signal]] = {
    "linear": _linear,
    "conv": _conv,
    "batch": _norm,
    "layer": _norm,
    "group": _norm,
    "instance": _norm,
    "same": _same,
    "dropout": _dropout,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "adaptive_avg_pool": _adaptive_avg_pool,
    "adaptive_max_pool": _adaptive_max_pool,
    "mean": _mean,
    "reshape": _reshape,
    "pad": _pad,
    "add": _add,
    "cat": _cat,
}
