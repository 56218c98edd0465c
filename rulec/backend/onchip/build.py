"""From the text of a Triton kernel to something that can be launched. Triton compiles it for the GPU at the first launch, and keeps what it made."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from rulec.backend import messages
from rulec.source import RuleError
from rulec.source.cache import cache_folder, keep

INTERPRET = "TRITON_INTERPRET"  # Triton's own variable: kernels run in Python, on any machine

Launch = Callable[..., Any]


def interpreted() -> bool:
    """Whether Triton was told to run kernels in Python, which needs no GPU."""
    return os.environ.get(INTERPRET) == "1"


@cache
def has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def load_launcher(text: str) -> Launch:
    """Return a function of (number of programs, warps for each, arguments). Raises `RuleError` where there is no Triton; it, where Triton cannot compile the kernel."""
    if not has_triton():
        raise RuleError([messages.no_triton()])
    name = f"rulec_onchip_{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    module = sys.modules.get(name) or imported(name, _file(f"{name}.py", text))
    kernel: Any = module.unroll  # type: ignore[attr-defined]

    from triton.runtime.errors import TritonError

    def launch(programs: int, warps: int, *arguments: object) -> None:
        try:
            kernel[(programs,)](*arguments, num_warps=warps)
        except TritonError as problem:
            raise RuleError([messages.triton_failed(str(problem).strip().split("\n")[0])]) from None

    return launch


def _file(name: str, text: str) -> Path:
    """Return a file with the text: in the cache, or beside other passing things where that cannot be written."""
    path = cache_folder("kernels") / name
    if not path.exists():
        keep(path, text.encode())
    if not path.exists():
        path = Path(tempfile.mkdtemp()) / name
        path.write_text(text)
    return path


def imported(name: str, path: str | Path) -> object:
    """Import a file: Triton reads a kernel's source from where Python found it."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = module
    return module
