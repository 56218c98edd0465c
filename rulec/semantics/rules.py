"""Check a rule: choose its options, then its declarations, blocks and laws."""

from __future__ import annotations

from collections.abc import Mapping

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.blocks import Progress, check_blocks
from rulec.semantics.declarations import check_genome, check_index, check_net, check_options, check_states, chosen
from rulec.semantics.expressions import check_expression
from rulec.semantics.scope import Place, Scope
from rulec.source import Diagnostics
from rulec.syntax import ast


def check_rule(
    rule: ast.Rule,
    found: Diagnostics,
    options: Mapping[str, t.OptionValue] | None = None,
    ignored: frozenset[str] = frozenset(),
    nets: Mapping[str, ast.Net] | None = None,
) -> t.Rule | None:
    """Return the rule with its options chosen, or None if there was an error; `nets` are imported by name."""
    before = len(found.errors)
    scope = Scope(found, rule.name.name, ignored)
    check_options(rule, options or {}, scope)
    sections = list(chosen(tuple(s for s in rule.sections if not isinstance(s, ast.Option)), scope))
    for net in (nets or {}).values():
        check_net(net, scope)
    on_parameters = _acts_on_parameters(sections)
    for section in sections:
        match section:
            case ast.Index():
                check_index(section, scope)
            case ast.Genome():
                check_genome(section, scope)
            case ast.Neuron() | ast.Synapse() | ast.Broadcast():
                check_states(section, on_parameters, scope)
    progress = Progress()
    blocks = check_blocks(tuple(s for s in sections if isinstance(s, (ast.Block, ast.Repeat))), scope, progress)
    laws = tuple(law for s in sections if isinstance(s, ast.Laws) for law in _check_laws(s, scope))
    if not ignored:
        _check_whole(rule, sections, scope, progress)
    if len(found.errors) > before:
        return None
    return t.Rule(
        rule.name.name,
        rule.doc,
        dict(scope.options),
        dict(scope.extents),
        tuple(scope.genome.values()),
        tuple(scope.nets.values()),
        tuple(scope.states.values()),
        blocks,
        laws,
        rule.span,
    )


def _blocks(nodes: list[ast.Node]) -> list[ast.Block]:
    """Return every block, those inside `repeat` and `if` too."""
    blocks: list[ast.Block] = []
    for node in nodes:
        if isinstance(node, ast.Block):
            blocks.append(node)
        elif isinstance(node, ast.Repeat):
            blocks += _blocks(list(node.body))
        elif isinstance(node, ast.If):
            blocks += _blocks([*node.then, *node.otherwise])
    return blocks


def _acts_on_parameters(sections: list[ast.Node]) -> bool:
    return any(block.kind == "update" and not block.indices for block in _blocks(sections))


def _check_laws(section: ast.Laws, scope: Scope) -> list[t.Law]:
    laws: list[t.Law] = []
    for law in section.laws:
        place = Place("law", frozenset("ij"), loss_known=True)
        left, right = check_expression(law.left, scope, place), check_expression(law.right, scope, place)
        if left is None or right is None:
            continue
        if left.axes and right.axes and left.axes != right.axes:
            scope.report(messages.axes_differ(law.span, _letters(left), _letters(right)))
            continue
        laws.append(t.Law(law.name.name, law.relation, left, right, law.span))
    return laws


def _letters(expression: t.Expr) -> str:
    return "[" + ",".join(t.ordered(expression.axes)) + "]"


def _check_whole(rule: ast.Rule, sections: list[ast.Node], scope: Scope, progress: Progress) -> None:
    """Check what only the whole rule shows: that it predicts, learns and reads the data."""
    blocks = _blocks(sections)
    kinds = {block.kind for block in blocks}
    on_parameters = _acts_on_parameters(sections)
    if not {"update", "generate"} & kinds:
        scope.report(messages.no_effect(rule.name.span, rule.name.name))
    if on_parameters and kinds - {"update"}:
        block = next(b for b in blocks if b.kind != "update")
        scope.report(messages.mixed_updates(block.span, block.kind))
    elif not on_parameters:
        output = next((b for b in blocks if b.kind == "output"), None)
        if not progress.predicted and not _sets_prediction(output):
            scope.report(messages.no_prediction(rule.name.span, rule.name.name))
        if "forward" in kinds and "input" not in kinds:
            scope.report(messages.input_not_set(rule.name.span, rule.name.name))


def _sets_prediction(block: ast.Block | None) -> bool:
    """Whether the source tries to: a mistake in that line is reported there, not here."""
    if block is None:
        return False
    return any(isinstance(s, ast.Assign) and s.target.name == "prediction" for s in block.body)
