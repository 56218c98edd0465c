"""The parser of single lines. Its tables are made once and kept in the user's cache, by content: making them takes longer than reading any rule."""

from __future__ import annotations

import hashlib
import io
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rulec.source.cache import cache_folder, keep

if TYPE_CHECKING:
    from lark import Lark

_START_SYMBOLS = (
    "top_line",
    "section_line",
    "genome_line",
    "preset_line",
    "state_line",
    "statement_line",
    "block_line",
    "law_line",
    "clause_line",
)


@cache
def lark_parser() -> Lark:
    """Return the parser, once in a process, at the first file."""
    import lark

    text = _grammar()
    told = repr((text, _START_SYMBOLS, lark.__version__, sys.version_info[:3], Path(__file__).read_text("utf-8")))
    file = cache_folder("grammars") / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.tables"
    return _kept(file) or _made(text, file)


def _kept(file: Path) -> Lark | None:
    """Return the parser that an earlier start left; None where there is none, or what is there cannot be read for whatever reason."""
    from lark import Lark

    try:
        with file.open("rb") as tables:
            return Lark.load(tables)
    except Exception:
        return None


def _made(text: str, file: Path) -> Lark:
    from lark import Lark

    parser = Lark(text, start=list(_START_SYMBOLS), parser="lalr", lexer="contextual", propagate_positions=True,
                  maybe_placeholders=True)  # fmt: skip
    tables = io.BytesIO()
    parser.save(tables)
    keep(file, tables.getvalue())
    return parser


def _grammar() -> str:
    """Return the text of `rule.lark`, from the installed package or from the checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "grammars", package.parent / "grammars"):
        if (folder / "rule.lark").is_file():
            return (folder / "rule.lark").read_text(encoding="utf-8")
    raise FileNotFoundError(f"rule.lark is neither in {package / 'grammars'} nor in {package.parent / 'grammars'}")
