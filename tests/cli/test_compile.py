"""`rulec compile`: each stage as text, and the bundle."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest
import torch

from rulec.ir.account import account, count_ops
from rulec.ir.passes import optimise, runs
from rulec.ir.printer import render_program
from rulec.runtime.rule import load

TREE = """\
Block kind=update
      body:
        Write kind=state name=w side=i,j version=0
          value: Apply[i,j] operator=add
            arguments:
              StateRef[i,j] name=w side=i,j
              Apply[i,j] operator=mul
                arguments:
                  GenomeRef name=lr
                  Reduce[i,j] operator=mean indices=(n)
                    argument: Apply[i,j,n] operator=mul
                      arguments:
                        StateRef[i,n] name=x side=i
                        StateRef[j,n] name=x side=j
"""


def test_typed_tree(rulec):
    answer = rulec("compile", "hebb", "--emit", "typed")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.endswith("    " + TREE)
    assert answer.out.startswith(
        "Rule name=hebb doc=What fires together wires together; Hebb 1949 options={teach=True}\n"
    )


def test_syntax_tree_keeps_both_branches(rulec):
    out = rulec("compile", "hebb", "-o", "teach=no", "--emit", "ast").out
    assert "If\n          condition: Name name=teach\n" in out
    assert "target" not in rulec("compile", "hebb", "-o", "teach=no", "--emit", "typed").out


def test_both_forms_of_the_ir(rulec):
    rule = load("blur")
    program = rule.program({"states": 3})
    assert rulec("compile", "blur", "-o", "states=3", "--emit", "ir").out == render_program(program)
    assert rulec("compile", "blur", "-o", "states=3", "--emit", "ir-opt").out == render_program(optimise(program))


def test_fx_graph(rulec):
    out = rulec("compile", "hebb", "--net", "4-2", "--emit", "fx").out
    assert out.startswith("graph():\n") and "placeholder[target=" in out and "torch.mm" in out


def test_emitted_python_runs_and_agrees(rulec, tmp_path):
    path = tmp_path / "emitted.py"
    path.write_text(rulec("compile", "backprop", "--net", "4-3-2", "--emit", "py", "--loss", "mse").out)
    spec = importlib.util.spec_from_file_location("emitted", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    compiled = load("backprop").compile("4-3-2", loss="mse")
    genome, state = compiled.init_genome(), compiled.init_state(1)
    x, y = torch.randn(5, 4), torch.randn(5, 2)
    expected, _ = compiled(genome, state, x, y)
    found, _, _ = module.step(genome, state, x, y)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_bundle(rulec, tmp_path):
    answer = rulec("compile", "backprop", "--net", "4-3-2", "--population", "2", "--out", tmp_path / "bundle")
    assert answer.code == 0
    assert sorted(answer.out.split()) == sorted(
        str(tmp_path / "bundle" / name) for name in ("manifest.json", "step.py", "step.pt2")
    )
    assert json.loads((tmp_path / "bundle" / "manifest.json").read_text())["leading_axes"]["population"] == 2


def test_a_summary_where_nothing_is_asked_for(rulec):
    out = rulec("compile", "hebb", "--net", "4-2").out
    assert out.startswith("hebb on 4-2: ") and "floating-point operations" in out


def test_named_genomes(rulec, rules, tmp_path):
    path = tmp_path / "hebb.rule"
    path.write_text((rules / "hebb.rule").read_text() + "\ngenome fast for hebb\n  lr = 0.5\n")
    assert "value=0.5" in rulec("compile", path, "--emit", "typed", "--genome", "fast").out
    answer = rulec("compile", path, "--emit", "typed", "--genome", "fats")
    assert answer.code == 1 and "fast" in answer.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_a_diagnostic(rulec):
    answer = rulec("compile", "hebb", "--net", "4-2", "--device", "cuda")
    assert answer.code == 1 and answer.err.startswith("error[no-gpu]")


HEBB_PASSES = """\
hebb as written: 16 operations

fold 1: Fold constants: `0 * x`, `1 * x`, `x + 0`, `x ^ 1` and functions of known numbers.
  nothing changed

contractions: Bring sums of products into the form the three bilinear maps need.
  16 operations became 14
  @@ forward
    %2 : [n,i] = state name=x side=i
  - %3 : [n,i,j] = mul %1 %2
  - %4 : [n,j] = reduce operator=sum indices=(i) %3
  + %4 : [n,j] = contract indices=(i) %1 %2
    %5 : [n,j] = act side=j %4
"""


def test_the_account_of_the_passes(rulec):
    answer = rulec("compile", "hebb", "--emit", "passes")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(HEBB_PASSES)
    assert re.findall(r"^(\w+(?: \d)?): ", answer.out, re.MULTILINE) == [
        "fold 1", "contractions", "fold 2", "share 1", "multiples", "absorb", "fold 3", "share 2", "equal",
    ]  # fmt: skip


def test_with_a_network_the_account_goes_on(rulec):
    out = rulec("compile", "blur", "--net", "5-4-2", "--emit", "passes").out
    tail = out[out.index("liveness: ") :]
    assert (
        "  v.c1 is not carried: only its own next value reads it.\n  carried: w.c1, w.c2, v.c2, b.hidden1, b.output\n"
        in tail
    )
    assert re.search(r"invariants: .*\n  \d+ operations became \d+: \d+ run once, before all steps\n", tail)
    assert re.search(
        r"operations as they were traced\n(  +\d+ .*\n){7}  cut in two: \d+ forward, \d+ back, .*B kept", tail
    )


@pytest.mark.parametrize("name", ["adam", "blur", "predictive_coding", "learned_optimizer"])
def test_the_account_tells_every_change(name):
    """What an account shows as gone or new is what differs, once numbers of ops are left out; the last count is that of the end."""
    program = load(name).program()
    entries = list(account(program))
    assert (entries[0].before, entries[-1].after) == (count_ops(program), count_ops(optimise(program)))
    for entry, run in zip(entries, runs(program), strict=True):
        plain = [sorted(re.sub(r"%\d+", "%", render_program(p)).splitlines()) for p in (run.before, run.after)]
        assert bool(entry.changes) or plain[0] == plain[1]
        gone, come = (sum(line.startswith(sign) for line in entry.changes) for sign in "-+")
        assert come - gone == len(plain[1]) - len(plain[0]) == entry.after - entry.before
