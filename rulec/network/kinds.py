"""The kinds of token a spec knows, with their settings. To add one: a line here and a step in `spec.py`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from rulec.network import messages
from rulec.network.tokens import Argument, Token
from rulec.semantics.operators import ACTIVATIONS as POINTWISE
from rulec.source import RuleError, Span

ACTIVATIONS = (*POINTWISE, "softmax")  # softmax: over the features of a dense layer

Value = tuple[int, int] | int | str | bool | None
_SIZE = re.compile(r"[0-9]+(x[0-9]+)*|\?")
_MOST_DIGITS = 9


@dataclass(frozen=True)
class Setting:
    """`pair`: height and width, one number for both; `count`: a number; `flag`: written as its own name."""

    name: str
    form: Literal["count", "pair", "flag", "activation"]
    default: Value = None
    required: bool = False
    smallest: int = 1


_ACTIVATION = Setting("activation", "activation")
_AFFINE = Setting("affine", "flag", False)
_CONV = (
    Setting("channels", "count", required=True),
    Setting("kernel", "pair", (3, 3)),
    Setting("stride", "pair", (1, 1)),
    Setting("padding", "pair", smallest=0),
    Setting("dilation", "pair", (1, 1)),
    Setting("groups", "count", 1),
    Setting("pool", "pair"),
    _ACTIVATION,
)
_POOL = (
    Setting("kernel", "pair", (2, 2)),
    Setting("stride", "pair"),
    Setting("padding", "pair", (0, 0), smallest=0),
)
KINDS: dict[str, tuple[Setting, ...]] = {
    "conv": _CONV,
    "pool": _POOL,
    "maxpool": _POOL,
    "avgpool": _POOL,
    "globalpool": (),
    "flatten": (),
    "batchnorm": (_AFFINE,),
    "layernorm": (_AFFINE,),
    "instancenorm": (_AFFINE,),
    "groupnorm": (Setting("groups", "count", required=True), _AFFINE),
}


@dataclass(frozen=True)
class Step:
    """A token understood: `dense`, `conv`, `pool`, ... with the value of every setting and where each was written."""

    kind: str
    token: Token
    settings: dict[str, Value]
    spans: dict[str, Span]
    repeats: int = 1

    def at(self, setting: str) -> Span:
        """Return where a setting was written, or else the whole token."""
        return self.spans.get(setting, self.token.span)

    def count(self, setting: str) -> int:
        value = self.settings[setting]
        assert isinstance(value, int)
        return value

    def pair(self, setting: str, default: tuple[int, int] | None = None) -> tuple[int, int]:
        """Return height and width; `default` where the spec and the table leave them open."""
        value = default if self.settings[setting] is None else self.settings[setting]
        assert isinstance(value, tuple)
        return value


def is_size(token: Token) -> bool:
    return _SIZE.fullmatch(token.name) is not None


def read_step(token: Token, outputs: int | None) -> Step:
    """Understand one token; `?` stands for `outputs`. Raises `RuleError` for unknown kinds, settings and values."""
    if is_size(token):
        settings, spans = _settings(token, "dense", (_ACTIVATION,))
        return Step("dense", token, settings | {"size": _dense_size(token, outputs)}, spans)
    repeated = re.fullmatch(r"conv([1-9]\d?)", token.name)
    kind = "conv" if repeated else token.name
    if kind not in KINDS:
        raise RuleError([messages.unknown_layer_kind(token.name_span, token.name, KINDS)])
    settings, spans = _settings(token, kind, KINDS[kind])
    return Step(kind, token, settings, spans, int(repeated[1]) if repeated else 1)


def check_activation(span: Span, name: str) -> str:
    if not name:
        raise RuleError([messages.missing_activation(span)])
    if name not in ACTIVATIONS:
        raise RuleError([messages.unknown_activation(span, name, ACTIVATIONS)])
    return name


def _dense_size(token: Token, outputs: int | None) -> int:
    if token.name == "?":
        if outputs is None:
            raise RuleError([messages.unknown_outputs(token.name_span)])
        return outputs
    if "x" in token.name:
        raise RuleError([messages.shape_as_layer(token.name_span)])
    return read_number(token.name, token.name_span)


def _settings(token: Token, kind: str, known: tuple[Setting, ...]) -> tuple[dict[str, Value], dict[str, Span]]:
    values: dict[str, Value] = {setting.name: setting.default for setting in known}
    spans: dict[str, Span] = {}
    for position, argument in enumerate(token.arguments):
        setting = _setting_of(argument, position, kind, known)
        if setting.name in spans:
            raise RuleError([messages.repeated_setting(argument.span, setting.name)])
        values[setting.name] = _value(setting, argument)
        spans[setting.name] = argument.span
    for setting in known:
        if setting.required and setting.name not in spans:
            raise RuleError([messages.missing_setting(token.span, token.name, setting.name)])
    return values, spans


def _setting_of(argument: Argument, position: int, kind: str, known: tuple[Setting, ...]) -> Setting:
    """Find the setting an argument gives: by its key, the first by position, an activation or a flag by its name."""
    names = [setting.name for setting in known]
    if argument.key is not None:
        found = [setting for setting in known if setting.name == argument.key]
        if not found:
            raise RuleError([messages.unknown_setting(argument.span, kind, argument.key, names)])
        if found[0].form == "flag":
            raise RuleError([messages.flag_with_value(argument.span, argument.key)])
        return found[0]
    if argument.value[0].isdigit():
        if position == 0 and known and known[0].form in ("count", "pair"):
            return known[0]
        raise RuleError([messages.unnamed_number(argument.span, kind, argument.value, names)])
    for setting in known:
        if setting.form == "activation" or (setting.form == "flag" and setting.name == argument.value):
            return setting
    raise RuleError([messages.unknown_setting(argument.span, kind, argument.value, names)])


def _value(setting: Setting, argument: Argument) -> Value:
    if setting.form == "flag":
        return True
    if setting.form == "activation":
        return check_activation(argument.value_span, argument.value)
    sizes = argument.value.split("x")
    allowed = (1, 2) if setting.form == "pair" else (1,)
    if len(sizes) not in allowed or not all(size.isascii() and size.isdigit() for size in sizes):
        raise RuleError([messages.wrong_setting(argument.value_span, setting.name, setting.form)])
    numbers = [read_number(size, argument.value_span, setting.smallest) for size in sizes]
    return numbers[0] if setting.form == "count" else (numbers[0], numbers[-1])


def read_number(text: str, span: Span, smallest: int = 1) -> int:
    if len(text) > _MOST_DIGITS:
        raise RuleError([messages.huge_size(span)])
    if int(text) < smallest:
        raise RuleError([messages.zero_size(span, text)])
    return int(text)
