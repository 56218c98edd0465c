"""What is said of values that become infinite or undefined: word for word, and nothing of what is safe."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rulec.lints import division_by_zero, infinite_derivative, outside_its_domain, where_trap
from rulec.lints.cases import Case, cases
from rulec.lints.library import build_variants
from rulec.lints.lint import Variant
from rulec.semantics.check import check_library, load_library, shipped_rules
from rulec.source import Diagnostics, Source, render_text

LINTS = (division_by_zero.ZERO, outside_its_domain.OUTSIDE, infinite_derivative.INFINITE, where_trap.TRAP)
HERE = Path(__file__).parent
BAD = sorted((HERE / "bad" / "numeric").glob("*.rule"))
GOOD = sorted((HERE / "good" / "numeric").glob("*.rule"))
SHIPPED = sorted(shipped_rules().glob("*.rule"))


def built(source: Source, folder: Path) -> list[list[Variant]]:
    """Return the variants of each rule of a text that has no errors."""
    problems = Diagnostics()
    library = load_library(source, problems, folder)
    check_library(library, problems)
    assert render_text(problems.sorted()) == ""
    variants = build_variants(library, problems)
    assert not len(problems)
    return list(variants.values())


def read(path: Path) -> Source:
    return Source(path.name, path.read_text(encoding="utf-8"))


def findings(source: Source, folder: Path = HERE) -> Diagnostics:
    found = Diagnostics()
    for variants in built(source, folder):
        for lint in LINTS:
            for diagnostic in lint.find(variants):
                assert diagnostic.id == lint.id and diagnostic.severity == "warning"
                found.add(diagnostic)
    return found


def all_cases(source: Source, folder: Path = HERE) -> list[Case]:
    return [case for variants in built(source, folder) for lint in LINTS for case in cases(variants, lint.id)]


@pytest.mark.parametrize("path", BAD, ids=[path.stem for path in BAD])
def test_bad_programs(path: Path, update_golden: bool):
    text = render_text(findings(read(path)).sorted()) + "\n"
    expected = path.with_suffix(".expected")
    if update_golden:
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")
    assert f"warning[{path.stem}" in text or any(
        f"[{lint.id}]" in text for lint in LINTS if path.stem.startswith(lint.id)
    )


def test_every_expected_text_has_its_file():
    assert {path.stem for path in (HERE / "bad" / "numeric").glob("*.expected")} == {path.stem for path in BAD}


@pytest.mark.parametrize("path", GOOD, ids=[path.stem for path in GOOD])
def test_good_programs(path: Path):
    assert render_text(findings(read(path)).sorted()) == ""


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_shipped_rules_are_safe(path: Path):
    assert render_text(findings(read(path), path.parent).sorted()) == ""


@pytest.mark.parametrize("path", BAD, ids=[path.stem for path in BAD])
def test_what_is_offered_mends_the_rule(path: Path):
    """Every rewrite, put in place of what it replaces, leaves a rule of which nothing is said."""
    source = read(path)
    text = source.text
    offered = [case.rewrite for case in all_cases(source)]
    assert offered
    for rewrite in sorted((r for r in offered if r is not None), key=lambda r: -r.span.start):
        text = text[: rewrite.span.start] + rewrite.text + text[rewrite.span.end :]
    if None not in offered:
        assert render_text(findings(Source(path.name, text)).sorted()) == ""


def test_lints_are_fast():
    variants = built(read(shipped_rules() / "blur.rule"), shipped_rules())
    start = time.process_time()
    for one in variants:
        for lint in LINTS:
            assert not list(lint.find(one))
    assert time.process_time() - start < 0.5
