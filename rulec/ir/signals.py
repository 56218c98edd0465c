"""Questions about a program that every evaluator asks."""

from __future__ import annotations

from rulec.ir.graph import Block, Op, Program, Repeat, walk_ops

ACROSS = {"forward": "i", "backward": "j"}


def crosses(op: Op, kind: str) -> bool:
    """Whether an op of a sweep sums over the neurons at the other end of the connections."""
    return op.name in ("reduce", "contract") and ACROSS.get(kind) in op["indices"]


def signal_state(block: Block) -> str | None:
    """Return the state whose first component decides max-pooling: the first that a forward sweep sends across."""
    if block.signal is not None:
        return block.signal
    for op in walk_ops([w.value for w in block.writes]):
        if op.name == "state" and op["side"] == "i":
            return str(op["name"])
    return None


def whole_layer(op: Op, side: str) -> bool:
    """Whether a reduction on a connection runs over all neurons of one layer: nothing in it knows the other side."""
    other = {"i": "j", "j": "i"}[side]
    return side in op["indices"] and not any(other in a.axes for a in op.args) and any("n" in a.axes for a in op.args)


def clamped_states(program: Program) -> frozenset[str]:
    """Return the states that `input` sets: sweeps do not overwrite them at the input layer."""
    return frozenset(w.name for b in _flat(program.blocks) if b.kind == "input" for w in b.writes)


def _flat(blocks: tuple[Block | Repeat, ...]) -> list[Block]:
    return [b for block in blocks for b in (_flat(block.body) if isinstance(block, Repeat) else [block])]


def schedule(blocks: tuple[Block | Repeat, ...]) -> list[tuple[Block, int]]:
    """Return the blocks in the order they run, each with how often it has run before."""
    order: list[tuple[Block, int]] = []
    counts: dict[int, int] = {}

    def run(nodes: tuple[Block | Repeat, ...]) -> None:
        for node in nodes:
            if isinstance(node, Repeat):
                for _ in range(node.count):
                    run(node.body)
            else:
                order.append((node, counts.get(id(node), 0)))
                counts[id(node)] = order[-1][1] + 1

    run(blocks)
    return order
