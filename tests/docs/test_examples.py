"""What the documentation shows is true: every rule in it is checked and run, every mistake gives the diagnostic it promises."""

from __future__ import annotations

import re
import tomllib

import pytest
import torch

import rulec
from rulec.ir.check import check_source
from rulec.meta.hypergradients import READERS
from rulec.network.kinds import KINDS
from rulec.semantics.operators import ACTIVATIONS, DOMAINS, POINTWISE, REDUCTIONS
from rulec.semantics.outers import HYPERGRADIENTS, SETTINGS
from rulec.source import Source, render_text
from rulec.syntax.formatter import format_source
from tests.docs.blocks import ROOT, Block, blocks, blocks_of, whole
from tests.docs.grammar import readable

LANGUAGE = ROOT / "docs" / "language.md"
RULES = blocks("rule", "rule-part")
ERRORS = blocks("rule-error")
NETWORKS = ("4-3-2", "1x4x4-conv(3)-pool-2")


def named(found: list[Block]) -> list[object]:
    return [pytest.param(block, id=block.id) for block in found]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("block", named(RULES))
def test_rules_have_no_mistakes(block: Block):
    found = check_source(Source(block.id, whole(block.text)), ROOT / "rules")
    assert not found.sorted(), "\n" + render_text(found.sorted())


@pytest.mark.parametrize("block", named(RULES))
def test_rules_learn_on_networks(block: Block):
    text = whole(block.text)
    names = re.findall(r"^rule (\w+)", text, re.MULTILINE)
    if not names:
        assert re.search(r"^outer \w+", text, re.MULTILINE)  # nothing to run by itself
    for name in names:
        for net in NETWORKS[: 1 if re.search(r"^index \w+ : [ij]\b", text, re.MULTILINE) else 2]:
            assert_learns(rulec.parse(text, name), net)


def assert_learns(rule: rulec.Rule, net: str) -> None:
    step = rule.compile(net)
    genome, before = step.init_genome(0), step.init_state(0, batch=6)
    after, output = step(genome, before, torch.randn(6, *step.network.input.shape), torch.arange(6) % 2)
    learned = [name for name in before if not torch.equal(before[name], after[name]) and name != "t"]
    assert learned and all(value.isfinite().all() for value in (*after.values(), *output))


@pytest.mark.parametrize("block", named(ERRORS))
def test_mistakes_are_found(block: Block):
    promised, net = re.match(r"# error: ([a-z-]+)(?: on (\S+))?\n", block.text).groups()
    text = whole(block.text)
    ids = [diagnostic.id for diagnostic in check_source(Source(block.id, text)).sorted()]
    if net is not None:
        assert not ids
        with pytest.raises(rulec.RuleError) as caught:
            rulec.parse(text).compile(net)
        ids = [diagnostic.id for diagnostic in caught.value.diagnostics]
    assert ids == [promised]


def test_the_diagnostic_is_as_shown():
    found = blocks_of(LANGUAGE)
    shown = [(found[k - 1], block) for k, block in enumerate(found) if block.kind == "diagnostic"]
    assert shown
    for error, diagnostic in shown:
        text = whole(error.text)
        rendered = render_text(check_source(Source("my.rule", text)).sorted())
        shift = text.index(error.text.rstrip("\n"))
        assert with_lines_moved(rendered, text[:shift].count("\n")) + "\n" == diagnostic.text


def with_lines_moved(rendered: str, by: int) -> str:
    """Number the line as in the part that was completed, and make the margin as wide as that number."""
    number = int(re.search(r"my.rule:(\d+)", rendered)[1])
    narrow = len(str(number)) - len(str(number - by))
    first, *lines = rendered.replace(f"my.rule:{number}", f"my.rule:{number - by}").splitlines()
    prefix = f"{number} |"
    moved = [f"{number - by}{x[len(str(number)) :]}" if x.startswith(prefix) else x[narrow:] for x in lines]
    return "\n".join([first, *moved])


@pytest.mark.parametrize("block", named(RULES))
def test_rules_are_in_the_one_layout(block: Block):
    defines = re.search(r"^(rule|outer|net) ", block.text, re.MULTILINE)
    text = block.text if defines else f"rule part\n\n{block.text}"
    assert format_source(Source(block.id, text)) == text


def test_python_runs():
    names: dict[str, object] = {}
    shown = [block for block in blocks_of(LANGUAGE) if block.kind == "python"]
    assert shown
    for block in shown:
        exec(compile(block.text, block.id, "exec"), names)


def test_the_grammar_is_the_one_that_is_parsed():
    shown = [block for block in blocks_of(LANGUAGE) if block.kind == "ebnf"]
    assert [block.text for block in shown] == [readable((ROOT / "grammars" / "rule.lark").read_text()) + "\n"]


def test_specs_are_networks():
    shown = [block for block in blocks_of(LANGUAGE) if block.kind == "spec"]
    assert shown
    for line in shown[0].text.splitlines():
        network = rulec.network.network_from(line.split()[0], (64,) if line.startswith("?") else None, 10)
        assert network.output.shape == (10,)


def test_everything_there_is_has_been_named():
    words = set(re.findall(r"\w+", LANGUAGE.read_text()))
    known = {*POINTWISE, *ACTIVATIONS, *REDUCTIONS, *DOMAINS, *HYPERGRADIENTS, *SETTINGS, *KINDS}
    assert not known - words


def test_every_hypergradient_is_told():
    text = LANGUAGE.read_text()
    section = text[text.index("## Outer steps") : text.index("## Laws")]
    first_column = " ".join(re.findall(r"^\|(.*?)\|", section, re.MULTILINE))
    available = set(re.findall(r"`(\w+)", first_column))
    assert available == set(READERS) == set(HYPERGRADIENTS)


def test_files_that_are_named_are_there():
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`([\w/]+\.py|[\w/]+/)`", text)) - {"step.py"}  # which a bundle holds
    there = [
        path.relative_to(ROOT).as_posix()
        for folder in ("rulec", "tests", "rules")
        for path in (ROOT / folder).rglob("*")
    ]
    missing = {
        name
        for name in named
        if not any(f"/{path}".endswith(f"/{name.rstrip('/')}") for path in [*there, "rules", "tests"])
    }
    assert named and not missing


def test_packages_stand_in_their_order():
    text = (ROOT / "docs" / "architecture.md").read_text()
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    assert re.findall(r"^\*\*`(\w+)`\*\*", text, re.MULTILINE) == [
        name.strip("() ") for layer in reversed(layers) for name in reversed(layer.split("|"))
    ]
