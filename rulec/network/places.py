"""Words for the places of a traced module: which call, on which line of whose `forward`."""

from __future__ import annotations

import linecache
import re
import traceback
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import fx, nn

_NOT_THE_USERS = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in ')


def name_call(node: fx.Node, modules: Mapping[str, nn.Module]) -> str:
    """Name a call: `block2.attention` (MultiheadAttention), the function `mul`, the method `transpose`."""
    target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    if node.op == "call_module":
        return f"`{target}` ({type(modules[target]).__name__})"
    words = {"call_function": "the function", "call_method": "the method", "get_attr": "the tensor"}
    return f"{words[node.op]} `{target}`" if node.op in words else "the result"


def describe_call(node: fx.Node) -> tuple[str, ...]:
    """Return the evidence for a call: its line in the trace, and in the source if that is known."""
    target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    arguments = ", ".join([*map(str, node.args), *(f"{key}={value}" for key, value in node.kwargs.items())])
    line = f"in the trace: {node.name} = {node.op}[{target}]({arguments})"
    place = _place([(one["file"], int(one["line"])) for one in _FRAME.finditer(node.stack_trace or "")])
    return (line, place) if place else (line,)


def place_error(error: Exception) -> str:
    """Return the innermost line outside torch that led to an error; empty if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    return _place([(frame.filename, frame.lineno or 0) for frame in frames])


def _place(frames: list[tuple[str, int]]) -> str:
    own = [(file, line) for file, line in frames if not file.startswith(_NOT_THE_USERS) and Path(file).is_file()]
    if not own:
        return ""
    file, line = own[-1]
    return f"at {Path(file).name}:{line}: {linecache.getline(file, line).strip()}"
