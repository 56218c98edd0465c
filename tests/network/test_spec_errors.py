"""Mistakes in specs, each with the whole text a user sees (`spec_errors.txt`)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from rulec.network import network_from, parse_spec
from rulec.network.graph import Shape
from rulec.source import RuleError

TEXT = Path(__file__).with_name("spec_errors.txt").read_text(encoding="utf-8")
CASES = [block.split("\n", 1) for block in TEXT.removeprefix(">>> ").split("\n>>> ")]


@pytest.mark.parametrize(("case", "expected"), CASES, ids=[case for case, _ in CASES])
def test_mistake_is_told(case: str, expected: str) -> None:
    spec, task = ast.literal_eval(case)
    with pytest.raises(RuleError) as error:
        parse_spec(spec, **task)
    assert str(error.value).strip() == expected.strip()


@pytest.mark.parametrize(
    ("given", "shape", "expected"),
    [
        (
            7,
            None,
            "error[not-a-network]: a network cannot be made of a value of type `int`\n"
            "   = help: give a spec such as `784-128-10`, or a `torch.nn.Module`",
        ),
    ],
)
def test_other_values_are_no_networks(given: object, shape: Shape | None, expected: str) -> None:
    with pytest.raises(RuleError) as error:
        network_from(given, shape)  # type: ignore[arg-type]
    assert str(error.value) == expected
