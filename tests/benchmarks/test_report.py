"""Tables, JSON and figure of made-up measurements."""

import json
from pathlib import Path

from benchmarks.contender import Row, Section
from benchmarks.environment import description
from benchmarks.fresh import Failed, call, peak
from benchmarks.plots import drawn
from benchmarks.report import records, rendered, saved, table

TIMED = Section(
    "A race",
    "10 laps",
    [
        Row(
            "rulec fx",
            error=2e-7,
            small_error=3e-16,
            first=0.5,
            wall=[0.01, 0.02, 0.03],
            cpu=[0.02, 0.04, 0.06],
            peak=2**21,
        ),
        Row("by hand", error=0.0, first=1.0, wall=[0.04, 0.04, 0.04], cpu=[0.04, 0.04, 0.04]),
        Row("JAX", "absent", "JAX is not installed"),
    ],
    "by hand",
    notes=["made up"],
)
GROWING = Section(
    "Growth", "", [Row("rulec fx", values={"exponent": 1.0})], lines={"rulec fx": {"x": [1, 2], "y": [3, 6]}}
)
STARTED = Section("Start", "", [Row("rulec fx", values={"cold, s": 2.0, "warm, s": 0.1})])

EXPECTED = """\
A race
10 laps

contender          wall, ms  spread  cpu, ms  times reference  first, s  error  float64  peak, MiB  note
---------  ------  --------  ------  -------  ---------------  --------  -----  -------  ---------  --------------------
rulec fx           20.0      50%     40.0     0.50             0.50      2e-07  3e-16    2.00
by hand            40.0      0%      40.0     1.00             1.00      0e+00
JAX        absent                                                                                   JAX is not installed

* made up"""


def test_table() -> None:
    assert table(TIMED) == EXPECTED


def test_without_the_reference_there_are_no_ratios() -> None:
    section = Section("", "", [Row("rulec fx", wall=[1.0], cpu=[1.0])], "by hand")
    assert records(section)[0]["times reference"] == ""


def test_everything_is_written(tmp_path: Path) -> None:
    machine = description()
    text = rendered([TIMED, GROWING], machine)
    assert EXPECTED in text and str(machine["cpu"]) in text and "MALLOC_TRIM_THRESHOLD_" in text
    read = json.loads(saved([TIMED, GROWING], machine, tmp_path / "r.json").read_text())
    assert read["sections"][0]["rows"][0]["wall"] == [0.01, 0.02, 0.03]
    assert {"date", "machine", "cpu", "threads", "versions"} <= set(read["machine"])


def test_figure(tmp_path: Path) -> None:
    picture = drawn([TIMED, GROWING, STARTED], tmp_path / "r.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert drawn([], tmp_path / "empty.png").exists()


def test_a_fresh_process_measures_memory() -> None:
    found = peak("tests.benchmarks.test_report:_filling", {"mebibytes": 8}, 4)
    assert 30 * 2**20 < found < 40 * 2**20


def test_a_fresh_process_that_fails_says_why() -> None:
    try:
        call("tests.benchmarks.test_report:_filling", {})
    except Failed as failed:
        assert "mebibytes" in str(failed)
    else:
        raise AssertionError("no failure")


def _filling(mebibytes: int, steps: int) -> object:
    def run() -> dict[str, object]:
        kept = [bytearray(b"\1") * (mebibytes * 2**20) for _ in range(steps)]
        return {"n": len(kept)} if steps > 99 else {}

    return run
