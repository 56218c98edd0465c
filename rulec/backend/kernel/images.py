"""Operations of a kernel on images: convolutions, their derivatives, pools, and picking by position. See `images.h`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import fx

from rulec.backend.kernel.operations import Unsupported, given, name_of
from rulec.backend.kernel.views import View, dense

if TYPE_CHECKING:
    from rulec.backend.kernel.functions import Function


PLACES = 256  # columns up to which the patches of several samples make one product


def _whole(function: Function, node: Any) -> View:
    """Return a value without gaps in memory, copied if need be."""
    view = function.view(node)
    if view.is_contiguous:
        return view
    copy = View("work", view.sizes, dense(view.sizes), function.space(view.count))
    function.pointwise(copy, "clone", [view])
    return copy


def _pointer(view: View) -> str:
    return f"&{view.base}[{view.offset}]"


def _window(image: tuple[int, ...], patch: Any, stride: Any, padding: Any, dilation: Any, many: tuple[int, ...]) -> str:
    numbers = [*image[-2:], *_pair(patch), *_pair(stride), *_pair(padding), *_pair(dilation), *many[-2:]]
    return f"Window{{{', '.join(map(str, numbers))}}}"


def _pair(value: Any) -> list[int]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * 2 if len(values) == 1 else values


def _convolution(
    image: tuple[int, ...], kernel: tuple[int, ...], other: tuple[int, ...], settings: tuple[Any, ...]
) -> tuple[str, int]:
    """Return what `images.h` has to know of a convolution, and the numbers that its room takes."""
    stride, padding, dilation, groups = settings
    wide, narrow = kernel[0] // groups, kernel[1]
    window = _window(image, kernel[2:], stride, padding, dilation, other)
    places = other[2] * other[3]
    together = max(1, min(image[0], PLACES // max(1, places)))
    room = (narrow * kernel[2] * kernel[3] + (wide if together > 1 else 0)) * places * together
    return f"Convolution{{{image[0]}, {groups}, {narrow}, {wide}, {together}, {window}}}", room


def _room(function: Function, count: int) -> str:
    return f"work + {function.space(count)}"


def _call(function: Function, convolution: tuple[str, int], method: str, arguments: list[str]) -> None:
    spec, count = convolution
    function.lines.append(f"{spec}.{method}({', '.join([*arguments, _room(function, count)])});")


def _planar(node: fx.Node) -> None:
    if len(node.meta["val"].shape) != 4:
        raise Unsupported(f"{node.target} that is not over two dimensions")


def _convolved(function: Function, node: fx.Node) -> None:
    source, weight, bias, stride, padding, dilation, turned, _, groups = given(node)
    _planar(node)
    x, w = _whole(function, source), _whole(function, weight)
    out = function.out(node)
    settings = stride, padding, dilation, groups
    if bias is not None:
        start = function.view(bias)
        spread = View(start.base, out.sizes, (0, start.strides[0], 0, 0), start.offset)
        function.pointwise(out, "clone", [spread])
    if turned:
        if bias is not None:
            raise Unsupported(f"{node.target}, transposed, with a bias")
        made = _convolution(out.sizes, w.sizes, x.sizes, settings)
        _call(function, made, "back", [_pointer(w), _pointer(x), _pointer(out)])
    else:
        made = _convolution(x.sizes, w.sizes, out.sizes, settings)
        begun = "true" if bias is not None else "false"
        _call(function, made, "across", [_pointer(w), _pointer(x), _pointer(out), begun])


def _convolution_slope(function: Function, node: fx.Node, back: fx.Node, which: int) -> None:
    """Write the derivative by the input, the kernel or the bias."""
    slope, source, weight, _, stride, padding, dilation, turned, _, groups, _ = given(back)
    settings = stride, padding, dilation, groups
    if which == 2:
        g, out = function.view(slope), function.out(node)
        function.accumulated(out, g, [0, 2, 3], "0", "^ + $")
        return
    g = _whole(function, slope)
    sizes = tuple(source.meta["val"].shape), tuple(weight.meta["val"].shape)
    if len(sizes[0]) != 4:
        raise Unsupported(f"{back.target} that is not over two dimensions")
    image, other = (g.sizes, sizes[0]) if turned else (sizes[0], g.sizes)
    made = _convolution(image, sizes[1], other, settings)
    if which == 0:
        w = _whole(function, weight)
        out = function.out(node)
        arguments = [_pointer(w), _pointer(g), _pointer(out)]
        _call(function, made, *(("across", [*arguments, "false"]) if turned else ("back", arguments)))
        return
    x = _whole(function, source)
    pair = [x, g] if turned else [g, x]
    _call(function, made, "between", [*map(_pointer, pair), _pointer(function.out(node))])


# --- Pools -----------------------------------------------------------------------------------


def _pool_arguments(node: fx.Node, first: int) -> tuple[Any, ...]:
    """Return patch, stride, padding, ceil mode, count of padding and divisor, with what is left out."""
    known = [*given(node)[first:]]
    defaults: list[Any] = [None, [], [0, 0], False, True, None]
    patch, stride, padding, *rest = known + defaults[len(known) :]
    return (patch, stride or patch, padding, *rest)


def _planes(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape[:-2]:
        count *= size
    return count


def _mean_pool(name: str, first: int) -> Callable[[Function, fx.Node], None]:
    """Write the means of patches, or their derivative; settings stand from the argument `first` on."""

    def write(function: Function, node: fx.Node) -> None:
        source = _whole(function, given(node)[0])
        out = function.out(node)
        image, patches = (source, out) if first == 1 else (out, source)
        patch, stride, padding, _, counts, divisor = _pool_arguments(node, first)
        window = _window(image.sizes, patch, stride, padding, 1, patches.sizes)
        how = f"{'true' if counts else 'false'}, {divisor or 0}"
        function.lines.append(f"{name}({_pointer(source)}, {_planes(image.sizes)}, {window}, {how}, {_pointer(out)});")

    return write


def _max_pooled(function: Function, node: fx.Node, pool: fx.Node, which: int) -> None:
    """Write the largest values, or their places; places are numbers like all others."""
    x = _whole(function, given(pool)[0])
    out = function.out(node)
    known = [*given(pool)[1:]]
    patch, stride, padding, dilation = (known + [None, [], [0, 0], [1, 1]][len(known) :])[:4]
    window = _window(x.sizes, patch, stride or patch, padding, dilation, out.sizes)
    places = [_pointer(out), "nullptr"] if which == 0 else ["nullptr", _pointer(out)]
    function.lines.append(f"largest({_pointer(x)}, {_planes(x.sizes)}, {window}, {', '.join(places)});")


# --- Picking by position ---------------------------------------------------------------------


def _loop(function: Function, sizes: tuple[int, ...]) -> list[str]:
    for k, size in enumerate(sizes):
        function.lines.append(f"for (int i{k} = 0; i{k} < {size}; ++i{k})")
    return [f"i{k}" for k in range(len(sizes))]


def _at(view: View, indices: list[str], axis: int, place: str) -> str:
    return view.at([place if k == axis else index for k, index in enumerate(indices)])


def _gathered(function: Function, node: fx.Node) -> None:
    x, places = function.view(given(node)[0]), function.view(given(node)[2])
    out, axis = function.out(node), given(node)[1] % len(places.sizes)
    indices = _loop(function, out.sizes)
    function.lines.append(f"{out.at(indices)} = {_at(x, indices, axis, f'int({places.at(indices)})')};")


def _scattered(function: Function, node: fx.Node) -> None:
    start, axis, index, source = given(node)
    out = function.out(node)
    function.pointwise(out, "clone", [function.view(start)])
    places, x = function.view(index), function.view(source)
    indices = _loop(function, places.sizes)
    target = _at(out, indices, axis % len(places.sizes), f"int({places.at(indices)})")
    function.lines.append(f"{target} += {x.at(indices)};")


def _blank(function: Function, node: fx.Node) -> None:
    function.fill(function.out(node), "0")


IMAGE_OPERATIONS: dict[str, Callable[[Function, fx.Node], None]] = {
    "convolution": _convolved,
    "avg_pool2d": _mean_pool("mean_pool", 1),
    "avg_pool2d_backward": _mean_pool("mean_pool_back", 2),
    "gather": _gathered,
    "scatter_add": _scattered,
    "new_zeros": _blank,
    "new_empty": _blank,
}

# Operations with several results; each result that is used is written by itself.
SEVERAL: dict[str, Callable[[Function, fx.Node, fx.Node, int], None]] = {
    "convolution_backward": _convolution_slope,
    "max_pool2d_with_indices": _max_pooled,
}


def is_several(node: fx.Node) -> bool:
    """Whether the operation has several results, of which each is written by itself."""
    return name_of(node) in SEVERAL
