"""Compile biology-style learning rules, apply them to networks, and meta-learn them.

Names are loaded when they are first used, so that `import rulec` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"  # the one place; pyproject.toml reads it from here

if TYPE_CHECKING:
    from rulec.meta.train import meta_train
    from rulec.runtime.rule import Rule, load, parse
    from rulec.source import RuleError

_HOMES = {
    "Rule": "rulec.runtime.rule",
    "load": "rulec.runtime.rule",
    "parse": "rulec.runtime.rule",
    "meta_train": "rulec.meta.train",
    "RuleError": "rulec.source",
}

__all__ = ["Rule", "RuleError", "__version__", "load", "meta_train", "parse"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
