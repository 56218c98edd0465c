"""The plan of the picture, and the picture: nothing overlaps, nothing is tiny."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

import pytest

import rulec.report.dataflow as drawing
from rulec.runtime.rule import load
from rulec.semantics.dataflow import Band, dataflow


def test_columns_of_backprop():
    flow = dataflow(load("backprop").typed())
    assert [(c.row, dict(c.reads), c.itself) for c in flow.columns] == [
        ("x", {"input": False}, False),
        ("z", {"w": True, "x": True, "b": False}, False),
        ("x", {"z": False}, False),
        ("prediction", {"x": False}, False),
        ("d", {"loss": False, "z": False}, False),
        ("d", {"z": False, "w": True, "d": True}, False),
        ("w", {"lr": False, "x": False, "d": False}, True),
        ("b", {"lr": False, "d": False}, True),
    ]
    assert flow.blocks == (
        Band("input i", 0, 0),
        Band("forward i → j", 1, 2),
        Band("output j", 3, 4),
        Band("backward i ← j", 5, 5),
        Band("update i → j", 6, 7),
    )
    assert [row.name for row in flow.rows] == ["input", "loss", "lr", "w", "b", "x", "z", "d", "prediction"]


def test_local_names_are_looked_through():
    flow = dataflow(load("adam").typed())
    assert [(c.row, sorted(name for name, _ in c.reads), c.itself) for c in flow.columns] == [
        ("m", ["beta1", "grad"], True),
        ("v", ["beta2", "grad"], True),
        ("w", ["beta1", "beta2", "eps", "lr", "m", "t", "v"], True),
    ]


def test_genome_entries_that_nothing_reads_are_left_out():
    rows = {row.name for row in dataflow(load("blur").typed()).rows}
    assert "oja_rate" not in rows and "synapse_gain" in rows
    assert "oja_rate" in {row.name for row in dataflow(load("blur").typed({"oja": "activity"})).rows}


def test_repeats_span_their_blocks():
    flow = dataflow(load("equilibrium_propagation").typed())
    assert [(band.title, band.last - band.first + 1) for band in flow.repeats] == [("20 times", 3), ("6 times", 3)]


RULES = [
    "backprop",
    "blur",
    "adam",
    "equilibrium_propagation",
    "forward_forward",
    "learned_optimizer",
    "weight_perturbation",
]


@pytest.mark.parametrize("name", RULES)
def test_no_two_words_overlap_and_none_is_tiny_or_outside(name, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(drawing, "save", lambda made, path: figures.append(made) or path)
    drawing.draw_dataflow(load(name).typed(), tmp_path / "a.png")
    (made,) = figures
    made.canvas.draw()
    (axes,) = made.axes
    texts = [text for text in [*axes.texts, *axes.get_legend().get_texts()] if text.get_text()]
    assert min(text.get_fontsize() for text in texts) >= 8
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    page = made.bbox
    for words, box in boxes:
        assert box.x0 >= page.x0 and box.x1 <= page.x1 and box.y0 >= page.y0 and box.y1 <= page.y1, words
    for (one, first), (other, second) in combinations(boxes, 2):
        assert not first.overlaps(second), (one, other)


def test_both_formats_are_written(tmp_path):
    paths = drawing.draw_dataflow(load("hebb").typed(), tmp_path / "new" / "hebb.svg", tmp_path / "new" / "hebb.png")
    assert [path.name for path in paths] == ["hebb.svg", "hebb.png"]
    assert ElementTree.parse(paths[0]).getroot().tag.endswith("svg")
    assert paths[1].read_bytes().startswith(b"\x89PNG")
