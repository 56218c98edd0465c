"""What the lints about flow say of bad programs, word for word; and that they are silent about good ones and shipped ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from rulec.lints import batch, curvature, dead, domains, gradients, growth, orders, unset
from rulec.lints.library import build_variants, lint_library
from rulec.lints.registry import LINTS
from rulec.semantics.check import check_library, load_library, shipped_rules
from rulec.source import Diagnostic, Diagnostics, Source, render_text

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad" / "flow").glob("*.rule"))
GOOD = sorted((HERE / "good" / "flow").glob("*.rule"))
SHIPPED = sorted(shipped_rules().glob("*.rule"))
FLOW = (
    dead.ENTRY,
    dead.STATE,
    unset.UNSET,
    batch.BATCH,
    growth.GROWTH,
    domains.OUTSIDE,
    domains.EDGE,
    gradients.CUT,
    orders.FIRST_ORDER,
    curvature.CURVATURE,
)
IDS = {"outside-domain", *(one.id for one in FLOW)}

# What is true of shipped rules, and said there to be meant: file, id, the piece of text it is about.
KNOWN = [
    ("blur_backprop", "dead-entry", "backward_mix"),
    ("blur_backprop", "dead-entry", "pre"),
    ("blur_backprop", "dead-entry", "post"),
    ("blur_backprop", "unbounded-growth", "synapse_keep"),
]


def findings(path: Path, allowing: bool = True) -> list[Diagnostic]:
    """Return what the lints say about a file that is right otherwise; `allowing`: but for what it says is meant."""
    text = path.read_text(encoding="utf-8")
    source, found = Source(path.name, text if allowing else text.replace("allow:", "")), Diagnostics()
    library = load_library(source, found, path.parent)
    check_library(library, found)
    variants = build_variants(library, found)
    assert not len(found)
    for finding in lint_library(library, variants):
        if finding.id in IDS:
            found.add(finding)
    return found.sorted()


@pytest.mark.parametrize("path", BAD, ids=[path.stem for path in BAD])
def test_bad_programs(path: Path, update_golden: bool):
    text = render_text(findings(path)) + "\n"
    expected = path.with_suffix(".expected")
    if update_golden:
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", BAD, ids=[path.stem for path in BAD])
def test_bad_programs_are_named_after_what_is_found(path: Path):
    found = {finding.id for finding in findings(path)}
    assert any(path.stem.startswith(id) for id in found)


def test_every_expected_text_has_its_file():
    assert {path.stem for path in (HERE / "bad" / "flow").glob("*.expected")} == {path.stem for path in BAD}


@pytest.mark.parametrize("path", GOOD, ids=[path.stem for path in GOOD])
def test_good_programs(path: Path):
    assert render_text(findings(path)) == ""


def test_shipped_rules_come_out_with_what_is_known_of_them():
    found = [(path.stem, one) for path in SHIPPED for one in findings(path, allowing=False)]
    assert [(name, one.id, one.span.text if one.span else "") for name, one in found] == KNOWN
    assert not any(findings(path) for path in SHIPPED)


def test_every_finding_has_a_place_a_label_and_a_help():
    for path in BAD:
        for finding in findings(path):
            assert finding.span is not None and finding.label and finding.help and finding.notes
            assert finding.message[0].islower() or finding.message[0] in "`0123456789"


@pytest.mark.parametrize("lint", LINTS, ids=[lint.id for lint in LINTS])
def test_every_lint_has_an_explanation_with_an_example(lint):
    first, *rest = lint.explanation.strip().split("\n\n")
    assert first and len(rest) >= 2
    assert any(paragraph.startswith("    ") for paragraph in lint.explanation.split("\n\n"))


@pytest.mark.parametrize("lint", LINTS, ids=[lint.id for lint in LINTS])
def test_every_lint_has_bad_and_good_programs(lint):
    bad = [p for p in (HERE / "bad").rglob("*.expected") if f"[{lint.id}]" in p.read_text(encoding="utf-8")]
    assert bad
    assert all(any((HERE / "good" / path.parent.name).glob("*.rule")) for path in bad)


@pytest.mark.parametrize("lint", FLOW, ids=[lint.id for lint in FLOW])
def test_good_programs_are_named_after_what_they_avoid(lint):
    assert lint in LINTS
    assert any(path.stem.startswith(lint.id) for path in GOOD)


def test_ids_are_words_and_differ():
    ids = [lint.id for lint in LINTS]
    assert len(ids) == len(set(ids))
    assert all(id.replace("-", "").isalpha() and id.islower() for id in ids)
