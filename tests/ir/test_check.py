"""`rulec check` builds what it can: the mistakes that only building shows are told like all others."""

from __future__ import annotations

from pathlib import Path

import pytest

from rulec.ir.check import check_file, check_source, typed_rules
from rulec.semantics.check import check_source as check_meaning
from rulec.semantics.check import load_library, shipped_rules, variants
from rulec.source import Diagnostics, Source, render_text

FOLDER = Path(__file__).parent / "bad"
FILES = sorted(FOLDER.glob("*.rule"))
MEANING = sorted((Path(__file__).parents[1] / "bad").glob("*.rule"))


def text_of(path: Path) -> Source:
    return Source(path.name, path.read_bytes().decode("utf-8"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_building_tells_what_meaning_does_not(path: Path, update_golden: bool):
    source = text_of(path)
    assert not len(check_meaning(source, FOLDER))
    text = render_text(check_source(source, FOLDER).sorted()) + "\n"
    expected = path.with_suffix(".expected")
    if update_golden:
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


def test_every_expected_text_has_its_file():
    assert {path.stem for path in FOLDER.glob("*.expected")} == {path.stem for path in FILES}


def test_nothing_is_built_while_the_meaning_is_wrong():
    for path in MEANING:
        source = text_of(path)
        meaning = check_meaning(source, path.parent)
        if meaning.errors:
            assert check_source(source, path.parent).sorted() == meaning.sorted()


@pytest.mark.parametrize("path", sorted(shipped_rules().glob("*.rule")), ids=lambda path: path.stem)
def test_shipped_rules_are_right_under_every_choice(path: Path):
    source, found = check_file(path)
    assert source.text
    assert render_text(found.sorted()) == ""


def test_every_choice_is_built():
    source = text_of(shipped_rules() / "blur.rule")
    library = load_library(source, Diagnostics(), shipped_rules())
    wanted = [dict(options) for options in variants(library.rules["blur"])]
    built = [rule.options for rule in typed_rules(library)]
    assert len(built) == len(wanted) > 10
    for options, chosen in zip(wanted, built, strict=True):
        for name, value in options.items():
            assert chosen[name] == {"yes": True, "no": False}.get(str(value), value)


def test_a_choice_that_cannot_be_built_is_told(tmp_path: Path):
    text = (FOLDER / "no-derivative-path-stopped.rule").read_text(encoding="utf-8")
    (tmp_path / "stopped.rule").write_text(text, encoding="utf-8")
    _, found = check_file(tmp_path / "stopped.rule")
    assert [d.id for d in found.errors] == ["no-derivative-path"]
    (tmp_path / "plain.rule").write_text(text.replace("stop(z[j]) if detach else z[j]", "z[j]"), encoding="utf-8")
    assert not check_file(tmp_path / "plain.rule")[1].errors


def test_a_file_that_is_not_there_is_told(tmp_path: Path):
    source, found = check_file(tmp_path / "none.rule")
    assert source.text == ""
    assert [d.id for d in found.errors] == ["cannot-read"]
