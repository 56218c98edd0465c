"""Which states of an unroll to keep for its reverse pass, given how many bytes may be used.

Keeping the residuals of every step is fastest. Where that is too much, the steps are cut into stretches: only the state at the
start of each is kept, and its steps are made again when the reverse pass reaches it; a stretch may be cut again. Each level
costs one more pass over the steps, and with two levels memory grows with the square root of their number.
Griewank and Walther 2000, "Algorithm 799: Revolve"; Chen et al. 2016, "Training deep nets with sublinear memory cost".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal


@dataclass(frozen=True)
class Costs:
    """Bytes that one step holds: the state it begins with, and what else its derivative needs."""

    state: int
    residuals: int

    @property
    def step(self) -> int:
        return self.state + self.residuals


def stretches(steps: int, costs: Costs, room: int | None) -> int:
    """Return into how many stretches to cut; 1 keeps everything. Too little room gives the cut that needs least."""
    if room is None or steps * costs.step <= room:
        return 1
    return _best(steps, costs, room)[1] or least_stretches(steps, costs)


def inner_room(parts: int, costs: Costs, room: int | None) -> int | None:
    """Return what is left for one stretch when the states at the starts of the others are kept."""
    return None if room is None else room - (parts - 1) * costs.state


def borders(steps: int, parts: int) -> list[int]:
    """Return where `parts` stretches of nearly equal length begin, and the end."""
    return [steps * k // parts for k in range(parts + 1)]


def least_stretches(steps: int, costs: Costs) -> int:
    """Return the number of stretches that, cut once, needs least memory."""
    return max(1, min(steps, round(math.sqrt(steps * costs.step / max(1, costs.state)))))


def least_bytes(steps: int, costs: Costs) -> int:
    """Return what the stretches of `least_stretches` need: about twice the square root of the number of steps, in states."""
    parts = least_stretches(steps, costs)
    return (parts - 1) * costs.state + math.ceil(steps / parts) * costs.step


# --- Moves -----------------------------------------------------------------------------------

MoveKind = Literal["advance", "record", "turn", "pull"]


@dataclass(frozen=True)
class Move:
    """What to do with the steps `begin` to `end`, and from where: memory is a stack, and `place` an offset in it.

    `advance` makes the steps without keeping anything, and leaves the state after them behind the one that it began with; `record`
    keeps an entry for each, a state and residuals, and the state after them behind; `turn` is where the way back begins; `pull`
    goes back through recorded entries.
    """

    kind: MoveKind
    begin: int
    end: int
    place: int


def there_and_back(steps: int, costs: Costs, room: int | None) -> list[Move]:
    """Return the moves of an unroll and its way back; the state that it begins with lies at place 0."""
    moves: list[Move] = []

    def walk(begin: int, end: int, room: int | None, place: int, last: bool) -> None:
        parts = stretches(end - begin, costs, room)
        cuts = [begin + b for b in borders(end - begin, parts)]
        if parts == 1:
            moves.append(Move("record", begin, end, place))
            if last:
                moves.append(Move("turn", end, end, place + (end - begin) * costs.step))
            moves.append(Move("pull", begin, end, place))
            return
        own = inner_room(parts, costs, room)
        for k, (first, then) in enumerate(pairwise(cuts[:-1])):
            moves.append(Move("advance", first, then, place + k * costs.state))
        for k, (first, then) in reversed(list(enumerate(pairwise(cuts)))):
            walk(first, then, own, place + k * costs.state, last and then == end)

    walk(0, steps, room, 0, True)
    return moves


@cache
def _best(steps: int, costs: Costs, room: int) -> tuple[float, int]:
    """Return (extra steps, number of stretches); infinity if nothing fits."""
    if steps * costs.step <= room:
        return 0.0, 1
    best = (math.inf, 0)
    for parts in range(2, steps + 1):
        left = room - (parts - 1) * costs.state
        if left < costs.step:
            break
        longest = math.ceil(steps / parts)
        extra = steps + parts * _best(longest, costs, left)[0]
        best = min(best, (extra, parts))
        if best[0] == steps:
            break
    return best
