"""Write the Triton kernel of a loop: a step, again and again, then what comes after the last one; a program for each network.

What a step hands to the next stays in the registers of one core. Arrays lie without gaps: those of a step with a first axis of steps, then
the leading axes that they differ along, then their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor, fx

from rulec.backend.onchip.blocks import Block, plain
from rulec.backend.onchip.function import Chip, Function

LETTERS = {"P": "member", "T": "task", "R": "replica"}


@dataclass(frozen=True)
class Array:
    """Its axes are (steps, if it is one of each step), those of the leading axes in `along`, then `sizes`."""

    sizes: tuple[int, ...]
    along: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """A graph; `reads` says what each of its arguments is: `("fixed", 0)`, `("carried", 2)`, `("data", 1)`, or `("counter", 0)`."""

    module: fx.GraphModule
    reads: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Loop:
    """`step` gives what it carries; without `last`, the results are what is carried. `data` and `query` are those of the parts."""

    step: Part
    last: Part | None
    fixed: tuple[Array, ...]
    carried: tuple[Array, ...]
    data: tuple[Array, ...]
    query: tuple[Array, ...]
    double: bool
    rounded: bool  # whether factors of products may be rounded to 10 bits


@dataclass(frozen=True)
class Source:
    """A kernel's text, the constant arrays that it takes, the numbers of memory for each program, and the places of its largest block."""

    text: str
    constants: tuple[Tensor, ...]
    memory: int
    largest: int


def loop_source(loop: Loop) -> Source:
    """Return the source. Raises `Unsupported` for operations that no kernel is written for, and for what no core holds."""
    chip = Chip()
    fixed = [_beginning(chip, f"f{k}", array) for k, array in enumerate(loop.fixed)]
    carried = [_beginning(chip, f"c{k}", array) for k, array in enumerate(loop.carried)]
    now = [Block(f"now{k}", block.axes) for k, block in enumerate(carried)]  # a step leaves anything in padding
    data = [_beginning(chip, f"d{k}", array, "place") for k, array in enumerate(loop.data)]
    query = [_beginning(chip, f"q{k}", array) for k, array in enumerate(loop.query)]
    named = {
        "fixed": _named("fixed", fixed),
        "carried": now,
        "counter": [Block("count", ())],
    }
    body = Function("v", loop.step.module, _read(loop.step, named | {"data": _named("data", data)}), chip, loop.rounded)
    after = [
        body.reshaped(block, array.sizes) if array.sizes else block
        for block, array in zip(body.results, loop.carried, strict=True)
    ]
    after = [b if b.axes == n.axes else body.moved(b, n.axes) for b, n in zip(after, now, strict=True)]
    ends, end_lines = now, list[str]()
    if loop.last is not None:
        last = Function(
            "w", loop.last.module, _read(loop.last, named | {"data": _named("query", query)}), chip, loop.rounded
        )
        ends, end_lines = last.results, [*_lets("query", query), *last.lines]
    stores = [chip.store(f"r{k} + network * {prod(b.sizes)}", b) for k, b in enumerate(ends)]
    arrays = [f"{letter}{k}" for letter, every in _lists(loop, chip, len(ends)) for k in range(every)]
    lines = [
        *_HEAD,
        f"memory = scratch + network * {max(chip.memory, 1)}",
        *chip.lines(),
        *_lets("fixed", fixed),
        *(f"now{k} = {block.text}" for k, block in enumerate(carried)),
        "for s in range(steps):",
        *(
            "    " + line
            for line in [
                "place = tl.full((), s, tl.int64)",
                *_counter("begin + s + 1"),
                *_lets("data", data),
                *body.lines,
            ]
        ),
        *(f"    next{k} = {_alone(block)}" for k, block in enumerate(after)),
        *(f"    now{k} = next{k}" for k in range(len(after))),
        *([] if after else ["    pass"]),
        *_counter("begin + steps + 1"),
        *end_lines,
        *stores,
    ]
    text = _TEXT.format(
        real="tl.float64" if loop.double else "tl.float32",
        arrays=", ".join([*arrays, "scratch"]),
        lines="\n".join("    " + line for line in lines),
    )
    return Source(text, tuple(chip.constants), max(chip.memory, 1), chip.largest)


_TEXT = '''"""The inner loop of one network in each program."""

import triton
import triton.language as tl
from rulec.backend.onchip.helpers import *

real: tl.constexpr = tl.constexpr({real})


@triton.jit(do_not_specialize=["steps", "begin", "members", "tasks", "replicas"])
def unroll({arrays}, steps, begin, members, tasks, replicas):
{lines}
'''
_HEAD = (
    "network = tl.program_id(0).to(tl.int64)",
    "replica = network % replicas",
    "task = network // replicas % tasks",
    "member = network // (replicas * tasks)",
)
_COUNTS = {"P": "members", "T": "tasks", "R": "replicas"}


def _lists(loop: Loop, chip: Chip, results: int) -> list[tuple[str, int]]:
    """Return the kernel's arrays, in order: letters, and how many there are of each."""
    given = [("f", loop.fixed), ("c", loop.carried), ("d", loop.data), ("q", loop.query), ("k", chip.constants)]
    return [*((letter, len(every)) for letter, every in given), ("r", results)]


def _beginning(chip: Chip, name: str, array: Array, step: str = "") -> Block:
    """Load an array of this network."""
    index, size = step, prod(array.sizes)
    for letter in array.along:
        index = f"({index}) * {_COUNTS[letter]} + {LETTERS[letter]}" if index else LETTERS[letter]
    pointer = f"{name} + ({index}) * {size}" if index else name
    axes = plain(array.sizes)
    return Block(chip.load(pointer, axes) if axes else f"tl.load({pointer})", axes, True)


def _named(name: str, blocks: Sequence[Block]) -> list[Block]:
    return [Block(f"{name}{k}", b.axes, b.clean) for k, b in enumerate(blocks)]


def _lets(name: str, blocks: Sequence[Block]) -> list[str]:
    return [f"{name}{k} = {block.text}" for k, block in enumerate(blocks)]


def _read(part: Part, named: dict[str, list[Block]]) -> list[Block]:
    return [named[kind][k] for kind, k in part.reads]


def _counter(number: str) -> list[str]:
    return [f"count = ({number}).to(real)"]


def _alone(block: Block) -> str:
    """Return what the next step begins with: of its own type, whatever constants it was made from."""
    return f"({block.text}).to(real)" if block.axes else f"tl.full((), {block.text}, real)"
