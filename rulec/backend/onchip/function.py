"""Write a graph of primitive operations as the lines of a Triton kernel: a block for each value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, fx

from rulec.backend.kernel.operations import Unsupported, name_of
from rulec.backend.onchip.blocks import Axis, Block, is_exact, padded, plain, power_of_two, regrouping, shape
from rulec.backend.onchip.expressions import EXPRESSIONS, KEEP_ZEROS, ZERO, number, written
from rulec.backend.onchip.operations import OPERATIONS

LARGEST = 1 << 15  # places of a block: what the registers of a core can hold


class Chip:
    """What the graphs of one kernel share: indices, constant arrays, and memory for what registers cannot do."""

    def __init__(self) -> None:
        self.indices: dict[Axis, str] = {}
        self.constants: list[Tensor] = []
        self.loads: list[str] = []  # of the constants
        self.memory = 0  # numbers
        self.largest = 1

    def index(self, axis: Axis) -> str:
        """Return the letters of an axis: `iX` numbers its places, `okX` says which are none of the padding, `atX` numbers those."""
        return self.indices.setdefault(axis, "_".join(map(str, axis)) or "1")

    def lines(self) -> list[str]:
        """Return what the kernel begins with."""
        made: list[str] = []
        for axis, name in self.indices.items():
            at, ok = _numbered(f"i{name}", axis)
            made += [f"i{name} = tl.arange(0, {padded(axis)})", f"at{name} = {at}", f"ok{name} = {ok}"]
        return [*made, *self.loads]

    def place(self, axes: Sequence[Axis]) -> tuple[str, str | None]:
        """Return where the numbers of an array lie behind each other, and which places are numbers (None: all of them)."""
        terms, tests, stride = list[str](), list[str](), 1
        for k in range(len(axes) - 1, -1, -1):
            letters = self.index(axes[k])
            along = _along(k, len(axes))
            terms.insert(0, f"at{letters}{along}" + (f" * {stride}" if stride != 1 else ""))
            if not is_exact(axes[k]):
                tests.append(f"ok{letters}{along}")
            stride *= prod(axes[k])
        return " + ".join(terms) or "0", " & ".join(tests) or None

    def load(self, pointer: str, axes: Sequence[Axis]) -> str:
        at, mask = self.place(axes)
        return f"tl.load({pointer} + {at})" if mask is None else f"tl.load({pointer} + {at}, {mask}, {ZERO})"

    def store(self, pointer: str, block: Block) -> str:
        at, mask = self.place(block.axes)
        return f"tl.store({pointer} + {at}, {block.text}{f', {mask}' if mask else ''})"

    def room(self, count: int) -> int:
        """Return where in memory there is room for so many numbers."""
        self.memory += -(-count // 32) * 32
        return self.memory - -(-count // 32) * 32


def _numbered(place: str, axis: Axis) -> tuple[str, str]:
    """Return which number of an axis stands at a place, and whether one does."""
    terms, tests, step, stride = list[str](), list[str](), 1, 1
    for n in reversed(axis):
        part = place if len(axis) == 1 else f"{place} // {step} % {power_of_two(n)}"
        terms.append(part if stride == 1 else f"{part} * {stride}")
        if power_of_two(n) != n:
            tests.append(f"({part} < {n})")
        step, stride = step * power_of_two(n), stride * n
    return " + ".join(terms) or place, " & ".join(tests) or f"{place} >= 0"


def _along(axis: int, rank: int) -> str:
    return "" if rank == 1 else "[" + ", ".join(":" if k == axis else "None" for k in range(rank)) + "]"


class Function:
    """The lines of a graph, whose arguments are blocks; `results` are blocks, too."""

    def __init__(
        self, name: str, module: fx.GraphModule, arguments: Sequence[Block], chip: Chip, rounded: bool = False
    ) -> None:
        self.name, self.module, self.chip, self.rounded = name, module, chip, rounded
        self.lines: list[str] = []
        self.count = 0
        self.blocks: dict[fx.Node, Block] = {}
        places = [node for node in module.graph.nodes if node.op == "placeholder"]
        self.blocks |= dict(zip(places, arguments, strict=True))
        for node in module.graph.nodes:
            if node.op == "get_attr":
                self.blocks[node] = self.constant(_attribute(module, str(node.target)))
            elif node.op == "call_function":
                self.blocks[node] = self._operation(node)
        results = next(n for n in module.graph.nodes if n.op == "output").args[0]
        self.results = [self.blocks[node] for node in results]

    def _operation(self, node: fx.Node) -> Block:
        if not isinstance(node.target, torch._ops.OpOverload):
            raise Unsupported(str(node.target))
        name = name_of(node)
        if name in EXPRESSIONS:
            made = self._pointwise(node, name)
        elif name in OPERATIONS:
            made = OPERATIONS[name](self, node)
        else:
            raise Unsupported(str(node.target))
        assert made.sizes == tuple(node.meta["val"].shape), (node, made)
        return made

    def _pointwise(self, node: fx.Node, name: str) -> Block:
        operands = node.args[:1] if name in ("clone", "_to_copy", "lift_fresh_copy") else node.args
        found: list[Any] = [self.blocks[a] if isinstance(a, fx.Node) else a for a in operands]
        extra = [number(node.kwargs["alpha"])] if "alpha" in node.kwargs else []
        sizes = tuple(node.meta["val"].shape)
        return self.pointwise(name, found, sizes, extra)

    def pointwise(self, name: str, operands: Sequence[Any], sizes: Sequence[int], extra: Sequence[str] = ()) -> Block:
        """Apply an operation to blocks (of fewer axes, perhaps) and numbers."""
        blocks = self.alike([o for o in operands if isinstance(o, Block)], sizes)
        rest = iter(blocks)
        terms = [next(rest).text if isinstance(o, Block) else "" if o is None else number(o) for o in operands]
        axes = _joined([b.axes for b in blocks], len(sizes))
        whole = len(terms) == len(blocks) and all(b.clean and b.axes == axes for b in blocks)
        clean = whole and name in KEEP_ZEROS  # a number, or what is repeated along an axis, would fill its padding
        made = self.let(Block(written(name, [*terms, *extra]), axes, clean))
        return made if made.sizes == tuple(sizes) else self.expanded(made, sizes)

    # --- Making blocks ---

    def let(self, block: Block) -> Block:
        """Give a value a name."""
        if block.places > LARGEST:
            raise Unsupported(f"arrays of {prod(block.sizes)} numbers, which no core holds")
        self.chip.largest = max(self.chip.largest, block.places)
        self.count += 1
        self.lines.append(f"{self.name}{self.count} = {block.text}")
        return replace(block, text=f"{self.name}{self.count}")

    def constant(self, value: Tensor) -> Block:
        """Load an array that is known beforehand."""
        if value.ndim == 0:
            return Block(number(value.item()), ())
        axes, number_ = plain(value.shape), len(self.chip.constants)
        self.chip.constants.append(value.detach())
        self.chip.loads.append(f"constant{number_} = {self.chip.load(f'k{number_}', axes)}")
        return Block(f"constant{number_}", axes, True)

    def full(self, value: Any, sizes: Sequence[int]) -> Block:
        axes = plain(sizes)
        return self.let(Block(f"tl.full({shape(axes)}, {number(value)}, real)" if axes else number(value), axes))

    def masked(self, block: Block, axis: int, neutral: str = ZERO) -> Block:
        """Put a number where an axis has padding."""
        if is_exact(block.axes[axis]) or (block.clean and neutral == ZERO):
            return block
        ok = f"ok{self.chip.index(block.axes[axis])}{_along(axis, len(block.axes))}"
        return self.let(Block(f"tl.where({ok}, {block.text}, {neutral})", block.axes))

    # --- Shapes ---

    def reshaped(self, block: Block, sizes: Sequence[int]) -> Block:
        known = prod(n for n in sizes if n != -1)
        wanted = [prod(block.sizes) // max(known, 1) if n == -1 else n for n in sizes]
        if not wanted:
            return self.scalar(block)
        axes = regrouping(block.axes, wanted)
        if axes is not None:
            return self.let(block.regrouped(axes)) if axes != block.axes else block
        return self.moved(block, plain(wanted))

    def scalar(self, block: Block) -> Block:
        for _ in block.axes:
            block = self.let(Block(f"tl.sum({block.text}, 0)", block.axes[1:]))
        return block

    def expanded(self, block: Block, sizes: Sequence[int]) -> Block:
        """Add leading axes, and repeat those of length one."""
        missing = len(sizes) - len(block.axes)
        block = block.regrouped(((),) * missing + block.axes) if missing else block
        wanted = [n if s == -1 else s for s, n in zip(sizes, block.sizes, strict=True)]
        axes = tuple(axis if prod(axis) == n else plain([n])[0] for axis, n in zip(block.axes, wanted, strict=True))
        if axes == block.axes:
            return block
        return self.let(Block(f"tl.broadcast_to({block.text}, {shape(axes)})", axes))

    def alike(self, blocks: Sequence[Block], sizes: Sequence[int]) -> list[Block]:
        """Give blocks that are combined as many axes, and take axes apart in one way."""
        raised = [
            b if not b.axes or len(b.axes) == len(sizes) else b.regrouped(((),) * (len(sizes) - len(b.axes)) + b.axes)
            for b in blocks
        ]
        common = _joined([b.axes for b in raised], len(sizes))
        return [
            b
            if all(own in ((), axis) for own, axis in zip(b.axes, common, strict=False))
            else self.moved(b, tuple(() if own == () else axis for own, axis in zip(b.axes, common, strict=True)))
            for b in raised
        ]

    def moved(self, block: Block, axes: tuple[Axis, ...]) -> Block:
        """Let the numbers of a block, in order, lie in other axes: through memory."""
        at = f"memory + {self.chip.room(prod(block.sizes))}"
        self.lines += ["tl.debug_barrier()", self.chip.store(at, block), "tl.debug_barrier()"]
        return self.let(Block(self.chip.load(at, axes), axes, True))

    def joined(self, parts: Sequence[Block], axis: int) -> Block:
        """Put blocks behind each other along an axis: through memory."""
        sizes = list(parts[0].sizes)
        sizes[axis] = sum(p.sizes[axis] for p in parts)
        start, begin, stride = self.chip.room(prod(sizes)), 0, prod(sizes[axis + 1 :])
        self.lines.append("tl.debug_barrier()")
        for part in parts:
            self.lines.append(self._strided_store(part, sizes, start + begin * stride))
            begin += part.sizes[axis]
        self.lines.append("tl.debug_barrier()")
        axes = plain(sizes)
        return self.let(Block(self.chip.load(f"memory + {start}", axes), axes, True))

    def sliced(self, block: Block, axis: int, begin: int, step: int, count: int) -> Block:
        """Take some of an axis: through memory."""
        at = self.chip.room(prod(block.sizes))
        self.lines += ["tl.debug_barrier()", self.chip.store(f"memory + {at}", block), "tl.debug_barrier()"]
        sizes = list(block.sizes)
        stride = prod(sizes[axis + 1 :])
        sizes[axis] = count
        axes = plain(sizes)
        place, mask = self._strided(axes, block.sizes, axis, step)
        pointer = f"memory + {at + begin * stride} + {place}"
        return self.let(Block(f"tl.load({pointer}{f', {mask}, {ZERO}' if mask else ''})", axes, True))

    def _strided_store(self, part: Block, sizes: Sequence[int], at: int) -> str:
        place, mask = self._strided(part.axes, sizes)
        return f"tl.store(memory + {at} + {place}, {part.text}{f', {mask}' if mask else ''})"

    def _strided(
        self, axes: Sequence[Axis], sizes: Sequence[int], stepped: int = -1, step: int = 1
    ) -> tuple[str, str | None]:
        """Return where the numbers of a block lie in an array of other sizes."""
        _, mask = self.chip.place(axes)
        terms = []
        for k, axis in enumerate(axes):
            stride = prod(sizes[k + 1 :]) * (step if k == stepped else 1)
            terms.append(f"at{self.chip.index(axis)}{_along(k, len(axes))} * {stride}")
        return " + ".join(terms), mask


def _joined(every: Sequence[tuple[Axis, ...]], rank: int) -> tuple[Axis, ...]:
    """Return the axes of what is combined from arrays in these: an axis of length one is repeated."""
    ranked = [axes for axes in every if len(axes) == rank]
    return tuple(
        max((axes[k] for axes in ranked), key=lambda axis: (prod(axis), len(axis)), default=()) for k in range(rank)
    )


def _attribute(module: fx.GraphModule, name: str) -> Tensor:
    value: Any = module
    for part in name.split("."):
        value = getattr(value, part)
    assert isinstance(value, Tensor)
    return value
