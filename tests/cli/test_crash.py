"""A bug of rulec: a dump file and two lines, exit 3. Memory and files are nobody's bug."""

from __future__ import annotations

import pytest

import rulec.cli.check as check_module


@pytest.fixture
def broken(monkeypatch, tmp_path):
    """Make `rulec check` raise whatever is given."""
    monkeypatch.chdir(tmp_path)

    def breaking(error: Exception) -> None:
        def fail(*arguments: object) -> int:
            raise error

        monkeypatch.setattr(check_module, "check", fail)

    return breaking


def test_a_bug_leaves_a_dump_and_a_word_about_it(rulec, broken, wrong, tmp_path):
    broken(ZeroDivisionError("division of a genome by zero"))
    answer = rulec("check", wrong)
    assert (answer.code, answer.out) == (3, "")
    (dump,) = tmp_path.glob("rulec-crash-*.txt")
    assert answer.err.splitlines() == [
        "rulec stopped because of a mistake of its own (ZeroDivisionError: division of a genome by zero).",
        f"What is needed to find it is in {dump.name}: please send that file to the authors of rulec.",
    ]
    text = dump.read_text()
    import rulec as package

    for part in (
        f"rulec {package.__version__}",
        "Python 3",
        "'check'",
        "Traceback (most recent call last)",
        "in fail",
        wrong.read_text(),
    ):
        assert part in text


def test_where_nothing_can_be_written_the_dump_goes_to_the_temporary_folder(rulec, broken, monkeypatch, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    broken(RuntimeError("inconsistent"))
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    answer = rulec("check", "a.rule")
    assert answer.code == 3
    (dump,) = elsewhere.glob("rulec-crash-*.txt")
    assert str(dump) in answer.err


@pytest.mark.parametrize(
    "error, id",
    [
        (MemoryError(), "out-of-memory"),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"
            ),
            "out-of-memory",
        ),
        (PermissionError(13, "Permission denied", "/somewhere"), "file-problem"),
    ],
)
def test_the_machine_s_limits_are_diagnostics(rulec, broken, error, id, tmp_path):
    broken(error)
    answer = rulec("check", "a.rule")
    assert answer.code == 1
    assert answer.err.startswith(f"error[{id}]") and "help:" in answer.err
    assert not list(tmp_path.glob("rulec-crash-*"))
