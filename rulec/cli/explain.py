"""`rulec explain`: what a finding means. Lints have explanations; of other diagnostics it shows what they say, from the code.

There is no second list of the words: the calls that make a diagnostic are read from the package's own files, so what is shown
is what is said.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rulec.cli.console import bold, say, show_diagnostics
from rulec.lints.lint import nothing
from rulec.lints.registry import LINTS
from rulec.semantics.messages import nearest
from rulec.source import Diagnostic

_WIDTH = 100
_PACKAGE = Path(__file__).resolve().parents[1]
_MAKERS = ("Diagnostic", "fail")
_MADE = re.compile(rf"\b(?:{'|'.join(_MAKERS)})\(\s*\"([a-z][a-z-]+)\"")
_ABOUT = {
    "syntax": "how the text of a file is written",
    "semantics": "what a rule or an outer step means",
    "symbolic": "what is to be proved",
    "network": "the network",
    "backend": "putting a rule on a network",
    "runtime": "compiling a rule and calling it",
    "tasks": "the task and its data",
    "meta": "meta-learning",
    "report": "what is written down",
    "cli": "the machine, or files",
    "lints": "what is probably not meant",
}


@dataclass(frozen=True)
class Said:
    """What a diagnostic says somewhere in the package; `...` stands for what depends on the case."""

    layer: str
    severity: str
    messages: tuple[str, ...]
    help: str


def explain(what: str | None) -> int:
    """Explain an id, or list the ids that have an explanation; return the exit code."""
    if what is None:
        return _list()
    lint = next((one for one in LINTS if one.id == what), None)
    if lint is not None:
        say(f"{bold(lint.id)}\n\n{filled(lint.explanation)}")
        if lint.find is not nothing:  # else it is an error of an outer step, which nothing allows
            say(f"\nWhere it is meant, a comment on the line or on the one above says so: `# allow: {lint.id}`")
        return 0
    said = list(sayings(what))
    if not said:
        show_diagnostics([_unknown(what)])
        return 1
    say(bold(what))
    for one in said:
        say("\n" + "\n".join(_lines(one)))
    return 0


def _list() -> int:
    width = max(len(one.id) for one in LINTS)
    for one in sorted(LINTS, key=lambda one: one.id):
        say(f"{one.id:{width}}  {headline(one.explanation)}")
    say("\n`rulec explain ID` says more of each; of every other id in brackets it shows what is said under it.")
    return 0


def headline(explanation: str) -> str:
    """Return the first sentence of an explanation, which may go on for several lines."""
    paragraph = " ".join(explanation.strip().split("\n\n", 1)[0].split())
    return re.split(r"(?<=[.:;]) ", paragraph, maxsplit=1)[0].rstrip(".:;")


def filled(explanation: str) -> str:
    """Return an explanation in lines of one length; examples, which are indented, stay as they are."""
    paragraphs = explanation.strip("\n").split("\n\n")
    return "\n\n".join(p if p.startswith(" ") else _filled(p) for p in paragraphs)


def _filled(paragraph: str) -> str:
    """Break lines at blanks, but not inside of what stands in backquotes."""
    text = re.sub(r"`[^`]*`", lambda quoted: quoted[0].replace(" ", "\0"), " ".join(paragraph.split()))
    return textwrap.fill(text, _WIDTH, break_on_hyphens=False).replace("\0", " ")


def _lines(said: Said) -> Iterator[str]:
    article = "An" if said.severity == "error" else "A"
    yield f"{article} {said.severity} about {_ABOUT.get(said.layer, said.layer)}:"
    yield from (f"  {message}" for message in said.messages)
    if said.help:
        yield f"  help: {said.help}"


def _unknown(what: str) -> Diagnostic:
    close = nearest(what, known_ids())
    return Diagnostic(
        "unknown-diagnostic",
        f"no finding has the id `{what}`",
        notes=(
            "the id of a finding stands in brackets: error[ID] or warning[ID]",
            *((f"and there is no genome or folder of a run at `{what}`",) if "/" in what or "." in what else ()),
        ),
        help=f"did you mean `{close}`?" if close else "`rulec explain` lists the findings that have an explanation",
    )


# --- What diagnostics say --------------------------------------------------------------------


def known_ids() -> list[str]:
    """Return every id that the package can give to a finding."""
    found = {match for path in _files() for match in _MADE.findall(path.read_text(encoding="utf-8"))}
    return sorted(found | {one.id for one in LINTS})


def sayings(id: str) -> Iterator[Said]:
    """Yield what the package says under an id, each wording once."""
    seen: set[Said] = set()
    for path in _files():
        text = path.read_text(encoding="utf-8")
        if f'"{id}"' not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and _makes(node, id):
                said = _said(node, path.parent.relative_to(_PACKAGE).parts[0])
                if said not in seen:
                    seen.add(said)
                    yield said


def _files() -> list[Path]:
    return sorted(path for path in _PACKAGE.rglob("*.py") if path.parent != _PACKAGE)


def _makes(call: ast.Call, id: str) -> bool:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    return name in _MAKERS and bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value == id


def _said(call: ast.Call, layer: str) -> Said:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    message = call.args[1] if len(call.args) > 1 else given.get("message")
    severity = given.get("severity")
    helps = _templates(given.get("help"))
    kind = str(severity.value) if isinstance(severity, ast.Constant) else "error"
    return Said(
        layer, kind, _templates(message) or ("(the words depend on the case)",), helps[0] if len(helps) == 1 else ""
    )


def _templates(node: ast.expr | None) -> tuple[str, ...]:
    """Return the wordings of an expression; the empty tuple where only running it would tell."""
    match node:
        case ast.Constant(value=str(text)):
            return (text,) if text else ()
        case ast.JoinedStr(values=values):
            return ("".join(v.value if isinstance(v, ast.Constant) else "..." for v in values),)  # type: ignore[misc]
        case ast.IfExp(body=body, orelse=orelse):
            return (*_templates(body), *_templates(orelse))
    return ()
