"""Which of two ways an unroll on a GPU goes that nobody goes back through: recorded graphs, or one Triton kernel. By measurement.

What was measured is kept on disk, so that the same job takes the same way on the same machine, and repeats itself bit for bit.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import TYPE_CHECKING, TypeVar

import torch

from rulec.source import RuleError
from rulec.source.cache import cache_folder, keep

if TYPE_CHECKING:
    from rulec.runtime.compiled import CompiledRule

Result = TypeVar("Result")
ROUNDS = 5
CHIP, GRAPHS = "triton", "graphs"


def on_chip_or(rule: CompiledRule, told: object, chip: Callable[[], Result], graphs: Callable[[], Result]) -> Result:
    """Run an unroll one way or the other; `told` is what tells it apart from the rule's others. Raises `RuleError` as `chip` does, if that was asked for."""
    if rule.backend == CHIP:
        return chip()
    if not measures(rule):
        return graphs()
    if told not in rule.graphs.ways:
        known = repr((str(rule.one.lowered.graph), rule.leading, rule.dtype, rule.precision, told, _machine()))
        path = cache_folder("kernels") / f"{hashlib.sha256(known.encode()).hexdigest()[:32]}.way"
        if path.exists():
            rule.graphs.ways[told] = path.read_text()
        else:
            rule.graphs.ways[told] = quickest({CHIP: chip, GRAPHS: graphs})
            keep(path, rule.graphs.ways[told].encode())
    return chip() if rule.graphs.ways[told] == CHIP else graphs()


def measures(rule: CompiledRule) -> bool:
    """Whether there are two ways to choose from."""
    return rule.backend == "auto" and rule.device.type == "cuda"


def quickest(ways: Mapping[str, Callable[[], object]], wait: Callable[[], None] | None = None) -> str:
    """Return the way that takes least, by the median of some rounds in turn; a way that raises `RuleError` is none.

    `wait` returns when everything that was begun has ended: work on a GPU, by default.
    """
    wait = wait or torch.cuda.synchronize
    seconds: dict[str, list[float]] = {}
    for name, run in ways.items():
        try:
            run()  # compiles
        except RuleError:
            continue
        seconds[name] = []
    for _ in range(ROUNDS):
        for name, taken in seconds.items():
            wait()
            begin = time.perf_counter()
            ways[name]()
            wait()
            taken.append(time.perf_counter() - begin)
    return min(seconds, key=lambda name: median(seconds[name]))


def _machine() -> tuple[str, ...]:
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return name, torch.__version__
