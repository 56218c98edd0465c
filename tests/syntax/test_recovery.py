"""Several mistakes in one run: each is told once, and the rest of the file is read as if the line were not there."""

from __future__ import annotations

import pytest

from rulec.source import Source
from rulec.syntax import parse_source


def ids(text: str) -> list[str]:
    return [diagnostic.id for diagnostic in parse_source(Source("t.rule", text))[1].sorted()]


def test_the_rest_is_read():
    text = "rule r\nneuron\n  x +\n  y\nupdate\n  x == 1\n  y = 2\n  z = (1\nlaws\n  a : b == c\n"
    module, found, dropped = parse_source(Source("t.rule", text))
    assert [(d.id, d.span.line) for d in found.sorted()] == [
        ("unexpected-token", 3),
        ("comparison-for-assignment", 6),
        ("unclosed-bracket", 8),
    ]
    kept, _, _ = parse_source(Source("t.rule", "rule r\nneuron\n  y\nupdate\n  y = 2\nlaws\n  a : b == c\n"))
    assert module == kept
    assert dropped == {"x", "z"}


def test_a_header_takes_what_is_beneath_with_it():
    text = "rule r\nfoward i -> j\n  x[j] = @\n  if ?\n    y = 1  # not z\nneuron\n  q\n"
    module, found, dropped = parse_source(Source("t.rule", text))
    assert [d.id for d in found.sorted()] == ["unknown-keyword"]
    assert {"x", "y", "i", "j"} <= dropped
    assert not {"z", "q"} & dropped
    assert len(module.definitions[0].sections) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rule 3r\n\nneuron\n  x\n\nupdate\n  x = 1\n", ["bad-number"]),
        ("rul r\n\nneuron\n  x\n\nupdate\n  x = 1\n", ["unknown-keyword"]),
        ('rule r "doc\n\nneuron\n  x\n', ["unterminated-string"]),
        ("neuron\n  x\n\nupdate\n  x = 1\n", ["outside-rule"]),
        ("rule a\n  neuron\n    x\n", ["unexpected-indent"]),
        ("rule a\nneuron\n    x\n  y\n  z\n    v\n", ["inconsistent-indentation", "unexpected-indent"]),
        ("rule a\nupdate\n  if a b\n    x = 1\n  elif c\n    x = 2\n  else\n    x = 3\n", ["missing-operator"]),
        ("rule a\nupdate\n  x = f(a,\n     b,\n     c\n  y = 1\n", ["unclosed-bracket"]),
        ("rule a\nupdate\n\tx = 1\n  \ty = 2\n z = 3\n", ["tab"]),
        ("rule a\nupdate\n  x = 1 1\n", ["missing-operator"]),
        ("rule a\nrule b c\nneuron\n  x\n", ["empty-rule", "unexpected-token"]),
        ("  rule a\n  neuron\n    x\n  update\n    x = 1\n", ["unexpected-indent"]),
    ],
)
def test_no_cascades(text: str, expected: list[str]):
    assert ids(text) == expected


def test_a_branch_with_an_error_leaves_the_others():
    text = "rule a\nupdate\n  if a\n    x = 1\n  elif b c\n    x = 2\n"
    module, _, _ = parse_source(Source("t.rule", text))
    assert module == parse_source(Source("t.rule", "rule a\nupdate\n  if a\n    x = 1\n"))[0]


def test_stops_after_twenty_errors():
    assert ids("rule r\nupdate\n" + "  x = 1 1\n" * 20) == ["missing-operator"] * 20
    assert ids("rule r\nupdate\n" + "  x = 1 1\n" * 21) == ["missing-operator"] * 20 + ["too-many-errors"]


@pytest.mark.parametrize(
    ("line", "help"),
    [
        ("foward i -> j", "did you mean `forward`?"),
        ("genom", "did you mean `genome`?"),
        ("Update", "did you mean `update`?"),
        ("synaps", "did you mean `synapse`?"),
    ],
)
def test_near_keywords_are_offered(line: str, help: str):
    _, found, _ = parse_source(Source("t.rule", f"rule r\n{line}\n  x = 1\n"))
    assert [d.help for d in found.sorted()] == [help]


@pytest.mark.parametrize(
    ("foreign", "ascii"),
    [
        ("μ", "mu"),
        ("η", "eta"),
        ("−", "-"),
        ("×", "*"),
        ("x²", "^2"),
        ("→", "->"),
        ("‘", "'"),
        ("λ", "lambda"),
        ("≤", "<="),
    ],
)
def test_ascii_is_offered_for_what_papers_write(foreign: str, ascii: str):
    _, found, _ = parse_source(Source("t.rule", f"rule r\nupdate\n  y = {foreign}\n"))
    assert [(d.id, d.help) for d in found.sorted()] == [("non-ascii", f"write `{ascii}`")]


def test_expectations_are_told_in_the_words_of_the_author():
    _, found, _ = parse_source(Source("t.rule", "rule r\nforward i\n  x = 1\n"))
    (diagnostic,) = found.sorted()
    assert "expected `->` and a postsynaptic index" in diagnostic.message
    assert diagnostic.help == "write it as in `forward i -> j`"
