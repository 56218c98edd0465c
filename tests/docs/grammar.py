"""The grammar of rules as people read it: the rules of `rule.lark` with its words and signs put in, its notes to lark left out."""

from __future__ import annotations

import re

# Terminals that are a pattern: kept as names in capitals, and explained below the grammar.
PATTERNS = ("NAME", "NUMBER", "INTEGER", "STRING", "PATH", "PRIMES")
_SIGNS = {
    "_EQUALS": '"="',
    "AUGMENTED": '( "+=" | "-=" | "*=" | "/=" )',
    "RELATION": '( "==" | "!=" | "<" | "<=" | ">" | ">=" )',
    "TIMES": '( "*" | "/" )',
    "OBJECTIVE": '( "minimize" | "maximize" )',
    "_STEPS": '( "steps" | "step" )',
    "_LAYERS": '( "layers" | "layer" )',
}


def readable(lark: str) -> str:
    """Return the productions of a lark grammar as EBNF, in order and with the blank lines of its sections."""
    lines = lark.splitlines()
    words = dict(_SIGNS)
    for line in lines:
        literal = re.match(r'(_?[A-Z_]+)(?:\.\d+)?: (?:/(\w+)(?:\\b|\(\?=).*/|"(.+)")$', line)
        if literal and literal[1] not in words:
            words[literal[1]] = f'"{literal[2] or literal[3]}"'
    productions: list[str] = []
    for line in lines:
        heading = re.match(r"// --- (.*?) -+$", line)
        if heading and heading[1] != "Words and signs":
            productions += ["", f"; {heading[1]}"] if productions else [f"; {heading[1]}"]
        elif re.match(r"\??_?[a-z_]+: ", line) or (productions and re.match(r"\s+\| ", line)):
            productions += _production(line, words)
    return "\n".join(productions)


def _production(line: str, words: dict[str, str]) -> list[str]:
    """Return one line of a production; alternatives that differ only in what lark calls them stand apart in lark as well."""
    line = re.sub(r" -> [a-z_]+", "", line)
    name, _, body = line.partition(":") if not line.startswith(" ") else ("", "", line)
    tokens = re.findall(r'"[^"]*"|[A-Za-z_]+|\S|\s+', body)
    spelled = "".join(_token(token, words) for token in tokens)
    if not name:
        return [" " * 15 + spelled.strip()]
    return [f"{name.strip('?_'):14} = {spelled.strip()}"]


def _token(token: str, words: dict[str, str]) -> str:
    if token in PATTERNS or token.isspace() or token.startswith('"'):
        return token
    if token.isupper() or (token.startswith("_") and token[1:].isupper()):
        return words[token]
    return token.strip("_") if re.fullmatch(r"[a-z_]+", token) else token
