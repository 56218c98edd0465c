"""When rulec itself is wrong: a file with everything needed to find out why, and a short word about it."""

from __future__ import annotations

import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import rulec

_LONGEST_SOURCE = 100_000


def dump(error: BaseException, arguments: Sequence[str]) -> str:
    """Write the dump to the present folder, or where that is not allowed to the one for temporary files.

    Returns what to tell the user.
    """
    text = "\n".join(_contents(error, arguments))
    name = time.strftime("rulec-crash-%Y%m%d-%H%M%S.txt")
    cause = f"{type(error).__name__}: {error}".split("\n", 1)[0][:200]
    head = f"rulec stopped because of a mistake of its own ({cause})."
    for folder in (Path(), Path(tempfile.gettempdir())):
        try:
            path = folder / name
            path.write_text(text, encoding="utf-8", errors="replace")
        except OSError:
            continue
        return f"{head}\nWhat is needed to find it is in {path}: please send that file to the authors of rulec."
    return f"{head}\nPlease send this to the authors of rulec:\n{text}"


def _contents(error: BaseException, arguments: Sequence[str]) -> Iterator[str]:
    yield f"rulec {rulec.__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield from (
        f"{name} {sys.modules[name].__version__}"
        for name in ("torch", "numpy", "typer")
        if hasattr(sys.modules.get(name), "__version__")
    )
    yield f"arguments: {list(arguments)!r}"
    yield ""
    yield "".join(traceback.format_exception(error))
    for path in _sources(arguments):
        yield f"--- {path} ---"
        yield _text(path)


def _sources(arguments: Sequence[str]) -> Iterator[Path]:
    """Yield the rule files among the arguments."""
    for argument in arguments:
        for text in (argument, argument.rpartition(":")[0]):
            if text.endswith(".rule") and Path(text).is_file():
                yield Path(text)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:_LONGEST_SOURCE]
    except OSError as error:
        return f"({error})"
