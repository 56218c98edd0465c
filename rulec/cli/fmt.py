"""`rulec fmt`: rewrite files in the one layout."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from rulec.cli.console import say, show_diagnostics
from rulec.source import RuleError
from rulec.syntax import format_source, read_source


def fmt(files: Sequence[str], only_check: bool) -> int:
    """Format files in place, or with `only_check` name those that are not; a file with syntax errors stays as it is.

    Returns 1 if a file has errors or, checking, would change.
    """
    code = 0
    for text in files:
        path = Path(text)
        source, problems = read_source(path)
        try:
            problems.raise_errors()
            formatted = format_source(source)
        except RuleError as error:
            show_diagnostics(error.diagnostics)
            code = 1
            continue
        if formatted == source.text:
            continue
        if only_check:
            say(f"{path}: would be reformatted")
            code = 1
        else:
            _replace(path, formatted)
            say(f"{path}: reformatted")
    return code


def _replace(path: Path, text: str) -> None:
    """Put the text in the file's place in one move; its mode stays, and a link still points to it."""
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
