"""Emit contractions: the three bilinear maps between two layers, dense and convolutional.

| map | dense | convolution |
|---|---|---|
| pre to post, sum over `i` | product with the weights | `conv2d` |
| post to pre, sum over `j` | product with the transpose | `conv_transpose2d` |
| outer product, sum over `n` | product of the transpose | gradient of `conv2d` for its weights |

Leading axes and shared declared indices become groups of one grouped convolution, or the batch of one product.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional, grad

from rulec.backend.products import contract_labels
from rulec.backend.values import Emitter, Value
from rulec.network.graph import Conv
from rulec.network.sizes import weighted_shape

_LEADING = {"P", "T", "R"}
_KERNEL = {"q", "ky", "kx"}
_PRE = {"i", "iy", "ix"}
_POST = {"j", "jy", "jx"}
_NEURON = {"n"} | _PRE | _POST
_SAMPLES = 64  # whose number is not known yet


class CannotMap(Exception):
    """A contraction that is none of the three maps; the caller says where."""


@dataclass(frozen=True)
class ConvMaps:
    """The three maps of one convolution; `seen` is the shape of what its weights see."""

    emit: Emitter
    weights: Conv
    seen: tuple[int, ...]

    @property
    def places(self) -> tuple[int, int]:
        """Height and width of the postsynaptic side."""
        _, height, width = weighted_shape(self.weights, self.seen)
        return height, width

    def contract(self, factors: Sequence[Value], keep: Sequence[str]) -> Value:
        """Contract factors among which may be a kernel; `keep` are the labels of the result before the map renames them."""
        factors = [f for f in factors if not f.is_number] + [f for f in factors if f.is_number]
        kernel = [f for f in factors if _KERNEL & set(f.labels)]
        if kernel:  # one number per output scales the kernel
            kernel += [f for f in factors if _POST & set(f.labels) == {"j"} and "n" not in f.labels and f not in kernel]
        pre = [f for f in factors if _PRE & set(f.labels) and f not in kernel]
        post = [f for f in factors if _POST & set(f.labels) and f not in kernel and f not in pre]
        mixed = [
            f for f in factors if (_PRE & set(f.labels) and _POST & set(f.labels)) or (f in kernel and "n" in f.labels)
        ]
        if mixed:
            raise CannotMap("a nonlinear function of both neurons")
        small = [f for f in factors if f not in kernel and f not in pre and f not in post]
        numbers = [f for f in small if set(f.labels) <= _LEADING]
        if numbers and (pre or post) and (kernel or "n" not in keep):
            return self._scaled(numbers, [f for f in factors if f not in numbers], kernel, keep)
        if not kernel and not (pre and "n" not in keep):
            return contract_labels(self.emit, factors, keep)
        needed = set(keep)
        if kernel and pre and not post:
            left, right = self._two(kernel, pre, small, needed)
            return self._send(left, right, needed)
        if kernel and post and not pre:
            left, right = self._two(kernel, post, small, needed)
            return self._return(left, right, needed)
        if pre and not kernel:
            left, right = self._two(pre, post or [self._ones(pre[0])], small, needed)
            return self._outer(left, right, needed, bool(post))
        if kernel and not pre and not post:
            if self.weights.groups != 1 and "j" not in keep and any("q" in f.labels for f in kernel):
                raise CannotMap("a sum over the outputs of a grouped convolution")
            return contract_labels(self.emit, factors, keep)
        raise CannotMap("a product of weights and both neurons")

    def _scaled(self, numbers: list[Value], factors: list[Value], kernel: list[Value], keep: Sequence[str]) -> Value:
        """Multiply by numbers where there is least to multiply: the kernel, an image, what has no neurons, or an outer product."""
        number = self._product(numbers)
        volumes = [self._volume({*f.labels, *number.labels}) for f in factors]
        place = volumes.index(min(volumes))
        outer = ({*keep} - _NEURON) | ({*keep} & {"j"}) | _KERNEL
        if not kernel and self._volume(outer) < volumes[place]:
            return self.contract(factors, keep) * number
        return self.contract([*factors[:place], factors[place] * number, *factors[place + 1 :]], keep)

    def _volume(self, labels: Iterable[str]) -> int:
        w = self.weights
        known = {"n": _SAMPLES, "q": w.inputs // w.groups, "ky": w.kernel[0], "kx": w.kernel[1]}
        known |= dict(zip(("i", "iy", "ix"), self.seen, strict=True))
        known |= dict(zip(("j", "jy", "jx"), (w.outputs, *self.places), strict=True))
        return math.prod(known.get(label) or self.emit.sizes[label] for label in labels)

    def _ones(self, like: Value) -> Value:
        """A postsynaptic value of one everywhere, with a single feature."""
        batch = self.emit.call(torch.Tensor.size, like.node, like.labels.index("n"))
        return self.emit.make(("n", "j", "jy", "jx"), torch.ones, (batch, 1, *self.places), dtype=self.emit.dtype)

    def _two(self, left: list[Value], right: list[Value], small: list[Value], needed: set[str]) -> tuple[Value, Value]:
        """Multiply the factors of each space together; small ones join a neuron's side, where the product is cheap."""
        sides = [self._product(left), self._product(right)]
        for place, factor in enumerate(small):
            shared = [len(set(factor.labels) & set(s.labels) - {"P", "T", "R"}) for s in sides]
            target = 0 if "n" in sides[0].labels and shared[0] > shared[1] else 1
            others = set(sides[1 - target].labels).union(*(f.labels for f in small[place + 1 :]))
            keep = needed | others | (set(sides[target].labels) & (_NEURON | _KERNEL))
            sides[target] = contract_labels(self.emit, [sides[target], factor], tuple(keep))
        return sides[0], sides[1]

    def _product(self, values: list[Value]) -> Value:
        result = values[0]
        for value in values[1:]:
            result = result * value
        return result

    def _labels(self, left: Value, right: Value, needed: set[str]) -> tuple[list[str], list[str], list[str]]:
        """Return (shared, left only, right only) among leading and declared labels."""
        inner = _NEURON | _KERNEL
        mine = [x for x in left.labels if x not in inner]
        other = [x for x in right.labels if x not in inner]
        leading = [x for x in self.emit.sort([*mine, *other]) if x in ("P", "T", "R")]
        shared = [x for x in self.emit.sort([*mine, *other]) if x in leading or (x in mine and x in other)]
        return shared, [x for x in mine if x not in shared], [x for x in other if x not in shared]

    def _size(self, labels: Sequence[str]) -> int:
        total = 1
        for label in labels:
            total *= self.emit.sizes[label]
        return total

    def _sizes(self, labels: Sequence[str]) -> list[int]:
        return [self.emit.sizes[label] for label in labels]

    def _image(
        self, value: Value, shared: list[str], own: list[str], ends: tuple[str, ...], shape: tuple[int, ...]
    ) -> object:
        """Lay a neuron value out as (own * n, shared * features, height, width)."""
        labels = (*own, "n", *shared, *ends)
        sizes = [*self._sizes(own), -1, *self._sizes(shared), *shape]
        full = self.emit.expanded(value, labels, sizes)
        return self.emit.call(torch.reshape, full.node, (-1, self._size(shared) * shape[0], *shape[1:]))

    def _kernel(self, value: Value, shared: list[str], own: list[str], output_first: bool) -> object:
        """Lay a kernel out for `groups = shared * groups`; `own` indices multiply its outputs (or inputs, when sent back)."""
        w = self.weights
        labels = (*shared, *own, "j", "q", "ky", "kx")
        sizes = [*self._sizes(shared), *self._sizes(own), w.outputs, w.inputs // w.groups, *w.kernel]
        full = self.emit.expanded(value, labels, sizes).node
        a, c, g = self._size(shared), self._size(own), w.groups
        split = self.emit.call(torch.reshape, full, (a, c, g, w.outputs // g, w.inputs // g, *w.kernel))
        if output_first:
            moved = self.emit.call(torch.permute, split, (0, 2, 1, 3, 4, 5, 6))
            return self.emit.call(torch.reshape, moved, (a * c * w.outputs, w.inputs // g, *w.kernel))
        moved = self.emit.call(torch.permute, split, (0, 2, 3, 1, 4, 5, 6))
        return self.emit.call(torch.reshape, moved, (a * w.outputs, c * w.inputs // g, *w.kernel))

    def _restore(
        self,
        node: object,
        shared: list[str],
        kernel: list[str],
        neuron: list[str],
        features: int,
        side: str,
        shape: tuple[int, int],
        needed: set[str],
    ) -> Value:
        """From (neuron * n, shared * groups * kernel * features / groups, height, width) back to labels."""
        emit, g = self.emit, self.weights.groups
        d, a, c = self._size(neuron), self._size(shared), self._size(kernel)
        split = emit.call(torch.reshape, node, (d, -1, a, g, c, features // g, *shape))
        moved = emit.call(torch.permute, split, (2, 4, 0, 1, 3, 5, 6, 7))
        sizes = (*self._sizes(shared), *self._sizes(kernel), *self._sizes(neuron), -1, features, *shape)
        labels = (*shared, *kernel, *neuron, "n", side, f"{side}y", f"{side}x")
        value = emit.canonical(emit.make(labels, torch.reshape, moved, sizes))
        return emit.reduce("sum", value, [x for x in (*shared, *kernel, *neuron) if x not in needed])

    def _send(self, kernel: Value, image: Value, needed: set[str]) -> Value:
        w = self.weights
        shared, own, other = self._labels(kernel, image, needed)
        x = self._image(image, shared, other, ("i", "iy", "ix"), self.seen)
        k = self._kernel(kernel, shared, own, output_first=True)
        node = self.emit.call(
            functional.conv2d, x, k, None, w.stride, w.padding, w.dilation, self._size(shared) * w.groups
        )
        return self._restore(node, shared, own, other, w.outputs, "j", self.places, needed)

    def _return(self, kernel: Value, image: Value, needed: set[str]) -> Value:
        w = self.weights
        shared, own, other = self._labels(kernel, image, needed)
        d = self._image(image, shared, other, ("j", "jy", "jx"), (w.outputs, *self.places))
        k = self._kernel(kernel, shared, own, output_first=False)
        extra = tuple(
            size - ((p - 1) * s - 2 * pad + dil * (kk - 1) + 1)
            for size, p, s, pad, dil, kk in zip(
                self.seen[1:], self.places, w.stride, w.padding, w.dilation, w.kernel, strict=True
            )
        )
        node = self.emit.call(
            functional.conv_transpose2d,
            d,
            k,
            None,
            w.stride,
            w.padding,
            extra,
            self._size(shared) * w.groups,
            w.dilation,
        )
        return self._restore(node, shared, own, other, w.inputs, "i", (self.seen[1], self.seen[2]), needed)

    def _outer(self, pre: Value, post: Value, needed: set[str], has_post: bool) -> Value:
        w = self.weights
        if not has_post and w.groups != 1:
            raise CannotMap("a presynaptic average over a grouped convolution")
        shared, own, other = self._labels(pre, post, needed)
        together = self.emit.sort([*shared, *own, *other])
        outputs = w.outputs if has_post else 1
        x = self._image(pre, list(together), [], ("i", "iy", "ix"), self.seen)
        d = self._image(post, list(together), [], ("j", "jy", "jx"), (outputs, *self.places))
        a = self._size(together)
        shape = (a * outputs, w.inputs // w.groups, *w.kernel)
        node = self.emit.call(grad.conv2d_weight, x, shape, d, w.stride, w.padding, w.dilation, a * w.groups)
        labels = (*together, *(("j",) if has_post else ()), "q", "ky", "kx")
        sizes = (*self._sizes(together), *((outputs,) if has_post else ()), *shape[1:])
        value = self.emit.canonical(self.emit.make(labels, torch.reshape, node, sizes))
        summed = [x for x in (*together, "j") if x not in needed]
        return self.emit.reduce("sum", value, summed if "i" in needed else [*summed, "q", "ky", "kx"])
