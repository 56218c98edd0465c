"""Write files whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from rulec.meta import messages
from rulec.source import RuleError


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the target, flush to the disk, then rename: whoever reads sees the old file or the new one.

    Raises `RuleError` (`cannot-write`).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True) if path.parent.is_dir() else None
        raise RuleError([messages.cannot_write(path, str(error))]) from error
