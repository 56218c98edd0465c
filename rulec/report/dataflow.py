"""The picture of a rule: a line for every value that lasts, a column for every assignment, read from left to right."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rulec.report.style import figure, save
from rulec.semantics import typed as t
from rulec.semantics.dataflow import KINDS, Band, Column, Dataflow, Row, dataflow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FILL = {"data": "#eceff1", "genome": "#fde3c8", "synapse": "#cfe3f5", "neuron": "#cdebdd", "broadcast": "#f4d9e8"}
_EDGE = {"data": "#607d8b", "genome": "#c76a12", "synapse": "#1f6fb2", "neuron": "#178a5c", "broadcast": "#b04a86"}
_INK, _QUIET, _BAND = "#202124", "#5f6368", "#f6f7f9"
_WIDE, _HIGH = 0.92, 0.46  # inches of a column and of a row
_LEGEND = 7.2  # inches that the legend needs
_MOST_TITLE = 96


def draw_dataflow(rule: t.Rule, path: str | Path, *more: str | Path) -> list[Path]:
    """Draw which state is made from what. Returns the paths, one per format asked for."""
    flow = dataflow(rule)
    name, doc = _heading(rule)
    left = 0.55 + 0.105 * max(len(_plain(row.label)) for row in flow.rows)
    drawing = _Drawing(flow, left)
    width = max(drawing.right + 0.45, 0.6 + 0.14 * len(name) + 0.076 * len(doc), _LEGEND)
    with figure(width, drawing.height) as (made, (axes,)):
        made.set_layout_engine("none")
        axes.set_position((0.0, 0.0, 1.0, 1.0))
        axes.set_xlim(0, width)
        axes.set_ylim(-drawing.height, 0)
        axes.axis("off")
        drawing.draw(axes, name, doc)
        return [save(made, one) for one in (path, *more)]


def _heading(rule: t.Rule) -> tuple[str, str]:
    doc = rule.doc or ""
    return rule.name, doc if len(doc) <= _MOST_TITLE else doc[: _MOST_TITLE - 1] + "…"


def _plain(label: str) -> str:
    """Return about what a LaTeX label looks like, to measure it."""
    for mark in ("\\mathrm", "\\mathcal", "\\nabla", "\\left", "\\right", "\\cdot", "{", "}", "_", "\\"):
        label = label.replace(mark, "" if mark != "\\nabla" else "V")
    return label


class _Drawing:
    """Places in inches, down from the upper left corner; then the strokes."""

    def __init__(self, flow: Dataflow, left: float) -> None:
        self.flow, self.left = flow, left
        self.kinds = {row.name: row.kind for row in flow.rows}
        self.top = -0.62 - (0.34 if flow.repeats else 0.0)  # of the blocks
        self.y = {row.name: self.top - 0.68 - _HIGH * (k + 0.35 * self._gaps(k)) for k, row in enumerate(flow.rows)}
        self.bottom = min(self.y.values()) - 0.34
        self.height = -self.bottom + 0.5
        self.right = left + _WIDE * len(flow.columns) + 0.1

    def _gaps(self, index: int) -> int:
        """Return how many times the kind of row has changed above a row."""
        kinds = [row.kind for row in self.flow.rows[: index + 1]]
        return sum(a != b for a, b in pairwise(kinds))

    def x(self, column: int) -> float:
        return self.left + _WIDE * (column + 0.5)

    def draw(self, axes: Axes, name: str, doc: str) -> None:
        self.axes = axes
        title = axes.text(0.22, -0.4, name, fontsize=14, fontweight="bold", color=_INK)
        axes.annotate(
            doc,
            (1, 0),
            xycoords=title,
            xytext=(10, 1.2),
            textcoords="offset points",
            fontsize=9.5,
            color=_QUIET,
            va="bottom",
        )
        for band in self.flow.blocks:
            self._band(band)
        for band in self.flow.repeats:
            self._repeat(band)
        for row in self.flow.rows:
            self._line(row)
        for index, column in enumerate(self.flow.columns):
            self._assignment(index, column)
        self._legend()

    # --- The background ---

    def _band(self, band: Band) -> None:
        from matplotlib.patches import FancyBboxPatch

        x, width = self.left + _WIDE * band.first + 0.04, _WIDE * (band.last - band.first + 1) - 0.08
        shape = FancyBboxPatch(
            (x, self.bottom),
            width,
            self.top - self.bottom,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=_BAND,
            edgecolor="#dadce0",
            linewidth=0.8,
            zorder=0,
        )
        self.axes.add_patch(shape)
        narrow = band.last == band.first and len(band.title) > 8
        text = band.title.replace(" ", "\n", 1) if narrow else band.title
        self.axes.text(
            x + width / 2,
            self.top - 0.22,
            text,
            ha="center",
            va="center",
            fontsize=8.5 if narrow else 9.5,
            color=_INK,
            fontweight="bold",
            linespacing=1.05,
            zorder=5,
        )

    def _repeat(self, band: Band) -> None:
        x0, x1, y = self.left + _WIDE * band.first + 0.08, self.left + _WIDE * (band.last + 1) - 0.08, self.top + 0.13
        self.axes.plot(
            [x0, x0, x1, x1], [y - 0.06, y, y, y - 0.06], color=_QUIET, linewidth=1.2, solid_joinstyle="round"
        )
        self.axes.text((x0 + x1) / 2, y + 0.05, band.title, ha="center", va="bottom", fontsize=9, color=_QUIET)

    def _line(self, row: Row) -> None:
        """Draw a row's name and its line: dotted until a value is there, with an arrow where it goes on to the next step."""
        y, lasting = self.y[row.name], row.kind in ("genome", "synapse")
        given = lasting or row.name in ("input", "target", "loss", "grad", "t", "noise")
        touched = [k for k, c in enumerate(self.flow.columns) if c.row == row.name or row.name in dict(c.reads)]
        start = self.left - 0.04 if given else self.x(min(touched))
        end = self.right + 0.22 if row.kind == "synapse" else self.x(max(touched))
        self._name(row)
        if not given:
            self.axes.plot(
                [self.left - 0.04, start],
                [y, y],
                color=_EDGE[row.kind],
                linewidth=0.8,
                linestyle=(0, (1, 3)),
                alpha=0.6,
                zorder=1,
            )
        self.axes.plot(
            [start, end], [y, y], color=_EDGE[row.kind], linewidth=1.5, alpha=0.55, zorder=1, solid_capstyle="butt"
        )
        if row.kind == "synapse":
            self._arrow((end - 0.01, y), (end + 0.08, y), _EDGE[row.kind])

    def _name(self, row: Row) -> None:
        self.axes.text(
            self.left - 0.16,
            self.y[row.name],
            f"${row.label}$",
            ha="right",
            va="center",
            fontsize=12,
            color=_INK,
            math_fontfamily="stix",
            bbox=self._box(row.kind),
            zorder=4,
        )

    def _box(self, kind: str) -> dict[str, object]:
        return {
            "boxstyle": "round,pad=0.28,rounding_size=0.35",
            "facecolor": _FILL[kind],
            "edgecolor": _EDGE[kind],
            "linewidth": 1.1,
        }

    # --- Assignments ---

    def _assignment(self, index: int, column: Column) -> None:
        x, y = self.x(index), self.y[column.row]
        colour = _EDGE[self.kinds[column.row]]
        half = 0.17 + 0.025 * len(_plain(column.label))  # of the box's width
        ends = [self.y[name] for name, _ in column.reads if self.y[name] != y]
        for far in {max([y, *ends]), min([y, *ends])} - {y}:
            self._arrow((x, far), (x, y + (0.15 if far > y else -0.15)), colour)
        if any(self.y[name] == y for name, _ in column.reads):  # the same state of other neurons
            self._dot(x - 0.46, y, colour, True)
            self._arrow((x - 0.42, y), (x - half, y), colour)
        if column.itself:
            self._arrow((x - half - 0.17, y), (x - half, y), colour)
        for name, across in column.reads:
            if self.y[name] != y:
                self._dot(x, self.y[name], colour, across)
        size = 12 if len(_plain(column.label)) < 8 else 10
        self.axes.text(
            x,
            y,
            f"${column.label}$",
            ha="center",
            va="center",
            fontsize=size,
            color=_INK,
            math_fontfamily="stix",
            bbox=self._box(self.kinds[column.row]),
            zorder=4,
        )

    def _dot(self, x: float, y: float, colour: str, across: bool) -> None:
        self.axes.plot(
            [x],
            [y],
            marker="o",
            markersize=7 if across else 6,
            markerfacecolor="white" if across else colour,
            markeredgecolor=colour,
            markeredgewidth=1.6 if across else 0.8,
            zorder=3.5,
        )

    def _arrow(self, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
        self.axes.annotate(
            "",
            end,
            start,
            arrowprops={
                "arrowstyle": "-|>",
                "color": colour,
                "linewidth": 1.3,
                "shrinkA": 0,
                "shrinkB": 0,
                "mutation_scale": 11,
            },
            zorder=3,
        )

    # --- The legend ---

    def _legend(self) -> None:
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        used = [kind for kind in KINDS if kind in self.kinds.values()]
        handles: list[object] = [Patch(facecolor=_FILL[k], edgecolor=_EDGE[k], label=k) for k in used]
        mark: dict[str, Any] = {"color": _QUIET, "linewidth": 1.4, "marker": "o", "markersize": 6}
        handles += [
            Line2D([], [], **mark, label="read"),
            Line2D(
                [], [], **mark, markerfacecolor="white", markeredgewidth=1.6, label="read through a sum over neurons"
            ),
        ]
        self.axes.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.12, -self.height + 0.07),
            bbox_transform=self.axes.transData,
            fontsize=8.5,
            ncols=len(handles),
            handlelength=1.6,
            columnspacing=1.1,
            handletextpad=0.5,
            borderpad=0.2,
        )
