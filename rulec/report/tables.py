"""Records as tables: aligned text, CSV and Markdown. A record is a mapping from column to value."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from rulec.meta.baselines import Baseline
from rulec.meta.evaluate import Curve

Row = Mapping[str, object]


def text_table(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    """Return columns aligned by blanks: numbers to the right, words to the left."""
    names, cells = _cells(rows, columns)
    widths = [max(len(line[k]) for line in (names, *cells)) for k in range(len(names))]
    right = [_numeric(rows, name) for name in names]
    lines = [names, ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(_padded(*part) for part in zip(line, widths, right, strict=True)).rstrip() for line in lines
    )


def markdown_table(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    """Return a Markdown table; numbers are aligned to the right, and a `|` in a word is escaped."""
    names, cells = _cells(rows, columns)
    rule = ["---:" if _numeric(rows, name) else "---" for name in names]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in (names, *cells)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (escaped[0], rule, *escaped[1:]))


def csv_table(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    """Return comma-separated values, numbers in full precision."""
    names = _names(rows, columns)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(["" if row.get(name) is None else row[name] for name in names] for row in rows)
    return text.getvalue()


def accuracy_rows(curves: Mapping[str, Curve], baselines: Sequence[Baseline] = ()) -> list[dict[str, object]]:
    """Return one record per learner, with a column of accuracies `@t` for each number of updates."""
    rows = [{"learner": name, **_accuracies(curve)} for name, curve in curves.items()]
    return rows + [{"learner": f"{b.name} (lr tuned per column)", **_accuracies(b.curve)} for b in baselines]


def transfer_rows(curves: Sequence[Curve]) -> list[dict[str, object]]:
    """Return one record per pair of task and network."""
    return [{"task": curve.task, "network": curve.network, **_accuracies(curve)} for curve in curves]


def _accuracies(curve: Curve) -> dict[str, object]:
    return {f"@{t}": value for t, value in zip(curve.updates, curve.accuracy, strict=True)}


def _names(rows: Sequence[Row], columns: Sequence[str] | None) -> list[str]:
    """Return the columns, by default every key in the order in which they come up."""
    return list(columns) if columns is not None else list(dict.fromkeys(name for row in rows for name in row))


def _cells(rows: Sequence[Row], columns: Sequence[str] | None) -> tuple[list[str], list[list[str]]]:
    names = _names(rows, columns)
    return names, [[_shown(row.get(name)) for name in names] for row in rows]


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    return (
        f"{value:.3g}"
        if isinstance(value, float) and (abs(value) < 1e-3 or abs(value) >= 1e4) and value
        else (f"{value:.3f}" if isinstance(value, float) else str(value))
    )


def _numeric(rows: Sequence[Row], name: str) -> bool:
    values = [row.get(name) for row in rows if row.get(name) is not None]
    return bool(values) and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _padded(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)
