"""Read a file from disk, whatever it turns out to hold."""

from __future__ import annotations

import os
from pathlib import Path

from rulec.source import Diagnostics, Source
from rulec.syntax import messages
from rulec.syntax.characters import LARGEST_FILE


def read_source(path: str | os.PathLike[str]) -> tuple[Source, Diagnostics]:
    """Return the text of a file, and why it could not be read.

    Never raises for what the file system or the file does: with an error among the diagnostics the text is empty.
    Line ends and a byte-order mark stay as they are; the parser warns of them.
    """
    name = os.fspath(path)
    found = Diagnostics()
    try:
        with Path(path).open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        found.add(messages.cannot_read(name, _reason(error)))
        return Source(name, ""), found
    if len(data) > LARGEST_FILE:
        found.add(messages.file_too_large(Source(name, ""), LARGEST_FILE))
        return Source(name, ""), found
    try:
        return Source(name, data.decode("utf-8")), found
    except UnicodeDecodeError as error:
        found.add(messages.undecodable(name, error.start, data[error.start]))
        return Source(name, ""), found


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "it is a directory"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "the path cannot be a file's"
