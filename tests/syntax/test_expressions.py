"""How expressions are read: what binds to what, judged by Python's own parser and by hand."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rulec.source import Source
from rulec.syntax import ast, parse_source


def expression(text: str) -> ast.Expression:
    module, found, _ = parse_source(Source("t.rule", f"rule r\nupdate\n  y = {text}\n"))
    assert not len(found), found.sorted()
    (statement,) = module.definitions[0].sections[0].body
    return statement.value


def shape(node: ast.Expression) -> str:
    """Write every operation in parentheses."""
    match node:
        case ast.Number(text):
            return text
        case ast.Name(name):
            return name
        case ast.Indexed(name, indices):
            return f"{name}[{letters(indices)}]"
        case ast.Call(name, arguments, indices, primes):
            head = name + "'" * primes + (f"[{letters(indices)}]" if indices else "")
            return f"{head}({', '.join(map(shape, arguments))})"
        case ast.Unary(operator, operand):
            return f"({operator} {shape(operand)})"
        case ast.Binary(operator, left, right):
            return f"({shape(left)} {operator} {shape(right)})"
        case ast.Conditional(then, condition, otherwise):
            return f"({shape(then)} if {shape(condition)} else {shape(otherwise)})"
        case ast.Array(items):
            return f"[{', '.join(map(shape, items))}]"
    raise AssertionError(node)


def letters(indices: tuple[ast.IndexItem, ...]) -> str:
    return ",".join(str(i.value) if isinstance(i, ast.IndexNumber) else i.name for i in indices)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * c", "(a + (b * c))"),
        ("a - b - c", "((a - b) - c)"),
        ("a / b * c", "((a / b) * c)"),
        ("-x^2", "(- (x ^ 2))"),
        ("(-x)^2", "((- x) ^ 2)"),
        ("2^-1", "(2 ^ (- 1))"),
        ("a^b^c", "(a ^ (b ^ c))"),
        ("2^-x^2", "(2 ^ (- (x ^ 2)))"),
        ("a * -b", "(a * (- b))"),
        ("--x", "(- (- x))"),
        ("a + b < c * d", "((a + b) < (c * d))"),
        ("not a == b", "(not (a == b))"),
        ("not a and b or c", "(((not a) and b) or c)"),
        ("a or b and c", "(a or (b and c))"),
        ("a if b else c if d else e", "(a if b else (c if d else e))"),
        ("(a if b else c) if d else e", "((a if b else c) if d else e)"),
        ("a + 1 if b or c else d", "((a + 1) if (b or c) else d)"),
        ("((a))", "a"),
        ("sum[i,k](w[i,j] * a[i,0])", "sum[i,k]((w[i,j] * a[i,0]))"),
        ("act'(z[j]) + act''(z)", "(act'(z[j]) + act''(z))"),
        ("f[c](x, y) * g()", "(f[c](x, y) * g())"),
        ("[[1, 0], [0, 1]]", "[[1, 0], [0, 1]]"),
        ("[]", "[]"),
        ("1e-8 + .5 + 2.5E+3", "((1e-8 + .5) + 2.5E+3)"),
        ("a < -b", "(a < (- b))"),
        ("a <-b", "(a < (- b))"),
        ("x-1", "(x - 1)"),
        ("beta1^t", "(beta1 ^ t)"),
        ("iffy if iffy else elsewhere", "(iffy if iffy else elsewhere)"),
        ("notable and orbit", "(notable and orbit)"),
    ],
)
def test_what_binds_to_what(text: str, expected: str):
    assert shape(expression(text)) == expected


WORDS = re.findall(
    r"\w+",
    "input output forward backward update generate target loss prediction init genome index option rule "
    "outer net neuron synapse broadcast laws repeat from use per layer keep for steps on with plus inner "
    "meta minimize through by tasks ",
)


@pytest.mark.parametrize("word", WORDS)
def test_keywords_are_names_inside_expressions(word: str):
    assert (
        shape(expression(f"{word} + {word}[i] * {word}(x) ^ {word}"))
        == f"({word} + ({word}[i] * ({word}(x) ^ {word})))"
    )


@pytest.mark.parametrize("word", WORDS)
def test_keywords_are_targets_and_states(word: str):
    text = f"rule r\nneuron\n  {word}[k] = 1\n  {word}\nupdate\n  {word}[i,0] = 1\n  {word} += 1\n"
    module, found, _ = parse_source(Source("t.rule", text))
    assert not len(found), found.sorted()
    neuron, update = module.definitions[0].sections
    assert [state.name.name for state in neuron.entries] == [word, word]
    assert [statement.target.name for statement in update.body] == [word, word]


# --- Python as an oracle ---------------------------------------------------------------------

NAMES = {"a": 0.7, "b": -1.3, "c": 2.1, "d": 0.4}
atoms = st.sampled_from([*NAMES, "1", "0.5", "2"])


def _compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(" ".join),
        pair.map(lambda p: f"{p[0]} / ({p[1]} * 0 + 3)"),
        inner.map(lambda x: f"-{x}"),
        inner.map(lambda x: f"({x})"),
        st.tuples(atoms.filter(str.isalpha), st.sampled_from(["2", "-1", "-2^2"])).map(lambda p: f"{p[0]}^{p[1]}"),
        st.tuples(inner, st.sampled_from(["<", "<=", ">", ">="]), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]}) * 1"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} if {p[1]} < 1 and not {p[2]} < 0 or a > b else {p[2]})"),
    )


def value(node: ast.Expression) -> float:
    match node:
        case ast.Number():
            return node.value
        case ast.Name(name):
            return NAMES[name]
        case ast.Unary("not", operand):
            return not value(operand)
        case ast.Unary(_, operand):
            return -value(operand)
        case ast.Conditional(then, condition, otherwise):
            return value(then) if value(condition) else value(otherwise)
        case ast.Binary(operator, left, right):
            x, y = value(left), value(right)
            return {
                "+": lambda: x + y, "-": lambda: x - y, "*": lambda: x * y, "/": lambda: x / y, "^": lambda: x**y,
                "<": lambda: x < y, "<=": lambda: x <= y, ">": lambda: x > y, ">=": lambda: x >= y,
                "and": lambda: x and y, "or": lambda: x or y,
            }[operator]()  # fmt: skip
    raise AssertionError(node)


@given(st.recursive(atoms, _compound, max_leaves=12))
def test_arithmetic_is_read_as_python_reads_it(text: str):
    python = eval(text.replace("^", "**"), {}, dict(NAMES))
    ours = value(expression(text))
    assert ours == python or (math.isnan(ours) and math.isnan(python))
