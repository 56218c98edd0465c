"""Every kind of line, the tree it makes, and how lines hang together."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from rulec.source import Source, Span
from rulec.syntax import ast, parse_source, render_module

GOOD = sorted((Path(__file__).parents[1] / "good").glob("*.rule"))
RULES = sorted((Path(__file__).parents[2] / "rules").rglob("*.rule"))


def parse(text: str) -> ast.Module:
    module, found, dropped = parse_source(Source("t.rule", text))
    assert not len(found), found.sorted()
    assert not dropped
    return module


def names(items: tuple[ast.Name, ...]) -> list[str]:
    return [item.name for item in items]


def section(text: str) -> ast.Node:
    return parse("rule r\n" + text).definitions[0].sections[0]


def clause(text: str) -> ast.Node:
    return parse("outer o\n  " + text).definitions[0].clauses[0]


def nodes(node: object) -> list[ast.Node]:
    """Return all nodes of a tree, parents first."""
    if isinstance(node, tuple):
        return [inner for item in node for inner in nodes(item)]
    if not is_dataclass(node) or isinstance(node, Span):
        return []
    return [node, *(inner for field in fields(node) for inner in nodes(getattr(node, field.name)))]


@pytest.mark.parametrize("path", [*GOOD, *RULES], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_files_that_are_in_order(path: Path):
    parse(path.read_text(encoding="utf-8"))


def test_use_at_the_top_and_in_a_rule():
    module = parse('from ../lib/nets.rule use f, g\nrule r\nfrom "a b.rule" use h\nneuron\n  x\n')
    use, rule = module.definitions
    assert (use.path, names(use.names)) == ("../lib/nets.rule", ["f", "g"])
    assert (rule.sections[0].path, names(rule.sections[0].names)) == ("a b.rule", ["h"])


def test_docs_are_unescaped():
    assert parse('rule r "say \\"x\\\\n\\" μ"\nneuron\n  x\n').definitions[0].doc == 'say "x\\n" μ'
    assert parse("rule r\nneuron\n  x\n").definitions[0].doc is None


def test_net_sizes_and_activation():
    net = parse("net f : 2 * n + 1 -> (max(2, n)) -> n (relu)\n").definitions[0]
    assert [type(size).__name__ for size in net.sizes] == ["Binary", "Call", "Name"]
    assert net.activation.name == "relu"
    assert parse("net f : 6 -> 1\n").definitions[0].activation is None


def test_options():
    option = section("option backward : additive | replace = additive\n")
    assert (option.name.name, names(option.choices), option.default.name) == (
        "backward",
        ["additive", "replace"],
        "additive",
    )
    assert section("option states = 2\n").choices == ()


def test_index():
    index = section("index k, l : 2 * states\n")
    assert ([name.name for name in index.names], index.extent.operator) == (["k", "l"], "*")


def test_genome_entries():
    genome = section(
        "genome per layer if layered\n  lr : interval(-1, 1) per layer if a == b = 0.1\n"
        "  mu[k,l]\n  net f : 1 -> 2\n  net = 1\n"
    )
    assert genome.per_layer.condition.name == "layered"
    lr, mu, f, net = genome.entries
    assert (lr.domain.name, len(lr.domain.bounds)) == ("interval", 2)
    assert (lr.per_layer.condition.operator, lr.initial.text) == ("==", "0.1")
    assert ([index.name for index in mu.indices], mu.domain, mu.per_layer, mu.initial) == (["k", "l"], None, None, None)
    assert isinstance(f, ast.Net)
    assert isinstance(net, ast.GenomeEntry)
    assert section("genome\n  a per layer\n").entries[0].per_layer.condition is None


def test_states():
    x, trace, keep = section("neuron\n  x[k,0]\n  keep trace = 0\n  keep\n").entries
    assert (x.indices[0].name, x.indices[1].value, x.keep) == ("k", 0, False)
    assert (trace.keep, trace.name.name, keep.keep, keep.name.name) == (True, "trace", False, "keep")
    assert isinstance(section("broadcast\n  m\n"), ast.Broadcast)
    assert isinstance(section("synapse\n  m\n"), ast.Synapse)


@pytest.mark.parametrize(
    ("header", "kind", "indices"),
    [
        ("input i", "input", ["i"]),
        ("output o", "output", ["o"]),
        ("forward a -> b", "forward", ["a", "b"]),
        ("backward i <- j", "backward", ["i", "j"]),
        ("update i -> j", "update", ["i", "j"]),
        ("update", "update", []),
        ("generate i->j", "generate", ["i", "j"]),
    ],
)
def test_blocks(header: str, kind: str, indices: list[str]):
    block = section(f"{header}\n  x = 1\n")
    assert (block.kind, [index.name for index in block.indices]) == (kind, indices)


@pytest.mark.parametrize("sign", ["=", "+=", "-=", "*=", "/="])
def test_assignments(sign: str):
    indexed, plain = section(f"update\n  w[i,j,0] {sign} 1\n  g{sign}1\n").body
    assert (indexed.operator, plain.operator) == (sign, sign)
    assert isinstance(indexed.target, ast.Indexed)
    assert isinstance(plain.target, ast.Name)


def test_repeat_nests_and_holds_choices():
    outer = section("repeat 20:\n  repeat n + 1:\n    input i\n      x = 1\n  if a\n    update\n      x = 1\n")
    inner, choice = outer.body
    assert (outer.count.text, inner.count.operator, inner.body[0].kind, choice.then[0].kind) == (
        "20",
        "+",
        "input",
        "update",
    )


def test_choices_chain_at_every_level():
    rule = parse(
        "rule r\nif a\n  neuron\n    x\nelif b\n  option c = 1\nelse\n"
        "  update\n    if d\n      x = 1\n    else\n      x = 2\n"
    ).definitions[0]
    (choice,) = rule.sections
    assert isinstance(choice.then[0], ast.Neuron)
    (second,) = choice.otherwise
    assert (second.condition.name, type(second.then[0]).__name__) == ("b", "Option")
    statement = second.otherwise[0].body[0]
    assert [s.value.text for s in (*statement.then, *statement.otherwise)] == ["1", "2"]


@pytest.mark.parametrize("relation", ["==", "<=", ">=", "<", ">"])
def test_laws(relation: str):
    (law,) = section(f"laws\n  a : update(w) {relation} -lr * b\n").laws
    assert (law.name.name, law.relation, law.left.name, law.right.operator) == ("a", relation, "update", "*")


def test_preset():
    preset = parse('genome good for blur "found"\n  lr = 1\n  m[k] = [1, 2]\n').definitions[0]
    assert (preset.name.name, preset.rule.name, preset.doc, len(preset.entries)) == ("good", "blur", "found", 2)


def test_inner():
    inner = clause("inner sgd(lr = 0.1) for 2 * k steps on support, plus a / 2, plus b")
    assert (names(inner.rule.path), inner.rule.keywords[0].name.name) == (["sgd"], "lr")
    assert (inner.steps.operator, inner.data.name, len(inner.plus)) == ("*", "support", 2)
    bare = clause("inner sgd")
    assert (bare.steps, bare.data, bare.plus, bare.rule.called) == (None, None, (), False)


def test_other_clauses():
    meta = clause("meta init(w) in layers 1 to -2, sgd.lr per layer, genome")
    assert [(names(part.item.path), part.item.called, part.within is None) for part in meta.items] == [
        (["init"], True, False),
        (["sgd", "lr"], False, True),
        (["genome"], False, True),
    ]
    assert [part.per_layer is None for part in meta.items] == [True, False, True]
    assert meta.items[0].within.last.operator == "-"
    objective = clause("maximize 0.1 * accuracy on query")
    assert (objective.direction, objective.value.operator, objective.data.name) == ("maximize", "*", "query")
    assert clause("minimize loss").data is None
    through = clause("through implicit(cg, steps = 5) with checkpoint, mixed")
    assert (through.method.arguments[0].name, names(through.modifiers)) == ("cg", ["checkpoint", "mixed"])
    by = clause("by adam(lr = 0.001), tasks = 32, clip = 10")
    assert [setting.name.name for setting in by.settings] == ["tasks", "clip"]
    key = clause("key e = uniform(-1, 1)")
    assert (key.name.name, key.value.name) == ("e", "uniform")
    tasks = clause("tasks x = rotate(x, angle) on support")
    assert (tasks.change.name.name, tasks.change.value.name, tasks.data.name) == ("x", "rotate", "support")
    inner = clause("inner sgd in layer 1 for 2 of 10 steps on support, weighted by f(loss), plus norm(w)^2")
    assert (inner.within.first.value, inner.steps.value, inner.horizon.value) == (1, 2, 10)
    assert (inner.weight.name, len(inner.plus)) == ("f", 1)
    assert isinstance(clause("option lambda = 2"), ast.Option)


# --- Layout ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "rule r\nupdate\n  x = a + f(b, c) - d[i,j]\n",
        "rule r\nupdate\n  x = a\n    + f(b,\nc)\n    - d[i,\n  j]\n",
        "rule r\nupdate\n  x = a\n+ f(b, c)  # why\n\n  # between\n  - d[i,j]\n",
        "rule r # one\nupdate # two\n        x = a + f( # three\n  b, c) - d[i,j] # four",
        "\ufeffrule r\r\nupdate\r\n  x = a + f(b, c) - d[i,j]\r\n",
        "\n\n\nrule r\n\n\nupdate\n\n   x=a+f(b,c)-d[i,j]   \n\n\n",
    ],
)
def test_layouts_of_one_tree(text: str):
    module, found, _ = parse_source(Source("t.rule", text))
    assert not found.errors
    assert module == parse("rule r\nupdate\n  x = a + f(b, c) - d[i,j]\n")


def test_laws_go_on_with_a_relation():
    assert section("laws\n  a : b\n    == c\n") == section("laws\n  a : b == c\n")


def test_siblings_may_have_any_common_width():
    wide = parse("rule r\nneuron\n      x\n      y\nupdate\n x = 1\n y = 2\n")
    assert wide == parse("rule r\nneuron\n  x\n  y\nupdate\n  x = 1\n  y = 2\n")


def test_comment_signs_and_brackets_in_texts_are_texts():
    assert parse('rule r "# ([ not a comment"\nneuron\n  x\n').definitions[0].doc == "# ([ not a comment"


# --- Spans -----------------------------------------------------------------------------------


def test_spans_are_tight():
    text = "rule r\nupdate i -> j\n  w[i,j] -= lr * sum[n]((a + b) * -act'(z)) if c else [1, 2]  # x\n"
    module = parse(text)
    found = {(type(node).__name__, node.span.text) for node in nodes(module)}
    assert {
        ("Rule", text.split("  #", maxsplit=1)[0]),
        ("Name", "r"),
        ("Block", text.split("\n", 1)[1].split("  #", maxsplit=1)[0]),
        ("IndexName", "i"),
        ("Assign", text.split("\n  ")[1].split("  #", maxsplit=1)[0]),
        ("Indexed", "w[i,j]"),
        ("Binary", "lr * sum[n]((a + b) * -act'(z))"),
        ("Call", "sum[n]((a + b) * -act'(z))"),
        ("Binary", "(a + b) * -act'(z)"),
        ("Binary", "a + b"),
        ("Unary", "-act'(z)"),
        ("Array", "[1, 2]"),
        ("Conditional", "lr * sum[n]((a + b) * -act'(z)) if c else [1, 2]"),
    } <= found
    assert {node.name_span.text for node in nodes(module) if isinstance(node, ast.Call)} == {"sum", "act"}


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_children_lie_within_their_parents(path: Path):
    source = Source(path.name, path.read_text(encoding="utf-8"))
    module, _, _ = parse_source(source)
    for node in nodes(module):
        assert node.span.source is source
        assert node is module or node.span.text.strip() == node.span.text != ""
        for child in nodes(tuple(getattr(node, field.name) for field in fields(node))):
            assert node.span.start <= child.span.start <= child.span.end <= node.span.end
        if isinstance(node, (ast.Name, ast.IndexName)):
            assert node.span.text == node.name
        if isinstance(node, ast.Number):
            assert node.span.text == node.text


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_trees_are_rendered_to_texts_of_the_same_tree(path: Path):
    module = parse(path.read_text(encoding="utf-8"))
    assert parse(render_module(module)) == module
