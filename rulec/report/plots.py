"""Figures: accuracy against the number of updates, and the training curves of all members."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rulec.meta.baselines import Baseline
from rulec.meta.evaluate import Curve
from rulec.meta.history import History
from rulec.report.style import COLOURS, QUIET, figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def learning_curves(
    curves: Mapping[str, Curve],
    path: str | Path,
    *,
    baselines: Sequence[Baseline] = (),
    trained_for: int | None = None,
    title: str | None = None,
) -> Path:
    """Draw accuracy against the number of weight updates; the bands are standard deviations over episodes.

    Baselines are dashed, with the rates that were chosen in the legend. `trained_for` marks the length of the inner loop that the
    genomes were trained for. Returns the path of the figure.
    """
    colours = cycle(COLOURS)
    with figure() as (made, (axes,)):
        for name, curve in curves.items():
            _curve(axes, curve, f"{name}, mean and standard deviation", next(colours), "-", band=True)
        for baseline in baselines:
            _curve(axes, baseline.curve, f"{baseline.name}, {_rates(baseline)}", next(colours), "--", band=False)
        shown = [*curves.values(), *(b.curve for b in baselines)]
        _update_axis(axes, sorted({u for curve in shown for u in curve.updates}))
        if trained_for is not None:
            axes.axvline(trained_for, color=QUIET, linewidth=1, linestyle=":")
            axes.annotate(" trained for", (trained_for, 0.99), color="#5f6368", fontsize=8, va="top")
        axes.set_ylim(0, 1.005)
        axes.set_ylabel("accuracy on held-out data")
        axes.set_title(title or _title(shown))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, handlelength=2.4)
        return save(made, path)


def training_curves(
    history: History, path: str | Path, *, best: int | None = None, title: str = "Meta-training"
) -> Path:
    """Draw query loss and accuracy of every member against the meta-step, faint as measured and bold as a running mean.

    Gaps are steps that were not finite. Returns the path of the figure.
    """
    loss, accuracy = history.loss.double().numpy(), history.accuracy.double().numpy()
    with figure(9.6, 3.8, panels=2) as (made, (left, right)):
        for axes, values, label in ((left, loss, "query loss"), (right, accuracy, "query accuracy")):
            _members(axes, values, best)
            axes.set_xlabel("meta-step")
            axes.set_ylabel(label)
        finite = loss[np.isfinite(loss)]
        if len(finite) and finite.min() > 0 and finite.max() > 30 * finite.min():
            left.set_yscale("log")
            left.yaxis.set_major_formatter(_plain_number)
            left.yaxis.set_minor_formatter(_plain_number)
        right.set_ylim(0, 1.005)
        held_out = (
            [(at, float(row[1, best])) for at, row in zip(history.held_out_at, history.held_out_rows, strict=True)]
            if best is not None
            else []
        )
        if held_out:
            right.plot(
                *zip(*held_out, strict=True),
                color="black",
                marker="o",
                markersize=3.5,
                linewidth=1.2,
                label="best, on held-out data",
            )
        left.set_title(title)
        right.legend(loc="lower right", ncols=2 if loss.shape[1] > 4 else 1)
        return save(made, path)


def _curve(axes: Axes, curve: Curve, name: str, colour: str, line: str, band: bool) -> None:
    accuracy, spread = np.array(curve.accuracy), np.array(curve.accuracy_sd)
    places = _places(curve.updates)
    axes.plot(places, accuracy, line, color=colour, marker="o", markersize=4, label=name)
    if band:
        axes.fill_between(
            places,
            np.clip(accuracy - spread, 0, 1),
            np.clip(accuracy + spread, 0, 1),
            color=colour,
            alpha=0.15,
            linewidth=0,
        )


def _places(updates: Sequence[int]) -> list[float]:
    """Early updates need room: the axis is logarithmic from one on, and zero has a place before one."""
    return [float(u) if u else 0.55 for u in updates]


def _update_axis(axes: Axes, updates: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(_places(updates), [str(u) for u in updates])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("weight updates")


def _rates(baseline: Baseline) -> str:
    used = sorted({rate for rate, update in zip(baseline.rates, baseline.curve.updates, strict=True) if update})
    return (
        f"lr {used[0]:g}"
        if len(used) == 1
        else f"lr tuned per point, {used[0]:g} to {used[-1]:g}"
        if used
        else "untrained"
    )


def _title(curves: Sequence[Curve]) -> str:
    places = {(curve.task, curve.network) for curve in curves}
    return "{} on {}".format(*places.pop()) if len(places) == 1 else "Learning curves"


def _members(axes: Axes, values: NDArray[np.float64], best: int | None) -> None:
    steps = np.arange(1, len(values) + 1)
    window = max(1, len(values) // 25)
    for member in range(values.shape[1] if values.ndim == 2 else 0):
        chosen = member == best
        colour = COLOURS[member % (len(COLOURS) - 1)]
        shown = np.where(np.isfinite(values[:, member]), values[:, member], math.nan)
        axes.plot(steps, shown, color=colour, alpha=0.18, linewidth=0.8)
        axes.plot(
            steps,
            _running_mean(shown, window),
            color=colour,
            linewidth=2.4 if chosen else 1.3,
            alpha=1 if chosen else 0.8,
            label=f"member {member}" + (" (best)" if chosen else ""),
        )


def _plain_number(value: float, position: float) -> str:
    """Write 0.2 and 20 instead of powers, and leave out what would crowd the axis."""
    return f"{value:g}" if round(value / 10 ** math.floor(math.log10(value))) in (1, 2, 5) else ""


def _running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Average over the last `window` values, as many as there are of them; what is not finite is left out."""
    known = np.isfinite(values)
    total = np.cumsum(np.insert(np.where(known, values, 0.0), 0, 0.0))
    count = np.cumsum(np.insert(known.astype(np.float64), 0, 0.0))
    first = np.maximum(np.arange(1, len(values) + 1) - window, 0)
    last = np.arange(1, len(values) + 1)
    with np.errstate(invalid="ignore"):
        return (total[last] - total[first]) / (count[last] - count[first])
