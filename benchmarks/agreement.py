"""Whether contenders solve the same problem: answers are compared before anything is timed."""

from __future__ import annotations

import numpy as np

from benchmarks.contender import Answer

TOLERANCE = {"float32": 1e-3, "float64": 1e-8}


def difference(found: Answer, expected: Answer) -> float:
    """Return the largest difference of any entry relative to the largest number of that entry; infinite if one is missing."""
    if set(found) != set(expected):
        return float("inf")
    return max((_relative(np.asarray(found[name]), np.asarray(expected[name])) for name in expected), default=0.0)


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape or not np.isfinite(found).all() or not np.isfinite(expected).all():
        return float("inf")
    scale = float(np.abs(expected).max(initial=0.0))
    gap = float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0))
    return gap / scale if scale > 0 else gap
