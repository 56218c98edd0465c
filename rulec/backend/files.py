"""Where generated code is kept, by its content."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rulec" / "kernels"


def written_once(path: Path, make: Callable[[], str]) -> Path:
    """Write a text unless the file is there: beside its place first, so that nobody ever sees half of it."""
    if not path.exists():
        text = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(text)
        Path(file.name).replace(path)
    return path
