"""A genome folded into a step, and written as a rule of its own, computes what the rule did with that genome."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rulec import RuleError, parse
from rulec.cli.main import run
from rulec.ir.passes import optimise
from rulec.ir.rule_text import render_rule
from rulec.meta.formula import learned_rule
from rulec.meta.genome_file import save_genome
from rulec.runtime.bundle import standalone_source, write_bundle
from rulec.runtime.compiled import CompiledRule
from rulec.source import Source
from rulec.syntax import format_source
from tests.numerics.test_random_programs import rules
from tests.rules.by_hand.networks import NETS, RULES, choices, compiled_on
from tests.rules.by_hand.step import Tensors, apart, disturbed, random_batches
from tests.rules.test_evaluators import interpreted
from tests.shipped import load

CLOSE = 1e-12


def random_genome(compiled: CompiledRule, seed: int = 0) -> Tensors:
    """Draw every entry within its domain, zeros and ones among them where the domain has them."""
    generator = torch.Generator().manual_seed(seed)
    genome: Tensors = {}
    for name, spec in compiled.genome_spec.items():
        low, high = {"unit": (0.05, 0.4), "positive": (0.05, 1.0)}.get(spec.domain.name, (-0.8, 0.8))
        value = low + (high - low) * torch.rand(spec.shape, generator=generator, dtype=compiled.dtype)
        chance = torch.rand(spec.shape, generator=generator)
        if spec.domain.name == "real":
            value = torch.where(chance < 0.3, 0.0, value)
        if spec.domain.name != "unit":  # a memory that never fades has no mean
            value = torch.where(chance > 0.75, 1.0, value)
        genome[name] = value
    return genome


def beginning(compiled: CompiledRule) -> Tensors:
    state = disturbed(compiled.init_state(0, batch=6), size=0.2)
    if not compiled.program.acts_on_parameters:
        return state
    return {key: value.abs() if key.startswith("v.") else value for key, value in state.items()}  # means of squares


def largest_gap(one: CompiledRule, genome: Tensors, other: CompiledRule, rest: Tensors, net: str) -> float:
    """Run two steps side by side and return the largest relative difference."""
    first = second = beginning(one)
    worst = 0.0
    for x, y in random_batches(NETS[net].shape, NETS[net].outputs, 2):
        first, expected = one(genome, first, x, y)
        second, found = other(rest, second, x, y)
        assert set(first) == set(second)
        gaps = [apart(second[key], first[key]) for key in first if key not in ("t", "seed")]
        worst = max(worst, *gaps, apart(found.prediction, expected.prediction), apart(found.loss, expected.loss))
    return worst


MORE: dict[str, list[dict[str, Any]]] = {
    "blur": [{"states": 3}, {"recipe": "normalised", "oja": "weight"}, {"layered": True, "states": 3}]
}
CASES = [
    pytest.param(name, options, net, id="-".join([name, *(f"{k}={v}" for k, v in options.items()), net]))
    for name in RULES
    for options in [*choices(load(name)), *MORE.get(name, [])]
    for net in (NETS if not options else ("dense",))
    if not (name == "sanger" and net in ("conv", "residual"))
]


@pytest.mark.parametrize(("name", "options", "net"), CASES)
def test_a_folded_genome_and_the_rule_it_makes(name: str, options: Mapping[str, Any], net: str) -> None:
    rule = load(name)
    full = compiled_on(rule, net, loss="mse", options=options)
    genome = random_genome(full)
    special = compiled_on(rule, net, loss="mse", options=options, genome=genome)
    nets = {n.name for n in full.program.nets}
    kept = {key for key, spec in full.genome_spec.items() if spec.per_layer or key.split(".")[0] in nets}
    assert set(special.genome_spec) == kept
    rest = {key: genome[key] for key in kept}
    assert largest_gap(full, genome, special, rest, net) < CLOSE
    program = rule.program(options, genome, components=True)
    text = render_rule(program, rule.typed(options))
    assert format_source(Source("written.rule", text)) == text
    written = compiled_on(parse(text), net, loss="mse")
    assert set(written.genome_spec) == kept
    assert largest_gap(full, genome, written, rest, net) < CLOSE


ALONE = [(name, options) for name in RULES for options in [*choices(load(name)), *MORE.get(name, [])]]


@pytest.mark.parametrize(("name", "options"), ALONE)
def test_what_is_explained_predicts_what_the_rule_does(name: str, options: Mapping[str, Any]) -> None:
    """With nothing dropped and nothing rounded; states that no prediction depends on are gone."""
    rule = load(name)
    full = compiled_on(rule, "dense", loss="mse", options=options)
    genome = random_genome(full, seed=4)
    written = compiled_on(parse(learned_rule(rule, genome, options)), "dense", loss="mse")
    rest = {key: genome[key] for key in written.genome_spec}
    if [site.shape for site in written.lowered.noise] != [site.shape for site in full.lowered.noise]:
        pytest.skip("other noise is drawn where some of it is read by nothing")
    one = beginning(full)
    other = {key: one.get(key, value) for key, value in written.init_state(0, batch=6).items()}
    for x, y in random_batches(NETS["dense"].shape, NETS["dense"].outputs, 3):
        one, expected = full(genome, one, x, y)
        other, found = written(rest, other, x, y)
        assert apart(found.prediction, expected.prediction) < 1e-10
        assert apart(found.loss, expected.loss) < 1e-10


@pytest.mark.parametrize("name", ["backprop", "oja", "momentum"])
def test_what_is_explained_is_proved_to_be_the_rule(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rule = load(name)
    numbers = {entry.name: 0.25 for entry in rule.typed().genome}
    path = tmp_path / "learned.rule"
    path.write_text(learned_rule(rule, {key: torch.tensor(value) for key, value in numbers.items()}))
    at = [word for key, value in numbers.items() for word in ("--at", f"{key}={value}")]
    assert run(["prove", name, "--equals", str(path), *at]) == 0
    assert "proved" in capfd.readouterr().out


@pytest.mark.parametrize("net", ["dense", "conv"])
@pytest.mark.parametrize("options", [{}, {"states": 3, "recipe": "normalised"}])
def test_the_oracle_runs_a_folded_program(net: str, options: Mapping[str, Any]) -> None:
    rule = load("blur")
    genome = random_genome(compiled_on(rule, net, loss="mse", options=options), seed=2)
    special = compiled_on(rule, net, loss="mse", options=options, genome=genome)
    components = replace(special, program=rule.program(options, genome, components=True))
    for compiled in (special, replace(special, program=special.optimised), components):
        state = beginning(special)
        x, y = random_batches(NETS[net].shape, NETS[net].outputs, 1)[0]
        expected, prediction, _ = interpreted(compiled, {}, state, x, y, {})
        found, output = special({}, state, x, y)
        assert max(apart(found[key], expected[key]) for key in expected) < 1e-10
        assert apart(output.prediction, prediction) < 1e-10


PER_LAYER = """rule layered
genome
  gain = 0.5
  net g : 1 -> 2 -> 1 (tanh)
genome per layer
  rate : positive = 0.1
  net f : 1 -> 2 -> 1
neuron
  a
synapse
  w[i,j] = normal(0, 1)
input i
  a[i] = input[i]
forward i -> j
  a[j] = act(gain * sum[i](w[i,j] * a[i]))
output j
  prediction[j] = a[j]
update i -> j
  w[i,j] += rate * g(mean[n](a[i] * a[j])) + f(w[i,j])
"""


def test_what_is_per_layer_stays_so_in_the_text() -> None:
    full = compiled_on(parse(PER_LAYER), "dense", loss="mse")
    genome = random_genome(full)
    text = render_rule(parse(PER_LAYER).program(genome=genome, components=True))
    written = compiled_on(parse(text), "dense", loss="mse")
    assert set(full.genome_spec) - set(written.genome_spec) == {"gain"}
    assert all(written.genome_spec[key] == full.genome_spec[key] for key in written.genome_spec)
    assert largest_gap(full, genome, written, {k: genome[k] for k in written.genome_spec}, "dense") < CLOSE


@pytest.mark.parametrize("name", ["blur", "backprop", "learned_optimizer", "node_perturbation"])
def test_the_written_step(name: str, tmp_path: Path) -> None:
    """`step.py` holds the numbers; it asks for no genome but for what could not be folded."""
    full = compiled_on(load(name), "dense", loss="mse")
    genome = random_genome(full, seed=3)
    special = compiled_on(load(name), "dense", loss="mse", genome=genome)
    (tmp_path / "written.py").write_text(standalone_source(special))
    spec = importlib.util.spec_from_file_location("written", tmp_path / "written.py")
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    assert set(module.GENOME) == set(special.genome_spec)
    rest = {key: genome[key] for key in module.GENOME}
    state = beginning(full)
    x, y = random_batches(NETS["dense"].shape, NETS["dense"].outputs, 1)[0]
    expected, output = full(genome, state, x, y)
    found, prediction, loss = module.step(rest, state, x, y)
    assert max(apart(found[key], expected[key]) for key in expected if key not in ("t", "seed")) < CLOSE
    assert apart(prediction, output.prediction) < CLOSE and apart(loss, output.loss) < CLOSE


def test_the_bundle_of_a_folded_genome(tmp_path: Path) -> None:
    """Arrays are part of the exported graph."""
    full = compiled_on(load("blur"), "dense", options={"states": 3})
    special = compiled_on(load("blur"), "dense", options={"states": 3}, genome=random_genome(full))
    write_bundle(special, tmp_path, batch=4)
    assert json.loads((tmp_path / "manifest.json").read_text())["genome"] == {}
    exported = torch.export.load(tmp_path / "step.pt2").module()
    state = beginning(special)
    x, y = random_batches(NETS["dense"].shape, NETS["dense"].outputs, 1, size=4)[0]
    expected, _ = special({}, state, x, y)
    flat = [state[slot.name] for slot in special.lowered.state]
    results = exported(*flat, x, y, torch.ones((), dtype=torch.float64))
    for name, value in zip(special.lowered.outputs[:-2], results[:-2], strict=True):
        assert apart(value, expected[name]) < CLOSE


def test_leading_axes_of_a_folded_genome() -> None:
    """Members of a population share what is folded; their synapses are their own."""
    full = compiled_on(load("blur"), "conv", options={"states": 3})
    genome = random_genome(full)
    wide = compiled_on(load("blur"), "conv", options={"states": 3}, genome=genome, population=2, replicas=2)
    alone = compiled_on(load("blur"), "conv", options={"states": 3}, genome=genome)
    state = wide.init_state(1)
    x, y = random_batches(NETS["conv"].shape, NETS["conv"].outputs, 1)[0]
    new, _ = wide({}, state, x, y)
    own = {key: value[1, 0] if key not in ("t", "seed") else value for key, value in state.items()}
    expected, _ = alone({}, own, x, y)
    assert max(apart(new[key][1, 0], expected[key]) for key in expected if key not in ("t", "seed")) < CLOSE


def test_a_folded_step_is_differentiable_and_smaller() -> None:
    full = compiled_on(load("blur"), "dense", loss="mse")
    genome = random_genome(full)
    special = compiled_on(load("blur"), "dense", loss="mse", genome=genome)
    assert len(special.lowered.graph.nodes) < len(full.lowered.graph.nodes) / 2
    state = {k: v.requires_grad_() if v.is_floating_point() else v for k, v in beginning(special).items()}
    x, y = random_batches(NETS["dense"].shape, NETS["dense"].outputs, 1)[0]
    _, output = special({}, state, x, y)
    (slope,) = torch.autograd.grad(output.loss, [state["w.c1"]])
    assert slope.isfinite().all()


SOLVING = """rule solving
index k, l : 2
genome
  matrix[k,l] = [[2, 1], [0, 1]]
  right[k] = [1, 1]
neuron
  a[k]
synapse
  w[i,j] = normal(0, 1)
input i
  a[i,0] = input[i]
forward i -> j
  z = sum[i,k](w[i,j] * a[i,k])
  xi = noise[j,k]
  a[j,l] = solve[k,l](matrix[k,l], right[k]) * tanh(z) + softmax[l](z * l) + 0.1 * norm[k](xi)
output j
  old = a[j,0]
  prediction[j] = old
  a[j,0] = a[j,1]
  a[j,1] = old * var[k](a[j,k]) - loss
update i -> j
  w[i,j] += 0.1 * mean[n](a[i,0] * max[k](a[j,k]))
"""


@pytest.mark.parametrize("right", [[1.0, 1.0], [1.0, 3.0]])
def test_systems_noise_and_exchanged_states_are_written_out(right: list[float]) -> None:
    full = compiled_on(parse(SOLVING), "dense", loss="mse")
    genome = {"matrix": torch.tensor([[2.0, 1.0], [0.5, 1.0]]).double(), "right": torch.tensor(right).double()}
    special = compiled_on(parse(SOLVING), "dense", loss="mse", genome=genome)
    assert largest_gap(full, genome, special, {}, "dense") < CLOSE
    text = render_rule(parse(SOLVING).program(genome=genome, components=True), parse(SOLVING).typed())
    written = compiled_on(parse(text), "dense", loss="mse")
    assert largest_gap(full, genome, written, {}, "dense") < CLOSE


def test_the_text_of_a_rule_before_it_is_taken_apart() -> None:
    """Arrays and components are written as sums over where the indices are."""
    rule = load("blur")
    full = compiled_on(rule, "dense", loss="mse")
    genome = random_genome(full, seed=5)
    written = compiled_on(parse(render_rule(rule.program(genome=genome), rule.typed())), "dense", loss="mse")
    assert largest_gap(full, genome, written, {}, "dense") < CLOSE


@pytest.mark.parametrize("network", ["4-5-3:tanh", "2x5x5-conv(3)-avgpool-conv(2,stride=2)-3:tanh"])
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=rules(), seed=st.integers(0, 99))
def test_random_rules_folded_and_written(network: str, text: str, seed: int) -> None:
    full = parse(text).compile(network, loss="mse", dtype="float64")
    genome = random_genome(full, seed)
    program = parse(text).program(genome=genome, components=True)
    steps = [
        parse(text).compile(network, loss="mse", dtype="float64", genome=genome),
        parse(render_rule(program, parse(text).typed())).compile(network, loss="mse", dtype="float64"),
    ]
    state = full.init_state(2)
    x, y = random_batches(full.network.input.shape, 3, 1)[0]
    expected, output = full(genome, state, x, y)
    largest = max(float(value.abs().max()) for value in expected.values())
    assume(largest < 1e4)
    for step in steps:
        found, other = step({}, state, x, y)
        assert apart(other.prediction, output.prediction) < 1e-9
        for key in expected:
            torch.testing.assert_close(found[key], expected[key], rtol=1e-9, atol=1e-11 * (1 + largest))


GOLDEN = """\
rule blur_backprop "Two-state BLUR that is exactly backpropagation; Sandler et al. 2021, equation 4"

index k : 2

neuron
  s[k]
  a[k]

synapse
  w[i,j] = normal(0, 1 / sqrt(fan_in))
  b[j] = 0

input i
  a[i,0] = input[i]

forward i -> j
  s[j,0] = sum[i](w[i,j] * a[i,0]) + b[j]
  s[j,1] = s[j,0]
  a[j,0] = act(s[j,0])
  a[j,1] = act'(s[j,0])

output j
  prediction[j] = a[j,0]
  a[j,1] = act'(s[j,0]) * diff(loss, a[j,0])

backward i <- j
  a[i,1] = a[i,1] * sum[j](w[i,j] * a[j,1])

update i -> j
  w[i,j] -= 0.1 * mean[n](a[i,0] * a[j,1])
  b[j] -= 0.1 * mean[n](a[j,1])
"""


def test_blur_with_the_genome_of_the_chain_rule_reads_as_backpropagation() -> None:
    rule = load("blur_backprop")
    genome = rule.compile("4-3-2", dtype="float64").init_genome()
    assert render_rule(rule.program(genome=genome, components=True), rule.typed(), digits=3) == GOLDEN


# --- What cannot be --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("genome", "id"),
    [
        ({"rate": torch.tensor(0.1)}, "unknown-choice"),
        ({"lr": torch.tensor([0.1, 0.2])}, "wrong-shape"),
        ({"lr": torch.tensor(torch.nan)}, "not-finite"),
    ],
)
def test_numbers_that_are_not_of_this_rule(genome: Tensors, id: str) -> None:
    with pytest.raises(RuleError) as caught:
        load("sgd").compile("4-2", genome=genome)
    assert [d.id for d in caught.value.diagnostics] == [id]


def test_what_the_language_has_no_words_for() -> None:
    with pytest.raises(RuleError, match="`contract` cannot be written") as caught:
        render_rule(optimise(load("hebb").program()))
    assert caught.value.diagnostics[0].id == "not-in-a-rule"


# --- The command -----------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A run's folder with a genome of three-state BLUR on 4-3-2."""
    compiled = load("blur").compile("4-3-2", options={"states": 3})
    save_genome(tmp_path / "run" / "genome.safetensors", random_genome(compiled), compiled)
    return tmp_path / "run"


@pytest.mark.parametrize("file", ["", "genome.safetensors"])
def test_compile_takes_a_run_or_a_genome_file(saved: Path, file: str, capfd: pytest.CaptureFixture[str]) -> None:
    out = saved.parent / "bundle"
    assert run(["compile", "blur", "--genome", str(saved / file), "--net", "4-3-2", "--out", str(out)]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["genome"], manifest["options"]["states"]) == ({}, 3)


def test_compile_prints_the_folded_program(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["compile", "blur", "--genome", str(saved), "--emit", "ir"]) == 0
    out = capfd.readouterr().out
    assert "genome" not in out and "index k : 3" in out


def test_compile_warns_of_another_text(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = (saved / "genome.rule").read_text().replace("1e-9", "1e-8")
    (saved / "other.rule").write_text(text)
    assert run(["compile", f"{saved / 'other.rule'}:blur", "--genome", str(saved), "--emit", "ir"]) == 0
    assert "other-rule-text" in capfd.readouterr().err


def test_compile_says_what_a_folder_does_not_hold(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["compile", "blur", "--genome", str(tmp_path), "--net", "4-3-2"]) == 1
    assert "genome.safetensors" in capfd.readouterr().err
