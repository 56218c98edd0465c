"""Whatever the file holds, it is told in bounded time and never ends in a traceback."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rulec.source import RuleError, Source, render_json, render_text
from rulec.syntax import format_source, parse_source, read_source
from rulec.syntax.grammar import lark_parser

GOOD = [path.read_text(encoding="utf-8") for path in sorted((Path(__file__).parents[1] / "good").glob("*.rule"))]
PIECES = [
    "rule",
    "r",
    "genome",
    "update",
    "i",
    "->",
    "<-",
    "\n",
    "\n  ",
    "\n    ",
    "\n ",
    " ",
    "x",
    "[",
    "]",
    "(",
    ")",
    "=",
    "==",
    "+",
    "-",
    "^",
    "'",
    '"',
    "\\",
    "1",
    ".5",
    "1e",
    "if",
    "elif",
    "else",
    "not",
    ":",
    ",",
    "#",
    "\t",
    "\r\n",
    "μ",
    "for",
    "outer",
    "inner",
    "steps",
    "from",
    "use",
    "net",
    "per layer",
    "laws",
    "repeat 2:",
    "@",
    "\x00",
    "\ufeff",
    "|",
    ".",
    "*=",
    "keep",
]


def survive(text: str) -> None:
    source = Source("t.rule", text)
    module, found, _ = parse_source(source)
    render_text(found.sorted())
    render_json(found.sorted())
    assert len(found.errors) <= 21
    for diagnostic in found.sorted():
        assert diagnostic.message
        assert diagnostic.span is None or 0 <= diagnostic.span.start <= diagnostic.span.end <= len(text)
    if found.errors:
        with pytest.raises(RuleError):
            format_source(source)
    else:
        formatted = Source("t.rule", format_source(source))
        again, problems, _ = parse_source(formatted)
        assert not len(problems)
        assert again == module
        assert format_source(formatted) == formatted.text


@given(st.text())
def test_any_text(text: str):
    survive(text)


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
@example("net rule")  # what is missing would stand behind the end
@settings(max_examples=300)
def test_any_sequence_of_pieces(text: str):
    survive(text)


@given(st.data())
@settings(max_examples=120)
def test_good_files_with_a_wound(data: st.DataObject):
    text = data.draw(st.sampled_from(GOOD))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 30)))
    survive(text[:start] + data.draw(st.sampled_from(["", *PIECES])) + text[end:])


@given(st.lists(st.sampled_from(GOOD), min_size=2, max_size=2), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_good_files_with_lines_mixed_up(texts: list[str], random):
    lines = [line for text in texts for line in text.splitlines(keepends=True)]
    random.shuffle(lines)
    survive("".join(lines[:60]))


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes):
    path = tmp_path_factory.getbasetemp() / "any.rule"
    path.write_bytes(data)
    source, found = read_source(path)
    if not found.errors:
        survive(source.text)
    else:
        assert [d.id for d in found.errors] == ["not-text"]


MILLION = 1_000_000
HUGE = {
    "parentheses": "(" * MILLION,
    "open lines": "(\n" * (MILLION // 2),
    "newlines": "\n" * MILLION,
    "blanks": " " * MILLION,
    "rules": "rule a\n" * (MILLION // 7),
    "rules up to the limit": "rule a\n" * 19_000,
    "names up to the limit": "x\n" * 19_000,
    "open lines up to the limit": "(\n" * 19_000,
    "closing up to the limit": ")\n" * 19_000,
    "else up to the limit": "else\n" * 19_000,
    "lost branches": "rule a\nif b c\n  neuron\n    x\n" + "elif a\n" * 8_000,
    "branches": "rule a\nif b\n  neuron\n    x\n" + "elif a\n  neuron\n    x\n" * 3_000,
    "staircase": "".join(" " * k + "if a\n" for k in range(1_300)),
    "minus": "rule a\nupdate\n  x = " + "-" * 1_900 + "1\n",
    "not": "rule a\nupdate\n  x = " + "not " * 450 + "1\n",
    "powers": "rule a\nupdate\n  x = 2" + "^2" * 900 + "\n",
    "continued": "rule a\nupdate\n  x = 1\n" + "+ 1\n" * 4_000,
    "long continued": "rule a\nupdate\n  x = 1\n" + "+ 1\n" * 19_000,
    "quotes": '"' * MILLION,
    "backslashes": '"' + "\\" * MILLION,
    "foreign": "μ" * (MILLION // 2),
    "comments": "#\n" * 19_000,
}


@pytest.mark.parametrize("name", HUGE)
def test_takes_bounded_time(name: str):
    lark_parser()
    gc.collect()
    gc.freeze()  # looking for garbage among all that other tests keep would take longer than what is measured
    start = time.process_time()  # others may be using the machine
    _, found, _ = parse_source(Source("t.rule", HUGE[name]))
    assert time.process_time() - start < 2
    assert found.errors
    assert len(found) <= 21
    assert len(render_text(found.sorted())) < 20_000


def test_deep_but_allowed_expressions_are_read():
    text = "rule a\nupdate\n  x = " + "(" * 49 + "1" + " + 1)" * 49 + "\n"
    survive(text)
    assert not parse_source(Source("t.rule", text))[1].errors


def test_deep_but_allowed_choices_are_read():
    lines, pad = ["rule a", "update"], "  "
    for _ in range(10):  # the last branch of each `if` holds the next one
        lines += [line for k in range(11) for line in (f"{pad}{'elif' if k else 'if'} a == {k}", f"{pad}  x = {k}")][
            :-1
        ]
        pad += "  "
    text = "\n".join([*lines, f"{pad}x = 1", ""])
    survive(text)
    assert not parse_source(Source("t.rule", text))[1].errors


def test_import_is_light_and_the_parser_is_built_once():
    code = "import sys, rulec.syntax; assert not {'lark', 'torch', 'sympy', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert lark_parser() is lark_parser()


# --- Files -----------------------------------------------------------------------------------


def test_reads_a_file_as_it_is(tmp_path: Path):
    path = tmp_path / "a.rule"
    path.write_bytes("\ufeffrule μ\r\n".encode())
    source, found = read_source(path)
    assert (source.text, source.name, len(found)) == ("\ufeffrule μ\r\n", str(path), 0)


def test_says_why_a_file_cannot_be_read(tmp_path: Path):
    (tmp_path / "latin.rule").write_bytes(b"rule caf\xe9\n")
    (tmp_path / "large.rule").write_bytes(b" " * 1_000_001)
    cases = {
        "missing.rule": ("cannot-read", "there is no such file"),
        ".": ("cannot-read", "it is a directory"),
        "latin.rule": ("not-text", "is not UTF-8 text"),
        "large.rule": ("file-too-large", "larger than 1,000,000 bytes"),
        "nul\0.rule": ("cannot-read", "the path cannot be a file's"),
        "x" * 5_000: ("cannot-read", "file name too long"),
    }
    for name, (id, words) in cases.items():
        source, found = read_source(tmp_path / name)
        assert source.text == ""
        assert [d.id for d in found.errors] == [id]
        assert words in found.errors[0].message


def test_points_at_the_byte_that_is_not_text(tmp_path: Path):
    (tmp_path / "latin.rule").write_bytes(b"rule caf\xe9\n")
    _, found = read_source(tmp_path / "latin.rule")
    assert found.errors[0].notes == ("byte 8 of the file is 0xe9, which is not UTF-8 there",)
