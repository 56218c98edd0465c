"""The blocks of code in the documentation, and how parts of rules become whole ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_USUAL_STATES = {
    "genome": {"lr": "lr : positive = 0.1"},
    "neuron": {"x": "x", "z": "z", "d": "d"},
    "synapse": {"w": "w[i,j] = normal(0, 1 / sqrt(fan_in))", "b": "b[j] = 0"},
}
_USUAL_BLOCKS = {
    "input i": "x[i] = input[i]",
    "forward i -> j": "z[j] = sum[i](w[i,j] * x[i]) + b[j]\n  x[j] = act(z[j])",
    "output j": "prediction[j] = x[j]\n  d[j] = diff(loss, z[j])",
    "backward i <- j": "d[i] = act'(z[i]) * sum[j](w[i,j] * d[j])",
    "update i -> j": "w[i,j] -= lr * mean[n](x[i] * d[j])\n  b[j] -= lr * mean[n](d[j])",
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


def completed(part: str) -> str:
    """Return a whole rule: what a part leaves out is as in backpropagation."""
    declared = _declared(part)
    lines = ["rule part"]
    for section, entries in _USUAL_STATES.items():
        missing = [text for name, text in entries.items() if name not in declared]
        lines += ["", section, *(f"  {text}" for text in missing)] if missing else []
    own = [head for head in _USUAL_BLOCKS if re.search(rf"^ *{re.escape(head)}", part, re.MULTILINE)]
    order = list(_USUAL_BLOCKS)
    last = order.index(own[-1]) if own else -1
    before, after = [], []
    for place, (head, body) in enumerate(_USUAL_BLOCKS.items()):
        if head not in own:
            (before if place < last else after).append(f"\n{head}\n  {body}")
    if "laws" in part:  # laws stand at the end
        before, after = [*before, *after], []
    return "\n".join([*_options(part), *before, "", _rest(part), *after]).replace("rule part", "", 1) if False else (
        "\n".join([*lines[:1], "", *lines[1:], *before, "", part, *after]) + "\n"
    )
