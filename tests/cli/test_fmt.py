"""`rulec fmt`: in place and whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rulec.source import Source
from rulec.syntax import format_source, parse_source


@pytest.fixture
def untidy(rules: Path, tmp_path: Path) -> Path:
    path = tmp_path / "untidy.rule"
    path.write_text((rules / "hebb.rule").read_text().replace(" * ", "*").replace("\n\n", "\n\n\n"))
    return path


def test_a_file_is_rewritten_and_keeps_its_meaning_and_mode(rulec, untidy):
    untidy.chmod(0o640)
    before = untidy.read_text()
    answer = rulec("fmt", untidy)
    assert (answer.code, answer.out, answer.err) == (0, f"{untidy}: reformatted\n", "")
    after = untidy.read_text()
    assert after != before and format_source(Source("a", after)) == after
    assert parse_source(Source("a", after))[0] == parse_source(Source("a", before))[0]
    assert untidy.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in untidy.parent.iterdir()] == ["untidy.rule"]
    assert rulec("fmt", untidy).out == ""


def test_check_names_the_files_and_changes_nothing(rulec, untidy):
    before = untidy.read_text()
    answer = rulec("fmt", "--check", untidy)
    assert (answer.code, answer.out) == (1, f"{untidy}: would be reformatted\n")
    assert untidy.read_text() == before
    rulec("fmt", untidy)
    assert rulec("fmt", "--check", untidy).code == 0


def test_syntax_errors_leave_the_file_alone_and_others_are_done(rulec, untidy, tmp_path):
    broken = tmp_path / "broken.rule"
    broken.write_text("rule broken\n\nneuron\n  x +\n")
    answer = rulec("fmt", broken, untidy)
    assert answer.code == 1
    assert answer.err.startswith("error[") and str(broken) in answer.err
    assert broken.read_text() == "rule broken\n\nneuron\n  x +\n"
    assert answer.out == f"{untidy}: reformatted\n"


def test_a_link_still_points_to_its_file(rulec, untidy):
    link = untidy.with_name("link.rule")
    link.symlink_to(untidy)
    assert rulec("fmt", link).code == 0
    assert link.is_symlink() and link.read_text() == untidy.read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_a_diagnostic(rulec, untidy):
    untidy.parent.chmod(0o500)
    answer = rulec("fmt", untidy)
    untidy.parent.chmod(0o700)
    assert answer.code == 1 and answer.err.startswith("error[file-problem]")


def test_a_failing_disk_leaves_the_old_file_and_no_other(rulec, untidy, monkeypatch):
    before = untidy.read_text()

    def full(number: int) -> None:
        raise OSError(28, "No space left on device", str(untidy))

    monkeypatch.setattr(os, "fsync", full)
    answer = rulec("fmt", untidy)
    assert answer.code == 1
    assert answer.err.startswith(f"error[file-problem]: {untidy}: no space left on device")
    assert untidy.read_text() == before and len(list(untidy.parent.iterdir())) == 1
