"""From a program back to a `.rule` file that computes the same: how a specialised rule is read and kept.

What is told is the program: options, laws, and genome entries that were folded in are gone. The text knows no other signal
for max-pooling than the first state that a forward sweep sends across.
"""

from __future__ import annotations

from collections.abc import Iterable

from rulec.ir.graph import Block, Program, Repeat
from rulec.ir.passes.losses import settle_losses
from rulec.ir.passes.share import share_subexpressions
from rulec.ir.rule_text.declarations import declarations
from rulec.ir.rule_text.expressions import Spelling
from rulec.ir.rule_text.nodes import NOWHERE, name, number
from rulec.ir.rule_text.statements import statements
from rulec.semantics import typed as t
from rulec.syntax import ast, render_module

_LETTERS = {"input": ("i",), "forward": ("i", "j"), "output": ("j",), "backward": ("i", "j"), "update": ("i", "j")}

__all__ = ["render_rule", "rule_node"]


def render_rule(program: Program, rule: t.Rule | None = None, digits: int | None = None) -> str:
    """Return the text of a rule, in the canonical layout, that does what a program does.

    The program has no contractions: it is as built, or specialised. `rule`, from which it was built, lends its one line of
    documentation and the names of its local values. Numbers are written in full, or to so many digits. Raises `RuleError`
    (`not-in-a-rule`) naming what the language has no words for.
    """
    return render_module(ast.Module((rule_node(program, rule, digits),), span=NOWHERE))


def rule_node(program: Program, rule: t.Rule | None = None, digits: int | None = None) -> ast.Rule:
    """Return the syntax tree of such a rule."""
    program = share_subexpressions(settle_losses(program))
    blocks = _blocks(program.blocks, Spelling(program, digits, _local_names(rule)))
    sections = (*declarations(program, digits), *blocks)
    return ast.Rule(name(program.name), None if rule is None else rule.doc, sections, span=NOWHERE)


def _blocks(blocks: Iterable[Block | Repeat], spelling: Spelling) -> tuple[ast.Block | ast.Repeat, ...]:
    """Write blocks; those that change nothing are left out."""
    found: list[ast.Block | ast.Repeat] = []
    for block in blocks:
        if isinstance(block, Repeat):
            inner = _blocks(block.body, spelling)
            found += [ast.Repeat(number(block.count), inner, span=NOWHERE)] if inner else []
            continue
        letters = tuple(ast.IndexName(letter, span=NOWHERE) for letter in _LETTERS.get(block.kind, ()))
        kind = "update" if block.kind == "parameters" else block.kind
        body = statements(block, spelling)
        found += [ast.Block(kind, letters, body, span=NOWHERE)] if body else []
    return tuple(found)


def _local_names(rule: t.Rule | None) -> dict[tuple[int, int], str]:
    """Return the names of a rule's local values, by where these stand in its text."""
    names: dict[tuple[int, int], str] = {}

    def visit(blocks: tuple[t.Block | t.Repeat, ...]) -> None:
        for block in blocks:
            if isinstance(block, t.Repeat):
                visit(block.body)
                continue
            for write in block.body:
                if write.kind == "local":
                    names[(write.value.span.start, write.value.span.end)] = write.name

    visit(() if rule is None else rule.blocks)
    return names
