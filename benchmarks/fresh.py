"""Measuring in a process of its own: peak memory, and how long a start takes.

`python -m benchmarks.fresh MODULE:FUNCTION JSON` calls the function with the JSON's entries and prints what it returns.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.contender import Run
from benchmarks.environment import RETURN_MEMORY, pin, settings, threads_set

_MARK = "result: "
HOW_MEMORY = (
    "Peak memory: the highest resident memory in a second run, above what the process held before the first one, with the data "
    "and all code in place; each contender in a process of its own, with an allocator that gives memory back at once. What "
    "compiles anew for each number of updates (JAX) is measured above what it held after the first run."
)


class Failed(Exception):
    """The process ended without a result."""


def call(
    function: str,
    arguments: Mapping[str, Any],
    *,
    allocator: dict[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
    timeout: float = 600,
) -> Any:
    """Call `MODULE:FUNCTION` in a fresh process. Raises `Failed`."""
    command = [sys.executable, "-m", "benchmarks.fresh", function, json.dumps(dict(arguments))]
    environment = settings(threads_set(), allocator) | dict(extra or {})
    # A process group of its own, so that what the process started ends with it.
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise Failed(f"stopped after {timeout:g} s") from None
    lines = [line for line in out.splitlines() if line.startswith(_MARK)]
    if process.returncode or not lines:
        raise Failed((err.strip().splitlines() or [f"ended with {process.returncode}"])[-1][:160])
    return json.loads(lines[-1][len(_MARK) :])


def peak(
    function: str, arguments: Mapping[str, Any], steps: int, *, per_length: bool = False, timeout: float = 600
) -> int:
    """Return the peak memory in bytes of the run that `MODULE:FUNCTION` prepares for so many steps. Raises `Failed`."""
    given = {"function": function, "arguments": dict(arguments), "steps": steps, "per_length": per_length}
    return int(call("benchmarks.fresh:peak_of", given, allocator=RETURN_MEMORY, timeout=timeout))


def peak_of(function: str, arguments: dict[str, Any], steps: int, per_length: bool) -> int:
    """In this process: run one step to load and compile all code, then all of them twice, and measure the second time.

    Buffers that are kept from run to run count, as they are not there before the first one.
    """
    prepare = _found(function)
    prepare(**arguments, steps=1)()
    run: Run = prepare(**arguments, steps=steps)
    before = _held()
    run()
    if per_length:
        before = _held()
    _reset_peak()
    run()
    return max(0, _highest() - before)


def _held() -> int:
    """Return resident memory, once everything that can be given back is."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
        return _status("VmRSS")
    return _highest()


def _reset_peak() -> None:
    """Let the highest resident memory begin at that of now, where the system can."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def _highest() -> int:
    if sys.platform == "linux":
        return _status("VmHWM")
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


def _found(function: str) -> Any:
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


if __name__ == "__main__":
    pin(threads_set())
    print(_MARK + json.dumps(_found(sys.argv[1])(**json.loads(sys.argv[2]))))
