"""Whatever becomes of a rule, it is checked in bounded time and the findings are told: never a traceback."""

from __future__ import annotations

import re
import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rulec.ir.check import check_source
from rulec.semantics.check import shipped_rules
from rulec.source import Source, render_json, render_text

SHIPPED = [path.read_text(encoding="utf-8") for path in sorted(shipped_rules().glob("*.rule"))]
TOKEN = re.compile(r"\w+|[^\w\s]|\n *| +")
MOST_SECONDS = 5.0


def pieces(text: str) -> list[str]:
    return TOKEN.findall(text)


VOCABULARY = sorted(
    {piece for text in SHIPPED for piece in pieces(text)} | {"''", "solve", "concat", "stop", "eye", "9"}
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Delete, double, swap or replace a few tokens or lines of a shipped rule."""
    text = draw(st.sampled_from(SHIPPED))
    for _ in range(draw(st.integers(1, 3))):
        whole_lines = draw(st.booleans())
        parts = text.splitlines(keepends=True) if whole_lines else pieces(text)
        at = draw(st.integers(0, len(parts) - 1))
        match draw(st.sampled_from(("delete", "double", "swap", "replace"))):
            case "delete":
                del parts[at]
            case "double":
                parts.insert(at, parts[at])
            case "swap":
                other = draw(st.integers(0, len(parts) - 1))
                parts[at], parts[other] = parts[other], parts[at]
            case "replace":
                parts[at] = draw(st.sampled_from(parts if whole_lines else VOCABULARY))
        text = "".join(parts)
        if not text:
            break
    return text


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_every_mutation_of_a_shipped_rule_is_told_or_fine(text: str):
    began = time.process_time()
    found = check_source(Source("mutated.rule", text), shipped_rules())
    assert time.process_time() - began < MOST_SECONDS
    for diagnostic in found.sorted():
        assert diagnostic.message
        assert diagnostic.help
    assert render_text(found.sorted()) or not len(found)
    assert render_json(found.sorted())
