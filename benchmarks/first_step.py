"""Benchmark 5: seconds from the text of a rule to the end of its first step, in a process of its own.

Cold: nothing was compiled on this machine before. Warm: the same job a second time, with the caches that the first one left.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contender import Absent, Contender, Row, Run, Section, need_jax
from benchmarks.fresh import Failed, call
from benchmarks.suite import Effort

_STEPS = 2


def _jax() -> Callable[[Any], Run]:
    import jax

    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    from benchmarks.contenders.block_jax import prepare

    return prepare


def _named(name: str) -> Callable[[Any], Run]:
    from benchmarks.contenders import block, by_rulec

    if name.startswith("rulec"):
        _, backend, kind = name.split(" ", 2)
        return partial(by_rulec.prepare_forward if kind == "learning" else by_rulec.prepare_gradient, backend=backend)
    if name == "JAX meta-gradient":
        return _jax()
    contender: Contender[Any] = block.COMPILED if name == "by hand, compiled, meta-gradient" else block.EAGER
    return contender.prepare


NAMES = (
    "rulec kernel learning",
    "rulec kernel meta-gradient",
    "rulec fx learning",
    "rulec fx meta-gradient",
    "rulec inductor learning",
    "rulec inductor meta-gradient",
    "by hand, eager, meta-gradient",
    "by hand, compiled, meta-gradient",
    "JAX meta-gradient",
)


def _sizes(quick: bool) -> tuple[int, ...]:
    return (32, 16, 10) if quick else (784, 128, 10)


def started(name: str, quick: bool) -> dict[str, float]:
    """In a fresh process: import, then go from text to the first result."""
    begin = time.perf_counter()
    import torch

    prepare = _named(name)
    imported = time.perf_counter()
    from benchmarks.problems import blur

    given = blur(_sizes(quick), 2, replicas=4, batch=64, steps=_STEPS).to(torch.float32)
    drawn = time.perf_counter()
    run = prepare(given)
    run()
    first = time.perf_counter()
    run()
    return {
        "imports": imported - begin,
        "first": first - drawn,
        "second": time.perf_counter() - first,
    }


def sections(effort: Effort) -> list[Section]:
    rows = []
    for name in NAMES if not effort.quick else NAMES[:2]:
        effort.say(f"First step, {name}")
        rows.append(_row(name, effort.quick))
    return [
        Section(
            "From text to the first result",
            f"BLUR, {'-'.join(map(str, _sizes(effort.quick)))}, 2 states, 4 replicas, batch 64, {_STEPS} updates; seconds after imports",
            rows,
            notes=[
                "Cold: all caches empty. Warm: the same process again, with the caches of the first. One sample each.",
                "`learning` updates and predicts; `meta-gradient` also goes back through the updates.",
            ],
        )
    ]


def _row(name: str, quick: bool) -> Row:
    row = Row(name)
    try:
        if name.startswith("JAX"):
            need_jax()
        with tempfile.TemporaryDirectory(prefix="rulec-bench-") as folder:
            caches = _caches(Path(folder))
            arguments = {"name": name, "quick": quick}
            cold = call("benchmarks.first_step:started", arguments, extra=caches)
            warm = call("benchmarks.first_step:started", arguments, extra=caches)
    except Absent as absent:
        row.status, row.note = "absent", str(absent)
        return row
    except Failed as failed:
        row.status, row.note = "failed", str(failed)
        return row
    row.values = {
        "cold, s": cold["first"],
        "warm, s": warm["first"],
        "warm / cold": warm["first"] / cold["first"],
        "second run, s": warm["second"],
        "imports, s": warm["imports"],
    }
    return row


def _caches(folder: Path) -> dict[str, str]:
    """Every cache that a contender may have, in one new folder."""
    return {
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "RULEC_CACHE_DIR": str(folder / "rulec"),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
    }
