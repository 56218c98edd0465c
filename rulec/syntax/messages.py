"""Say what is wrong with the syntax of a file: every such diagnostic is made here, one function for each finding."""

from __future__ import annotations

from rulec.source import Diagnostic, Source, Span
from rulec.syntax.spelling import ASCII, BLANK

# --- The file --------------------------------------------------------------------------------


def cannot_read(name: str, reason: str) -> Diagnostic:
    return Diagnostic("cannot-read", f"cannot read `{name}`: {reason}", help="check the path, or give another file")


def file_too_large(source: Source, limit: int) -> Diagnostic:
    return Diagnostic(
        "file-too-large",
        f"`{source.name}` is larger than {limit:,} bytes",
        notes=("a rule file is a page or two of text",),
        help="split the definitions over several files",
    )


def too_many_lines(source: Source, limit: int) -> Diagnostic:
    return Diagnostic(
        "file-too-large",
        f"`{source.name}` has more than {limit:,} lines",
        notes=("a rule file is a page or two of text",),
        help="split the definitions over several files",
    )


def undecodable(name: str, offset: int, byte: int) -> Diagnostic:
    return Diagnostic(
        "not-text",
        f"`{name}` is not UTF-8 text",
        notes=(f"byte {offset:,} of the file is 0x{byte:02x}, which is not UTF-8 there",),
        help="save the file as UTF-8, or give a `.rule` file",
    )


def nul(span: Span) -> Diagnostic:
    return Diagnostic(
        "not-text",
        f"`{span.source.name}` is not text",
        span,
        "a NUL byte",
        help="save the file as UTF-8, or give a `.rule` file",
    )


def empty_file(source: Source) -> Diagnostic:
    return Diagnostic(
        "empty-file",
        f"`{source.name}` defines nothing",
        notes=("a file holds at least one `rule`, `outer`, `net` or genome",),
        help='begin with a header: `rule NAME "one line that says what it is"`',
    )


def byte_order_mark(span: Span) -> Diagnostic:
    return Diagnostic(
        "byte-order-mark",
        "the file begins with a byte-order mark",
        span,
        "an invisible character",
        help=f"`rulec fmt {span.source.name}` removes it",
        severity="warning",
    )


def carriage_return(span: Span, lines: int) -> Diagnostic:
    ends = "1 line ends" if lines == 1 else f"{lines:,} lines end"
    return Diagnostic(
        "carriage-return",
        "the file has Windows line ends",
        span,
        "a carriage return",
        notes=(f"{ends} with a carriage return and a line feed",),
        help=f"`rulec fmt {span.source.name}` rewrites them",
        severity="warning",
    )


def lone_carriage_return(span: Span) -> Diagnostic:
    return Diagnostic(
        "carriage-return",
        "a carriage return stands without a line feed",
        span,
        "does not end a line",
        help="save the file with line feeds as its line ends",
    )


def too_many_errors(span: Span | None, limit: int) -> Diagnostic:
    return Diagnostic(
        "too-many-errors",
        f"stopped after {limit} errors",
        span,
        "and more from here on",
        help="mend the errors above and run the command again",
    )


# --- Characters ------------------------------------------------------------------------------


def tab(span: Span, lines: int) -> Diagnostic:
    count = "1 line has a tab" if lines == 1 else f"{lines:,} lines have tabs"
    return Diagnostic(
        "tab",
        "a tab stands where only spaces may",
        span,
        "a tab",
        notes=(f"{count}; how wide a tab is differs between editors",),
        help="replace each tab by two spaces",
    )


def control_character(span: Span) -> Diagnostic:
    return Diagnostic(
        "control-character",
        f"an invisible control character (code {ord(span.text[0])}) stands in the text",
        span,
        "here",
        help="delete it",
    )


def non_ascii(span: Span) -> Diagnostic:
    first = span.text[0]
    shown = f"`{first}` (U+{ord(first):04X})" if first.isprintable() else f"U+{ord(first):04X}"
    spelling = "".join(ASCII.get(character, "?") for character in span.text)
    known = all(character in ASCII for character in span.text)
    if known and set(span.text) <= BLANK:
        help = "write an ordinary space"
    elif known:
        help = f"write `{spelling}`"
    else:
        help = "use ASCII letters; any character may stand in a comment or in the text after a name"
    return Diagnostic("non-ascii", f"{shown} cannot stand here", span, "not an ASCII character", help=help)


def line_too_long(span: Span, limit: int) -> Diagnostic:
    return Diagnostic(
        "line-too-long",
        f"a line of {span.end - span.start:,} characters",
        span.source.span(span.start, span.start + 1),
        f"a line holds at most {limit:,}",
        help="break the line inside a bracket or before an operator",
    )


def logical_line_too_long(span: Span, limit: int) -> Diagnostic:
    return Diagnostic(
        "line-too-long",
        f"a line that runs on for more than {limit:,} characters",
        span,
        "begins here",
        help="give parts of it names of their own",
    )


# --- Strings ---------------------------------------------------------------------------------


def unterminated_string(span: Span) -> Diagnostic:
    return Diagnostic(
        "unterminated-string",
        "a text in quotes does not end on its line",
        span,
        "begins here",
        help='close it with `"`',
    )


def unknown_escape(span: Span) -> Diagnostic:
    return Diagnostic(
        "unknown-escape",
        f"`{span.text}` means nothing in a text",
        span,
        "unknown escape",
        notes=('`\\"` and `\\\\` are the only escapes',),
        help="write `\\\\` for a backslash",
    )


def single_quotes(span: Span) -> Diagnostic:
    return Diagnostic(
        "single-quotes",
        "a text stands in double quotes",
        span,
        "a single quote marks a derivative, `act'(z)`",
        help='write `"..."`',
    )


# --- Brackets and depth ----------------------------------------------------------------------


def unclosed_bracket(span: Span) -> Diagnostic:
    closing = {"(": ")", "[": "]"}[span.text]
    return Diagnostic(
        "unclosed-bracket", f"`{span.text}` is never closed", span, "opens here", help=f"close it with `{closing}`"
    )


def late_bracket(span: Span, line: int) -> Diagnostic:
    closing = {"(": ")", "[": "]"}[span.text]
    return Diagnostic(
        "unclosed-bracket",
        f"`{span.text}` is still open where a new line seems to begin",
        span,
        "opens here",
        notes=(f"line {line} does not go on with what stands in the bracket",),
        help=f"close it with `{closing}` before line {line}",
    )


def unmatched_bracket(span: Span) -> Diagnostic:
    return Diagnostic(
        "unmatched-bracket",
        f"`{span.text}` closes nothing",
        span,
        "no bracket of this kind is open",
        help="remove it, or open the bracket it should close",
    )


def brackets_too_deep(span: Span, limit: int) -> Diagnostic:
    return Diagnostic(
        "too-deep",
        f"brackets are nested more than {limit} deep",
        span,
        "one too many",
        help="close the brackets that are left open, or give parts of the expression names of their own",
    )


def lines_too_deep(span: Span, limit: int) -> Diagnostic:
    return Diagnostic(
        "too-deep",
        f"lines are nested more than {limit} deep",
        span,
        "one level too many",
        help="flatten the conditions above",
    )


def too_many_branches(span: Span, limit: int) -> Diagnostic:
    return Diagnostic(
        "too-deep",
        f"an `if` has {limit} or more `elif` branches",
        span,
        "one branch too many",
        help="split the choice in two",
    )


def expression_too_deep(span: Span, limit: int) -> Diagnostic:
    return Diagnostic(
        "too-deep",
        f"an expression is nested more than {limit} deep",
        span.source.span(span.start, span.start + 1),
        "the innermost part",
        notes=("a long sum counts one level for each term",),
        help="give parts of it names of their own",
    )


# --- Indentation and sections ----------------------------------------------------------------


def indented_file(span: Span) -> Diagnostic:
    return Diagnostic(
        "unexpected-indent",
        "the file begins with an indented line",
        span,
        "nothing stands above it",
        help="begin at the left margin",
    )


def unexpected_indent(span: Span, above: Span) -> Diagnostic:
    return Diagnostic(
        "unexpected-indent",
        "a line is indented under one that takes nothing beneath it",
        span,
        f"deeper than line {above.line}",
        notes=(f"line {above.line}, `{_short(above.text)}`, is complete",),
        help=f"indent it like line {above.line}",
    )


def indented_section(span: Span, rule: str) -> Diagnostic:
    return Diagnostic(
        "unexpected-indent",
        f"the sections of rule `{rule}` are indented",
        span,
        "stands under the `rule` line",
        notes=("a section belongs to the `rule` above it without being indented",),
        help="move the sections to the left margin",
    )


def inconsistent_indentation(span: Span, width: int, level: int, parent: int) -> Diagnostic:
    return Diagnostic(
        "inconsistent-indentation",
        "this indentation matches no line above",
        span,
        f"{width} spaces",
        notes=(f"the lines of this section have {level}, its header has {parent}",),
        help=f"indent it by {level} spaces",
    )


def empty_section(span: Span, what: str, example: str) -> Diagnostic:
    return Diagnostic(
        "empty-section",
        f"{what} has nothing beneath it",
        span,
        "expected an indented line below",
        help=f"indent its lines, as in `{example}`, or remove it",
    )


def empty_rule(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "empty-rule",
        f"rule `{name}` has no sections",
        span,
        "nothing follows this line",
        help="say what happens at the synapses: `update i -> j` and its statements",
    )


def outside_rule(span: Span, ended_by: str) -> Diagnostic:
    notes = (f"{ended_by} ended the rule before",) if ended_by else ()
    return Diagnostic(
        "outside-rule",
        f"`{span.text}` belongs to no rule",
        span,
        "no `rule` line stands above it",
        notes=notes,
        help='write `rule NAME "one line that says what it is"` above it',
    )


def outside_block(span: Span, text: str) -> Diagnostic:
    return Diagnostic(
        "outside-block",
        "a line stands outside any section or block",
        span,
        "expected a header at the left margin",
        help=f"indent `{_short(text)}` under the section or block it belongs to",
    )


def misplaced_header(span: Span, header: str) -> Diagnostic:
    return Diagnostic(
        "misplaced-header",
        f"`{span.text}` cannot begin here",
        span,
        "a header inside another section",
        help=f"move `{_short(header)}` to the left margin",
    )


def misplaced_clause(span: Span) -> Diagnostic:
    return Diagnostic(
        "misplaced-clause",
        f"`{span.text}` is a clause of an `outer`",
        span,
        "not indented under an `outer` line",
        help="indent it under `outer NAME`",
    )


def orphan_else(span: Span) -> Diagnostic:
    return Diagnostic(
        "orphan-else",
        f"`{span.text}` without an `if` before it",
        span,
        "no `if` or `elif` at this indentation",
        help="put it after the lines of an `if`, at the same indentation",
    )


def else_if(span: Span) -> Diagnostic:
    return Diagnostic("else-if", "`else if` is spelled `elif`", span, "two words", help="write `elif`")


# --- Words -----------------------------------------------------------------------------------


def unknown_keyword(span: Span, near: str | None, choices: str) -> Diagnostic:
    return Diagnostic(
        "unknown-keyword",
        f"`{_short(span.text)}` begins nothing that may stand here",
        span,
        "unknown word",
        notes=() if near else (f"here may stand: {choices}",),
        help=f"did you mean `{near}`?" if near else "begin the line with one of these words",
    )


def reserved_word(span: Span) -> Diagnostic:
    return Diagnostic(
        "reserved-word",
        f"`{span.text}` cannot be a name",
        span,
        "a reserved word",
        notes=("reserved are `if`, `elif`, `else`, `and`, `or`, `not`",),
        help="choose another name",
    )


def bad_number(span: Span) -> Diagnostic:
    return Diagnostic(
        "bad-number",
        f"`{_short(span.text)}` is neither a number nor a name",
        span,
        "reads like a number, then goes on",
        notes=("numbers look like `1`, `0.5`, `.5`, `1e-8`; names begin with a letter",),
        help="for a product write `*` between its factors",
    )


def number_too_large(span: Span) -> Diagnostic:
    return Diagnostic(
        "bad-number",
        f"`{_short(span.text)}` is too large a number",
        span,
        "no double-precision number is this large",
        help="write a number below 1e308",
    )


# --- Signs -----------------------------------------------------------------------------------


def power_operator(span: Span) -> Diagnostic:
    return Diagnostic(
        "power-operator", "powers are written with `^`", span, "not an operator here", help="write `^` in place of `**`"
    )


def unknown_character(span: Span, help: str) -> Diagnostic:
    return Diagnostic(
        "unknown-character", f"`{span.text}` has no meaning in a rule file", span, "unknown sign", help=help
    )


def comparison_for_assignment(span: Span) -> Diagnostic:
    return Diagnostic(
        "comparison-for-assignment",
        "`==` compares; an assignment has one `=`",
        span,
        "a comparison",
        help="write `=`; equations that must hold go under `laws`",
    )


def assignment_for_comparison(span: Span) -> Diagnostic:
    return Diagnostic(
        "assignment-for-comparison",
        "a comparison has two signs, `==`",
        span,
        "assigns, and nothing is assigned here",
        help="write `==`",
    )


def round_indices(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "round-indices",
        f"the indices of `{name}` stand in square brackets",
        span,
        "parentheses call a function",
        help=f"write `{name}[...]`",
    )


def foreign_assignment(span: Span) -> Diagnostic:
    return Diagnostic(
        "foreign-assignment",
        f"`{span.text}` does not assign",
        span,
        "not an assignment",
        notes=("assignments are `=`, `+=`, `-=`, `*=`, `/=`",),
        help="write `=`",
    )


def missing_equals(span: Span, example: str) -> Diagnostic:
    return Diagnostic(
        "missing-equals", "`=` is missing", span, "expected `=` before this", help=f"write it as in `{example}`"
    )


def missing_colon(span: Span, message: str, example: str) -> Diagnostic:
    return Diagnostic("missing-colon", message, span, "expected `:` before this", help=f"write it as in `{example}`")


def header_colon(span: Span, header: str) -> Diagnostic:
    return Diagnostic(
        "header-colon",
        f"`{header}` takes no colon",
        span,
        "remove this",
        notes=("what belongs to a section is indented beneath it; only `repeat` takes a colon",),
        help=f"write `{header}`",
    )


def missing_operator(span: Span) -> Diagnostic:
    return Diagnostic(
        "missing-operator",
        "two values stand side by side",
        span,
        "expected an operator before this",
        help="for a product write `*` between its factors",
    )


def chained_comparison(span: Span) -> Diagnostic:
    return Diagnostic(
        "chained-comparison",
        "comparisons cannot be chained",
        span,
        "a second comparison",
        help="write `a < b and b < c`",
    )


def unfinished_line(span: Span, expected: str, example: str) -> Diagnostic:
    return Diagnostic(
        "unfinished-line",
        f"the line ends too early: expected {expected}",
        span,
        "the line ends here",
        notes=("a line goes on inside brackets, or where the next one begins with an operator",),
        help=f"finish it, as in `{example}`" if example else "finish the line",
    )


# --- Lines of one kind -----------------------------------------------------------------------


def block_indices(span: Span, kind: str, expected: str, example: str) -> Diagnostic:
    return Diagnostic(
        "block-indices",
        f"the indices of `{kind}` are not right: expected {expected}",
        span,
        "here",
        help=f"write it as in `{example}`",
    )


def law_without_relation(span: Span) -> Diagnostic:
    return Diagnostic(
        "law-without-relation",
        "a law is one relation between two sides",
        span,
        "not a relation",
        notes=("relations are `==`, `<=`, `>=`, `<`, `>`",),
        help="write it as in `gradient : update(w) == -lr * grad(mean[n](loss), w)`",
    )


def positional_after_keyword(span: Span, before: Span) -> Diagnostic:
    return Diagnostic(
        "positional-after-keyword",
        "a value without a name follows one with a name",
        span,
        "has no name",
        notes=(f"`{_short(before.text)}` stands before it",),
        help="put it first, or give it a name",
    )


def unexpected(span: Span, expected: str, found: str, example: str) -> Diagnostic:
    return Diagnostic(
        "unexpected-token",
        f"expected {expected}, found {found}",
        span,
        "not expected here",
        help=f"write it as in `{example}`" if example else "remove it",
    )


def _short(text: str, width: int = 40) -> str:
    line = text.split("\n", 1)[0]
    return line if len(line) <= width else line[: width - 3] + "..."
