"""What the command gives every benchmark: how thorough to be, and a place to say how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.contender import Contender

P = TypeVar("P")


@dataclass(frozen=True)
class Effort:
    """`quick`: small problems and few rounds, to see that everything runs; its figures mean nothing."""

    quick: bool
    say: Callable[[str], None]

    @property
    def rounds(self) -> int:
        return 2 if self.quick else 11

    def sized(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def chosen(self, contenders: Sequence[Contender[P]]) -> list[Contender[P]]:
        """Return those that take part: in a quick run, only what starts quickly."""
        return [c for c in contenders if not (self.quick and c.slow_start)]
