"""Find out what the author of a line meant, where the parser only knows that a token did not fit.

Each detector below knows one family of mistakes and returns its diagnostic, or None; the first that speaks is heard.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass

from rulec.source import Diagnostic, Source, Span
from rulec.syntax import messages
from rulec.syntax.heads import BLOCK_KINDS
from rulec.syntax.layout import Line, innermost_open
from rulec.syntax.words import (
    CHOICES,
    CLAUSES,
    LINE_EXAMPLES,
    LINE_NOUNS,
    LINE_WORDS,
    RESERVED,
    SECTIONS,
    WORD_EXAMPLES,
)

_TOKEN = re.compile(r"\w+|->|<-|:=|\*\*|//|&&|\|\||\+\+|--|[=!<>]=|[-+*/]=|.", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_]\w*")
_STATEMENT = re.compile(r"[A-Za-z_]\w*\s*(?:\[[^\]]*\])?\s*(?:[-+*/]?=|:)")
_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][0-9]+)?")
_NUMBER_RUN = re.compile(r"[\w.]+")
_DOMAINS = ("real", "positive", "unit", "interval")
_LONGEST_WORD = 40  # no keyword is near a word longer than this

_EXPECTED = {
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a text in double quotes",
    "PATH": "a file",
    "INTEGER": "a whole number",
    "_EQUALS": "`=`",
    "AUGMENTED": "`=`",
    "_ARROW": "`->`",
    "_BACK_ARROW": "`<-`",
    "COLON": "`:`",
    "COMMA": "`,`",
    "RPAR": "`)`",
    "RSQB": "`]`",
    "LPAR": "`(`",
    "LSQB": "`[`",
    "VBAR": "`|`",
    "DOT": "`.`",
    "_USE": "`use`",
    "_FOR": "`for`",
    "_STEPS": "`steps`",
    "_ON": "`on`",
    "_OF": "`of`",
    "_IN": "`in layer`",
    "_TO": "`to`",
    "_LAYERS": "`layer`",
    "_WEIGHTED": "`weighted by`",
    "_BY": "`by`",
    "_WITH": "`with`",
    "_PLUS_TERM": "`plus`",
    "_PER": "`per layer`",
    "_LAYER": "`layer`",
    "_ELSE": "`else`",
    "$END": "the end of the line",
}
_OPERATORS = frozenset({"PLUS", "MINUS", "TIMES", "POWER", "RELATION", "AND", "OR"})
_VALUE = frozenset({"NUMBER", "MINUS", "NOT", "LPAR", "LSQB", "NAME"})

_SIGNS = {
    "&&": "write `and`",
    "||": "write `or`",
    "&": "write `and`",
    "!": "write `not`, or `!=` to compare",
    "~": "write `not`",
    ";": "write one statement on each line",
    "@": "write a product of matrices as `sum[i](w[i,j] * x[i])`",
    "//": "a comment begins with `#`, a quotient has one `/`",
    "++": "write `+= 1`",
    "--": "write `-= 1`",
    "{": "use indentation where other languages have braces",
    "}": "use indentation where other languages have braces",
    "%": "there is no remainder; use `where` and comparisons",
    "\\": "a line goes on where the next begins with an operator",
}


@dataclass(frozen=True)
class Case:
    """A line that could not be parsed, and the place where the parser stopped."""

    source: Source
    line: Line
    symbol: str  # the start symbol under which it was read
    position: int
    expected: frozenset[str]  # names of terminals

    @property
    def text(self) -> str:
        return self.source.text[self.line.start : self.line.end]

    @property
    def at_end(self) -> bool:
        return self.position >= self.line.end

    @property
    def found(self) -> str:
        """Return the token at which the parser stopped; nothing at the end of the line."""
        match = _TOKEN.match(self.source.text, self.position, self.line.end)
        return match.group() if match else ""

    @property
    def span(self) -> Span:
        return self.source.span(self.position, self.position + len(self.found))

    @property
    def before(self) -> str:
        return self.source.text[self.line.start : self.position].rstrip()

    @property
    def after(self) -> str:
        return self.source.text[self.position + len(self.found) : self.line.end].strip()

    @property
    def first_word(self) -> str:
        match = _WORD.match(self.text)
        return match.group() if match else ""

    @property
    def first_span(self) -> Span:
        length = len(self.first_word) or len(self.found)
        return self.source.span(self.line.start, self.line.start + length)

    @property
    def is_keyword_line(self) -> bool:
        return self.first_word in LINE_WORDS.get(self.symbol, ()) or self.first_word in CHOICES

    @property
    def example(self) -> str:
        if self.is_keyword_line or (self.first_word == "net" and re.match(r"net\s+\w", self.text)):
            return WORD_EXAMPLES[self.first_word]
        return LINE_EXAMPLES.get(self.symbol, "")

    @property
    def wants_value(self) -> bool:
        return "NUMBER" in self.expected and "LPAR" in self.expected


def explain(case: Case) -> Diagnostic:
    """Return the diagnostic for a line that could not be parsed."""
    for detector in _DETECTORS:
        diagnostic = detector(case)
        if diagnostic is not None:
            return diagnostic
    raise AssertionError("the last detector always speaks")


# --- Signs -----------------------------------------------------------------------------------


def _power(case: Case) -> Diagnostic | None:
    if case.found == "*" and case.before.endswith("*"):
        start = case.line.start + len(case.before) - 1
        return messages.power_operator(case.source.span(start, case.position + 1))
    return None


def _sign(case: Case) -> Diagnostic | None:
    position, found = case.position, case.found
    if found in ("/", "+", "-") and case.before.endswith(found):
        position, found = case.line.start + len(case.before) - 1, found * 2
    if found in ("+", "-") and case.found + case.after[:1] == "++":
        found = "++"
    if found in _SIGNS and case.source.text[position : position + len(found)] == found:
        return messages.unknown_character(case.source.span(position, position + len(found)), _SIGNS[found])
    if found in ("$", "?", "`"):
        return messages.unknown_character(case.source.span(position, position + 1), "remove it")
    return None


def _quotes(case: Case) -> Diagnostic | None:
    if case.found == "'":
        end = case.source.text.find("'", case.position + 1, case.line.end) + 1 or case.position + 1
        return messages.single_quotes(case.source.span(case.position, end))
    return None


def _open_bracket(case: Case) -> Diagnostic | None:
    """A bracket left open swallows the lines below; the trouble then shows at the start of one of them."""
    opened = innermost_open(case.source.text, case.line.start, case.position)
    start = case.source.text.rfind("\n", 0, case.position) + 1
    if opened < 0 or opened >= start or case.source.text[start : case.position].strip() or not case.found[:1].isalnum():
        return None
    return messages.late_bracket(case.source.span(opened, opened + 1), case.span.line)


def _colon(case: Case) -> Diagnostic | None:
    if case.found == ":" and not case.after and (case.is_keyword_line or case.symbol == "top_line"):
        return messages.header_colon(case.span, case.before) if case.expected & {"$END"} or case.at_end else None
    return None


def _number(case: Case) -> Diagnostic | None:
    for run in _NUMBER_RUN.finditer(case.source.text, case.line.start, case.line.end):
        if run.start() <= case.position < run.end() and re.match(r"\.?[0-9]", run.group()):
            good = _NUMBER.fullmatch(run.group()) is not None
            return None if good else messages.bad_number(case.source.span(run.start(), run.end()))
    return None


# --- The first word --------------------------------------------------------------------------


def _first_word(case: Case) -> Diagnostic | None:
    """The line begins with something that no line here can begin with."""
    if case.position > case.line.start or case.symbol not in LINE_WORDS:
        return None
    words = LINE_WORDS[case.symbol]
    near = difflib.get_close_matches(case.first_word[:_LONGEST_WORD].lower(), words, n=1, cutoff=0.7)
    if case.first_word in CLAUSES and case.first_word not in SECTIONS and case.symbol != "clause_line":
        return messages.misplaced_clause(case.first_span)
    if case.first_word in LINE_WORDS["top_line"] and case.first_word != "net":
        return messages.misplaced_header(case.first_span, case.text)
    if near and case.first_word not in words:
        return messages.unknown_keyword(case.first_span, near[0], "")
    if case.first_word == "net" and "net" in words:
        return _net(case)
    if _STATEMENT.match(case.text) and case.symbol != "clause_line":
        return messages.outside_block(case.first_span, case.text)
    return messages.unknown_keyword(
        case.first_span, None, ", ".join(f"`{word}`" for word in words if word not in ("elif", "else"))
    )


def _net(case: Case) -> Diagnostic:
    named = re.match(r"net\s+[A-Za-z_]\w*\s*", case.text)
    at = case.line.start + (named.end() if named else len("net"))
    if named:
        here = case.source.span(at, min(at + 1, len(case.source.text)))
        return messages.missing_colon(here, "`:` is missing", WORD_EXAMPLES["net"])
    return messages.unexpected(case.first_span, "a name, `:` and the sizes of a net", "`net`", WORD_EXAMPLES["net"])


def _header_inside(case: Case) -> Diagnostic | None:
    """A header that was indented by mistake, among statements or entries."""
    if case.symbol in LINE_WORDS or case.first_word not in (*BLOCK_KINDS, *SECTIONS, "rule", "outer", "from"):
        return None
    if re.match(r"[a-z]+\s+[\w.\"(]", case.text):
        return messages.misplaced_header(case.first_span, case.text)
    return None


def _else_if(case: Case) -> Diagnostic | None:
    if case.first_word == "else" and case.found == "if" and case.before == "else":
        return messages.else_if(case.source.span(case.line.start, case.span.end))
    return None


# --- Lines of one kind -----------------------------------------------------------------------


def _assignment(case: Case) -> Diagnostic | None:
    if "AUGMENTED" not in case.expected:
        return None
    if case.found == "==":
        return messages.comparison_for_assignment(case.span)
    if case.found in (":=", "<-", "->", ":", "^", "<", "~") and case.after:
        return messages.foreign_assignment(case.span)
    return None


def _round_indices(case: Case) -> Diagnostic | None:
    """`w(i,j) = 1`: parentheses where a line begins are meant as indices."""
    if case.found == "(" and "LSQB" in case.expected and _WORD.fullmatch(case.before) and case.symbol != "clause_line":
        return messages.round_indices(case.span, case.before)
    return None


def _single_equals(case: Case) -> Diagnostic | None:
    """`if a = b`, or a law `a : b = c`."""
    condition = case.first_word in ("if", "elif") and case.is_keyword_line
    if case.found == "=" and (condition or (case.symbol == "law_line" and ":" in case.before)):
        return None if re.search(r"[=!<>]", case.before) else messages.assignment_for_comparison(case.span)
    return None


def _block(case: Case) -> Diagnostic | None:
    if case.first_word not in BLOCK_KINDS or not case.is_keyword_line:
        return None
    kind = case.first_word
    if "_ARROW" in case.expected and "$END" not in case.expected:
        expected = "`->` and a postsynaptic index"
    elif "_BACK_ARROW" in case.expected:
        expected = "`<-` and a postsynaptic index"
    elif "NAME" in case.expected:
        expected = "an index letter"
    else:
        expected = "nothing more"
    example = WORD_EXAMPLES[kind]
    return messages.block_indices(case.span, kind, expected, example)


def _reserved(case: Case) -> Diagnostic | None:
    if case.found not in RESERVED or "NAME" not in case.expected:
        return None
    used_as_name = case.after[:1] in ("[", "(", "=", ":")
    return messages.reserved_word(case.span) if used_as_name or not case.wants_value else None


def _chain(case: Case) -> Diagnostic | None:
    if re.fullmatch(r"[=!<>]=|[<>]", case.found) and "PLUS" in case.expected and "RELATION" not in case.expected:
        return messages.chained_comparison(case.span)
    return None


def _missing_colon(case: Case) -> Diagnostic | None:
    if "COLON" not in case.expected:
        return None
    if case.first_word == "repeat" and case.is_keyword_line and case.at_end:
        return messages.missing_colon(case.span, "`:` is missing after `repeat`", WORD_EXAMPLES["repeat"])
    if case.symbol == "law_line":
        return messages.missing_colon(case.span, "a law begins with its name and `:`", LINE_EXAMPLES["law_line"])
    if case.symbol in ("genome_line", "preset_line") and case.found in _DOMAINS:
        return messages.missing_colon(
            case.span, f"`:` is missing before the domain `{case.found}`", LINE_EXAMPLES["genome_line"]
        )
    if case.first_word in ("index", "net") and case.found[:1].isalnum():
        return messages.missing_colon(case.span, "`:` is missing", WORD_EXAMPLES[case.first_word])
    return None


def _missing_equals(case: Case) -> Diagnostic | None:
    if "_EQUALS" not in case.expected or case.at_end:
        return None
    starts_value = case.found[:1].isalnum() or case.found[:1] in ("_", "-", ".", "[", "(")
    return messages.missing_equals(case.span, case.example) if starts_value else None


def _missing_operator(case: Case) -> Diagnostic | None:
    starts_value = case.found[:1].isalnum() or case.found[:1] in ("_", "(", "[")
    if case.expected & {"_ON", "_WITH", "_FOR", "_STEPS", "_TO"}:
        return None  # one of these words was meant
    if starts_value and "PLUS" in case.expected and case.found not in RESERVED:
        return messages.missing_operator(case.span)
    return None


def _unfinished(case: Case) -> Diagnostic | None:
    if case.at_end:
        example = "y = a if states == 2 else b" if "_ELSE" in case.expected else case.example
        return messages.unfinished_line(case.source.span(case.line.end, case.line.end), _in_words(case), example)
    return None


def _anything(case: Case) -> Diagnostic | None:
    return messages.unexpected(case.span, _in_words(case), f"`{case.found[:_LONGEST_WORD]}`", case.example)


def _in_words(case: Case) -> str:
    """Return what could have followed, in the words of the author."""
    if case.position == case.line.start and case.symbol in LINE_NOUNS:
        return LINE_NOUNS[case.symbol]
    rest = set(case.expected)
    words: list[str] = []
    if case.wants_value:
        words.append("a value")
        rest -= _VALUE
    if len(rest & _OPERATORS) >= 2:
        words.append("an operator")
        rest -= _OPERATORS | {"LPAR", "LSQB", "PRIMES", "_IF"}
    words += [_EXPECTED[name] for name in sorted(rest, key=lambda name: (name == "$END", name)) if name in _EXPECTED]
    words = list(dict.fromkeys(words)) or ["something else"]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


_DETECTORS: tuple[Callable[[Case], Diagnostic | None], ...] = (
    _first_word,
    _header_inside,
    _power,
    _sign,
    _quotes,
    _open_bracket,
    _else_if,
    _colon,
    _number,
    _assignment,
    _round_indices,
    _single_equals,
    _block,
    _reserved,
    _chain,
    _missing_colon,
    _missing_equals,
    _missing_operator,
    _unfinished,
    _anything,
)
