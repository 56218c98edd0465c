"""A family of tasks by name: its options, and how to make a task from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rulec.tasks import messages
from rulec.tasks.call import Call, Value
from rulec.tasks.task import Task


@dataclass(frozen=True)
class Arguments:
    """The options that were written, read on demand; `data` is the folder of data, if one was given."""

    name: str  # the whole task, as it is recorded: `mnist(size=10)`
    values: Mapping[str, Value]
    data: Path | None = None

    def value(self, option: str) -> Value | None:
        return self.values.get(option)

    def text(self, option: str) -> str | None:
        value = self.values.get(option)
        return value.text if value else None

    def count(self, option: str) -> int | None:
        """Read a whole number, 1 or more."""
        value = self.values.get(option)
        if value is None:
            return None
        if not (value.text.isascii() and value.text.isdigit() and 1 <= int(value.text) <= 4096):
            raise messages.wrong_task_value(
                option, value.text, "a whole number from 1 to 4096", value.span, f"write `{option}=10`"
            )
        return int(value.text)

    def choice(self, option: str, among: tuple[str, ...]) -> str:
        """Read one of a few words; the first is the default."""
        value = self.values.get(option)
        if value is None:
            return among[0]
        if value.text not in among:
            words = " or ".join(f"`{word}`" for word in among)
            raise messages.wrong_task_value(option, value.text, words, value.span, f"write `{option}={among[0]}`")
        return value.text

    def names(self, option: str) -> tuple[Value, ...] | None:
        """Read `a+b+c`, each name with its own span."""
        value = self.values.get(option)
        return None if value is None else tuple(_pieces(option, value))

    def numbers(self, option: str) -> tuple[int, ...] | None:
        """Read `0-4`, `7` or `0-4+7`: whole numbers in rising order."""
        pieces = self.names(option)
        if pieces is None:
            return None
        return tuple(sorted({number for piece in pieces for number in _range(option, piece)}))


def _pieces(option: str, value: Value) -> list[Value]:
    found, start = [], value.span.start + value.span.text.index(value.text)
    for piece in value.text.split("+"):
        word = piece.strip()
        if not word:
            raise messages.wrong_task_value(
                option, value.text, "names joined by `+`", value.span, "give a name on both sides of each `+`"
            )
        begin = start + piece.index(word)
        found.append(Value(word, value.span.source.span(begin, begin + len(word))))
        start += len(piece) + 1
    return found


def _range(option: str, piece: Value) -> range:
    ends = [end.strip() for end in piece.text.split("-")]
    if len(ends) > 2 or not all(end.isascii() and end.isdigit() and len(end) <= 4 for end in ends):
        raise messages.wrong_task_value(
            option, piece.text, "labels such as `0-4` or `0+1+7`", piece.span, f"write `{option}=0-4`"
        )
    if int(ends[-1]) < int(ends[0]):
        raise messages.wrong_task_value(
            option, piece.text, "a range that rises", piece.span, f"write `{option}={ends[-1]}-{ends[0]}`"
        )
    return range(int(ends[0]), int(ends[-1]) + 1)


@dataclass(frozen=True)
class Family:
    """`positional` names the options that may be given without their name, in order; all of them are needed."""

    name: str
    make: Callable[[Arguments], Task]
    options: tuple[str, ...] = ()
    positional: tuple[str, ...] = ()

    def bind(self, call: Call, data: Path | None) -> Arguments:
        """Give each written value to its option. Raises `RuleError` for unknown, repeated and missing ones."""
        known = (*self.positional, *self.options)
        if len(call.positional) > len(self.positional):
            raise messages.unexpected_value(call.positional[len(self.positional)].span, self.name, self.options)
        values = dict(zip(self.positional, call.positional, strict=False))
        for key, value in call.keywords:
            if key.text not in known:
                raise messages.unknown_task_option(key.span, key.text, self.name, known)
            if key.text in values:
                raise messages.repeated_task_option(key.span, key.text, values[key.text].text)
            values[key.text] = value
        for name in self.positional:
            if name not in values:
                raise messages.malformed_task(
                    call.name.span,
                    f"task `{self.name}` needs its `{name}`",
                    "not given",
                    f"write `{self.name}({name.upper()})`",
                )
        return Arguments(_rendered(self, values), values, data)


def _rendered(family: Family, values: Mapping[str, Value]) -> str:
    """Return the text that `parse_call` reads back, options in the family's order."""
    words = [values[name].span.text for name in family.positional]
    words += [f"{name}={values[name].span.text}" for name in family.options if name in values]
    return f"{family.name}({', '.join(words)})" if words else family.name
