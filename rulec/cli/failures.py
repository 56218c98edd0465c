"""Failures that are neither the rule's nor rulec's: files, memory, the machine. They become diagnostics."""

from __future__ import annotations

from rulec.source import Diagnostic

_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


def diagnosed(error: Exception) -> Diagnostic | None:
    """Return what to say about an exception, or None if it can only be a bug."""
    kind, text = type(error), str(error)
    if (
        isinstance(error, MemoryError)
        or kind.__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and _about_memory(text))
    ):
        return Diagnostic(
            "out-of-memory",
            "there is not enough memory for this",
            notes=(_first_line(text),) if text else (),
            help="make the network, the batch or the population smaller",
        )
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return Diagnostic(
            "file-problem",
            f"{place}{(error.strerror or text).lower()}",
            help="choose another place, or make room and allow access",
        )
    if kind.__module__.startswith(("torch._inductor", "torch._dynamo")):
        return Diagnostic(
            "backend-failed",
            "Inductor could not compile the step",
            notes=(_first_line(text),),
            help="install a C++ compiler, or leave out `--backend inductor`",
        )
    return None


def _about_memory(text: str) -> bool:
    return any(words in text.lower() for words in _MEMORY)


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0][:200]
