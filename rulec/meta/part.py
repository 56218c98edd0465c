"""Which part of a problem a process works on, and how the part and the whole fit together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Part:
    """The members, or else the tasks, from `first` up to `last` of `whole`; `axis` is theirs in states (members, tasks, ...)."""

    axis: int
    first: int
    last: int
    whole: int

    @property
    def by_tasks(self) -> bool:
        return self.axis == 1

    @property
    def count(self) -> int:
        return self.last - self.first

    @property
    def own(self) -> range:
        return range(self.first, self.last)

    @property
    def members(self) -> slice:
        """The place of the members; a part of the tasks has them all."""
        return slice(None) if self.by_tasks else slice(self.first, self.last)

    @property
    def tasks(self) -> slice:
        """The place of the tasks; a part of the members has them all."""
        return slice(self.first, self.last) if self.by_tasks else slice(None)

    def within(self, larger: Part | None) -> Part:
        """Return the same part, of what `larger` is a part of along the same axis."""
        if larger is None:
            return self
        return Part(self.axis, larger.first + self.first, larger.first + self.last, larger.whole)

    def of_members(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the part of what has a place per member: (members, ...)."""
        return {name: value[self.members] for name, value in values.items()}

    def of_states(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the part of states (members, tasks, ...); numbers that all networks share stay."""
        return {
            name: value.narrow(self.axis, self.first, self.count) if value.ndim else value
            for name, value in states.items()
        }

    def mean(self, values: Tensor) -> Tensor:
        """Return what the part adds to means over all tasks, (members, ...)."""
        if self.by_tasks:
            return values * (self.count / self.whole)
        return self.placed(values)

    def placed(self, values: Tensor) -> Tensor:
        """Put the values of the part in their place among zeros."""
        shape = (*values.shape[: self.axis], self.whole, *values.shape[self.axis + 1 :])
        whole = values.new_zeros(shape)
        whole.narrow(self.axis, self.first, self.count).copy_(values)
        return whole


def even_parts(axis: int, whole: int, least: int) -> list[Part]:
    """Cut into as many parts of at least `least` as there can be; their sizes differ by one at most."""
    count = max(1, whole // least)
    return [Part(axis, whole * k // count, whole * (k + 1) // count, whole) for k in range(count)]
