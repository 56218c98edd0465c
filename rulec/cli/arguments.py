"""Arguments that several commands share: rules by file or name, options, lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import typer

from rulec.semantics.check import shipped_rules


def rule_path(text: str) -> Path:
    """Return the file of an argument; a bare name such as `blur` is a shipped rule unless there is such a file."""
    path = Path(text)
    shipped = shipped_rules() / f"{text}.rule"
    return shipped if not path.exists() and path.suffix == "" and shipped.is_file() else path


def chosen_options(settings: Sequence[str], flag: str = "-o", example: str = "states=4") -> dict[str, str]:
    """Read `-o name=value`s. A malformed or repeated one is a mistake in the command line."""
    options: dict[str, str] = {}
    for setting in settings:
        name, equals, value = (part.strip() for part in setting.partition("="))
        if not (equals and value and re.fullmatch(r"([A-Za-z_]\w*\.)?[A-Za-z_]\w*", name)):
            raise typer.BadParameter(
                f"`{setting}` is not of the form name=value, as in `{flag} {example}`", param_hint=f"'{flag}'"
            )
        if name in options:
            raise typer.BadParameter(f"`{name}` is given twice", param_hint=f"'{flag}'")
        options[name] = value
    return options


def split_outside(text: str) -> list[str]:
    """Cut a list at its commas, but for those in parentheses: `digits@64-10,mnist(size=10, classes=0-4)@100-10`."""
    pieces, depth, piece = [], 0, ""
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            pieces.append(piece.strip())
            piece = ""
        else:
            piece += letter
    return [p for p in (*pieces, piece.strip()) if p]


def byte_count(text: str, flag: str) -> int:
    """Read `2G`, `512M`, `100K`, or a number of bytes; the letters stand for powers of 1024."""
    found = re.fullmatch(r"(\d+)\s*([KMGT]?)(i?B)?", text.strip(), re.IGNORECASE)
    if found is None or int(found[1]) == 0:
        raise typer.BadParameter(f"`{text}` is no number of bytes, as in `512M` or `2G`", param_hint=f"'{flag}'")
    return int(found[1]) * int(1024 ** " KMGT".index(found[2].upper() or " "))


def whole_numbers(text: str, flag: str) -> tuple[int, ...]:
    """Read `0,1,5,10`, each larger than the one before."""
    try:
        numbers = tuple(int(piece) for piece in split_outside(text))
    except ValueError:
        numbers = ()
    if not numbers or numbers[0] < 0 or list(numbers) != sorted(set(numbers)):
        raise typer.BadParameter(
            f"`{text}` is not a list of rising whole numbers, as in `0,1,5,10`", param_hint=f"'{flag}'"
        )
    return numbers
