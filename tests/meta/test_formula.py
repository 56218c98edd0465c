"""Learned genomes as formulas: pruned, written as a rule, and as good as before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import rulec
from rulec.cli.formula import explain_genome
from rulec.ir.check import check_file
from rulec.ir.passes.unread import drop_unread
from rulec.ir.printer import render_program
from rulec.lints.library import build_variants, lint_library
from rulec.meta.formula import Setting, _checked, formula, learned_rule
from rulec.meta.genome_file import save_genome
from rulec.meta.pruning import Criterion, Judge, Number, numbers, prune
from rulec.semantics.check import load_library
from rulec.source import Diagnostics, RuleError, Source
from rulec.tasks.registry import task_from
from tests.meta.conftest import MANY
from tests.shipped import load

TEXT = """rule noisy "backprop, and what does not matter"

index k : 2

genome
  lr : positive = 0.497
  gain = 1.013
  useless = 0.0004
  mix[k] = [0.0003, 0.999]
  absent = 3.14159
  share : unit = 0.0002

neuron
  x
  z[k]
  d

synapse
  w[i,j] = normal(0, 1 / sqrt(fan_in))
  trace[i,j] = 0

input i
  x[i] = input[i]

forward i -> j
  z[j,k] = sum[i](w[i,j] * x[i]) * mix[k]
  x[j] = act(sum[k](z[j,k]))

output j
  prediction[j] = x[j]
  d[j] = gain * diff(loss, x[j]) * act'(sum[k](z[j,k]))

backward i <- j
  d[i] = act'(sum[k](z[i,k])) * sum[j](w[i,j] * d[j]) + useless * tanh(x[i])

update i -> j
  trace[i,j] += mean[n](x[i])
  w[i,j] -= lr * mean[n](x[i] * d[j]) + share * w[i,j]
"""
SETTING = Setting(updates=4, batch=32, episodes=2)


@pytest.fixture(scope="module")
def parts():
    rule = rulec.parse(TEXT)
    task = task_from("digits")
    compiled = rule.compile("64-12-10:tanh", input_shape=task.input_shape, outputs=task.outputs, loss=task.loss)
    return rule, compiled, compiled.init_genome(), task


@pytest.fixture(scope="module")
def found(parts):
    rule, compiled, genome, task = parts
    return formula(rule, compiled, genome, task, setting=SETTING)


def test_what_does_not_matter_goes_and_the_rest_is_short(found):
    kept = {str(term.number): term.after for term in found.terms}
    assert set(kept) == {"lr", "gain", "useless", "mix[0]", "mix[1]", "share"}  # `absent` is read by nothing
    assert (kept["gain"], kept["useless"], kept["mix[0]"], kept["mix[1]"], kept["share"]) == (1, 0, 0, 1, 0)
    assert kept["lr"] > 0 and len(f"{kept['lr']:g}") <= 5
    before, after = found.trained
    assert after >= before - 0.01 - 1e-9
    assert found.genome["absent"] == pytest.approx(3.14159)


def test_terms_are_ranked_by_their_effect(found):
    effects = [term.effect for term in found.terms]
    assert effects == sorted(effects, reverse=True)
    assert str(found.terms[-1].number) in ("useless", "mix[0]", "share")
    assert found.terms[0].effect > 100 * found.terms[-1].effect


def test_the_text_is_a_rule_that_learns_as_well(found, parts):
    _, compiled, _, task = parts
    assert found.text.startswith('rule learned "What noisy has learned on digits, 64-12-10:tanh"\n')
    assert "genome" not in found.text and "trace" not in found.text and found.kept == ()
    assert found.after.updates == (0, 4) and found.after.task == task.name
    alone = rulec.parse(found.text).compile("64-12-10:tanh", loss=task.loss, input_shape=(64,), outputs=10)
    state = compiled.init_state(0)
    x, y = torch.randn(8, 64), torch.arange(8)
    expected, _ = compiled({k: v.float() for k, v in found.genome.items()}, state, x, y)
    new, _ = alone({}, {k: v for k, v in state.items() if k in alone.init_state(0)}, x, y)
    torch.testing.assert_close(new["w.c1"], expected["w.c1"], rtol=1e-4, atol=1e-5)


def test_a_tolerance_of_the_updates_holds(parts):
    _, compiled, genome, task = parts
    judge = Judge(compiled, task, genome, updates=4, batch=32, episodes=2, seed=0)
    strict = prune(judge, genome, Criterion(effect=0.01))
    assert strict.effect <= 0.01
    none = prune(judge, genome, Criterion(effect=0.0))
    assert none.effect == 0.0 and none.accuracy[0] == none.accuracy[1]


def test_effects_and_accuracies_are_of_each_genome(parts):
    """Nine genomes are judged in two lots, and each as if it were alone."""
    _, compiled, genome, task = parts
    judge = Judge(compiled, task, genome, updates=4, batch=32, episodes=2, seed=0)
    number = Number("lr", ())
    genomes = [number.changed(genome, 0.1 * n + 0.1) for n in range(9)]
    together, alone = judge.effects(genomes), [judge.effects([g])[0] for g in genomes]
    assert together == pytest.approx(alone, rel=1e-4)
    assert judge.accuracies(genomes) == pytest.approx([judge.accuracies([g])[0] for g in genomes])
    assert judge.effects([genome]) == [0.0]
    assert min(together) == together[4]


def test_learning_may_not_get_worse(parts):
    _, compiled, genome, task = parts
    judge = Judge(compiled, task, genome, updates=20, batch=32, episodes=2, seed=0)
    before = judge.accuracies([genome])[0]
    assert judge.passes([genome, Number("lr", ()).changed(genome, 1e-6)], before, Criterion()) == [True, False]


def test_numbers_are_those_that_can_be_folded():
    rule = rulec.parse(MANY)
    compiled = rule.compile("4-3-2", loss="mse")
    names = {str(n) for n in numbers(compiled.program, compiled.init_genome())}
    assert names == {"lr", "keep_", "gain", "shift", "mix[0,0]", "mix[0,1]", "mix[1,0]", "mix[1,1]"}


def test_nets_and_entries_per_layer_stay_in_the_genome():
    rule = rulec.parse(MANY)
    task = task_from("digits")
    compiled = rule.compile("64-8-10", input_shape=(64,), outputs=10, loss=task.loss)
    found = formula(rule, compiled, compiled.init_genome(), task, setting=Setting(2, 16, 2))
    assert set(found.kept) == {"eta", "f.0.weight", "f.0.bias", "f.1.weight", "f.1.bias"}
    assert "eta : positive per layer" in found.text


def test_other_noise_is_no_way_past_the_check(parts):
    """Where a site of noise is gone, all noise is one number, and the rest of the text still has to be right."""
    text = TEXT.replace("act(sum[k](z[j,k]))", "act(sum[k](z[j,k]) + useless * noise + 0.1 * noise)")
    rule = rulec.parse(text)
    compiled = rule.compile("4-3-2:tanh", loss="mse")
    genome = compiled.init_genome() | {"useless": torch.tensor(0.0)}
    learned = learned_rule(rule, genome)
    assert learned.count("noise") == 1
    assert _checked(learned, compiled, genome, None) == ()
    with pytest.raises(AssertionError, match="something else"):
        _checked(learned.replace("- 0.497", "+ 0.497"), compiled, genome, None)


# --- What nothing reads ----------------------------------------------------------------------


def test_states_that_no_prediction_depends_on_are_removed(parts):
    program = parts[0].program()
    assert "trace" in render_program(program) and "trace" not in render_program(drop_unread(program))


def test_components_that_no_prediction_depends_on_are_not_set(parts):
    rule, _, genome, _ = parts
    text = learned_rule(rule, genome | {"mix": torch.tensor([0.0, 1.0])})
    assert "z[j,1]" in text and "z[j,0]" not in text  # what reads it, the derivative of the activation, reads zero
    blur = load("blur")
    genome = blur.compile("4-2").init_genome()
    genome |= {"forward_mix": torch.tensor([[1.0, 0.0], [0.0, 0.0]]), "backward_mix": torch.zeros(2, 2)}
    text = learned_rule(blur, genome)
    assert "v[" not in text and "w[i,j,0]" in text and "w[i,j,1]" not in text


def test_what_nothing_has_set_yet_is_not_written():
    """`a` begins at zero in each step, so what it was before its layer's first value is no term."""
    blur = load("blur")
    genome = blur.compile("4-2").init_genome()
    text = learned_rule(blur, genome)
    forward = text.split("forward i -> j")[1].split("output j")[0]
    assert "a[i,0]" in forward and "a[j," not in forward.replace("a[j,0] =", "").replace("a[j,1] =", "")
    found = lint_library(*_library(text))
    assert "read-before-set" not in {d.id for d in found}


def _library(text: str):
    library = load_library(Source("learned.rule", text), Diagnostics())
    return library, build_variants(library, Diagnostics())


def test_a_rule_that_learns_nothing_keeps_what_it_has():
    rule = rulec.parse(TEXT)
    text = learned_rule(rule, {"lr": torch.tensor(0.0), "share": torch.tensor(0.0)})
    assert rulec.parse(text).compile("4-2").program.name == "learned"


# --- The command -----------------------------------------------------------------------------


@pytest.fixture
def saved(parts, tmp_path: Path) -> Path:
    _, compiled, genome, _ = parts
    about = {"task": {"name": "digits"}, "inner_steps": 3, "batch": 32}
    save_genome(tmp_path / "run" / "genome.safetensors", genome, compiled, about=about)
    return tmp_path / "run"


@pytest.mark.parametrize("file", ["", "genome.safetensors"])
def test_the_command(saved: Path, file: str, capsys: pytest.CaptureFixture[str]):
    out = saved.parent / "out"
    assert explain_genome(saved / file, out=out, episodes=2) == 0
    printed = capsys.readouterr().out
    assert "What was learned" in printed and "held out" in printed and str(out / "learned.rule") in printed
    source, findings = check_file(out / "learned.rule")
    assert source.text and not findings.errors
    assert load(out / "learned.rule").name == "learned"
    assert "\\begin{align*}" in (out / "learned.tex").read_text()
    assert (out / "terms.csv").read_text().startswith("number,learned,kept,effect\n")


def test_a_genome_without_a_task(parts, tmp_path: Path):
    _, compiled, genome, _ = parts
    save_genome(tmp_path / "genome.safetensors", genome, compiled)
    with pytest.raises(RuleError, match="does not say which task"):
        explain_genome(tmp_path / "genome.safetensors")
    assert explain_genome(tmp_path / "genome.safetensors", task="digits", episodes=2) == 0
