"""Arrays in Triton's blocks, whose sizes are powers of two.

An axis is a product of factors, each padded by itself: 15 = 5 x 3 takes 8 x 4 places. So axes can be joined, and taken apart again, without
moving anything. What stands in the padding is anything at all, unless a block is clean: zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

Axis = tuple[int, ...]  # factors, the last of which runs fastest; none of them is 1


@dataclass(frozen=True)
class Block:
    """`text` is an expression of a kernel, a scalar if there are no axes."""

    text: str
    axes: tuple[Axis, ...]
    clean: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(map(prod, self.axes))

    @property
    def places(self) -> int:
        """The number of places that it takes."""
        return prod(map(padded, self.axes))

    def permuted(self, order: Sequence[int]) -> Block:
        places = [k % len(self.axes) for k in order]
        if places == sorted(places):
            return self
        return replace(self, text=f"tl.permute({self.text}, {tuple(places)})", axes=tuple(self.axes[k] for k in places))

    def regrouped(self, axes: Sequence[Axis]) -> Block:
        """Return the same places in other axes, which have the same padded factors in the same order."""
        if tuple(axes) == self.axes:
            return self
        assert axes, "a scalar is no block"
        text = f"tl.reshape({self.text}, {shape(axes)})" if shape(axes) != shape(self.axes) else self.text
        if not self.axes:
            text = f"tl.full({shape(axes)}, {self.text}, real)"
        return replace(self, text=text, axes=tuple(axes))


def plain(sizes: Sequence[int]) -> tuple[Axis, ...]:
    """Return axes that nobody took apart."""
    return tuple((n,) if n != 1 else () for n in sizes)


def power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()


def padded(axis: Axis) -> int:
    return prod(map(power_of_two, axis))


def is_exact(axis: Axis) -> bool:
    """Whether an axis has no padding."""
    return padded(axis) == prod(axis)


def shape(axes: Sequence[Axis]) -> str:
    """Return the shape of a block as a kernel writes it."""
    return "(" + "".join(f"{padded(axis)}, " for axis in axes).rstrip() + ")"


def regrouping(axes: Sequence[Axis], sizes: Sequence[int]) -> tuple[Axis, ...] | None:
    """Return axes of these sizes for an array that lies in `axes`, or None where numbers would have to move."""
    factors = [n for axis in axes for n in axis]
    found: list[Axis] = []
    for size in reversed(sizes):
        own: list[int] = []
        while prod(own) != size:
            if not factors:
                return None
            last, rest = factors.pop(), size // prod(own)
            if rest % last:  # a factor that two axes share
                if last % rest or power_of_two(rest) != rest:
                    return None
                factors.append(last // rest)
                last = rest
            own.insert(0, last)
        found.insert(0, tuple(own))
    return None if factors else tuple(found)
