"""A learned genome as formulas: prune it, fold it into its rule, and write the rule that is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from rulec.ir.graph import Op, change_blocks, constant, rewrite_block
from rulec.ir.passes import optimise
from rulec.ir.passes.share import share_subexpressions
from rulec.ir.passes.terms import gather_terms
from rulec.ir.passes.unread import drop_unread
from rulec.ir.rule_text import render_rule
from rulec.lints.settled import settle_reads
from rulec.meta.evaluate import Curve, evaluate
from rulec.meta.pruning import Criterion, Judge, Number, Pruned, prune
from rulec.network.graph import Network
from rulec.runtime.compiled import CompiledRule, Genome, State
from rulec.runtime.rule import Rule, parse
from rulec.semantics.typed import OptionValue
from rulec.tasks.task import Task

DIGITS = 6  # of numbers in the text: more than learning notices
NOISE = 0.7  # stands for what is drawn, where two rules draw differently


@dataclass(frozen=True)
class Setting:
    """On what a genome is judged: so many updates, as it was trained for, in so many episodes at once."""

    updates: int = 10
    batch: int = 128
    episodes: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        assert min(self.updates, self.batch, self.episodes) > 0


@dataclass(frozen=True)
class Term:
    """One number of the genome before and after; `effect` is how much the updates change without it, relative to them."""

    number: Number
    before: float
    after: float
    effect: float

    def row(self) -> dict[str, object]:
        return {"number": str(self.number), "learned": self.before, "kept": self.after, "effect": self.effect}


@dataclass(frozen=True)
class Formula:
    """What is left of a learned rule.

    `text` is a rule file of its own. `terms` are ranked by their effect, the largest first. `effect` is how much all changes
    together alter the updates; `trained` the accuracy before and after on meta-training data, which decided; `before` and
    `after` are learning curves on held-out data, which had no say. `kept` names what the text still takes from a genome.
    """

    text: str
    genome: Genome
    terms: tuple[Term, ...]
    effect: float
    trained: tuple[float, float]
    before: Curve
    after: Curve
    kept: tuple[str, ...]


def formula(
    rule: Rule,
    compiled: CompiledRule,
    genome: Genome,
    task: Task,
    *,
    options: Mapping[str, OptionValue] | None = None,
    initial: State | None = None,
    setting: Setting = Setting(),
    criterion: Criterion = Criterion(),  # noqa: B008
    digits: int = DIGITS,
) -> Formula:
    """Return the formulas of a genome (without population axis) as simple as `criterion` allows.

    `compiled` is the rule with these options on the network that the genome is judged on; `initial` are learned initial
    states, which the text cannot hold. Raises `RuleError` for what cannot be written in a rule (`not-in-a-rule`).
    """
    judge = Judge(
        compiled,
        task,
        genome,
        updates=setting.updates,
        batch=setting.batch,
        episodes=setting.episodes,
        seed=setting.seed,
        initial=initial,
    )
    pruned = prune(judge, genome, criterion)
    doc = f"What {rule.name} has learned on {task.name}, {compiled.network.spec}"
    text = learned_rule(rule, pruned.genome, options, doc, digits)
    kept = _checked(learned_rule(rule, pruned.genome, options, doc), compiled, pruned.genome, initial)
    before, after = (
        evaluate(
            compiled,
            g,
            task,
            updates=(0, setting.updates),
            episodes=setting.episodes,
            batch=setting.batch,
            seed=setting.seed,
            initial=initial,
        )
        for g in (genome, pruned.genome)
    )
    return Formula(text, pruned.genome, _terms(pruned, genome), pruned.effect, pruned.accuracy, before, after, kept)


def learned_rule(
    rule: Rule,
    genome: Genome,
    options: Mapping[str, OptionValue] | None = None,
    doc: str | None = None,
    digits: int | None = None,
) -> str:
    """Return the text of a rule, `learned`, with a genome's numbers in it and without what no prediction depends on."""
    program = replace(rule.program(options, genome, components=True), name="learned")
    program = gather_terms(share_subexpressions(settle_reads(program)))
    return render_rule(drop_unread(share_subexpressions(program)), replace(rule.typed(options), doc=doc), digits)


def _terms(pruned: Pruned, genome: Genome) -> tuple[Term, ...]:
    terms = [Term(n, n.of(genome), n.of(pruned.genome), effect) for n, effect in pruned.effects.items()]
    return tuple(sorted(terms, key=lambda term: -term.effect))


def _checked(text: str, compiled: CompiledRule, genome: Genome, initial: State | None) -> tuple[str, ...]:
    """Hold the text, with all digits, against the rule it was made from: same predictions after a few updates, in float64.

    Returns what is left of the genome. Raises `AssertionError`, which is a mistake of rulec.
    """
    network = compiled.network
    double = replace(
        compiled, dtype=torch.float64, population=None, tasks=None, replicas=None, device=torch.device("cpu")
    )
    written = _compiled(text, network, compiled.loss)
    exact = {name: value.cpu().double() for name, value in genome.items()}
    if [s.shape for s in written.lowered.noise] != [s.shape for s in double.lowered.noise]:
        # Other noise is drawn where some of it is read by nothing, so both get the same number for all of it.
        written, double = _quiet(written), _quiet(double)
    rest = {name: exact[name] for name in written.genome_spec}
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, *network.input.shape, generator=generator, dtype=torch.float64)
    y = torch.eye(network.output.shape[0], dtype=torch.float64)[torch.arange(8) % network.output.shape[0]]
    one = double.init_state(0, batch=8) | {name: value.cpu().double() for name, value in (initial or {}).items()}
    other = {name: one.get(name, value) for name, value in written.init_state(0, batch=8).items()}
    for _ in range(2):
        one, expected = double(exact, one, x, y)
        other, found = written(rest, other, x, y)
        same = torch.allclose(found.prediction, expected.prediction, rtol=1e-8, atol=1e-8)
        assert same or not expected.prediction.isfinite().all(), f"the learned rule does something else:\n{text}"
    return tuple(written.genome_spec)


def _quiet(compiled: CompiledRule) -> CompiledRule:
    """Return the rule with one number in the place of everything that it draws."""

    def change(op: Op) -> Op:
        return constant(NOISE, op.span) if op.name == "noise" else op

    program = change_blocks(compiled.program, lambda block: rewrite_block(block, change))
    return replace(compiled, program=program, optimised=optimise(program))


def _compiled(text: str, network: Network, loss: str) -> CompiledRule:
    return parse(text).compile(network, loss=loss, dtype="float64")
