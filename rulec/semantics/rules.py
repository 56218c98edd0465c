"""Check a rule: choose its options, then its declarations, blocks and laws."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.blocks import Progress, check_blocks, names_read
from rulec.semantics.constants import check_conditions
from rulec.semantics.declarations import check_genome, check_index, check_net, check_options, check_states, chosen
from rulec.semantics.laws import check_bounds, check_laws
from rulec.semantics.scope import Scope
from rulec.source import Diagnostic, Diagnostics
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
    scope = Scope(_Lenient(found, ignored) if ignored else found, rule.name.name, ignored)
    _check_unconditional(rule, scope)
    check_options(rule, options or {}, scope)
    check_conditions(rule, scope.options, scope.found)
    sections = list(chosen(tuple(s for s in rule.sections if not isinstance(s, (ast.Option, ast.Use))), scope))
    progress = Progress(skip_bare=_is_mixed(sections), reads=names_read(sections))
    for net in (nets or {}).values():
        check_net(net, scope)
    _check_declarations(sections, _acts_on_parameters(sections) and not progress.skip_bare, scope)
    blocks = check_blocks(tuple(s for s in sections if isinstance(s, (ast.Block, ast.Repeat))), scope, progress)
    laws, bounds = check_laws([law for s in sections if isinstance(s, ast.Laws) for law in s.laws], scope)
    _check_whole(rule, sections, scope, progress)
    if len(found.errors) > before:
        return None
    checked = t.Rule(
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
    check_bounds(checked, bounds, found)
    return checked if len(found.errors) == before else None


class _Lenient(Diagnostics):
    """Pass findings on, except complaints about words whose declaration stands in a line that could not be read."""

    def __init__(self, found: Diagnostics, ignored: frozenset[str]) -> None:
        super().__init__()
        self.target, self.ignored = found, ignored

    def add(self, diagnostic: Diagnostic) -> None:
        words = set(re.findall(r"\w+", diagnostic.span.text)) if diagnostic.span else set()
        if diagnostic.id not in ("not-constant", "wrong-option-value") or not words & self.ignored:
            self.target.add(diagnostic)


def _check_unconditional(rule: ast.Rule, scope: Scope) -> None:
    """Report options and imports inside an `if`: what is chosen may not depend on a choice."""
    for section in rule.sections:
        if isinstance(section, ast.If):
            for part in ast.walk(section):
                if isinstance(part, (ast.Option, ast.Use)):
                    what = "an option" if isinstance(part, ast.Option) else "an import"
                    scope.report(messages.conditional_declaration(part.span, what))
                    scope.broken.update(
                        {part.name.name} if isinstance(part, ast.Option) else {n.name for n in part.names}
                    )


def _check_declarations(sections: list[ast.Node], on_parameters: bool, scope: Scope) -> None:
    for section in sections:  # indices first: they may stand below what uses them
        if isinstance(section, ast.Index):
            check_index(section, scope)
    for section in sections:
        if isinstance(section, ast.Genome):
            check_genome(section, scope)
        elif isinstance(section, (ast.Neuron, ast.Synapse, ast.Broadcast)):
            check_states(section, on_parameters, scope)


def _blocks(nodes: Iterable[ast.Node]) -> list[ast.Block]:
    """Return every block, those inside `repeat` and `if` too, in the order of the text."""
    blocks: list[ast.Block] = []
    pending: list[ast.Node] = list(nodes)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Block):
            blocks.append(node)
        elif isinstance(node, ast.Repeat):
            pending += node.body
        elif isinstance(node, ast.If):
            pending += (*node.then, *node.otherwise)
    return sorted(blocks, key=lambda block: block.span.start)


def _acts_on_parameters(sections: list[ast.Node]) -> bool:
    return any(block.kind == "update" and not block.indices for block in _blocks(sections))


def _is_mixed(sections: list[ast.Node]) -> bool:
    return _acts_on_parameters(sections) and bool(_own_synapses(sections))


def _own_synapses(sections: list[ast.Node]) -> str:
    """Say what shows that a rule has synapses of its own."""
    block = next((b for b in _blocks(sections) if b.indices), None)
    if block is not None:
        return f"a block `{block.span.text.splitlines()[0].strip()}`"
    states = [e for s in sections if isinstance(s, ast.Synapse) for e in ast.walk(s) if isinstance(e, ast.State)]
    indexed = min((e for e in states if e.indices), key=lambda e: e.span.start, default=None)
    return f"the synapse state `{indexed.name.name}` with indices" if indexed else ""


def _check_whole(rule: ast.Rule, sections: list[ast.Node], scope: Scope, progress: Progress) -> None:
    """Check what only the whole rule shows: that it predicts, learns and reads the data."""
    if progress.skip_bare:
        bare = next(b for b in _blocks(sections) if b.kind == "update" and not b.indices)
        word = bare.span.source.span(bare.span.start, bare.span.start + len(bare.kind))
        scope.report(messages.mixed_updates(word, _own_synapses(sections)))
    if scope.ignored:  # a block may be missing because its header could not be read
        return
    kinds = {block.kind for block in _blocks(sections)}
    if not {"update", "generate"} & kinds:
        scope.report(messages.no_effect(rule.name.span, rule.name.name))
    if not _acts_on_parameters(sections):
        if not progress.predicted:
            scope.report(messages.no_prediction(rule.name.span, rule.name.name))
        if "forward" in kinds and "input" not in kinds:
            scope.report(messages.input_not_set(rule.name.span, rule.name.name))
