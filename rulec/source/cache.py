"""The user's cache: what an earlier start made from the same content, one file each."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Return the folder `rulec/NAME` of the cache, that of XDG_CACHE_HOME or `~/.cache`; it need not exist."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "rulec" / name


def keep(file: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it; a cache that cannot be written is no reason to fail."""
    partial = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(file)
    except OSError:
        with suppress(OSError):
            partial.unlink()
