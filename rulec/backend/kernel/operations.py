"""Operations of a kernel beyond pointwise ones: views, reductions, softmax, products, and putting arrays together."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from rulec.backend.kernel.expressions import number
from rulec.backend.kernel.views import View, dense

if TYPE_CHECKING:
    from rulec.backend.kernel.functions import Function

Write = Callable[["Function", fx.Node], None]


class Unsupported(Exception):
    """An operation that no kernel is generated for."""


def name_of(node: fx.Node) -> str:
    """Return the name of a primitive operation, without its overload."""
    return node.target.overloadpacket.__name__ if isinstance(node.target, torch._ops.OpOverload) else ""


def given(node: fx.Node) -> tuple[Any, ...]:
    """Return a node's arguments, which are nodes, numbers, and lists of these."""
    return node.args


# --- Operations that are views ---------------------------------------------------------------


def _viewed(change: Callable[..., View]) -> Callable[[Function, fx.Node], View]:
    return lambda function, node: change(function.view(given(node)[0]), *given(node)[1:])


def _unsqueezed(view: View, axis: int) -> View:
    axis = axis % (len(view.sizes) + 1)
    return View(
        view.base,
        (*view.sizes[:axis], 1, *view.sizes[axis:]),
        (*view.strides[:axis], 0, *view.strides[axis:]),
        view.offset,
    )


def _squeezed(view: View, axes: Any = None) -> View:
    chosen = range(len(view.sizes)) if axes is None else [axes] if isinstance(axes, int) else axes
    gone = {a % len(view.sizes) for a in chosen if len(view.sizes) and view.sizes[a] == 1}
    kept = [k for k in range(len(view.sizes)) if k not in gone]
    return View(view.base, tuple(view.sizes[k] for k in kept), tuple(view.strides[k] for k in kept), view.offset)


def _swapped(view: View, one: int = 0, other: int = 1) -> View:
    order = list(range(len(view.sizes)))
    order[one], order[other] = order[other], order[one]
    return view.permuted(order)


def _sliced(view: View, axis: int = 0, begin: int | None = None, end: int | None = None, step: int = 1) -> View:
    return view.sliced(axis, begin or 0, view.sizes[axis] if end is None else end, step)


VIEWS: dict[str, Callable[[Function, fx.Node], View]] = {
    "view": _viewed(lambda v, sizes: v.reshaped(sizes)),
    "_unsafe_view": _viewed(lambda v, sizes: v.reshaped(sizes)),
    "expand": _viewed(lambda v, sizes: v.expanded(sizes)),
    "permute": _viewed(lambda v, order: v.permuted(order)),
    "select": _viewed(lambda v, axis, index: v.selected(axis, index)),
    "slice": _viewed(_sliced),
    "unsqueeze": _viewed(_unsqueezed),
    "squeeze": _viewed(_squeezed),
    "transpose": _viewed(_swapped),
    "t": _viewed(lambda v: _swapped(v) if len(v.sizes) == 2 else v),
    "detach": _viewed(lambda v: v),
    "alias": _viewed(lambda v: v),
}


# --- Reductions ------------------------------------------------------------------------------


def _axes(node: fx.Node, view: View) -> list[int]:
    chosen = given(node)[1] if len(given(node)) > 1 else None
    if chosen is None or chosen == []:
        return list(range(len(view.sizes)))
    return [a % len(view.sizes) for a in ([chosen] if isinstance(chosen, int) else chosen)]


def _reduced(start: str, step: str, end: str = "") -> Write:
    def write(function: Function, node: fx.Node) -> None:
        source = function.view(given(node)[0])
        axes = _axes(node, source)
        out = function.out(node)
        bare = View(out.base, tuple(n for k, n in enumerate(source.sizes) if k not in axes), (), out.offset)
        count = prod(source.sizes[a] for a in axes)
        target = View(out.base, bare.sizes, dense(bare.sizes), out.offset)
        function.accumulated(target, source, axes, start, step, end.replace("#", str(count)))

    return write


def _variance(function: Function, node: fx.Node) -> None:
    source = function.view(given(node)[0])
    axes, out = _axes(node, source), function.out(node)
    correction: Any = node.kwargs.get("correction", 1)
    sizes = tuple(n for k, n in enumerate(source.sizes) if k not in axes)
    count = prod(source.sizes[a] for a in axes)
    means = View("work", sizes, dense(sizes), function.space(prod(sizes)))
    function.accumulated(means, source, axes, "0", "^ + $", f"^ / real({count})")
    kept = [k for k in range(len(source.sizes)) if k not in axes]
    spread = [0] * len(source.sizes)
    for place, k in enumerate(kept):
        spread[k] = means.strides[place]
    mean = View("work", source.sizes, tuple(spread), means.offset)
    squares = View("work", source.sizes, dense(source.sizes), function.space(source.count))
    function.loops([squares, source, mean], lambda v, i: f"{v[0].at(i)} = square({v[1].at(i)} - {v[2].at(i)});")
    target = View(out.base, sizes, dense(sizes), out.offset)
    function.accumulated(target, squares, axes, "0", "^ + $", f"^ / real({count - correction})")


def _softmax(logarithm: bool) -> Write:
    def write(function: Function, node: fx.Node) -> None:
        source, out = function.view(given(node)[0]), function.out(node)
        axis = int(given(node)[1]) % len(source.sizes)
        kept = [k for k in range(len(source.sizes)) if k != axis]
        order, size = [*kept, axis], source.sizes[axis]
        rows, made = source.permuted(order), out.permuted(order)
        indices = [f"i{k}" for k in range(len(kept))]
        for k, index in enumerate(indices):
            function.lines.append(f"for (int {index} = 0; {index} < {rows.sizes[k]}; ++{index})")
        loop = f"for (int c = 0; c < {size}; ++c)"
        here, there = rows.at([*indices, "c"]), made.at([*indices, "c"])
        function.lines.append(f"{{ real top = -INFINITY, total = 0; {loop} top = upper(top, {here});")
        if logarithm:
            function.lines.append(f"{loop} total += exponential({here} - top); total = top + std::log(total);")
            function.lines.append(f"{loop} {there} = {here} - total; }}")
        else:
            function.lines.append(f"{loop} {{ {there} = exponential({here} - top); total += {there}; }}")
            function.lines.append(f"{loop} {there} /= total; }}")

    return write


def _softmax_backward(logarithm: bool) -> Write:
    def write(function: Function, node: fx.Node) -> None:
        slope, value, out = function.view(given(node)[0]), function.view(given(node)[1]), function.out(node)
        axis = int(given(node)[2]) % len(value.sizes)
        order = [*(k for k in range(len(value.sizes)) if k != axis), axis]
        g, y, made = slope.permuted(order), value.permuted(order), out.permuted(order)
        indices = [f"i{k}" for k in range(len(order) - 1)]
        for k, index in enumerate(indices):
            function.lines.append(f"for (int {index} = 0; {index} < {y.sizes[k]}; ++{index})")
        at = [*indices, "c"]
        loop = f"for (int c = 0; c < {y.sizes[-1]}; ++c)"
        if logarithm:
            function.lines.append(f"{{ real total = 0; {loop} total += {g.at(at)};")
            function.lines.append(f"{loop} {made.at(at)} = {g.at(at)} - exponential({y.at(at)}) * total; }}")
        else:
            function.lines.append(f"{{ real total = 0; {loop} total += {g.at(at)} * {y.at(at)};")
            function.lines.append(f"{loop} {made.at(at)} = ({g.at(at)} - total) * {y.at(at)}; }}")

    return write


# --- Products --------------------------------------------------------------------------------


_ROWS, _COLUMNS = 4, 16  # of a tile of the result, which stays in registers while a product is added up
_LARGE, _THIN = 32 * 1024, 8  # multiplications of a product that a library is called for, and its least side


def _product(function: Function, a: View, b: View, out: View, begun: bool) -> None:
    """Write `a @ b`, (batch, rows, inner) by (batch, inner, columns), to `out`, or add it there if that is `begun`."""
    batch, rows, inner = a.sizes
    columns = b.sizes[2]
    if function.library and rows * inner * columns >= _LARGE and min(rows, inner, columns) >= _THIN:
        function.lines.append(f"for (int b = 0; b < {batch}; ++b) {{")
        _by_library(function, a, b, out, begun)
        function.lines.append("}")
        return
    if not begun:
        function.fill(out, "0")
    if columns < 4 and rows >= 4:  # the transposed product has longer rows
        a, b, out = b.permuted([0, 2, 1]), a.permuted([0, 2, 1]), out.permuted([0, 2, 1])
        rows, columns = columns, rows
    function.lines.append(f"for (int b = 0; b < {batch}; ++b) {{")
    if columns < 4 or (b.strides[2] != 1 and b.strides[1] == a.strides[2] == 1 and rows < 4):
        _dots(function, a, b, out)
    else:
        if b.strides[2] != 1 and rows >= 4 and inner * columns > 1:
            b = _packed(function, b)
        for m, row, height in _tiles(rows, _ROWS):
            for c, column, width in _tiles(columns, _COLUMNS):
                _tile(function.lines, a, b, out, (m, row, height), (c, column, width))
    function.lines.append("}")


def _by_library(function: Function, a: View, b: View, out: View, begun: bool) -> None:
    """Call a library for one product of the batch."""
    if out.strides[2] != 1:
        a, b, out = b.permuted([0, 2, 1]), a.permuted([0, 2, 1]), out.permuted([0, 2, 1])
    a, b = (v if 1 in v.strides[1:] else _packed(function, v) for v in (a, b))
    sizes = [str(n) for n in (a.sizes[1], a.sizes[2], b.sizes[2])]
    given_ = [part for v in (a, b) for part in (f"&{v.at(['b', '0', '0'])}", *_lying(v))]
    beginning = "1" if begun else "0"
    function.lines.append(
        f"product({', '.join([*sizes, *given_, '&' + out.at(['b', '0', '0']), str(out.strides[1]), beginning])});"
    )


def _lying(matrix: View) -> tuple[str, str]:
    """Say whether columns of a matrix have no gaps, and how far apart rows (or columns) begin."""
    _, rows, columns = matrix.strides
    return ("'N'", str(rows)) if columns == 1 else ("'T'", str(columns))


def _dots(function: Function, a: View, b: View, out: View) -> None:
    """Add up one number of the result after another."""
    at = ["b", "m", "c"]
    function.lines += [
        f"for (int m = 0; m < {a.sizes[1]}; ++m)",
        f"for (int c = 0; c < {b.sizes[2]}; ++c) {{ real total = {out.at(at)};",
        "#pragma omp simd reduction(+ : total)",
        f"for (int k = 0; k < {a.sizes[2]}; ++k) total += {a.at(['b', 'm', 'k'])} * {b.at(['b', 'k', 'c'])};",
        f"{out.at(at)} = total; }}",
    ]


def _packed(function: Function, b: View) -> View:
    """Copy one matrix of a batch into rows without gaps; the axis of the batch keeps its index."""
    _, inner, columns = b.sizes
    offset = function.space(inner * columns)
    rows = View("work", (1, inner, columns), (0, columns, 1), offset)
    function.lines += [
        f"for (int k = 0; k < {inner}; ++k)",
        f"for (int c = 0; c < {columns}; ++c) {rows.at(['0', 'k', 'c'])} = {b.at(['b', 'k', 'c'])};",
    ]
    return rows


def _tiles(total: int, size: int) -> list[tuple[str, str, int]]:
    """Cut a range into tiles: the loop over whole ones and its index, and what is left."""
    whole, rest = total // size * size, total % size
    index = "m0" if size == _ROWS else "c0"
    found = [(f"for (int {index} = 0; {index} < {whole}; {index} += {size})", index, size)] if whole else []
    return [*found, *([("", str(whole), rest)] if rest else [])]


def _tile(
    lines: list[str], a: View, b: View, out: View, rows: tuple[str, str, int], columns: tuple[str, str, int]
) -> None:
    """Add up one tile of a product over all of the inner axis."""
    row, column = f"({rows[1]} + m)", f"({columns[1]} + c)"
    height, width = rows[2], columns[2]
    target = out.at(["b", row, column])
    each = [f"for (int m = 0; m < {height}; ++m)", "#pragma omp simd", f"for (int c = 0; c < {width}; ++c)"]
    lines += [rows[0], columns[0], f"{{ real tile[{height}][{width}];"]
    lines += [*each, f"tile[m][c] = {target};"]
    lines += [f"for (int k = 0; k < {a.sizes[2]}; ++k)", f"for (int m = 0; m < {height}; ++m) {{"]
    lines += [
        f"const real left = {a.at(['b', row, 'k'])};",
        *each[1:],
        f"tile[m][c] += left * {b.at(['b', 'k', column])}; }}",
    ]
    lines += [*each, f"{target} = tile[m][c]; }}"]


def _multiplied(function: Function, node: fx.Node) -> None:
    """`bmm`, `mm`, `mv`, `dot`, `baddbmm`, `addmm`: all are batched products, some with a beginning."""
    name = name_of(node)
    started = name in ("baddbmm", "addmm")
    a, b = (function.view(x) for x in given(node)[-2:])
    out = function.out(node)
    if started:
        if node.kwargs:
            raise Unsupported(f"{node.target} with factors")
        start = function.view(given(node)[0])
        if (start.base, start.offset) != (out.base, out.offset):
            function.pointwise(out, "clone", [start])
    if name == "dot":
        a, b = _unsqueezed(a, 0), _unsqueezed(b, 1)
    elif name == "mv":
        b = _unsqueezed(b, 1)
    whole = View(out.base, (a.sizes[-2], b.sizes[-1]), dense((a.sizes[-2], b.sizes[-1])), out.offset)
    if len(a.sizes) == 2:
        _product(function, _unsqueezed(a, 0), _unsqueezed(b, 0), _unsqueezed(whole, 0), started)
    else:
        _product(function, a, b, out, started)


# --- Putting together and making -------------------------------------------------------------


def _joined(new_axis: bool) -> Write:
    def write(function: Function, node: fx.Node) -> None:
        parts = [function.view(p) for p in given(node)[0]]
        axis = int(given(node)[1]) if len(given(node)) > 1 else 0
        out = function.out(node)
        axis, begin = axis % len(out.sizes), 0
        for part in parts:
            if new_axis:
                place = out.selected(axis, begin)
                begin += 1
            else:
                place = out.sliced(axis, begin, begin + part.sizes[axis], 1)
                begin += part.sizes[axis]
            function.pointwise(place, "clone", [part])

    return write


def _select_backward(function: Function, node: fx.Node) -> None:
    slope, _, axis, index = given(node)
    out = function.out(node)
    function.fill(out, "0")
    function.pointwise(out.selected(axis, index), "clone", [function.view(slope)])


def _slice_backward(function: Function, node: fx.Node) -> None:
    slope, _, axis, begin, end, step = given(node)
    out = function.out(node)
    function.fill(out, "0")
    function.pointwise(out.sliced(axis, begin, end, step), "clone", [function.view(slope)])


def _filled(value: Callable[[fx.Node], Any]) -> Write:
    return lambda function, node: function.fill(function.out(node), number(value(node)))


def _counted(function: Function, node: fx.Node) -> None:
    make: Any = node.target
    example = make(*given(node), **{k: v for k, v in node.kwargs.items() if k not in ("device", "pin_memory")})
    assert isinstance(example, Tensor)
    out = function.out(node)
    for k, value in enumerate(example.double().tolist()):
        function.lines.append(f"{out.at([str(k)])} = {number(value)};")


OPERATIONS: dict[str, Write] = {
    "sum": _reduced("0", "^ + $"),
    "mean": _reduced("0", "^ + $", "^ / real(#)"),
    "amax": _reduced("-INFINITY", "upper(^, $)"),
    "amin": _reduced("INFINITY", "lower(^, $)"),
    "var": _variance,
    "_softmax": _softmax(False),
    "_log_softmax": _softmax(True),
    "_softmax_backward_data": _softmax_backward(False),
    "_log_softmax_backward_data": _softmax_backward(True),
    "bmm": _multiplied,
    "mm": _multiplied,
    "mv": _multiplied,
    "dot": _multiplied,
    "baddbmm": _multiplied,
    "addmm": _multiplied,
    "stack": _joined(True),
    "cat": _joined(False),
    "select_backward": _select_backward,
    "slice_backward": _slice_backward,
    "full": _filled(lambda node: given(node)[1]),
    "full_like": _filled(lambda node: given(node)[1]),
    "zeros": _filled(lambda node: 0),
    "zeros_like": _filled(lambda node: 0),
    "ones": _filled(lambda node: 1),
    "ones_like": _filled(lambda node: 1),
    "scalar_tensor": _filled(lambda node: given(node)[0]),
    "arange": _counted,
}
