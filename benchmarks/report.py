"""What was measured, as tables and as JSON with every sample."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.contender import Row, Section
from benchmarks.timing import Spread
from rulec.report.tables import text_table

_SHORTEST = 3  # digits that a table shows


def rendered(sections: Sequence[Section], machine: Mapping[str, object]) -> str:
    """Return everything as text: the conditions once, then a table for each section."""
    return "\n\n".join([heading(machine), *(table(section) for section in sections)]) + "\n"


def heading(machine: Mapping[str, object]) -> str:
    versions, allocator = machine.get("versions"), machine.get("allocator")
    lines = [
        f"{machine.get('date')}  {machine.get('cpu')}, {machine.get('threads')} of {machine.get('processors')} processors",
        f"{machine.get('machine')}, Python {machine.get('python')}, " + _pairs(versions),
        "allocator, the same for all: " + _pairs(allocator, "="),
        "All contenders run in turn in each round; medians, and the quartiles' distance as a share of the median.",
    ]
    return "\n".join(lines)


def table(section: Section) -> str:
    """Return one section as text: title, conditions, rows, notes."""
    rows = records(section)
    columns = [c for c in dict.fromkeys(name for row in rows for name in row) if any(_told(row.get(c)) for row in rows)]
    if "note" in columns:
        columns = [*(c for c in columns if c != "note"), "note"]
    lines = [section.title, section.conditions, "", text_table(rows, columns)]
    return "\n".join([*lines, *([""] if section.notes else []), *(f"* {note}" for note in section.notes)])


def records(section: Section) -> list[dict[str, object]]:
    """Return one record per contender, with the ratio of its median to that of the reference."""
    reference = next((row for row in section.rows if row.name == section.reference and row.wall), None)
    base = Spread.of(reference.wall).median if reference is not None else None
    return [_record(row, base) for row in section.rows]


def _record(row: Row, base: float | None) -> dict[str, object]:
    record: dict[str, object] = {"contender": row.name, "": "" if row.status == "ok" else row.status}
    if row.wall:
        wall = Spread.of(row.wall)
        record |= {
            "wall, ms": digits(1e3 * wall.median),
            "spread": f"{100 * wall.relative:.0f}%",
            "cpu, ms": digits(1e3 * Spread.of(row.cpu).median if row.cpu else None),
            "times reference": digits(wall.median / base) if base else "",
        }
    record |= {
        "first, s": digits(row.first),
        "error": _power(row.error),
        "float64": _power(row.small_error),
        "peak, MiB": digits(row.peak / 2**20 if row.peak is not None else None),
    }
    return record | {name: digits(value) for name, value in row.values.items()} | {"note": row.note}


def saved(sections: Sequence[Section], machine: Mapping[str, object], path: Path) -> Path:
    """Write everything, every sample included, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": dict(machine), "sections": [asdict(section) for section in sections]}
    path.write_text(json.dumps(content, indent=1, default=_plain) + "\n")
    return path


def _plain(value: object) -> object:
    return str(value)


def _told(value: object) -> bool:
    return value is not None and value != ""


def digits(value: float | None) -> str | None:
    """Write three digits, without powers of ten between a thousandth and a million."""
    if value is None:
        return None
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2e}"
    whole = len(str(int(abs(value))))
    return f"{value:.{max(0, _SHORTEST - whole)}f}"


def _power(value: float | None) -> str | None:
    return None if value is None else f"{value:.0e}"


def _pairs(values: object, between: str = " ") -> str:
    return ", ".join(f"{k}{between}{v}" for k, v in values.items()) if isinstance(values, Mapping) else ""
