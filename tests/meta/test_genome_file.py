"""Genome files: what goes in comes out, and what does not fit is told."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import safe_open, save_file

import rulec
from rulec.meta.evaluate import evaluate
from rulec.meta.genome_file import load_genome, save_genome
from rulec.meta.train import meta_train
from rulec.source import RuleError

SIZED = """
rule sized "a genome whose size is an option, and one per layer"

option states = 2
index k : states

genome
  gain[k] = normal(0, 1)
  lr : positive per layer = 0.1

neuron
  x[k]
  d

synapse
  w[i,j] = normal(0, 1 / sqrt(fan_in))

input i
  x[i,k] = input[i]

forward i -> j
  x[j,k] = tanh(sum[i](w[i,j] * x[i,k]))

output j
  prediction[j] = sum[k](x[j,k] * gain[k])
  d[j] = prediction[j] - target[j]

update i -> j
  w[i,j] -= lr * mean[n](sum[k](x[i,k] * gain[k]) * d[j])
"""


def _ids(path, compiled):
    with pytest.raises(RuleError) as error:
        load_genome(path, compiled)
    return [d.id for d in error.value.diagnostics], error.value


def _rewritten(path, tensors=None, **metadata):
    """Change tensors or texts of a genome file."""
    with safe_open(path, "pt") as file:
        old = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        texts = dict(file.metadata())
    save_file(
        tensors(old) if tensors else old,
        path,
        metadata={k: v for k, v in {**texts, **metadata}.items() if v is not None},
    )


@pytest.fixture
def compiled(many):
    return many.compile("2-4-1(tanh)", loss="mse", population=2)


@pytest.fixture
def path(many, compiled, tmp_path):
    genome = {name: value[0] for name, value in compiled.init_genome(3).items()}
    return save_genome(
        tmp_path / "g.safetensors",
        genome,
        compiled,
        initial={"w.c1": torch.ones(2, 4)},
        about={"seed": 3, "note": 'a "quoted" λ'},
    )


def test_a_genome_comes_back_bit_for_bit(compiled, path, many):
    read = load_genome(path, compiled)
    for name, value in compiled.init_genome(3).items():
        assert torch.equal(read.genome[name], value[0])
    assert torch.equal(read.initial["w.c1"], torch.ones(2, 4))
    assert read.about["rule"] == "many" and read.about["seed"] == 3 and read.about["note"] == 'a "quoted" λ'
    assert {"rulec", "torch", "date", "command"} <= set(read.about["provenance"])
    assert read.warnings == ()
    assert rulec.load(path.with_suffix(".rule")).hash == many.hash
    assert load_genome(path).genome.keys() == read.genome.keys()


def test_training_writes_a_genome_that_evaluates_the_same(backprop, functions, tmp_path):
    compiled = backprop.compile("2-4-1(tanh)", loss="mse", population=2)
    result = meta_train(compiled, functions, steps=3, inner_steps=3, batch=16, episodes=4, out=tmp_path, lr=0.1)
    read = load_genome(result.paths["genome"], compiled)
    again = rulec.load(result.paths["rule"]).compile("2-4-1(tanh)", loss="mse")
    assert evaluate(again, read.genome, functions, episodes=3) == evaluate(
        compiled, result.genome, functions, episodes=3
    )
    assert read.about["steps"] == 3 and read.about["member"] == result.best
    assert read.about["curve"]["loss"] == result.history.loss[:, result.best].tolist()
    assert read.about["task"] == json.loads(json.dumps(functions.describe()))


def test_files_that_are_none_are_told(compiled, tmp_path):
    assert _ids(tmp_path / "none.safetensors", compiled)[0] == ["no-genome-file"]
    (tmp_path / "a.safetensors").write_bytes(b"nothing of the kind")
    assert _ids(tmp_path / "a.safetensors", compiled)[0] == ["not-a-genome-file"]
    save_file({"w": torch.ones(1)}, tmp_path / "b.safetensors")
    ids, error = _ids(tmp_path / "b.safetensors", compiled)
    assert ids == ["not-a-genome-file"] and "its header names no rule" in str(error)


def test_a_cut_file_and_a_broken_header_are_told(compiled, path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 5])
    assert _ids(path, compiled)[0] == ["not-a-genome-file"]
    path.write_bytes(whole)
    _rewritten(path, about="{")
    assert _ids(path, compiled)[0] == ["not-a-genome-file"]
    _rewritten(path, about="[]")
    assert _ids(path, compiled)[0] == ["not-a-genome-file"]


def test_other_formats_are_told(compiled, path):
    _rewritten(path, format="2")
    ids, error = _ids(path, compiled)
    assert ids == ["unknown-genome-version"] and "has format 2, and this program reads format 1" in str(error)


def test_missing_and_extra_entries_are_told_together(compiled, path):
    _rewritten(path, lambda old: {**{n: v for n, v in old.items() if n not in ("lr", "mix")}, "rl": torch.ones(1)})
    ids, error = _ids(path, compiled)
    assert sorted(ids) == ["extra-genome-entries", "missing-genome-entries"]
    assert "lacks `lr`, `mix`" in str(error) and "has `rl`" in str(error)


@pytest.mark.parametrize(
    ("value", "id"), [(-0.1, "outside-domain"), (float("nan"), "not-finite"), (float("inf"), "not-finite")]
)
def test_values_must_lie_in_their_domains(compiled, path, value, id):
    _rewritten(path, lambda old: {**old, "lr": torch.tensor(value)})
    assert _ids(path, compiled)[0] == [id]


def test_a_shape_that_follows_from_an_option_names_the_option(tmp_path):
    rule = rulec.parse(SIZED)
    two, four = (rule.compile("2-3-1", loss="mse", options={"states": n}) for n in (2, 4))
    path = save_genome(tmp_path / "g.safetensors", two.init_genome(0), two)
    ids, error = _ids(path, four)
    assert ids == ["wrong-genome-shape"]
    assert "`gain` has shape [2] in the file, but the compiled rule needs [4]" in str(error)
    assert "option `states` was 2 then and is 4 now" in str(error)
    assert 'compile with `options={"states": 2}`' in str(error)


def test_a_shape_that_follows_from_the_network_names_the_network(tmp_path):
    rule = rulec.parse(SIZED)
    two, three = (rule.compile(net, loss="mse") for net in ("2-3-1", "2-3-3-1"))
    path = save_genome(tmp_path / "g.safetensors", two.init_genome(0), two)
    ids, error = _ids(path, three)
    assert ids == ["wrong-genome-shape"]
    assert "the network `2-3-1` has 2 connections, `2-3-3-1` has 3" in str(error)


def test_another_text_of_the_rule_is_a_warning(many, path):
    other = rulec.parse(many.text.replace("0.1 * f(", "0.2 * f(")).compile("2-4-1(tanh)", loss="mse")
    read = load_genome(path, other)
    assert [(w.id, w.severity) for w in read.warnings] == [("other-rule-text", "warning")]
    assert read.warnings[0].help == "compare with the text beside it: g.rule"


def test_a_genome_is_written_whole_or_not_at_all(compiled, path, monkeypatch):
    from rulec.runtime import atomic

    before = path.read_bytes()

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    genome = {name: value[1] for name, value in compiled.init_genome(9).items()}
    with pytest.raises(RuleError, match="cannot-write"):
        save_genome(path, genome, compiled)
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["g.rule", "g.safetensors"]
