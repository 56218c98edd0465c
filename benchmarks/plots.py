"""One figure for all sections: bars where contenders are compared, lines where something grows."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contender import Row, Section
from benchmarks.report import digits
from benchmarks.timing import Spread
from rulec.report.style import COLOURS, QUIET, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 6.6, 3.6
_OURS, _OTHERS, _BOUND = COLOURS[1], COLOURS[0], QUIET


def drawn(sections: Sequence[Section], path: Path) -> Path:
    """Draw every section that has figures, two beside each other. Returns the path."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [s for s in sections if s.lines or any(_value(row) is not None for row in s.rows)]
    columns = 2 if len(shown) > 1 else 1
    lines = -(-len(shown) // columns) or 1
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}):
        figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * lines), layout="constrained")
        FigureCanvasAgg(figure)
        for number, section in enumerate(shown):
            axes = figure.add_subplot(lines, columns, number + 1)
            axes.set_title(section.title, loc="left", fontsize=10, fontweight="bold")
            (_lines if section.lines else _bars)(axes, section)
        return save(figure, path)


def _value(row: Row) -> float | None:
    """What a bar shows: the median of the timed runs, or seconds of a cold start."""
    if row.wall:
        return 1e3 * Spread.of(row.wall).median
    return row.values.get("cold, s")


def _bars(axes: Axes, section: Section) -> None:
    rows = [(row, value) for row in section.rows if (value := _value(row)) is not None]
    rows.sort(key=lambda pair: -pair[1])
    timed = any(row.wall for row, _ in rows)
    for place, (row, value) in enumerate(rows):
        axes.barh(place, value, color=_colour(row), height=0.66)
        if row.wall:
            spread = Spread.of(row.wall)
            axes.plot([1e3 * spread.lower, 1e3 * spread.upper], [place, place], color="black", linewidth=1)
        else:
            axes.plot([row.values["warm, s"]], [place], "|", color="black", markersize=12)
        axes.annotate(f" {digits(value)}", (max(value, _upper(row)), place), va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [textwrap.fill(row.name, 26) for row, _ in rows], fontsize=8)
    axes.set_xlabel(f"ms per {section.unit}, quartiles black" if timed else "seconds, cold; warm as a black mark")
    axes.set_xlim(0, max((max(value, _upper(row)) for row, value in rows), default=1) * 1.12)
    axes.grid(axis="x", color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)


def _upper(row: Row) -> float:
    return 1e3 * Spread.of(row.wall).upper if row.wall else row.values.get("warm, s", 0.0)


def _colour(row: Row) -> str:
    if row.name.startswith("rulec"):
        return _OURS
    return _BOUND if row.error is None and row.wall else _OTHERS


def _lines(axes: Axes, section: Section) -> None:
    for number, (name, points) in enumerate(section.lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(
            points["x"], points["y"], "-o", color=colour, markersize=4 if section.scale == "log" else 2, label=name
        )
        if "low" in points:
            axes.fill_between(points["x"], points["low"], points["high"], color=colour, alpha=0.15, linewidth=0)
    if section.scale == "log":
        axes.set_xscale("log")
        axes.set_yscale("log")
        ticks = sorted({x for points in section.lines.values() for x in points["x"]})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
    axes.set_xlabel(section.axes[0])
    axes.set_ylabel(section.axes[1])
    axes.grid(color="#e3e5e8", linewidth=0.8)
    axes.legend(fontsize=8, frameon=False)
