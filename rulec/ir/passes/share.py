"""Share common subexpressions within a block.

Before: any program. After: equal ops on identical arguments are one op. Noise is never shared: each site is its own.
"""

from __future__ import annotations

from rulec.ir.graph import Block, Op, Program, change_blocks, rewrite_block


def share_subexpressions(program: Program) -> Program:
    return change_blocks(program, _share)


def _share(block: Block) -> Block:
    known: dict[tuple[object, ...], Op] = {}
    return rewrite_block(block, lambda op: known.setdefault(op.key(), op))
