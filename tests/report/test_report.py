"""Tables as text, and figures by what is drawn in them."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
import torch

from rulec.meta.baselines import Baseline
from rulec.meta.evaluate import Curve
from rulec.meta.history import History, history_from
from rulec.meta.hypergradients.interface import Step
from rulec.report import plots, style
from rulec.report.tables import accuracy_rows, csv_table, markdown_table, text_table, transfer_rows
from rulec.source import RuleError

ROWS = [
    {"rule": "blur", "accuracy": 0.91234, "steps": 10, "best": True},
    {"rule": "a|b", "accuracy": None, "steps": 2000, "lr": 1e-5},
]


def _curve(*accuracy, updates=(0, 1, 10)):
    return Curve(updates, accuracy, tuple(0.1 for _ in accuracy), accuracy, accuracy, 4, "digits", "64-32-10", {})


def _history():
    loss = torch.tensor([[2.0, 1.0], [1.5, math.nan], [1.0, 0.5]])
    rows = [Step(row, row / 4, row, ~row.isfinite()) for row in loss]
    return History(rows, [2], [torch.tensor([[1.2, 0.9], [0.4, 0.6]])])


def test_text_is_aligned():
    assert text_table(ROWS) == (
        "rule  accuracy  steps  best     lr\n"
        "----  --------  -----  ----  -----\n"
        "blur     0.912     10  yes\n"
        "a|b              2000        1e-05"
    )


def test_markdown_escapes_and_aligns():
    assert (
        markdown_table(ROWS, ["rule", "steps"]) == "| rule | steps |\n| --- | ---: |\n| blur | 10 |\n| a\\|b | 2000 |"
    )


def test_csv_keeps_full_precision_and_quotes():
    rows = list(csv.DictReader(io.StringIO(csv_table([*ROWS, {"rule": 'x, "y"'}]))))
    assert float(rows[0]["accuracy"]) == 0.91234
    assert rows[1]["accuracy"] == "" and rows[2]["rule"] == 'x, "y"'


def test_tables_of_curves():
    baseline = Baseline("sgd", (0.1, 0.1, 0.3), (0.1, 0.3), _curve(0.1, 0.2, 0.5))
    rows = accuracy_rows({"blur": _curve(0.1, 0.4, 0.9)}, [baseline])
    assert rows == [
        {"learner": "blur", "@0": 0.1, "@1": 0.4, "@10": 0.9},
        {"learner": "sgd (lr tuned per column)", "@0": 0.1, "@1": 0.2, "@10": 0.5},
    ]
    assert transfer_rows([_curve(0.1, 0.4, 0.9)]) == [
        {"task": "digits", "network": "64-32-10", "@0": 0.1, "@1": 0.4, "@10": 0.9}
    ]


@pytest.fixture
def drawn(monkeypatch):
    """Keep the figures that are saved."""
    kept = []
    exact = style.save
    monkeypatch.setattr(plots, "save", lambda made, path: (kept.append(made), exact(made, path))[1])
    return kept


def _line(axes, label):
    return next(line for line in axes.get_lines() if line.get_label() == label)


def test_learning_curves_show_accuracy_bands_and_tuned_rates(tmp_path, drawn):
    baseline = Baseline("sgd", (0.1, 0.1, 0.3), (0.1, 0.3), _curve(0.1, 0.2, 0.5))
    path = plots.learning_curves(
        {"blur": _curve(0.1, 0.4, 0.95)}, tmp_path / "deep" / "a.png", baselines=[baseline], trained_for=10
    )
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    (axes,) = drawn[0].axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["blur, mean and standard deviation", "sgd, lr tuned per point, 0.1 to 0.3"]
    assert list(_line(axes, labels[0]).get_ydata()) == [0.1, 0.4, 0.95]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "10"]
    (band,) = axes.collections
    edges = band.get_paths()[0].vertices[:, 1]
    assert edges.min() == 0.0 and edges.max() == 1.0 and 0.3 in edges.round(9) and 0.5 in edges.round(9)
    assert axes.get_title("left") == "digits on 64-32-10"


def test_training_curves_show_every_member_with_gaps_where_it_broke(tmp_path, drawn):
    path = plots.training_curves(_history(), tmp_path / "b.svg", best=1)
    assert path.read_text().lstrip().startswith("<?xml")
    left, right = drawn[0].axes
    assert [text.get_text() for text in right.get_legend().get_texts()] == [
        "member 0",
        "member 1 (best)",
        "best, on held-out data",
    ]
    np.testing.assert_array_equal(left.get_lines()[2].get_ydata(), [1.0, math.nan, 0.5])
    assert list(_line(right, "best, on held-out data").get_xdata()) == [2]
    assert _line(right, "best, on held-out data").get_ydata()[0] == pytest.approx(0.6)


def test_running_means_leave_out_what_is_not_finite():
    values = np.array([1.0, math.nan, 3.0, 5.0])
    np.testing.assert_allclose(plots._running_mean(values, 2), [1.0, 1.0, 3.0, 4.0])


def test_figures_that_cannot_be_written_are_told(tmp_path):
    with pytest.raises(RuleError, match="cannot-write"):
        plots.training_curves(_history(), tmp_path / "a.xyz")


def test_drawing_leaves_settings_alone(tmp_path):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plots.training_curves(_history(), tmp_path / "a.png")
    assert dict(mpl.rcParams) == before


def test_a_history_survives_being_stored():
    history = _history()
    back = history_from(history.tensors())
    torch.testing.assert_close(back.loss, history.loss, equal_nan=True)
    assert back.bad_steps.tolist() == [0, 1]
    assert back.record(1)["held_out_accuracy"] == pytest.approx([0.4, 0.6])
    assert "held_out_loss" not in back.record(0)
