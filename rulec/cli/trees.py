"""A tree of frozen dataclasses as indented text, for `--emit ast` and `--emit typed`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass


def render_tree(value: object) -> str:
    """Return one line per node; spans and empty fields are left out, axes stand behind the node."""
    return "\n".join(_lines("", value, ""))


def _lines(label: str, value: object, indent: str) -> Iterator[str]:
    head = f"{indent}{label}: " if label else indent
    if is_dataclass(value) and not isinstance(value, type):
        shown = [(f.name, getattr(value, f.name)) for f in fields(value) if f.compare and f.name != "axes"]
        small = " ".join(f"{name}={_atom(one)}" for name, one in shown if _is_small(one) and not _is_empty(one))
        yield f"{head}{type(value).__name__}{_axes(value)} {small}".rstrip()
        for name, one in shown:
            if not _is_small(one) and not _is_empty(one):
                yield from _lines(name, one, indent + "  ")
    elif isinstance(value, (tuple, list)):
        yield f"{indent}{label}:"
        for one in value:
            yield from _lines("", one, indent + "  ")
    else:
        yield f"{head}{_atom(value)}"


def _axes(value: object) -> str:
    axes = getattr(value, "axes", None)
    return f"[{','.join(sorted(axes))}]" if axes else ""


def _is_small(value: object) -> bool:
    """Whether a value fits on its parent's line."""
    if isinstance(value, (tuple, list)):
        return all(isinstance(one, (str, int, float)) for one in value)
    return not is_dataclass(value)


def _is_empty(value: object) -> bool:
    return value is None or value is False or value in ((), {}, "")


def _atom(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(map(_atom, value)) + ")"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_atom(one)}" for key, one in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)
