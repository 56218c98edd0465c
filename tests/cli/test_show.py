"""`rulec show`: a page about a rule, and its picture."""

from __future__ import annotations

import pytest

from rulec.cli.show import scaled

PAGE = """\
hebb  What fires together wires together; Hebb 1949
options: teach = yes

Equations
  input i
    x_i = input_i

  forward i → j
    x_j = act(Σ_i w_ij x_i)

  output j
    prediction_j = x_j
    x_j = target_j

  update i → j
    Δw_ij = η ⟨x_i x_j⟩_n

Genome
  entry  shape   domain    initial
  -----  ------  --------  -------
  lr     scalar  positive  0.01

States on 4-3-2
  state      kind     shape      initial
  ---------  -------  ---------  ---------------------------
  w.c1       synapse  4 x 3      normal(0, 1 / sqrt(fan_in))
  w.c2       synapse  3 x 2      normal(0, 1 / sqrt(fan_in))
  x.input    neuron   batch x 4  0
  x.hidden1  neuron   batch x 3  0
  x.output   neuron   batch x 2  0

Locality
  update  reach  because                           line
  ------  -----  --------------------------------  ----
  w[i,j]  local  reads itself and its two neurons

Gradient paths, with lines; ⇒ leads to the next step
  meta-parameter  way to the objective                through first_order
  --------------  ----------------------------------  -------------------
  lr              w 26 ⇒ x 18 → prediction 21 → loss  yes
  init(w)         x 18 → prediction 21 → loss         yes

Cost of a step on 64 samples
"""


def test_the_whole_page(rulec, tmp_path):
    answer = rulec("show", "hebb", "--net", "4-3-2", "--out", tmp_path)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(PAGE)
    products = 2 * 64 * 2 * (4 * 3 + 3 * 2)
    assert f"{scaled(products)} in products" in answer.out
    assert "Inner loops run with\n  fx: kernels need the C++ compiler none, which is not there\n" in answer.out
    assert answer.out.endswith(f"Picture\n  {tmp_path / 'hebb.svg'}\n  {tmp_path / 'hebb.png'}\n")
    assert {path.name for path in tmp_path.iterdir()} == {"hebb.svg", "hebb.png"}


def test_options_reach_the_equations_and_shapes(rulec, tmp_path):
    answer = rulec("show", "blur", "-o", "states=3", "-o", "symmetric=yes", "--net", "5-2", "--out", tmp_path)
    assert answer.code == 0
    assert "weight_ijl = w_ijl" in answer.out.split("backward i ← j")[1].split("update")[0]
    assert "forward_mix   3 x 3" in answer.out and "3 x batch x 5" in answer.out
    assert "weight transport  `s` came back through `w`" in answer.out


def test_layered_genomes_kept_states_and_nets_are_told(rulec, tmp_path):
    assert "per layer" in rulec("show", "blur", "-o", "layered=yes", "--net", "5-3-2", "--out", tmp_path).out
    nets = rulec("show", "learned_optimizer", "--net", "5-3-2", "--out", tmp_path).out
    assert "f.0.weight  3 x 16" in nets and "w.c1.weight  network's own  5 x 3" in nets


def test_the_line_of_a_cause_is_the_line_of_the_file(rulec, rules, tmp_path):
    out = rulec("show", rules / "backprop.rule", "--net", "4-2", "--out", tmp_path).out
    (row,) = (line for line in out.splitlines() if line.startswith("  w[i,j]  weight transport"))
    line = (rules / "backprop.rule").read_text().splitlines()[int(row.split()[-1]) - 1]
    assert "sum[j](w[i,j] * d[j])" in line


def test_latex_alone(rulec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = rulec("show", "backprop", "--latex")
    assert answer.out.startswith("% input i\n\\begin{align*}\n  x_{i} &= \\mathrm{input}_{i}\n\\end{align*}\n")
    assert not list(tmp_path.iterdir())


def test_the_named_rule_of_a_file(rulec, rules, tmp_path):
    both = tmp_path / "both.rule"
    both.write_text((rules / "hebb.rule").read_text() + "\n" + (rules / "oja.rule").read_text())
    assert rulec("show", f"{both}:oja", "--net", "4-2", "--out", tmp_path).out.startswith("oja  ")
    answer = rulec("show", f"{both}:sanger", "--net", "4-2", "--out", tmp_path)
    assert answer.code == 1 and "error[unknown-rule]" in answer.err


@pytest.mark.parametrize(
    "number, text",
    [
        (0, "0 B"),
        (7, "7 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (26181632, "26.2 MB"),
        (999_600, "1 MB"),
        (3 * 10**12, "3 TB"),
    ],
)
def test_scaled(number, text):
    assert scaled(number, "B") == text
    assert scaled(number) == text.removesuffix("B").rstrip()


def test_a_place_that_cannot_be_written_is_a_diagnostic(rulec, tmp_path):
    (tmp_path / "file").write_text("")
    answer = rulec("show", "hebb", "--net", "4-2", "--out", tmp_path / "file" / "below")
    assert answer.code == 1 and answer.err.startswith("error[cannot-write]")
