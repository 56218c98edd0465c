"""Equations as a paper prints them: the words of whole rules, and that no parenthesis is lost."""

from __future__ import annotations

import pytest

from rulec.runtime.rule import load, parse
from rulec.semantics.equations import render_equations, render_latex, sections

BACKPROP = """\
input i
  x_i = input_i

forward i → j
  z_j = Σ_i w_ij x_i + b_j
  x_j = act(z_j)

output j
  prediction_j = x_j
  d_j = ∂L/∂z_j

backward i ← j
  d_i = act′(z_i) Σ_j w_ij d_j

update i → j
  Δw_ij = −η ⟨x_i d_j⟩_n
  Δb_j = −η ⟨d_j⟩_n

laws
  Δw = −η ∇_w ⟨L⟩_n"""

ADAM = """\
update of every parameter
  g = ∇_w L
  m ← β₁ m + (1 − β₁) g
  v ← β₂ v + (1 − β₂) g²
  Δw = −η (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ) + (0.0001 ε)²) + ε)"""


@pytest.mark.parametrize("name, text", [("backprop", BACKPROP), ("adam", ADAM)])
def test_whole_rules(name, text):
    assert render_equations(load(name).typed()) == text


def test_repeated_blocks_are_indented_under_their_count():
    lines = render_equations(load("predictive_coding").typed()).splitlines()
    at = lines.index("repeat 20 times")
    assert lines[at + 1 : at + 4] == ["", "  forward i → j", "    e_j = x_j − (Σ_i w_ij r_i + b_j)"]


def test_lateral_letters_and_conditions():
    assert "Δw_ij = η ⟨x_j (x_i − Σ_m [m ≤ j] w_im x_m)⟩_n" in render_equations(load("sanger").typed())


def test_noise_is_drawn():
    assert "ξ_j ∼ N(0, 1)" in render_equations(load("node_perturbation").typed())


_RULE = """\
rule r

index k : 2

genome
  a = 1
  c = 1
  lr = 1
  {more}

neuron
  x
  y[k]

synapse
  w[i,j] = 0

input i
  x[i] = input[i]

forward i -> j
  x[j] = sum[i](w[i,j] * x[i])

output j
  x[j] = {expression}
  prediction[j] = x[j]

update i -> j
  w[i,j] += lr
"""


def written(expression: str, more: str = "beta = 1") -> str:
    rule = parse(_RULE.format(expression=expression, more=more)).typed()
    (output,) = (s for s in sections(rule) if s.title == "output j")
    return output.equations[0].split(" ", 2)[2]


@pytest.mark.parametrize(
    "expression, text",
    [
        ("a - (c - lr)", "a − (c − η)"),
        ("(a - c) - lr", "a − c − η"),
        ("a - (c + lr)", "a − (c + η)"),
        ("a + (c - lr)", "a + c − η"),
        ("a * (c + lr)", "a (c + η)"),
        ("a / (c * lr)", "a / (c η)"),
        ("a / c / lr", "(a / c) / η"),
        ("a / (c / lr)", "a / (c / η)"),
        ("a * c / lr", "a c / η"),
        ("(a / c) * lr", "(a / c) η"),
        ("a * (c / lr)", "a (c / η)"),
        ("-a * c", "−a c"),
        ("-(a + c)", "−(a + c)"),
        ("a - -c", "a − (−c)"),
        ("a + -2", "a + (−2)"),
        ("(a + c)^2", "(a + c)²"),
        ("a^-1", "a⁻¹"),
        ("a^t", "aᵗ"),
        ("a^(c + 1)", "a^(c + 1)"),
        ("(a * c)^2", "(a c)²"),
        ("a^2^c", "a^(2^c)"),
        ("(a^2)^c", "(a²)^c"),
        ("2 * a", "2 a"),
        ("a * 2", "a · 2"),
        ("a * 0.001", "a · 0.001"),
        ("a * 1e-7", "a · 10⁻⁷"),
        ("a * 25e-9", "a · 2.5·10⁻⁸"),
        ("sqrt(a)", "√a"),
        ("sqrt(a + c)", "√(a + c)"),
        ("abs(a - c) * lr", "|a − c| η"),
        ("tanh'(a)", "tanh′(a)"),
        ("sum[k](y[j,k]) * a", "(Σ_k y_jk) a"),
        ("a * sum[k](y[j,k])", "a Σ_k y_jk"),
        ("sum[k](y[j,k] + a)", "Σ_k (y_jk + a)"),
        ("sum[k](y[j,k]) / a", "(Σ_k y_jk) / a"),
        ("mean[k](y[j,k]) * a", "⟨y_jk⟩_k a"),
        ("norm[k](y[j,k])", "‖y_jk‖_k"),
        ("max[k](y[j,k])", "max_k(y_jk)"),
        ("y[j,0] * y[j,1]", "y_j0 y_j1"),
        ("(a < c) * lr", "[a < c] η"),
        ("beta * target[j]", "β · target_j"),
        ("stop(a + c)", "stop(a + c)"),
    ],
)
def test_expressions(expression, text):
    assert written(expression) == text


def test_two_names_that_would_be_one_letter_keep_their_own():
    assert written("lr * eta", more="eta = 1") == "lr · eta"
    assert written("a * lr") == "a η"


def test_long_names_are_kept_apart_by_dots():
    assert written("gain * slow_decay * a", more="gain = 1\n  slow_decay = 1") == "gain · slow_decay · a"


@pytest.mark.parametrize("name", ["backprop", "adam", "blur", "sanger", "node_perturbation"])
def test_latex_is_understood_by_a_reader_of_latex(name):
    """matplotlib's own parser takes every equation, once its alignment is gone."""
    from matplotlib.mathtext import MathTextParser

    parser = MathTextParser("agg")
    for line in render_latex(load(name).typed()).splitlines():
        if " &" in line:
            assert line.count("&") == 1
            text = (
                line.strip()
                .removesuffix(r"\\")
                .replace(" &", " ")
                .replace(r"\left\lVert", r"\|")
                .replace(r"\right\rVert", r"\|")
            )
            parser.parse(f"${text.strip()}$")


def test_latex_of_backprop():
    text = render_latex(load("backprop").typed())
    assert r"  z_{j} &= \sum_{i} w_{ij} \, x_{i} + b_{j} \\" in text
    assert r"  \Delta w_{ij} &= -\eta \, \left\langle x_{i} \, d_{j} \right\rangle_{n} \\" in text
    assert r"  d_{j} &= \frac{\partial \mathcal{L}}{\partial z_{j}}" in text
