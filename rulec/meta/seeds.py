"""Seeds derived from what they are for, the same in every process and on every machine."""

from __future__ import annotations

import hashlib


def derived_seed(*key: int | str) -> int:
    """Return a seed of 40 bits that depends on the key alone."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=5).digest()
    return int.from_bytes(digest, "little")
