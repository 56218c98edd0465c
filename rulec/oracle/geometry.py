"""Paths and convolutions in numpy, written for reading: every connection is a dense one once its input is unfolded.

An image has shape (n, channels, height, width, ...), trailing axes being declared indices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from rulec.network.graph import Add, Concat, Conv, Flatten, Leaf, Pad, Path, Pool
from rulec.network.sizes import weighted_shape

Images = Mapping[str, np.ndarray]  # by layer: (n, channels[, height, width], ...)


def pool_windows(path: Pool, shape: tuple[int, ...]) -> list[tuple[int, int, list[tuple[int, int]]]]:
    """Return, for each output place, the input places that fall into its window."""
    height, width = shape
    rows = (height + 2 * path.padding[0] - path.kernel[0]) // path.stride[0] + 1
    columns = (width + 2 * path.padding[1] - path.kernel[1]) // path.stride[1] + 1
    windows = []
    for r in range(rows):
        for c in range(columns):
            top, left = r * path.stride[0] - path.padding[0], c * path.stride[1] - path.padding[1]
            cells = [
                (y, x)
                for y in range(top, top + path.kernel[0])
                for x in range(left, left + path.kernel[1])
                if 0 <= y < height and 0 <= x < width
            ]
            windows.append((r, c, cells))
    return windows


class PathMap:
    """A path as a linear map, once the winners of its max-pooling are known."""

    def __init__(self, path: Path, signal: Images) -> None:
        """Fix the winners from `signal`: for each layer the state that the forward sweep sends, one component of it."""
        self.path = path
        self.winners: dict[int, np.ndarray] = {}
        self._record(path, signal)

    def _record(self, path: Path, signal: Images) -> np.ndarray:
        if isinstance(path, Leaf):
            return signal[path.layer]
        if isinstance(path, (Concat, Add)):
            for source in path.sources:
                self._record(source, signal)
        elif isinstance(path, Pool) and path.kind == "max":
            image = self._record(path.source, signal)
            winners = [
                np.argmax(np.stack([image[:, :, y, x] for y, x in cells]), axis=0)
                for _, _, cells in pool_windows(path, image.shape[2:4])
            ]
            self.winners[id(path)] = np.stack(winners)
        else:
            self._record(path.source, signal)
        return self._apply(path, signal)

    def apply(self, images: Images) -> np.ndarray:
        return self._apply(self.path, images)

    def _apply(self, path: Path, images: Images) -> np.ndarray:
        match path:
            case Leaf(layer=layer):
                return images[layer]
            case Concat(sources=sources):
                return np.concatenate([self._apply(s, images) for s in sources], axis=1)
            case Add(sources=sources):
                return np.sum([self._apply(s, images) for s in sources], axis=0)
            case Flatten(source=source):
                image = self._apply(source, images)
                return image.reshape(image.shape[0], -1, *image.shape[4:])
            case Pad(source=source, amounts=(left, right, top, bottom)):
                image = self._apply(source, images)
                margins = [(0, 0), (0, 0), (top, bottom), (left, right), *[(0, 0)] * (image.ndim - 4)]
                return np.pad(image, margins)
            case Pool(source=source):
                return self._pool(path, self._apply(source, images))
        raise AssertionError(path)

    def _pool(self, path: Pool, image: np.ndarray) -> np.ndarray:
        windows = pool_windows(path, image.shape[2:4])
        rows, columns = windows[-1][0] + 1, windows[-1][1] + 1
        out = np.zeros((*image.shape[:2], rows, columns, *image.shape[4:]))
        for w, (r, c, cells) in enumerate(windows):
            for k, (y, x) in enumerate(cells):
                out[:, :, r, c] += self._weight(path, w, k, len(cells), image.ndim) * image[:, :, y, x]
        return out

    def _weight(self, path: Pool, window: int, cell: int, cells: int, ndim: int) -> np.ndarray | float:
        if path.kind == "max":
            won = (self.winners[id(path)][window] == cell) * 1.0
            return won.reshape(*won.shape, *[1] * (ndim - 4))
        return 1 / (path.kernel[0] * path.kernel[1] if path.count_include_pad else cells)

    def adjoint(self, layer: str, cotangent: np.ndarray, like: Images) -> np.ndarray:
        """Carry a value at the weights back to `layer`; `like` gives the shapes of all source layers."""
        back = self._adjoint(self.path, layer, cotangent, like)
        assert back is not None, f"{layer} is no source of this path"
        return back

    def _adjoint(self, path: Path, layer: str, back: np.ndarray, like: Images) -> np.ndarray | None:
        match path:
            case Leaf(layer=name):
                return back if name == layer else None
            case Concat(sources=sources):
                widths = [self._apply(source, like).shape[1] for source in sources]
                pieces = np.split(back, np.cumsum(widths)[:-1], axis=1)
                return _total([self._adjoint(s, layer, p, like) for s, p in zip(sources, pieces, strict=True)])
            case Add(sources=sources):
                return _total([self._adjoint(s, layer, back, like) for s in sources])
            case Flatten(source=source):
                shape = self._apply(source, like).shape[1:4]
                return self._adjoint(source, layer, back.reshape(back.shape[0], *shape, *back.shape[2:]), like)
            case Pad(source=source, amounts=(left, right, top, bottom)):
                height, width = back.shape[2:4]
                return self._adjoint(source, layer, back[:, :, top : height - bottom, left : width - right], like)
            case Pool(source=source):
                shape = self._apply(source, like).shape[1:4]
                image = np.zeros((back.shape[0], *shape, *back.shape[4:]))
                for w, (r, c, cells) in enumerate(pool_windows(path, shape[1:])):
                    for k, (y, x) in enumerate(cells):
                        image[:, :, y, x] += self._weight(path, w, k, len(cells), image.ndim) * back[:, :, r, c]
                return self._adjoint(source, layer, image, like)
        raise AssertionError(path)


def _total(parts: list[np.ndarray | None]) -> np.ndarray | None:
    present = [part for part in parts if part is not None]
    return np.sum(present, axis=0) if present else None


# --- Convolutions as dense maps over places ---------------------------------------------------


def _patches(conv: Conv, height: int, width: int, visit: Callable[[int, int, int, int], None]) -> None:
    """Call `visit(place, cell, y, x)` for every input cell (y, x) that output `place` sees at kernel `cell`."""
    _, rows, columns = weighted_shape(conv, (conv.inputs, height, width))
    for place in range(rows * columns):
        r, c = divmod(place, columns)
        for cell in range(conv.kernel[0] * conv.kernel[1]):
            ky, kx = divmod(cell, conv.kernel[1])
            y = r * conv.stride[0] - conv.padding[0] + ky * conv.dilation[0]
            x = c * conv.stride[1] - conv.padding[1] + kx * conv.dilation[1]
            if 0 <= y < height and 0 <= x < width:
                visit(place, cell, y, x)


def unfold(conv: Conv, image: np.ndarray) -> np.ndarray:
    """(n, channels, height, width, ...) to (n, places, channels * kernel, ...)."""
    n, channels, height, width, *rest = image.shape
    _, rows, columns = weighted_shape(conv, (channels, height, width))
    out = np.zeros((n, rows * columns, channels, conv.kernel[0] * conv.kernel[1], *rest))

    def visit(place: int, cell: int, y: int, x: int) -> None:
        out[:, place, :, cell] = image[:, :, y, x]

    _patches(conv, height, width, visit)
    return out.reshape(n, rows * columns, -1, *rest)


def fold(conv: Conv, patches: np.ndarray, height: int, width: int) -> np.ndarray:
    """The adjoint of `unfold`: sum each patch back to where it came from."""
    n, places, _, *rest = patches.shape
    cells = conv.kernel[0] * conv.kernel[1]
    split = patches.reshape(n, places, conv.inputs, cells, *rest)
    image = np.zeros((n, conv.inputs, height, width, *rest))

    def visit(place: int, cell: int, y: int, x: int) -> None:
        image[:, :, y, x] += split[:, place, :, cell]

    _patches(conv, height, width, visit)
    return image


def dense_kernel(conv: Conv, kernel: np.ndarray) -> np.ndarray:
    """(..., outputs, inputs / groups, height, width) to (..., inputs * height * width, outputs), zero between groups."""
    *lead, outputs, inputs, height, width = kernel.shape
    matrix = np.zeros((*lead, conv.inputs, height * width, outputs))
    for group in range(conv.groups):
        own = slice(group * outputs // conv.groups, (group + 1) * outputs // conv.groups)
        block = kernel[..., own, :, :, :].reshape(*lead, outputs // conv.groups, inputs, height * width)
        matrix[..., group * inputs : (group + 1) * inputs, :, own] = np.moveaxis(block, -3, -1)
    return matrix.reshape(*lead, -1, outputs)


def sparse_kernel(conv: Conv, matrix: np.ndarray) -> np.ndarray:
    """The inverse of `dense_kernel`, dropping what lies between groups."""
    *lead, _, outputs = matrix.shape
    inputs, (height, width) = conv.inputs // conv.groups, conv.kernel
    split = matrix.reshape(*lead, conv.inputs, height * width, outputs)
    kernel = np.zeros((*lead, outputs, inputs, height, width))
    for group in range(conv.groups):
        own = slice(group * outputs // conv.groups, (group + 1) * outputs // conv.groups)
        block = split[..., group * inputs : (group + 1) * inputs, :, own]
        kernel[..., own, :, :, :] = np.moveaxis(block, -1, -3).reshape(*lead, -1, inputs, height, width)
    return kernel
