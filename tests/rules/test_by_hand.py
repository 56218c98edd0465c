"""Every rule that names its own synapses, against the same rule written by hand from its paper's equations."""

from __future__ import annotations

import pytest

from tests.rules.by_hand.step import difference
from tests.rules.by_hand.table import CASES, CHAINS, Case
from tests.shipped import load

PAIRS = [pytest.param(case, chain, id=f"{case.id}-{chain}") for case in CASES for chain in case.chains]


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize(("case", "chain"), PAIRS)
def test_rule_is_its_equations(case: Case, chain: str, loss: str) -> None:
    assert difference(load(case.rule), case.step, CHAINS[chain], loss, options=case.options) < 1e-12
