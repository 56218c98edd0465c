"""Every file here is wrong, and the text beside it is all that is said about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rulec.semantics.check import check_source
from rulec.source import Source, render_text

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.rule"))


def rendered(path: Path) -> bytes:
    source = Source(path.name, path.read_bytes().decode("utf-8"))
    return (render_text(check_source(source, FOLDER).sorted()) + "\n").encode("utf-8")


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_says_exactly_what_is_wrong(path: Path, update_golden: bool):
    expected = path.with_suffix(".expected")
    text = rendered(path)
    if update_golden:
        expected.write_bytes(text)
    assert expected.is_file(), f"{expected.name} is missing; run pytest with --update-golden and read what it writes"
    assert text == expected.read_bytes()
    assert b"error[" in text or b"warning[" in text


def test_every_expected_text_has_its_file():
    assert {path.stem for path in FOLDER.glob("*.expected")} == {path.stem for path in FILES}
