"""Operations of a Triton kernel beyond pointwise ones: shapes, reductions, softmax, products, and putting arrays together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from torch import Tensor, fx

from rulec.backend.kernel.operations import Unsupported, given, name_of
from rulec.backend.onchip.blocks import Axis, Block, padded, plain
from rulec.backend.onchip.expressions import ZERO, number

if TYPE_CHECKING:
    from rulec.backend.onchip.function import Function

Write = Callable[["Function", fx.Node], Block]

LEAST = 16  # the least side of a product that tensor cores do
SUMMED = 1 << 12  # places up to which a product is written as a sum of products

# --- Shapes ----------------------------------------------------------------------------------


def _shaped(change: Callable[..., Block]) -> Write:
    return lambda function, node: change(function, function.blocks[given(node)[0]], *given(node)[1:])


def _unsqueezed(function: Function, block: Block, axis: int) -> Block:
    axis = axis % (len(block.axes) + 1)
    return function.let(block.regrouped((*block.axes[:axis], (), *block.axes[axis:])))


def _squeezed(function: Function, block: Block, axes: Any = None) -> Block:
    chosen = range(len(block.axes)) if axes is None else [axes] if isinstance(axes, int) else axes
    gone = {a % len(block.axes) for a in chosen if block.axes[a] == ()}
    kept = tuple(axis for k, axis in enumerate(block.axes) if k not in gone)
    return function.let(block.regrouped(kept)) if kept else function.scalar(block)


def _swapped(function: Function, block: Block, one: int = 0, other: int = 1) -> Block:
    order = list(range(len(block.axes)))
    if len(order) > 1:
        order[one], order[other] = order[other], order[one]
    return function.let(block.permuted(order))


def _selected(function: Function, block: Block, axis: int, index: int) -> Block:
    """Add up what is nothing elsewhere."""
    axis = axis % len(block.axes)
    kept = block.axes[:axis] + block.axes[axis + 1 :]
    if block.axes[axis] == ():
        return function.let(block.regrouped(kept)) if kept else function.scalar(block)
    here = _here(function, block.axes, axis, index % block.sizes[axis])
    return function.let(Block(f"tl.sum(tl.where({here}, {block.text}, {ZERO}), {axis})", kept, block.clean))


def _here(function: Function, axes: Sequence[Axis], axis: int, index: int) -> str:
    along = "" if len(axes) == 1 else "[" + ", ".join(":" if k == axis else "None" for k in range(len(axes))) + "]"
    letters = function.chip.index(axes[axis])
    return f"((at{letters} == {index}) & ok{letters}){along}"


def _sliced(
    function: Function, block: Block, axis: int = 0, begin: Any = None, end: Any = None, step: int = 1
) -> Block:
    axis = axis % len(block.axes)
    count = block.sizes[axis]
    first, last, _ = slice(begin or 0, count if end is None else end).indices(count)
    left = max(0, -(-(last - first) // step))
    return block if left == count else function.sliced(block, axis, first, step, left)


# --- Reductions ------------------------------------------------------------------------------


def _reduced(function: Function, block: Block, axes: Sequence[int], how: str, neutral: str) -> Block:
    for axis in sorted((a % len(block.axes) for a in axes), reverse=True):
        kept = block.axes[:axis] + block.axes[axis + 1 :]
        block = function.masked(block, axis, neutral)
        block = function.let(Block(how.replace("$", block.text).replace("#", str(axis)), kept, block.clean))
    return block


SUM, UPPER, LOWER = "tl.sum($, #)", "tl.reduce($, #, upper)", "tl.reduce($, #, lower)"
NEUTRAL = {SUM: ZERO, UPPER: number(float("-inf")), LOWER: number(float("inf"))}


def _axes(node: fx.Node, block: Block) -> list[int]:
    chosen = given(node)[1] if len(given(node)) > 1 else None
    if chosen is None or chosen == []:
        return list(range(len(block.axes)))
    return [a % len(block.axes) for a in ([chosen] if isinstance(chosen, int) else chosen)]


def _reduction(how: str, mean: bool = False) -> Write:
    def write(function: Function, node: fx.Node) -> Block:
        block = function.blocks[given(node)[0]]
        axes, sizes = _axes(node, block), tuple(node.meta["val"].shape)
        made = _reduced(function, block, axes, how, NEUTRAL[how])
        if mean:
            made = function.let(Block(f"{made.text} / {number(prod(block.sizes[a] for a in axes))}", made.axes))
        return function.reshaped(made, sizes) if made.sizes != sizes else made  # axes that are kept

    return write


def _variance(function: Function, node: fx.Node) -> Block:
    block = function.blocks[given(node)[0]]
    axes, sizes = _axes(node, block), tuple(node.meta["val"].shape)
    correction: Any = node.kwargs.get("correction", 1)
    count = prod(block.sizes[a] for a in axes)
    spread = [1 if a in axes else n for a, n in enumerate(block.sizes)]
    total = _reduced(function, block, axes, SUM, ZERO)
    mean = function.let(Block(f"{total.text} / {number(count)}", total.axes))
    mean = function.reshaped(mean, spread) if mean.axes else mean
    away = function.pointwise("sub", [block, mean], block.sizes)
    squares = _reduced(function, function.pointwise("square", [away], block.sizes), axes, SUM, ZERO)
    made = function.let(Block(f"{squares.text} / {number(count - correction)}", squares.axes))
    return function.reshaped(made, sizes) if made.sizes != sizes else made


def _softmax(logarithm: bool) -> Write:
    def write(function: Function, node: fx.Node) -> Block:
        block = function.blocks[given(node)[0]]
        axis = int(given(node)[1]) % len(block.axes)
        one = [1 if k == axis else n for k, n in enumerate(block.sizes)]

        def over(part: Block, how: str) -> Block:
            made = _reduced(function, part, [axis], how, NEUTRAL[how])
            return function.reshaped(made, one) if made.axes else made

        away = function.pointwise("sub", [block, over(block, UPPER)], block.sizes)
        powers = function.pointwise("exp", [away], block.sizes)
        total = over(powers, SUM)
        if not logarithm:
            return function.pointwise("div", [powers, total], block.sizes)
        return function.pointwise("sub", [away, function.pointwise("log", [total], total.sizes)], block.sizes)

    return write


def _softmax_backward(logarithm: bool) -> Write:
    def write(function: Function, node: fx.Node) -> Block:
        slope, value = (function.blocks[a] for a in given(node)[:2])
        sizes, axis = value.sizes, int(given(node)[2]) % len(value.axes)
        summed = slope if logarithm else function.pointwise("mul", [slope, value], sizes)
        total = _reduced(function, summed, [axis], SUM, ZERO)
        one = [1 if k == axis else n for k, n in enumerate(sizes)]
        total = function.reshaped(total, one) if total.axes else total
        if logarithm:
            share = function.pointwise("mul", [function.pointwise("exp", [value], sizes), total], sizes)
            return function.pointwise("sub", [slope, share], sizes)
        return function.pointwise("mul", [function.pointwise("sub", [slope, total], sizes), value], sizes)

    return write


# --- Products --------------------------------------------------------------------------------


def _product(function: Function, a: Block, b: Block) -> Block:
    """Multiply (batch, rows, inner) by (batch, inner, columns)."""
    a, b = (function.let(x.permuted(o)) for x, o in ((a, (0, 1, 2)), (b, (0, 2, 1))))
    if a.axes[2] != b.axes[2]:
        b = function.moved(b, (b.axes[0], b.axes[1], a.axes[2]))
    if a.axes[0] != b.axes[0]:
        b = function.moved(b, (a.axes[0], *b.axes[1:]))
    a, b = (function.masked(x, 2) for x in (a, b))
    axes = (a.axes[0], a.axes[1], b.axes[1])
    if prod(map(padded, (*axes, a.axes[2]))) <= SUMMED:
        left = a.regrouped((a.axes[0], a.axes[1], (), a.axes[2]))
        right = b.regrouped((b.axes[0], (), b.axes[1], b.axes[2]))
        return function.let(Block(f"tl.sum({left.text} * {right.text}, 3)", axes))
    left, right = _widened(function, a), _widened(function, b)
    turned = f"tl.permute({right.text}, (0, 2, 1))"
    rounding = ', input_precision="tf32"' if function.rounded else ', input_precision="ieee"'
    wide = [left.axes[1], right.axes[1]]
    first = f"tl.reshape({left.text}, ({padded(wide[0])}, {padded(left.axes[2])}))"
    if axes[0] == ():
        second = f"tl.permute(tl.reshape({right.text}, ({padded(wide[1])}, {padded(left.axes[2])})), (1, 0))"
        text = f"tl.dot({first}, {second}{rounding}, out_dtype=real)[None, :, :]"
    else:
        text = f"tl.dot({left.text}, {turned}{rounding}, out_dtype=real)"
    made = function.let(Block(text, (axes[0], *wide)))
    for place in (1, 2):
        made = _narrowed(function, made, place, axes[place])
    return made


def _widened(function: Function, block: Block) -> Block:
    """Repeat the rows and put zeros behind the inner axis until both are long enough for tensor cores."""
    lead, rows, inner = block.axes
    if padded(rows) < LEAST:
        more = LEAST // padded(rows)
        raised = block.regrouped((lead, (), rows, inner))
        text = f"tl.broadcast_to({raised.text}, ({padded(lead)}, {more}, {padded(rows)}, {padded(inner)}))"
        block = function.let(
            Block(f"tl.reshape({text}, ({padded(lead)}, {LEAST}, {padded(inner)}))", (lead, (LEAST,), inner))
        )
        rows = (LEAST,)
    if padded(inner) < LEAST:
        more = LEAST // padded(inner)
        raised = block.regrouped((lead, rows, (), inner))
        text = f"tl.broadcast_to({raised.text}, ({padded(lead)}, {padded(rows)}, {more}, {padded(inner)}))"
        wide = function.let(
            Block(f"tl.reshape({text}, ({padded(lead)}, {padded(rows)}, {LEAST}))", (lead, rows, (LEAST,)))
        )
        here = f"(at{function.chip.index((LEAST,))} < {padded(inner)})[None, None, :]"
        block = function.let(Block(f"tl.where({here}, {wide.text}, {ZERO})", wide.axes))
    return block


def _narrowed(function: Function, block: Block, place: int, axis: Axis) -> Block:
    """Keep the first of the copies that `_widened` made."""
    if padded(block.axes[place]) == padded(axis):
        return Block(block.text, (*block.axes[:place], axis, *block.axes[place + 1 :]))
    more = padded(block.axes[place]) // padded(axis)
    apart = (*block.axes[:place], (more,), axis, *block.axes[place + 1 :])
    return _selected(function, function.let(block.regrouped(apart)), place, 0)


def _multiplied(function: Function, node: fx.Node) -> Block:
    """`bmm`, `mm`, `mv`, `dot`, `baddbmm`, `addmm`: all are batched products, some with a beginning."""
    name, sizes = name_of(node), tuple(node.meta["val"].shape)
    if node.kwargs:
        raise Unsupported(f"{node.target} with factors")
    a, b = (function.blocks[x] for x in given(node)[-2:])
    if name == "dot":
        a, b = (_unsqueezed(function, x, axis) for x, axis in ((a, 0), (b, 1)))
    elif name == "mv":
        b = _unsqueezed(function, b, 1)
    if len(a.axes) == 2:
        a, b = (_unsqueezed(function, x, 0) for x in (a, b))
    made = _product(function, a, b)
    if made.sizes != sizes:
        made = _squeezed(function, made, {"dot": None, "mv": [0, 2]}.get(name, [0]))
    if name in ("baddbmm", "addmm"):
        made = function.pointwise("add", [function.blocks[given(node)[0]], made], sizes)
    return made


# --- Putting together and making -------------------------------------------------------------


def _stacked(function: Function, node: fx.Node) -> Block:
    parts = [function.blocks[p] for p in given(node)[0]]
    axis = (int(given(node)[1]) if len(given(node)) > 1 else 0) % len(node.meta["val"].shape)
    raised = [_unsqueezed(function, p, axis) for p in function.alike(parts, parts[0].sizes)]
    axes = (*raised[0].axes[:axis], *plain([len(parts)]), *raised[0].axes[axis + 1 :])
    text = raised[-1].text
    for k in range(len(parts) - 2, -1, -1):
        text = f"tl.where({_here(function, axes, axis, k)}, {raised[k].text}, {text})"
    return function.expanded(function.let(Block(text, axes)), node.meta["val"].shape) if parts else raised[0]


def _concatenated(function: Function, node: fx.Node) -> Block:
    parts = [function.blocks[p] for p in given(node)[0]]
    axis = int(given(node)[1]) if len(given(node)) > 1 else 0
    return function.joined(parts, axis % len(parts[0].axes))


def _select_backward(function: Function, node: fx.Node) -> Block:
    slope, sizes, axis, index = given(node)
    axis = axis % len(sizes)
    raised = _unsqueezed(function, function.blocks[slope], axis)
    axes = (*raised.axes[:axis], *plain([sizes[axis]]), *raised.axes[axis + 1 :])
    if axes[axis] == ():
        return raised
    here = _here(function, axes, axis, index % sizes[axis])
    return function.let(Block(f"tl.where({here}, {raised.text}, {ZERO})", axes, raised.clean))


def _filled(value: Callable[[fx.Node], Any]) -> Write:
    return lambda function, node: function.full(value(node), node.meta["val"].shape)


def _counted(function: Function, node: fx.Node) -> Block:
    make: Any = node.target
    example = make(*given(node), **{k: v for k, v in node.kwargs.items() if k not in ("device", "pin_memory")})
    assert isinstance(example, Tensor)
    return function.constant(example)


OPERATIONS: dict[str, Write] = {
    **dict.fromkeys(("view", "_unsafe_view", "reshape"), _shaped(lambda f, b, sizes: f.reshaped(b, sizes))),
    "expand": _shaped(lambda f, b, sizes: f.expanded(b, sizes)),
    "permute": _shaped(lambda f, b, order: f.let(b.permuted(order))),
    "select": _shaped(_selected),
    "slice": _shaped(_sliced),
    "unsqueeze": _shaped(_unsqueezed),
    "squeeze": _shaped(_squeezed),
    "transpose": _shaped(_swapped),
    "t": _shaped(_swapped),
    **dict.fromkeys(("detach", "alias"), _shaped(lambda f, b: b)),
    "sum": _reduction(SUM),
    "mean": _reduction(SUM, mean=True),
    "amax": _reduction(UPPER),
    "amin": _reduction(LOWER),
    "var": _variance,
    "_softmax": _softmax(False),
    "_log_softmax": _softmax(True),
    "_softmax_backward_data": _softmax_backward(False),
    "_log_softmax_backward_data": _softmax_backward(True),
    **dict.fromkeys(("bmm", "mm", "mv", "dot", "baddbmm", "addmm"), _multiplied),
    "stack": _stacked,
    "cat": _concatenated,
    "select_backward": _select_backward,
    "full": _filled(lambda node: given(node)[1]),
    "full_like": _filled(lambda node: given(node)[1]),
    **dict.fromkeys(("zeros", "zeros_like", "_new_zeros_with_same_feature_meta"), _filled(lambda node: 0)),
    **dict.fromkeys(("ones", "ones_like"), _filled(lambda node: 1)),
    "scalar_tensor": _filled(lambda node: given(node)[0]),
    "arange": _counted,
}
