"""Whatever can be built is looked through without a traceback, and soon."""

from __future__ import annotations

import time

from hypothesis import HealthCheck, given, settings

from rulec.lints.library import build_variants, lint_library
from rulec.semantics.check import check_library, load_library, shipped_rules
from rulec.source import Diagnostics, Source, render_text
from tests.semantics.test_robustness import mutated

MOST_SECONDS = 5.0


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_every_mutation_that_can_be_built_is_told_of_or_fine(text: str):
    problems = Diagnostics()
    library = load_library(Source("mutated.rule", text), problems, shipped_rules())
    check_library(library, problems)
    if problems.errors:
        return
    variants = build_variants(library, problems)
    began = time.process_time()
    found = list(lint_library(library, variants))
    assert time.process_time() - began < MOST_SECONDS
    assert all(finding.message and finding.help for finding in found)
    assert render_text(found) or not found
