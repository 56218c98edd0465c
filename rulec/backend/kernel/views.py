"""Values of a generated kernel: places in memory, and the loops over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class View:
    """`sizes` numbers at `base[offset + sum of index * stride]`; views of views are arithmetic on these."""

    base: str  # a pointer, or a number as C writes it
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def count(self) -> int:
        return prod(self.sizes)

    @property
    def is_contiguous(self) -> bool:
        return all(s == d or n == 1 for s, d, n in zip(self.strides, dense(self.sizes), self.sizes, strict=True))

    def at(self, indices: Sequence[str]) -> str:
        """Return the number at an index, as C writes it."""
        terms = [str(self.offset)] if self.offset else []
        for index, stride in zip(indices, self.strides, strict=True):
            if stride and index != "0":
                terms.append(index if stride == 1 else f"{index} * {stride}")
        return f"{self.base}[{' + '.join(terms) or '0'}]"

    def expanded(self, sizes: Sequence[int]) -> View:
        """Return the view with leading axes added and axes of length one repeated."""
        missing = len(sizes) - len(self.sizes)
        own = ((1,) * missing + self.sizes, (0,) * missing + self.strides)
        wanted = tuple(n if s == -1 else s for s, n in zip(sizes, own[0], strict=True))
        strides = tuple(0 if n == 1 and s != 1 else d for s, n, d in zip(wanted, *own, strict=True))
        return View(self.base, wanted, strides, self.offset)

    def permuted(self, order: Sequence[int]) -> View:
        places = [k % len(self.sizes) for k in order]
        return View(self.base, pick(self.sizes, places), pick(self.strides, places), self.offset)

    def selected(self, axis: int, index: int) -> View:
        axis, sizes, strides = axis % len(self.sizes), list(self.sizes), list(self.strides)
        number = index % sizes.pop(axis)
        return View(
            self.base, tuple(sizes), tuple(strides[:axis] + strides[axis + 1 :]), self.offset + number * strides[axis]
        )

    def sliced(self, axis: int, begin: int, end: int, step: int) -> View:
        axis = axis % len(self.sizes)
        sizes, strides = list(self.sizes), list(self.strides)
        first, last, _ = slice(begin, end).indices(sizes[axis])
        sizes[axis] = max(0, -(-(last - first) // step))
        offset = self.offset + first * strides[axis]
        strides[axis] *= step
        return View(self.base, tuple(sizes), tuple(strides), offset)

    def reshaped(self, sizes: Sequence[int]) -> View:
        """Return the same numbers in another shape. Raises `ValueError` if that is no view."""
        known = prod(s for s in sizes if s != -1)
        wanted = [self.count // max(known, 1) if s == -1 else s for s in sizes]
        axes = [(n, d) for n, d in zip(self.sizes, self.strides, strict=True) if n != 1]
        strides, left = [0] * len(wanted), list(axes)
        for place in range(len(wanted) - 1, -1, -1):
            size = wanted[place]
            if size == 1:
                continue
            if not left:
                raise ValueError("no view")
            n, d = left.pop()
            while n < size:  # join axes that lie behind each other
                if not left or left[-1][1] != n * d:
                    raise ValueError("no view")
                n *= left.pop()[0]
            if n % size:
                raise ValueError("no view")
            strides[place] = d
            if n > size:
                left.append((n // size, d * size))
        return View(self.base, tuple(wanted), tuple(strides), self.offset)


def dense(sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of an array without gaps."""
    strides, now = [], 1
    for size in reversed(sizes):
        strides.append(now)
        now *= size
    return tuple(reversed(strides))


def rounded(count: int) -> int:
    """Return a length that keeps what follows aligned to 64 bytes."""
    return -(-count // 16) * 16


def pick(values: Sequence[int], places: Sequence[int]) -> tuple[int, ...]:
    return tuple(values[k] for k in places)


def coalesced(views: Sequence[View]) -> list[View]:
    """Join neighbouring axes that all views walk through as one, and drop those of length one: fewer, longer loops."""
    sizes = list(views[0].sizes)
    columns = [list(axis) for axis in zip(*(v.strides for v in views), strict=True)] if sizes else []
    kept = [(n, c) for n, c in zip(sizes, columns, strict=True) if n != 1]
    joined: list[tuple[int, list[int]]] = []
    for n, strides in kept:
        if joined and all(outer == inner * n for outer, inner in zip(joined[-1][1], strides, strict=True)):
            joined[-1] = (joined[-1][0] * n, strides)
        else:
            joined.append((n, strides))
    shape = tuple(n for n, _ in joined)
    return [View(v.base, shape, tuple(c[k] for _, c in joined), v.offset) for k, v in enumerate(views)]
