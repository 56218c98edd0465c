"""Write files so that a reader sees the old one or the new one, never half of either."""

from __future__ import annotations

import os
from pathlib import Path

from rulec.runtime import messages
from rulec.source import RuleError


def write_bytes(path: Path, content: bytes) -> None:
    """Write beside the target, flush to the disk, then rename. Raises `RuleError` (`cannot-write`)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if path.parent.is_dir():
            temporary.unlink(missing_ok=True)
        raise RuleError([messages.cannot_write(path, str(error))]) from error


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())
