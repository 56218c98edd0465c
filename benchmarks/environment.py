"""The same conditions for every contender: allocator, threads, processors; and what machine this is."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# glibc maps every large tensor anew and gives it back at once; the page faults of that can take longer than the arithmetic,
# so all contenders run with memory that stays in the process.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "MALLOC_TOP_PAD_": str(2**26),
}
# Where memory is measured, every tensor is given back at once.
RETURN_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_TOP_PAD_": "0"}
_DONE = "RULEC_BENCH_THREADS"
_PACKAGES = ("rulec", "torch", "jax", "jaxlib", "numpy", "opt_einsum")


def settings(threads: int, allocator: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a measuring process."""
    count = str(threads)
    return {
        **os.environ,
        **(KEEP_MEMORY if allocator is None else allocator),
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "JAX_PLATFORMS": "cpu",
        _DONE: count,
    }


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ensure(threads: int, arguments: list[str]) -> None:
    """Start this program again with the environment set, as allocators and thread pools read it only at the start."""
    if os.environ.get(_DONE) != str(threads):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks", *arguments], settings(threads))
    pin(threads)


def pin(threads: int) -> None:
    """Keep to as many processors as there are threads: some libraries ask for nothing else."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def threads_set() -> int:
    return int(os.environ.get(_DONE, "0")) or processors()


def description() -> dict[str, object]:
    """Return machine, processor, threads, versions, date and allocator."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.platform(),
        "cpu": _cpu(),
        "processors": os.cpu_count(),
        "threads": threads_set(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "allocator": {name: os.environ.get(name, "default") for name in KEEP_MEMORY},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
