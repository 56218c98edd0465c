"""Emit the paths of connections: operations without weights, and their adjoints.

Values here end in the labels of the presynaptic side, `i` or `i iy ix`.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field

import torch
from torch.nn import functional

from rulec.backend.values import Emitter, Value
from rulec.network.graph import Add, Concat, Connection, Flatten, Leaf, Network, Pad, Path, Pool, Shape
from rulec.network.sizes import path_shape

_ENDS = ("i", "iy", "ix")


def neuron_labels(side: str, shape: Shape) -> tuple[str, ...]:
    return (side,) if len(shape) == 1 else (side, f"{side}y", f"{side}x")


@dataclass
class PathMap:
    """A connection's path as a linear map; the winners of max-pooling are fixed by the first signal sent across."""

    emit: Emitter
    network: Network
    connection: Connection
    winners: dict[int, Value] = field(default_factory=dict)

    def record(self, signal: dict[str, Value]) -> None:
        """Fix the winners from the signal of each source layer."""
        self._record(self.connection.path, signal)

    def _record(self, path: Path, signal: dict[str, Value]) -> None:
        if isinstance(path, Leaf):
            return
        for source in path.sources if isinstance(path, (Concat, Add)) else (path.source,):
            self._record(source, signal)
        if isinstance(path, Pool) and path.kind == "max":
            image = self._apply(path.source, signal)
            flat = self._planes(image, path_shape(self.network, path.source))
            pooled = self.emit.call(
                functional.max_pool2d, flat, path.kernel, path.stride, path.padding, return_indices=True
            )
            winners = self.emit.call(operator.getitem, pooled, 1)
            self.winners[id(path)] = self._restored(winners, image, path_shape(self.network, path))

    def apply(self, images: dict[str, Value]) -> Value:
        return self._apply(self.connection.path, images)

    def adjoint(self, layer: str, value: Value) -> Value | None:
        """Carry a value at the weights back to `layer`; None if nothing leads there."""
        return self._adjoint(self.connection.path, layer, value)

    # --- Shapes ---

    def _front(self, value: Value) -> tuple[str, ...]:
        return tuple(label for label in value.labels if label not in _ENDS)

    def _front_sizes(self, value: Value) -> list[int]:
        """Sizes of all axes but the neuron's: those known, and -1 for the batch."""
        return [-1 if label == "n" else self.emit.sizes[label] for label in self._front(value)]

    def _planes(self, value: Value, shape: Shape) -> object:
        return self.emit.call(torch.reshape, value.node, (-1, 1, *shape[1:]))

    def _restored(self, node: object, like: Value, shape: Shape) -> Value:
        labels = (*self._front(like), *neuron_labels("i", shape))
        return self.emit.make(labels, torch.reshape, node, (*self._front_sizes(like), *shape))

    # --- Forward ---

    def _apply(self, path: Path, images: dict[str, Value]) -> Value:
        match path:
            case Leaf(layer=layer):
                return images[layer]
            case Concat(sources=sources):
                return self._concatenated(path, [self._apply(s, images) for s in sources])
            case Add(sources=sources):
                total = self._apply(sources[0], images)
                for source in sources[1:]:
                    total = total + self._apply(source, images)
                return total
            case Flatten(source=source):
                return self._restored(
                    self._apply(source, images).node, self._apply(source, images), path_shape(self.network, path)
                )
            case Pad(source=source, amounts=amounts):
                image = self._apply(source, images)
                return self.emit.make(image.labels, functional.pad, image.node, amounts)
            case Pool(source=source):
                return self._pooled(path, self._apply(source, images))
        raise AssertionError(path)

    def _concatenated(self, path: Concat, parts: list[Value]) -> Value:
        labels = self.emit.union(*parts)
        shapes = [path_shape(self.network, s) for s in path.sources]
        nodes = []
        for part, shape in zip(parts, shapes, strict=True):
            sizes = [-1 if label == "n" else self.emit.sizes.get(label, 0) for label in labels if label not in _ENDS]
            nodes.append(self.emit.expanded(part, labels, [*sizes, *shape]).node)
        return self.emit.make(labels, torch.cat, nodes, labels.index("i"))

    def _pooled(self, path: Pool, image: Value) -> Value:
        shape, out = path_shape(self.network, path.source), path_shape(self.network, path)
        if path.kind == "avg":
            flat = self._planes(image, shape)
            node = self.emit.call(
                functional.avg_pool2d, flat, path.kernel, path.stride, path.padding, False, path.count_include_pad
            )
            return self._restored(node, image, out)
        flat = self.emit.call(torch.flatten, image.node, -2)
        winners = self._winners(path, image)
        node = self.emit.call(torch.gather, flat, -1, winners)
        return self._restored(node, image, out)

    def _winners(self, path: Pool, like: Value) -> object:
        """Return the winners spread over every axis of a value, places flattened."""
        winners = self.winners[id(path)]
        out = path_shape(self.network, path)
        spread = self.emit.expanded(winners, like.labels, [*self._front_sizes(like), *out])
        return self.emit.call(torch.flatten, spread.node, -2)

    # --- Backward ---

    def _adjoint(self, path: Path, layer: str, back: Value) -> Value | None:
        match path:
            case Leaf(layer=name):
                return back if name == layer else None
            case Concat(sources=sources):
                return self._split(sources, layer, back)
            case Add(sources=sources):
                return self._total([self._adjoint(s, layer, back) for s in sources])
            case Flatten(source=source):
                return self._adjoint(source, layer, self._restored(back.node, back, path_shape(self.network, source)))
            case Pad(source=source, amounts=(left, right, top, bottom)):
                cropped = self.emit.make(back.labels, functional.pad, back.node, (-left, -right, -top, -bottom))
                return self._adjoint(source, layer, cropped)
            case Pool(source=source):
                return self._adjoint(source, layer, self._unpooled(path, back))
        raise AssertionError(path)

    def _split(self, sources: tuple[Path, ...], layer: str, back: Value) -> Value | None:
        parts: list[Value | None] = []
        start, axis = 0, back.labels.index("i")
        for source in sources:
            width = path_shape(self.network, source)[0]
            part = self.emit.make(back.labels, torch.narrow, back.node, axis, start, width)
            parts.append(self._adjoint(source, layer, part))
            start += width
        return self._total(parts)

    def _total(self, parts: list[Value | None]) -> Value | None:
        present = [p for p in parts if p is not None]
        total = present[0] if present else None
        for part in present[1:]:
            assert total is not None
            total = total + part
        return total

    def _unpooled(self, path: Pool, back: Value) -> Value:
        shape, out = path_shape(self.network, path.source), path_shape(self.network, path)
        if path.kind == "avg":
            flat = self._planes(back, out)
            batch = self.emit.call(torch.Tensor.size, flat, 0)
            like = self.emit.call(torch.Tensor.new_zeros, flat, (batch, 1, *shape[1:]))
            node = self.emit.call(
                torch.ops.aten.avg_pool2d_backward.default,
                flat,
                like,
                path.kernel,
                path.stride,
                path.padding,
                False,
                path.count_include_pad,
                None,
            )
            return self._restored(node, back, shape)
        winners = self.winners[id(path)]
        labels = self.emit.union(back, winners)
        front = [-1 if label == "n" else self.emit.sizes[label] for label in labels if label not in _ENDS]
        back = self.emit.expanded(back, labels, [*front, *out])
        flat = self.emit.call(torch.flatten, back.node, -2)
        zeros = self.emit.call(
            torch.Tensor.new_zeros, flat, (*self._sizes_of(flat, len(labels) - 2), shape[1] * shape[2])
        )
        node = self.emit.call(torch.scatter_add, zeros, -1, self._winners(path, back), flat)
        return self._restored(node, back, shape)

    def _sizes_of(self, node: object, count: int) -> list[object]:
        return [self.emit.call(torch.Tensor.size, node, axis) for axis in range(count)]
