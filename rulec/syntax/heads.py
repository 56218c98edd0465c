"""What one logical line was read as, before the lines beneath it are gathered in."""

from __future__ import annotations

from dataclasses import dataclass

from rulec.syntax import ast
from rulec.syntax.layout import Line


@dataclass(frozen=True)
class ElseIf(ast.Node):
    """`elif EXPR`; in the tree it becomes an `If` in the `otherwise` of the one before."""

    condition: ast.Expression


@dataclass(frozen=True)
class Else(ast.Node):
    """`else`."""


@dataclass(frozen=True)
class Parsed:
    """A line, the node it says (its body still empty) and what stands beneath; `head` is None if it had an error."""

    line: Line
    head: ast.Node | None
    body: tuple[Parsed, ...] = ()


@dataclass(frozen=True)
class Opening:
    """What a header opens: the start symbol of the lines beneath, and the field of the node that takes them."""

    symbol: str
    field: str


BLOCK_KINDS = ("input", "forward", "output", "backward", "update", "generate")

_OPENS: dict[type[ast.Node], Opening] = {
    ast.Genome: Opening("genome_line", "entries"),
    ast.Preset: Opening("preset_line", "entries"),
    ast.Neuron: Opening("state_line", "entries"),
    ast.Synapse: Opening("state_line", "entries"),
    ast.Broadcast: Opening("state_line", "entries"),
    ast.Block: Opening("statement_line", "body"),
    ast.Repeat: Opening("block_line", "body"),
    ast.Laws: Opening("law_line", "laws"),
    ast.Outer: Opening("clause_line", "clauses"),
}


def opening(head: ast.Node, symbol: str) -> Opening | None:
    """Return what `head` opens where lines are read as `symbol`; None if nothing may stand beneath it."""
    if isinstance(head, (ast.If, ElseIf, Else)):
        return Opening("section_line" if symbol == "top_line" else symbol, "then")
    return _OPENS.get(type(head))
