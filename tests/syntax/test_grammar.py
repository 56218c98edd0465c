"""The parser's tables, kept on disk: what is read back parses as what was made, and a cache that fails is made anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from lark import Lark, UnexpectedInput

from rulec.semantics.check import shipped_rules
from rulec.syntax import grammar

TEXTS = [
    line.split("#")[0].strip()
    for path in sorted(shipped_rules().glob("*.rule"))
    for line in path.read_text(encoding="utf-8").splitlines()
]
WRONG = ["w[i,j = 1", "rule 3", "sum[i](", "x[i] = = 2", "a if b", "", "forward i ->", 'rule r "x', "?"]


def said(parser: Lark, text: str, symbol: str) -> object:
    try:
        return parser.parse(text, start=symbol)
    except UnexpectedInput as error:
        wanted = getattr(error, "accepts", None) or getattr(error, "expected", None) or getattr(error, "allowed", None)
        return type(error), error.pos_in_stream, frozenset(wanted or ())


def positions(tree: object) -> list[tuple[int, int]]:
    return [(t.meta.start_pos, t.meta.end_pos) for t in tree.iter_subtrees() if not t.meta.empty]  # type: ignore[attr-defined]


def test_tables_that_were_kept_parse_alike(tmp_path: Path):
    file = tmp_path / "grammars" / "kept.tables"
    made = grammar._made(grammar._grammar(), file)
    kept = grammar._kept(file)
    assert kept is not None
    lines, parsed = [*dict.fromkeys(TEXTS), *WRONG], 0
    for symbol in grammar._START_SYMBOLS:
        for line in lines:
            one, other = said(made, line, symbol), said(kept, line, symbol)
            assert one == other, (symbol, line)
            if hasattr(one, "iter_subtrees"):
                assert positions(one) == positions(other)
                parsed += 1
    assert parsed > len(set(TEXTS)) / 2


@pytest.mark.parametrize("content", [b"", b"\x80\x04nothing", None])
def test_what_cannot_be_read_is_made_anew(content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An empty file, half a file, and a folder in its place, which cannot even be replaced."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fresh = grammar.lark_parser.__wrapped__
    fresh()
    (file,) = (tmp_path / "rulec" / "grammars").glob("*.tables")
    if content is None:
        file.unlink()
        file.mkdir()
        (file / "inside").touch()
    else:
        file.write_bytes(content)
        assert grammar._kept(file) is None
    assert said(fresh(), "x[i] = 1", "statement_line") == said(grammar.lark_parser(), "x[i] = 1", "statement_line")
    if content is not None:
        assert grammar._kept(file) is not None


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "rulec").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert said(grammar.lark_parser.__wrapped__(), "x[i] = 1", "statement_line")
