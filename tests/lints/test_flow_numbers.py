"""What the lints about flow claim, measured: what is dead changes nothing, what is cut has no gradient, and the others do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rulec.lints.lint import Variant
from rulec.runtime.compiled import CompiledRule, Genome, State
from rulec.runtime.rule import Rule
from rulec.semantics.check import shipped_rules, variants
from tests.rules.by_hand.networks import few_rounds
from tests.shipped import load

HERE = Path(__file__).parent
SHIPPED = [path.stem for path in sorted(shipped_rules().glob("*.rule")) if path.stem != "outers"]
WRITTEN = [
    path
    for folder in ("bad", "good")
    for path in sorted((HERE / folder / "flow").glob("*.rule"))
    if "\nrule " in f"\n{path.read_text()}"
]
NET, STEPS, SAMPLES = "4-6-5-3 : tanh", 4, 12
FAR = 1e-9


def every_rule() -> Iterator[Any]:
    """Yield each rule with each choice of its options."""
    for given in (*SHIPPED, *WRITTEN):
        rule = load(given)
        for options in variants(rule.library.rules[rule.name]):
            name = "-".join([rule.name if given in SHIPPED else given.stem, *(f"{k}={v}" for k, v in options.items())])
            yield pytest.param(given, tuple(options.items()), id=name)


CASES = list(every_rule())


SETTLING = ("equilibrium_propagation", "predictive_coding")


@cache
def run_of(given: str | Path, options: tuple[tuple[str, Any], ...] = (), few: bool = False) -> Run:
    """Return a run of a rule, of a shipped one that settles with a few rounds if so asked."""
    return Run(few_rounds(given) if few and isinstance(given, str) else load(given), dict(options))


class Run:
    """A compiled rule, a genome and initial states with no number that is zero or one by chance, and data."""

    def __init__(self, rule: Rule, options: Mapping[str, Any], seed: int = 0) -> None:
        self.step: CompiledRule = rule.compile(NET, loss="mse", options=options, dtype="float64")
        typed = rule.typed(options)
        self.variant = Variant(typed, rule.program(options))
        self.generator = torch.Generator().manual_seed(seed)
        domains = {entry.name: entry.domain.name for entry in typed.genome}
        self.genome = {
            name: self._generic(value, domains.get(name, "real")) for name, value in self.step.init_genome(0).items()
        }
        start = self.step.init_state(0, batch=SAMPLES)
        self.state = {n: v + 0.2 * self._positive(v) if v.is_floating_point() else v for n, v in start.items()}
        self.batches = [(self._data(4), self._data(3)) for _ in range(STEPS)]
        self.query = self._data(4)

    def _positive(self, like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=self.generator, dtype=torch.float64)

    def _generic(self, value: Tensor, domain: str) -> Tensor:
        if domain in ("positive", "unit", "interval"):
            return value.clamp(0.05, 0.8) * (0.8 + 0.2 * self._positive(value))
        return 0.05 + 0.25 * self._positive(value)

    def _data(self, width: int) -> Tensor:
        return torch.rand(SAMPLES, width, generator=self.generator, dtype=torch.float64) + 0.1

    def prediction(self, genome: Genome, state: State, straight: bool = False) -> Tensor:
        if straight:
            x, y = zip(*self.batches, strict=True)
            return self.step.lesson(genome, state, x, y, self.query, straight=True)
        for (
            x,
            y,
        ) in self.batches:  # an unroll comes to the same (`tests/runtime/test_unroll.py`), and takes long to trace
            state, _ = self.step(genome, state, x, y)
        return self.step.predict(genome, state, self.query)

    def gradient(self, straight: bool) -> set[str]:
        """Return the entries, and the states as `init(w)`, to which a gradient comes back that is not zero."""
        genome = {name: value.clone().requires_grad_() for name, value in self.genome.items()}
        state = {n: v.clone().requires_grad_() if v.is_floating_point() else v for n, v in self.state.items()}
        total = self.prediction(genome, state, straight).square().sum()
        leaves = genome | {f"init({n.split('.')[0]}) {n}": v for n, v in state.items() if v.is_floating_point()}
        found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        moved = [name for name, g in zip(leaves, found, strict=True) if g is not None and g.abs().max() > 0]
        return {name.split(" ")[0].split(".")[0] for name in moved}


@pytest.mark.parametrize(("rule", "options"), CASES)
def test_what_is_dead_changes_nothing_and_all_else_does(rule: str | Path, options: tuple[tuple[str, Any], ...]):
    run = run_of(rule, options)
    before = run.prediction(run.genome, run.state)
    assert before.isfinite().all()
    components = run.variant.components
    for name, numbers in (cell for entry in run.variant.program.genome for cell in components.cells(entry.name)):
        genome = dict(run.genome)
        genome[name] = _moved(genome[name], numbers, bool(run.step.genome_spec[name].per_layer))
        moved = float((run.prediction(genome, run.state) - before).abs().max())
        live = (name, numbers) in components.live
        smooth = any(key in run.variant.paths.exact for key in run.variant.paths.named(name))
        assert (moved > 0) <= live, (name, numbers, moved)
        assert (moved > 0) >= (live and smooth), (name, numbers, moved)  # a threshold moves nothing most of the time


@pytest.mark.parametrize(("rule", "options"), CASES)
def test_what_synapses_begin_with_matters_where_they_are_live(rule: str | Path, options: tuple[tuple[str, Any], ...]):
    run = run_of(rule, options)
    before = run.prediction(run.genome, run.state)
    components = run.variant.components
    synapses = [s for s in run.variant.program.states if s.kind == "synapse" and _is_read_first(s.name, run.variant)]
    for name, numbers in (cell for state in synapses for cell in components.cells(state.name)):
        state = {
            key: _moved(value, numbers, False) if key.split(".")[0] == name else value
            for key, value in run.state.items()
        }
        moved = float((run.prediction(run.genome, state) - before).abs().max())
        assert (moved > 0) == ((name, numbers) in components.live), (name, numbers, moved)


def _is_read_first(name: str, variant: Variant) -> bool:
    """Whether a step reads what a synapse began with, before it is set anew."""
    return name in variant.paths.states_read(variant.paths.ops)


def _moved(value: Tensor, numbers: tuple[int, ...], per_layer: bool) -> Tensor:
    moved = value.clone()
    place = ((slice(None), *numbers) if per_layer else numbers) or (...,)
    moved[place] = moved[place] * 1.1 + 0.02
    return moved


@pytest.mark.parametrize("straight", [False, True], ids=["exact", "first order"])
@pytest.mark.parametrize(("rule", "options"), CASES)
def test_gradients_come_back_where_they_are_said_to(
    rule: str | Path, options: tuple[tuple[str, Any], ...], straight: bool
):
    """Whatever has a gradient is reached; what is reached has one, unless a factor is zero that components would show."""
    run = run_of(rule, options, few=straight and rule in SETTLING)
    paths = run.variant.paths
    reached = paths.first_order if straight else paths.exact
    program = run.variant.program
    entries = {e.name for e in (*program.genome, *program.nets) if any(k in reached for k in paths.named(e.name))}
    begins = {f"init({s})" for s in paths.states_read(paths.last if straight else reached)}
    live = {name for name, _ in run.variant.components.live}
    measured = run.gradient(straight)
    assert measured <= entries | begins
    assert {name for name in entries if name in live} <= measured
    assert {name for name in begins if name[5:-1] in live} <= measured


@pytest.mark.parametrize("path", [p for p in WRITTEN if p.stem.startswith("silently")], ids=lambda path: path.stem)
def test_a_silent_first_order_gradient_is_the_first_order_one(path: Path):
    run = run_of(path)
    genome = {name: value.clone().requires_grad_() for name, value in run.genome.items()}
    gradients = [
        torch.autograd.grad(run.prediction(genome, run.state, straight).square().sum(), list(genome.values()))
        for straight in (False, True)
    ]
    apart = max(float((a - b).abs().max()) for a, b in zip(*gradients, strict=True))
    alike = ("sign", "sweep", "flat", "any-rule")
    assert (apart < FAR) == (path.stem.removeprefix("silently-first-order-") in alike)


@pytest.mark.parametrize("path", [p for p in WRITTEN if "batch-size" in p.stem], ids=lambda path: path.stem)
def test_twice_the_same_samples_change_an_update_only_if_it_depends_on_their_number(path: Path):
    run = run_of(path)
    (x, y), *_ = run.batches
    once, twice = (run.step(run.genome, run.state, torch.cat([x] * k), torch.cat([y] * k))[0] for k in (1, 2))
    apart = max(float((once[name] - twice[name]).abs().max()) for name in once if name.startswith("w."))
    chosen = path.stem == "batch-size-dependent-chosen"  # it depends, and was chosen
    assert (apart > FAR) == (path.parent.parent.name == "bad" or chosen)
