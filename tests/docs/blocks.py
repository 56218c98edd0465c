"""The blocks of code in the documentation, and how parts of rules become whole ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_STATES = {
    "genome": {"lr": "lr : positive = 0.1"},
    "neuron": {"x": "x", "z": "z", "d": "d"},
    "synapse": {"w": "w[i,j] = normal(0, 1 / sqrt(fan_in))", "b": "b[j] = 0"},
}
_BLOCKS = {
    "input i": ("x[i] = input[i]",),
    "forward i -> j": ("z[j] = sum[i](w[i,j] * x[i]) + b[j]", "x[j] = act(z[j])"),
    "output j": ("prediction[j] = x[j]", "d[j] = diff(loss, z[j])"),
    "backward i <- j": ("d[i] = act'(z[i]) * sum[j](w[i,j] * d[j])",),
    "update i -> j": ("w[i,j] -= lr * mean[n](x[i] * d[j])", "b[j] -= lr * mean[n](d[j])"),
}


@dataclass(frozen=True)
class Block:
    """`kind` is what stands behind the opening fence: rule, rule-part, rule-error, diagnostic, python, ..."""

    kind: str
    text: str
    file: str
    line: int

    @property
    def id(self) -> str:
        return f"{self.file}:{self.line}"


def documents() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(*kinds: str) -> list[Block]:
    """Return the blocks of these kinds in all documents."""
    return [block for path in documents() for block in blocks_of(path) if block.kind in kinds]


def blocks_of(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    fenced = re.finditer(r"^```(\S*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(m[1], m[2], path.name, text.count("\n", 0, m.start()) + 1) for m in fenced]


def whole(text: str) -> str:
    """Return a text that defines something as it is; make a rule of a part, with what it leaves out as in backpropagation."""
    if re.search(r"^(rule|outer|net|genome \w+ for) ", text, re.MULTILINE):
        return text
    sections = re.findall(r"(?:^#.*\n)*^(?!el)\S.*\n(?:  .*\n|el.*\n|\n)*", text, re.MULTILINE)
    ranks = [[k for k, head in enumerate(_BLOCKS) if re.search(rf"^ *{re.escape(head)}$", s, re.M)] for s in sections]
    waiting = [k for k in range(len(_BLOCKS)) if not any(k in own for own in ranks)]
    lines = ["rule part", *_missing_states(text)]
    for section, own in zip(sections, ranks, strict=True):
        lines += [_block(k) for k in waiting if own and k < own[0]]
        waiting = [k for k in waiting if not own or k > own[0]]
        lines.append(section.rstrip("\n"))
    return "\n".join([*lines, *(_block(k) for k in waiting)]) + "\n"


def _block(number: int) -> str:
    head, statements = list(_BLOCKS.items())[number]
    return "\n  ".join([head, *statements])


def _missing_states(text: str) -> list[str]:
    """Return the usual declarations of the names that a part does not declare itself."""
    sections: dict[str, str] = {}
    for match in re.finditer(r"^(genome|neuron|synapse|broadcast)\b.*\n((?:  .*\n)+)", text, re.MULTILINE):
        sections[match[1]] = match[2]
    added = []
    for section, entries in _STATES.items():
        own = re.findall(r"^  (?:keep )?(\w+)", sections.get(section, ""), re.MULTILINE)
        missing = [line for name, line in entries.items() if name not in own]
        added += ["\n  ".join([section, *missing])] if missing else []
    return added
