"""What is made of a compiled rule, each thing once: graphs, engines, kernels, recordings, and choices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from rulec.backend.lowering import Lowered
from rulec.backend.modules import Graph
from rulec.runtime.unrolls.capture import Captured
from rulec.runtime.unrolls.choice import Choice
from rulec.runtime.unrolls.engine import Engine
from rulec.runtime.unrolls.kernel import Kernel
from rulec.runtime.unrolls.onchip import OnChip
from rulec.runtime.unrolls.tangents import TangentEngine

Key = tuple[object, ...]
Made = TypeVar("Made")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Graphs:
    """Kernels, and the names of states that are carried, are the same for all leading axes; the rest depends on their sizes."""

    kernels: dict[Key, Kernel] = field(default_factory=dict)
    carried: dict[bool, tuple[str, ...]] = field(default_factory=dict)
    lowered: dict[Key, Lowered] = field(default_factory=dict)
    calls: dict[Key, tuple[Lowered, Graph]] = field(default_factory=dict)
    engines: dict[Key, Engine] = field(default_factory=dict)
    tangents: dict[Key, TangentEngine] = field(default_factory=dict)
    chips: dict[Key, OnChip] = field(default_factory=dict)
    recordings: dict[object, Captured] = field(default_factory=dict)
    ways: dict[object, str] = field(default_factory=dict)
    choices: dict[int, Choice] = field(default_factory=dict)

    def resized(self) -> Graphs:
        """Return what remains for other leading axes."""
        return Graphs(self.kernels, self.carried)


def kept(made: dict[Made, Value], key: Made, make: Callable[[], Value]) -> Value:
    """Return what was made for a key, or make it."""
    if key not in made:
        made[key] = make()
    return made[key]
