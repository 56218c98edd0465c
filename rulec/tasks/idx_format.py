"""The IDX format of MNIST: a header of big-endian sizes, then unsigned bytes; compressed by gzip or not."""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from rulec.tasks import messages

_GZIP = b"\x1f\x8b"
_UNSIGNED_BYTES = 0x08
_PIECE = 1 << 20


def read_idx(path: Path, dimensions: int, kind: str) -> NDArray[np.uint8]:
    """Read an array with that many dimensions; `kind` (`images`, `labels`) is for messages.

    Raises `RuleError`: `idx-unreadable`, `idx-corrupt`, `idx-wrong-magic`, `idx-empty`, `idx-truncated`,
    `idx-trailing`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise messages.idx_unreadable(path, error.strerror or str(error)) from None
    stream: BinaryIO = io.BytesIO(content)
    if content[:2] == _GZIP:
        stream = gzip.GzipFile(fileobj=stream)  # type: ignore[assignment]
    try:
        return _read(path, stream, dimensions, kind)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise messages.idx_corrupt(path, str(error)) from None


def _read(path: Path, stream: BinaryIO, dimensions: int, kind: str) -> NDArray[np.uint8]:
    magic, found = bytes((0, 0, _UNSIGNED_BYTES, dimensions)), stream.read(4)
    if found != magic:
        raise messages.idx_wrong_magic(path, found, magic, kind)
    header = stream.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise messages.idx_truncated(path, 4 * dimensions, len(header))
    shape = struct.unpack(f">{dimensions}I", header)
    expected = math.prod(shape)
    if expected == 0:
        raise messages.idx_empty(path, kind)
    data = _at_most(stream, expected + 1)  # one more, to notice what should not be there
    if len(data) < expected:
        raise messages.idx_truncated(path, expected, len(data))
    if len(data) > expected:
        raise messages.idx_trailing(path, expected)
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _at_most(stream: BinaryIO, limit: int) -> bytes:
    """Read piece by piece: a header may promise more than fits into memory."""
    data = bytearray()
    while piece := stream.read(min(_PIECE, limit - len(data))):
        data += piece
    return bytes(data)
