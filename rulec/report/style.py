"""How figures look: one place for sizes, colours and lines. Colours are those of Okabe and Ito, told apart by everyone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rulec.source import fail

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
QUIET = "#9aa0a6"

_SETTINGS: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#5f6368",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e5e8",
    "grid.linewidth": 0.8,
    "xtick.color": "#3c4043",
    "ytick.color": "#3c4043",
    "legend.frameon": True,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "white",
    "legend.fancybox": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextmanager
def figure(width: float = 6.4, height: float = 4.0, panels: int = 1) -> Iterator[tuple[Figure, list[Axes]]]:
    """Make a figure with panels side by side, without a window and without touching anyone's settings."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_SETTINGS):
        made = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(made)
        yield made, [made.add_subplot(1, panels, k + 1) for k in range(panels)]


def save(made: Figure, path: str | Path) -> Path:
    """Write a figure in the format of the path's suffix. Raises `RuleError` (`cannot-write`)."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made.savefig(path, dpi=160)
    except (OSError, ValueError) as error:  # ValueError: a format that matplotlib does not know
        raise fail(
            "cannot-write",
            f"{path} cannot be written",
            notes=(str(error),),
            help="choose a path that ends in .png, .svg or .pdf",
        ) from error
    return path
