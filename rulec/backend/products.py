"""Emit sums of products of labelled values: in the cheapest order, each as one batched matrix product.

Costs are counted in numbers moved through memory; a multiplication inside a matrix product costs a tenth of that (170 of the
one and 16 of the other in a microsecond on two cores), and every separate small product a fixed amount. The
number of samples is not known when an order is chosen; it is taken to be 64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import torch

from rulec.backend.values import Emitter, Value, component, size_of

_SAMPLES = 64
_MULTIPLICATION = 0.1  # of a number moved
_PRODUCT = 30.0  # numbers that could be moved while one small product starts

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Sizes:
    """Lengths of axes, for estimates; those of leading axes and declared indices are the emitter's."""

    emit: Emitter
    places: Mapping[str, int]
    layouts: dict[tuple[Labels, Labels, Labels], Layout | None] = field(default_factory=dict)  # found so far

    def __getitem__(self, label: str) -> int:
        return self.emit.sizes.get(label) or self.places.get(label, _SAMPLES)

    def volume(self, labels: Sequence[str]) -> float:
        return math.prod([float(self[label]) for label in labels])

    def layout(self, left: Labels, right: Labels, out: Labels) -> Layout | None:
        """Return the cheapest layout of a product, or None if nothing is summed over."""
        key = left, right, out
        if key not in self.layouts:
            self.layouts[key] = _layout(left, right, out, self)
        return self.layouts[key]


def contract_labels(
    emit: Emitter, factors: Sequence[Value], keep: Sequence[str], places: Mapping[str, int] | None = None
) -> Value:
    """Multiply values that hold no convolution kernel, and sum over every label that is not kept.

    `places` has the lengths of the neuron axes, as far as they are known.
    """
    sizes = Sizes(emit, places or {})
    values = _without_zeros([v for v in factors if not v.is_number], keep)
    number = math.prod(float(v.node) for v in factors if v.is_number)
    if values is None or not values:
        return emit.number(0.0 if values is None else number)
    if number != 1.0:
        smallest = min(range(len(values)), key=lambda k: sizes.volume(values[k].labels))
        values[smallest] = values[smallest] * number
    return _Order(values, frozenset(keep), sizes).value((1 << len(values)) - 1)


def _without_zeros(values: list[Value], keep: Sequence[str]) -> list[Value] | None:
    """Sum at once over indices along which a factor has a single component that is not zero; None if there is none."""
    for place, value in enumerate(values):
        index, parts = value.emit.stacks.get(value.key, ("", ()))
        if not index or index in keep or index not in value.labels:
            continue
        left = [k for k, part in enumerate(parts) if not (part.is_number and part.node == 0)]
        if not left:
            return None
        if len(left) == 1:
            others = [component(v, index, left[0]) for k, v in enumerate(values) if k != place]
            return _without_zeros([*others, parts[left[0]]], keep)
    return values


class _Order:
    """The cheapest way to multiply some factors two by two, found by trying all: sets of factors are bit masks."""

    def __init__(self, values: Sequence[Value], keep: frozenset[str], sizes: Sizes) -> None:
        self.emit, self.values, self.keep, self.sizes = values[0].emit, values, keep, sizes
        self.plans: dict[int, tuple[float, int]] = {}  # cost, and the factors on the left; 0 for a factor alone
        self.needed: dict[int, Labels] = {}
        self.moving = sum(1 << k for k, value in enumerate(values) if self.emit.moves(value))

    def labels(self, mask: int) -> Labels:
        """Return the labels that the product of these factors still needs."""
        if mask not in self.needed:
            self.needed[mask] = self._labels(mask)
        return self.needed[mask]

    def _labels(self, mask: int) -> Labels:
        inside, outside = set[str](), set(self.keep)
        for k, value in enumerate(self.values):
            (inside if mask >> k & 1 else outside).update(value.labels)
        return self.emit.sort(inside & outside)

    def plan(self, mask: int) -> tuple[float, int]:
        if mask not in self.plans:
            self.plans[mask] = self._plan(mask)
        return self.plans[mask]

    def _plan(self, mask: int) -> tuple[float, int]:
        members = [k for k in range(len(self.values)) if mask >> k & 1]
        if len(members) == 1:
            own = self.values[members[0]].labels
            return (0.0 if set(own) == set(self.labels(mask)) else self.sizes.volume(own)), 0
        best = (math.inf, 0)
        for left in _halves(members):
            right = mask & ~left
            cost = self.plan(left)[0] + self.plan(right)[0] + self._cost(left, right)
            best = min(best, (cost, left))
        return best

    def _cost(self, left: int, right: int) -> float:
        """Return the cost of one product, and of the products that its derivatives are: one for each side that has any."""
        out = self.labels(left | right)
        products = 1 + self.moves(left) + self.moves(right)
        return products * _cost(self.labels(left), self.labels(right), out, self.sizes)

    def moves(self, mask: int) -> bool:
        """Whether these factors carry a derivative: data and noise do not."""
        return bool(mask & self.moving)

    def value(self, mask: int) -> Value:
        left = self.plan(mask)[1]
        if not left:
            value = self.values[mask.bit_length() - 1]
            return self.emit.reduce("sum", value, set(value.labels) - set(self.labels(mask)))
        return product(self.value(left), self.value(mask & ~left), self.labels(mask), self.sizes)


def _halves(members: list[int]) -> Iterator[int]:
    """Yield every way of splitting the members in two, once each, as the mask of the half with the first."""
    first, rest = members[0], members[1:]
    for count in range(len(rest)):
        for others in combinations(rest, count):
            yield sum(1 << k for k in (first, *others))


# --- One product -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """A sum of products as a batched matrix product, rows by columns; `swapped`: the right value has the rows."""

    batch: Labels
    rows: Labels
    columns: Labels
    summed: Labels
    swapped: bool
    cost: float


def product(left: Value, right: Value, out: Labels, sizes: Sizes) -> Value:
    """Multiply two values; labels of both that are not in `out` are summed over, and every other label is in `out`."""
    layout = sizes.layout(left.labels, right.labels, out)
    if layout is None:
        return left * right
    emit = left.emit
    first, second = (right, left) if layout.swapped else (left, right)
    lengths = {x: _length(x, left, right, sizes) for x in out}
    batch = {x: lengths[x] for x in layout.batch}
    a = _matrices(first, batch, layout.rows, layout.summed)
    b = _matrices(second, batch, layout.summed, layout.columns)
    node = emit.call(torch.bmm if batch else torch.mm, a, b)
    return _unfolded(emit, node, layout, lengths)


def _length(label: str, left: Value, right: Value, sizes: Sizes) -> object:
    return sizes.places.get(label) or size_of(label, [left, right])


def _matrices(value: Value, batch: Mapping[str, object], rows: Labels, columns: Labels) -> object:
    """Lay a value out as (batch, rows, columns), or (rows, columns) without a batch: all labels of a group are one axis."""
    emit = value.emit
    node = emit.spread(value, (*batch, *rows, *columns), leading=True)
    if any(label not in value.labels for label in batch):
        shape = [size if label not in value.labels else -1 for label, size in batch.items()]
        node = emit.call(torch.Tensor.expand, node, (*shape, *[-1] * (len(rows) + len(columns))))
    for place, group in enumerate((tuple(batch), rows, columns) if batch else (rows, columns)):
        if not group:
            node = emit.call(torch.unsqueeze, node, place)
        elif len(group) > 1:
            node = emit.call(torch.flatten, node, place, place + len(group) - 1)
    return node


def _unfolded(emit: Emitter, node: object, layout: Layout, lengths: Mapping[str, object]) -> Value:
    """Give a product its labels back, group by group, from the last to the first."""
    groups = (layout.batch, layout.rows, layout.columns) if layout.batch else (layout.rows, layout.columns)
    for place, group in reversed(list(enumerate(groups))):
        if not group:
            node = emit.call(torch.squeeze, node, place)
        elif len(group) > 1:
            shape = tuple(-1 if x == "n" else lengths[x] for x in group)
            node = emit.call(torch.unflatten, node, place, shape)
    return emit.canonical(Value(emit, node, (*layout.batch, *layout.rows, *layout.columns)))


def _cost(left: Labels, right: Labels, out: Labels, sizes: Sizes) -> float:
    moved = sizes.volume(left) + sizes.volume(right) + sizes.volume(out)
    layout = sizes.layout(left, right, out)
    return moved if layout is None else moved + layout.cost


def _layout(left: Labels, right: Labels, out: Labels, sizes: Sizes) -> Layout | None:
    """Return the cheapest layout, or None if nothing is summed over: results lie in their order if that can be had."""
    summed = sizes.emit.sort((set(left) & set(right)) - set(out))
    if not summed:
        return None
    work = sizes.volume(sizes.emit.sort([*left, *right])) * _MULTIPLICATION
    found: list[tuple[float, Layout]] = []
    for begin in range(len(out) + 1):
        for middle in range(begin, len(out) + 1):
            batch, rows, columns = out[:begin], out[begin:middle], out[middle:]
            for swapped, (a, b) in ((False, (left, right)), (True, (right, left))):
                if set(rows) & set(b) or set(columns) & set(a):
                    continue
                cost = work + sizes.volume(batch) * _PRODUCT
                cost += _copy(a, batch, rows, summed, sizes) + _copy(b, batch, columns, summed, sizes)
                found.append((cost, Layout(batch, rows, columns, summed, swapped, cost)))
    return min(found, key=lambda pair: pair[0])[1]


def _copy(own: Labels, batch: Labels, group: Labels, summed: Labels, sizes: Sizes) -> float:
    """Return what it costs to bring a value into the form of matrices: nothing if its axes lie as they must."""
    shared = tuple(x for x in batch if x in own)
    full = sizes.volume((*batch, *group, *summed))
    spread = 2 * full if shared and len(shared) < len(batch) else 0.0
    lies = own in ((*shared, *group, *summed), (*shared, *summed, *group))
    return spread or (0.0 if lies else 2 * sizes.volume(own))
