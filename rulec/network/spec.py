"""A network from a short text: `784-128-10`, `3x32x32-conv(64)-batchnorm-pool-10`, `conv4(64, pool=2)`.

Tokens are joined by dashes: the input's shape, then layers, the last of which gives the outputs. A dense layer is its
size, and flattens what it reads. A normalisation belongs to the layer (all the layers, for `conv4`) before it.
Convolutions are 3x3 and keep height and width unless told otherwise: their padding is half the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from math import prod

from rulec.network import messages
from rulec.network.draft import Draft, Signal
from rulec.network.graph import Conv, Dense, Flatten, Network, Norm, Path, Pool, Shape
from rulec.network.kinds import Step, check_activation, is_size, read_number, read_step
from rulec.network.sizes import pooled_shape, weighted_shape
from rulec.network.tokens import Argument, Token, Written, read_tokens
from rulec.source import RuleError, Span

_NORMS = {"batchnorm": "batch", "layernorm": "layer", "instancenorm": "instance", "groupnorm": "group"}


@dataclass(frozen=True)
class _Stage:
    """A step with the normalisation written after it."""

    step: Step
    norm: Step | None = None

    @property
    def weighted(self) -> bool:
        return self.step.kind in ("dense", "conv")


def parse_spec(text: str, input_shape: Shape | None = None, outputs: int | None = None) -> Network:
    """Build the network a spec describes.

    `input_shape` and `outputs` are the task's: they stand for `?`, and for an input or an output layer left out.
    Raises `RuleError` with a place in the text for everything that is malformed, unknown, or does not fit.
    """
    written = read_tokens(text)
    hidden = check_activation(written.activation, written.activation.text) if written.activation else "relu"
    tokens = written.tokens
    shape = input_shape
    if is_size(tokens[0]):
        shape, tokens = _input(tokens[0], input_shape), tokens[1:]
    if shape is None:
        raise RuleError([messages.unknown_input(tokens[0].span)])
    for token, following in pairwise(tokens):
        if token.name == "?" and following.name not in _NORMS:
            raise RuleError([messages.misplaced_task_size(token.span)])
    stages = _stages([read_step(token, outputs) for token in tokens])
    return _build(shape, _with_outputs(stages, outputs, written), hidden, text.strip())


def _input(token: Token, input_shape: Shape | None) -> Shape:
    if token.arguments:
        raise RuleError([messages.input_with_settings(token.span, token.name)])
    if token.name == "?":
        if input_shape is None:
            raise RuleError([messages.unknown_input(token.span)])
        return input_shape
    shape = tuple(read_number(size, token.span) for size in token.name.split("x"))
    if len(shape) not in (1, 3):
        raise RuleError([messages.input_of_wrong_rank(token.span, shape)])
    if input_shape is not None and prod(shape) != prod(input_shape):
        raise RuleError([messages.input_mismatch(token.span, shape, input_shape)])
    return shape


def _stages(steps: list[Step]) -> list[_Stage]:
    """Attach each normalisation to the layer before it."""
    stages: list[_Stage] = []
    for step in steps:
        if step.kind not in _NORMS:
            stages.append(_Stage(step))
        elif not stages or not stages[-1].weighted or stages[-1].norm:
            before = stages[-1].step.token.span.text if stages else None
            raise RuleError([messages.stray_norm(step.token.span, step.token.name, before)])
        else:
            stages[-1] = replace(stages[-1], norm=step)
    return stages


def _with_outputs(stages: list[_Stage], outputs: int | None, written: Written) -> list[_Stage]:
    """Append the output layer if the spec leaves it to the task; check it against the task's outputs otherwise."""
    last = stages[-1].step if stages else None
    if last and last.kind == "dense":
        if outputs is not None and outputs != last.count("size"):
            raise RuleError([messages.output_mismatch(last.token.span, last.count("size"), outputs)])
        return stages
    convs = [stage.step for stage in stages if stage.weighted]
    pooled = last is not None and last.kind == "globalpool" and bool(convs) and convs[-1].kind == "conv"
    if pooled and outputs in (None, convs[-1].settings["channels"]):
        return stages
    end = last.token.span if last else written.span
    if outputs is None:
        raise RuleError([messages.missing_output(end)])
    return [*stages, _Stage(_output_step(outputs, end))]


def _output_step(outputs: int, span: Span) -> Step:
    arguments: tuple[Argument, ...] = ()
    return Step("dense", Token(str(outputs), arguments, span, span), {"size": outputs, "activation": None}, {})


def _build(shape: Shape, stages: list[_Stage], hidden: str, spec: str) -> Network:
    draft = Draft(shape)
    signal = draft.input()
    last = max(index for index, stage in enumerate(stages) if stage.weighted)
    for index, stage in enumerate(stages):
        if stage.weighted:
            signal = _layers(draft, signal, stage, hidden, index == last)
        elif stage.step.kind == "flatten":
            signal = draft.through(signal, Flatten)
        elif stage.step.kind == "globalpool":
            signal = _global_pool(draft, signal, stage.step.token.span)
        else:
            signal = _pool(draft, signal, stage.step)
    return draft.finish(signal, spec)


# --- Layers ----------------------------------------------------------------------------------


def _layers(draft: Draft, signal: Signal, stage: _Stage, hidden: str, last: bool) -> Signal:
    """Add the layers of one token: one, or several in a row for `conv4`."""
    for count in range(stage.step.repeats):
        default = "identity" if last and count == stage.step.repeats - 1 else hidden
        signal = _weighted(draft, signal, stage.step)
        if stage.norm:
            signal = draft.normalise(signal, _norm(stage.norm, signal.shape))
        activation = str(stage.step.settings["activation"] or default)
        if activation == "softmax" and len(signal.shape) != 1:
            raise RuleError([messages.softmax_over_places(stage.step.token.span)])
        signal = draft.settle(signal, activation, name=f"hidden{draft.depth}")
        if stage.step.settings.get("pool"):
            kernel = stage.step.pair("pool")
            pool = partial(Pool, kind="max", kernel=kernel, stride=kernel)
            signal = _pooled(draft, signal, pool, stage.step.at("pool"))
    return signal


def _weighted(draft: Draft, signal: Signal, step: Step) -> Signal:
    if step.kind == "dense":
        if len(signal.shape) == 3:
            signal = draft.through(signal, Flatten)
        dense = Dense(signal.shape[0], step.count("size"))
        return draft.weigh(signal, dense, bias=True, module=step.token.name)
    conv = _conv(step, signal.shape)
    if min(weighted_shape(conv, signal.shape)[1:]) < 1:
        raise RuleError([messages.kernel_too_large(step.at("kernel"), conv.kernel, conv.padding, signal.shape)])
    return draft.weigh(signal, conv, bias=True, module=step.token.span.text)


def _conv(step: Step, shape: Shape) -> Conv:
    if len(shape) != 3:
        raise RuleError([messages.needs_places(step.token.span, shape)])
    channels, groups = step.count("channels"), step.count("groups")
    for count, what in ((shape[0], "incoming"), (channels, "outgoing")):
        if count % groups:
            raise RuleError([messages.groups_do_not_divide(step.at("groups"), groups, count, what)])
    kernel, dilation = step.pair("kernel"), step.pair("dilation")
    half = (dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2)
    return Conv(shape[0], channels, kernel, step.pair("stride"), step.pair("padding", half), dilation, groups)


def _norm(step: Step, shape: Shape) -> Norm:
    groups = step.count("groups") if step.kind == "groupnorm" else 1
    if shape[0] % groups:
        raise RuleError([messages.groups_do_not_divide(step.at("groups"), groups, shape[0], "normalised")])
    if step.kind == "instancenorm" and prod(shape[1:]) == 1:
        raise RuleError([messages.nothing_to_normalise(step.token.span, shape)])
    return Norm(_NORMS[step.kind], affine=bool(step.settings["affine"]), groups=groups)


# --- Pooling ---------------------------------------------------------------------------------


def _pool(draft: Draft, signal: Signal, step: Step) -> Signal:
    kind = "avg" if step.kind == "avgpool" else "max"
    kernel, padding = step.pair("kernel"), step.pair("padding")
    if 2 * padding[0] > kernel[0] or 2 * padding[1] > kernel[1]:
        raise RuleError([messages.pool_padding(step.at("padding"), padding, kernel)])
    pool = partial(Pool, kind=kind, kernel=kernel, stride=step.pair("stride", kernel), padding=padding)
    return _pooled(draft, signal, pool, step.token.span)


def _pooled(draft: Draft, signal: Signal, pool: Callable[[Path], Pool], span: Span) -> Signal:
    if len(signal.shape) != 3:
        raise RuleError([messages.needs_places(span, signal.shape)])
    windows = pool(draft.path(signal))
    if min(pooled_shape(signal.shape, windows)[1:]) < 1:
        raise RuleError([messages.kernel_too_large(span, windows.kernel, windows.padding, signal.shape)])
    return draft.through(signal, pool)


def _global_pool(draft: Draft, signal: Signal, span: Span) -> Signal:
    if len(signal.shape) != 3:
        raise RuleError([messages.needs_places(span, signal.shape)])
    places = (signal.shape[1], signal.shape[2])
    return draft.through(signal, lambda path: Flatten(Pool(path, "avg", places, places)))
