"""The formatter: one layout, the same tree, every comment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rulec.source import RuleError, Source
from rulec.syntax import ast, format_source, parse_source, render_expression, render_module

GOOD = sorted((Path(__file__).parents[1] / "good").glob("*.rule"))
NOWHERE = Source("made", "").span(0, 0)


def fmt(text: str) -> str:
    return format_source(Source("t.rule", text))


def tree(text: str) -> ast.Module:
    module, found, _ = parse_source(Source("t.rule", text))
    assert not found.errors, found.sorted()
    return module


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_files_are_canonical(path: Path):
    text = path.read_text(encoding="utf-8")
    assert fmt(text) == text


MESSY = """

\ufeff#top
rule   messy   "a  b"


option a=1
option b : x|y = x


genome


    lr:positive=0.1# short
    momentum  =  ( 0.9 )      #   longer
    # own line


    k [ i , j ]  per   layer  if a==1 = [[ 1,2 ],[3 , 4]]
neuron
   x
synapse
   w[i , j]=normal( 0,1/sqrt( fan_in ) )
# about the input
input  i
   x[i]=input[i]
backward i<-j
   x[i] = ((a+b))*c^( 2 )-( -d )^2 - (e - f) + (g + h) # end
if a == (1)
      update i->j
           w[i,j]   -=   lr
               * x[i]  # of the second line
           # tail
else
      update
           w  =  1
repeat (20) :
  update
     w = 2
""".lstrip("\n").removeprefix("\ufeff")

NEAT = """\
#top
rule messy "a  b"

option a = 1
option b : x | y = x

genome
  lr : positive = 0.1  # short
  momentum = 0.9       #   longer
  # own line

  k[i,j] per layer if a == 1 = [[1, 2], [3, 4]]

neuron
  x

synapse
  w[i,j] = normal(0, 1 / sqrt(fan_in))

# about the input
input i
  x[i] = input[i]

backward i <- j
  x[i] = (a + b) * c^2 - (-d)^2 - (e - f) + (g + h)  # end

if a == 1
  update i -> j
    w[i,j] -= lr * x[i]  # of the second line
    # tail
else
  update
    w = 1

repeat 20:
  update
    w = 2
"""


def test_messy_becomes_neat():
    assert fmt(MESSY) == NEAT
    assert fmt(NEAT) == NEAT
    assert tree(MESSY) == tree(NEAT)


def test_windows_files_are_converted():
    assert fmt("\ufeffrule a  # c\r\n\r\nneuron\r\n  x\r\n") == "rule a  # c\n\nneuron\n  x\n"


def test_comments_amid_a_line_move_above_it():
    text = "rule a\n\nupdate\n  x = f(a,  # first\n    # second\n    b)  # third\n"
    assert fmt(text) == "rule a\n\nupdate\n  # first\n  # second\n  x = f(a, b)  # third\n"


def test_a_file_with_errors_is_left_alone():
    with pytest.raises(RuleError, match="missing-operator"):
        fmt("rule a\nupdate\n  x = 1 1\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(a+b)+c", "a + b + c"),
        ("a+(b+c)", "a + (b + c)"),
        ("a-(b-c)", "a - (b - c)"),
        ("(a*b)/c", "a * b / c"),
        ("a*(b/c)", "a * (b / c)"),
        ("(a^b)^c", "(a^b)^c"),
        ("a^(b^c)", "a^b^c"),
        ("(-a)^b", "(-a)^b"),
        ("-(a^b)", "-a^b"),
        ("-(a*b)", "-(a * b)"),
        ("a^(-b)", "a^-b"),
        ("a^(b+c)", "a^(b + c)"),
        ("(a<b)<c", "(a < b) < c"),
        ("not(a==b)", "not a == b"),
        ("(not a)==b", "(not a) == b"),
        ("(a or b)and c", "(a or b) and c"),
        ("(a if b else c)if d else(e if f else g)", "(a if b else c) if d else e if f else g"),
        ("a+(b if c else d)", "a + (b if c else d)"),
        ("f((a),(b+c))", "f(a, b + c)"),
        ("act''( z[ j ] )", "act''(z[j])"),
    ],
)
def test_parentheses_are_those_the_tree_needs(text: str, expected: str):
    (statement,) = tree(f"rule r\nupdate\n  y = {text}\n").definitions[0].sections[0].body
    assert render_expression(statement.value) == expected


def test_long_lines_break_before_sums():
    terms = [f"coefficient_{k} * activity[i,{k}]" for k in range(7)]
    text = f"rule r\n\nupdate i -> j\n  w[i,j] = {' + '.join(terms)}\n"
    assert fmt(text) == (
        "rule r\n\nupdate i -> j\n"
        "  w[i,j] = coefficient_0 * activity[i,0] + coefficient_1 * activity[i,1] + coefficient_2 * activity[i,2]\n"
        "      + coefficient_3 * activity[i,3] + coefficient_4 * activity[i,4] + coefficient_5 * activity[i,5]\n"
        "      + coefficient_6 * activity[i,6]\n"
    )
    assert tree(fmt(text)) == tree(text)


def test_long_lines_without_sums_break_inside_the_outermost_call():
    text = f"rule r\n\nupdate\n  x = f({', '.join(f'argument_number_{k}' for k in range(8))})\n"
    lines = fmt(text).splitlines()
    assert lines[3].endswith(",")
    assert lines[4] == "      argument_number_5, argument_number_6, argument_number_7)"
    assert tree(fmt(text)) == tree(text)


@given(st.integers(1, 60), st.sampled_from([" + ", " * ", " - ", " / "]))
@settings(max_examples=25)
def test_long_lines_fit_where_they_can(count: int, sign: str):
    terms = sign.join(["f(abc, x[i] * 2)"] * count)
    text = f"rule r\nupdate\n  y = {terms}\n"
    if len(terms) < 1_900:
        assert tree(fmt(text)) == tree(text)
        assert max(len(line) for line in fmt(text).splitlines()) <= 110
        assert fmt(fmt(text)) == fmt(text)


# --- Comments are kept -----------------------------------------------------------------------


@given(st.sampled_from(GOOD), st.randoms(use_true_random=False), st.sampled_from(["", "\n", "\n\n\n"]))
@settings(max_examples=50)
def test_comments_are_kept_in_order(path: Path, random, gap: str):
    lines = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        if random.random() < 0.3:
            lines.append(f"{' ' * random.randrange(6)}# own {number}{gap}")
        lines.append(line + (f" # behind {number}" if random.random() < 0.3 and "#" not in line else ""))
    text = "\n".join(lines)
    formatted = fmt(text)
    assert re.findall(r"#[^\n]*", formatted) == re.findall(r"#[^\n]*", text)
    assert tree(formatted) == tree(text)
    assert fmt(formatted) == formatted


# --- Trees made at random --------------------------------------------------------------------

RESERVED = {"if", "elif", "else", "and", "or", "not"}
identifiers = st.one_of(
    st.sampled_from(["w", "x", "i", "lr", "net", "keep", "update", "per", "for", "on", "plus", "input"]),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True),
).filter(lambda name: name not in RESERVED)
numbers = st.one_of(st.integers(0, 10**6).map(str), st.sampled_from(["0.5", ".5", "1e-8", "1E5", "2.5e+3", "1e0"])).map(
    lambda text: ast.Number(text, span=NOWHERE)
)
names = identifiers.map(lambda name: ast.Name(name, span=NOWHERE))
index_names = identifiers.map(lambda name: ast.IndexName(name, span=NOWHERE))
index_items = st.one_of(index_names, st.integers(0, 99).map(lambda value: ast.IndexNumber(value, span=NOWHERE)))


def tuples(of: st.SearchStrategy, low: int = 0, high: int = 3) -> st.SearchStrategy:
    return st.lists(of, min_size=low, max_size=high).map(tuple)


def make(kind: type, *parts: st.SearchStrategy) -> st.SearchStrategy:
    return st.builds(lambda *values: kind(*values, span=NOWHERE), *parts)


operators = st.sampled_from(["+", "-", "*", "/", "^", "==", "!=", "<", "<=", ">", ">=", "and", "or"])


def _larger(inner: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(
        make(ast.Call, identifiers, tuples(inner), tuples(index_items, 0, 2), st.integers(0, 2)),
        make(ast.Unary, st.sampled_from(["-", "not"]), inner),
        make(
            ast.Binary,
            st.sampled_from(["+", "-", "*", "/", "^", "==", "!=", "<", "<=", ">", ">=", "and", "or"]),
            inner,
            inner,
        ),
        make(ast.Conditional, inner, inner, inner),
        make(ast.Array, tuples(inner)),
    )


indexed = make(ast.Indexed, identifiers, tuples(index_items, 1))
expressions = st.recursive(st.one_of(numbers, names, indexed), _larger, max_leaves=8)
optional = st.none() | expressions
docs = st.none() | st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=8)


def with_choices(entry: st.SearchStrategy) -> st.SearchStrategy:
    """Entries, some of them inside an `if`."""
    some = tuples(entry, 1, 2)
    choice = make(ast.If, expressions, some, st.just(()) | some)
    chained = make(ast.If, expressions, some, choice.map(lambda node: (node,)))
    return tuples(st.one_of(entry, entry, choice, chained), 1, 3)


per_layers = st.none() | make(ast.PerLayer, optional)
domains = make(ast.Domain, identifiers, tuples(expressions, 0, 2))
entries = make(ast.GenomeEntry, names, tuples(index_names), st.none() | domains, per_layers, optional)
nets = make(ast.Net, names, tuples(expressions, 2, 3), st.none() | names)
states = make(ast.State, names, tuples(index_items), optional, st.booleans())
assignments = make(ast.Assign, st.one_of(names, indexed), st.sampled_from(["=", "+=", "-=", "*=", "/="]), expressions)
bodies = with_choices(assignments)
blocks = st.one_of(
    make(ast.Block, st.sampled_from(["input", "output"]), tuples(index_names, 1, 1), bodies),
    make(ast.Block, st.sampled_from(["forward", "backward", "update", "generate"]), tuples(index_names, 2, 2), bodies),
    make(ast.Block, st.just("update"), st.just(()), bodies),
)
repeats = make(ast.Repeat, expressions, with_choices(blocks))
laws = make(ast.Law, names, st.sampled_from(["==", "<=", ">=", "<", ">"]), expressions, expressions)
paths = st.sampled_from(["nets.rule", "../a/b.rule", "a b.rule", 'odd"\\.rule'])
uses = make(ast.Use, paths, tuples(names, 1))
options = make(ast.Option, names, expressions, tuples(names))
sections = st.one_of(
    uses,
    options,
    make(ast.Index, tuples(index_names, 1), expressions),
    make(ast.Genome, with_choices(st.one_of(entries, nets)), per_layers),
    make(ast.Neuron, with_choices(states)),
    make(ast.Synapse, with_choices(states)),
    make(ast.Broadcast, with_choices(states)),
    blocks,
    repeats,
    make(ast.Laws, tuples(laws, 1, 2)),
)
rules = make(ast.Rule, names, docs, with_choices(sections))
keywords = make(ast.Keyword, names, expressions)
plain_invocations = make(ast.Invocation, tuples(names, 1))
called = st.builds(
    lambda path, arguments, keys: ast.Invocation(path, arguments, keys, True, span=NOWHERE),
    tuples(names, 1), tuples(expressions, 0, 2), tuples(keywords, 0, 2),
)  # fmt: skip
invocations = plain_invocations | called
counts = st.integers(1, 9).map(lambda n: ast.Number(str(n), span=NOWHERE))
bounds = counts | make(ast.Unary, st.just("-"), counts)
withins = st.none() | make(ast.Within, bounds, st.none() | bounds)
clauses = st.one_of(
    options,
    make(ast.Genome, tuples(st.one_of(entries, nets), 1), st.none()),
    make(
        ast.Inner, invocations, withins, expressions, optional, st.none() | names, optional, tuples(expressions, 0, 2)
    ),
    make(ast.Inner, invocations, withins, st.none(), st.none(), st.none() | names, optional, tuples(expressions, 0, 2)),
    make(ast.Meta, tuples(make(ast.Learned, invocations, withins, per_layers), 1)),
    make(ast.Objective, st.sampled_from(["minimize", "maximize"]), expressions, st.none() | names),
    make(ast.Through, invocations, tuples(names)),
    make(ast.By, invocations, tuples(keywords)),
    make(ast.Key, names, expressions),
    make(ast.Tasks, keywords, st.none() | names),
)
outers = make(ast.Outer, names, docs, tuples(clauses, 1))
presets = make(ast.Preset, names, names, docs, tuples(entries, 1))
modules = st.builds(
    lambda first, rest: ast.Module(first + rest, span=NOWHERE),
    tuples(uses, 0, 2), tuples(st.one_of(rules, outers, nets, presets), 1, 3),
)  # fmt: skip


@given(expressions)
@settings(max_examples=300)
def test_expressions_come_back(expression: ast.Expression):
    (statement,) = tree(f"rule r\nupdate\n  y = {render_expression(expression)}\n").definitions[0].sections[0].body
    assert statement.value == expression


@given(modules)
@settings(max_examples=60)
def test_trees_come_back_and_rendering_is_canonical(module: ast.Module):
    text = render_module(module)
    assert tree(text) == module
    assert fmt(text) == text
