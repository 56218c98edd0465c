"""Options that every test may use."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long one example takes says more about the machine; on a build server the same examples come every time.
settings.register_profile("rulec", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("rulec")


# Graphs are kept for tests that share them: Python would walk through all of them again and again, looking for garbage.
gc.set_threshold(50_000, 20, 20)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected texts instead of comparing")


def pytest_configure(config: pytest.Config) -> None:
    """Let Triton, which reads this when it is imported, run its kernels in Python, unless the tests are those for a GPU."""
    if config.getoption("markexpr") != "gpu":
        os.environ["TRITON_INTERPRET"] = "1"


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later search for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    if "torch" in sys.modules:  # the front end is tested without it
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _without_waiting_for_a_compiler(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let `auto` do without generated kernels, which have tests of their own: compiling one takes seconds. Experiments take minutes."""
    with pytest.MonkeyPatch.context() as patch:
        if request.config.getoption("markexpr") != "experiment":
            patch.setenv("RULEC_CXX", "none")
        yield


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether expected texts are to be rewritten."""
    return bool(request.config.getoption("--update-golden"))
