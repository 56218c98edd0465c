"""The syntax of `.rule` files: from text to the tree, and from the tree to canonical text.

What writes text is loaded when it is first used: most commands only read.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from rulec.syntax import ast
from rulec.syntax.parser import parse_source
from rulec.syntax.reading import read_source

if TYPE_CHECKING:
    from rulec.syntax.formatter import format_source
    from rulec.syntax.printer import render_expression, render_module

_HOMES = {
    "format_source": "rulec.syntax.formatter",
    "render_expression": "rulec.syntax.printer",
    "render_module": "rulec.syntax.printer",
}

__all__ = ["ast", "format_source", "parse_source", "read_source", "render_expression", "render_module"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
