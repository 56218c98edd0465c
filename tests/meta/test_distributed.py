"""Several processes do what one does: the same numbers, one voice, and nothing is lost with a process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rulec.meta.checkpoint import checkpoints_in
from rulec.meta.hypergradients import READERS, Settings
from rulec.meta.interrupt import Interruption
from rulec.meta.part import Part
from rulec.meta.processes import Team
from rulec.meta.sharing import check_enough
from rulec.semantics.typed import Call
from rulec.source import RuleError
from rulec.tasks import task_from
from rulec.tasks.fewshot import FewShot
from tests.shipped import load

from .conftest import planned
from .together import CASES, numbers

ROOT = Path(__file__).parents[2]


ONE_MACHINE = ("--standalone", "--nproc-per-node", "2")


def started(*arguments: object, launch: tuple[str, ...] = ONE_MACHINE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *launch, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "RULEC_CXX": "none"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# --- The same numbers -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What two processes found, both in the same launch."""
    folder = tmp_path_factory.mktemp("together")
    process = started("-m", "tests.meta.together", folder)
    _, problems = process.communicate(timeout=240)
    assert process.returncode == 0, problems
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_find_what_one_finds(together, name, monkeypatch):
    monkeypatch.setenv("RULEC_CXX", "none")
    one, (first, second) = numbers(name), (found[name] for found in together)
    assert not torch.distributed.is_initialized(), "one process makes no group"
    assert one["loss"].isfinite().all() and one["norm"].isfinite().all()
    for key, value in one.items():
        torch.testing.assert_close(first[key], value, rtol=1e-10, atol=1e-10)
        assert torch.equal(first[key], second[key]), f"the processes differ in {key}"


def test_a_part_of_the_tasks_has_the_synapses_and_the_noise_of_the_whole():
    whole = load("node_perturbation").compile("2-3-1(tanh)", loss="mse", population=2, tasks=5, replicas=2)
    part = whole.some_tasks(2, 4)
    for name, value in part.init_state(3, batch=4).items():
        assert torch.equal(value, whole.init_state(3, batch=4)[name][:, 2:4] if value.ndim else value), name
    noise = whole.noise_of(whole.lowered, 3, 1, 4), part.noise_of(part.lowered, 3, 1, 4)
    assert noise[0] and all(torch.equal(a[:, 2:4], b) for a, b in zip(*noise, strict=True))


@pytest.mark.parametrize("name", ["functions", "sinusoid", "digits"])
def test_some_tasks_of_an_episode_are_those_of_the_whole(name):
    _check_some_tasks(task_from(name), batch=10)


def test_few_shot_tasks_are_drawn_alone():
    classes = [torch.rand(6, 3, generator=torch.Generator().manual_seed(k)) for k in range(8)]
    _check_some_tasks(FewShot("small", classes, classes, ways=3, shots=2, queries=2), batch=6)


def _check_some_tasks(task, batch):
    given = {"seed": 5, "steps": 2, "batch": batch, "tasks": 5}
    whole, part = task.episode(**given), task.some_tasks(range(2, 4), **given)
    assert torch.equal(part.support_x, whole.support_x[:, 2:4]) and torch.equal(part.support_y, whole.support_y[:, 2:4])
    assert torch.equal(part.query_x, whole.query_x[2:4]) and torch.equal(part.query_y, whole.query_y[2:4])
    assert part.names == whole.names[2:4]


def test_shares_cover_everything_once():
    for count in (0, 1, 2, 5, 32):
        ends = [Team(rank, 3).share(count) for rank in range(3)]
        assert [k for first, last in ends for k in range(first, last)] == list(range(count))
        sizes = [last - first for first, last in ends]
        assert max(sizes) - min(sizes) <= 1


def test_parts_add_up():
    values = torch.arange(15.0).reshape(5, 3)
    by_members = [Part(0, *Team(rank, 2).share(5), 5) for rank in (0, 1)]
    assert torch.equal(sum(p.mean(values[p.members]) for p in by_members), values)
    by_tasks = [Part(1, *Team(rank, 2).share(3), 3) for rank in (0, 1)]
    torch.testing.assert_close(sum(p.mean(values[:, p.first : p.last].mean(1)) for p in by_tasks), values.mean(1))
    assert torch.equal(sum(p.placed(values[:, p.first : p.last]) for p in by_tasks), values)


def test_the_gradient_of_some_members_is_theirs_though_they_lie_in_the_memory_of_all(functions):
    """Forward mode once read tangents of views as if their memory were their own."""
    compiled = load("momentum").compile("2-3-1(tanh)", loss="mse", dtype="float64", population=3)
    made = planned(compiled, functions)
    call = Call("forward", (), {}, made.problem.outer.through.span)
    method = READERS["forward"](replace(made.problem.outer, through=call), Settings(1e9, 5, 3))
    free = {name: torch.linspace(-2, 0, 3, dtype=torch.float64) + value for name, value in made.free.items()}
    _, whole = method.gradient(made.problem, free, 0)
    few = replace(made.problem, step=compiled.resized(population=2, tasks=None, replicas=None))
    few = replace(few, fixed={name: value[1:] for name, value in few.fixed.items()})
    for name, value in method.gradient(few, {name: value[1:] for name, value in free.items()}, 0)[1].items():
        torch.testing.assert_close(value, whole[name][1:], rtol=1e-12, atol=1e-14)


# --- A process is lost ------------------------------------------------------------------------

LOSING = """
import json, os, signal, sys
from pathlib import Path
import torch
import rulec
from rulec.meta.processes import rank
from rulec.meta.train import meta_train

torch.set_num_threads(1)
compiled = rulec.load("momentum").compile("2-3-1(tanh)", loss="mse", population=3)
given = {"steps": 12, "inner_steps": 2, "batch": 8, "episodes": 2, "seed": 1, "lr": 0.05}
seen = []

def lose(progress):
    seen.append(progress.done)
    if progress.done == 7 and rank() == 1 and not (folder / "lost").exists():
        (folder / "lost").touch()
        os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
whole = meta_train(compiled, "functions", **given)
result = meta_train(compiled, "functions", out=folder, save_every=4, log_every=1, progress=lose, **given)
if rank() == 0:
    same = all(torch.equal(value, whole.genomes[name]) for name, value in result.genomes.items())
    same = same and torch.equal(result.history.loss, whole.history.loss) and result.scores == whole.scores
    (folder / "told.json").write_text(json.dumps({"seen": seen, "same": same}))
"""


def two_machines() -> tuple[str, ...]:
    """Two launchers that find each other, as on two machines. They may count restarts differently."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        endpoint = f"localhost:{free.getsockname()[1]}"
    return ("--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--nproc-per-node", "1")


@pytest.mark.parametrize("machines", [1, 2])
def test_a_lost_process_is_started_again_and_changes_no_bit(tmp_path, machines):
    script = tmp_path / "losing.py"
    script.write_text(textwrap.dedent(LOSING))
    launch = (*(ONE_MACHINE if machines == 1 else two_machines()), "--max-restarts", "2")
    processes = [started(script, tmp_path / "run", launch=launch) for _ in range(machines)]
    try:
        problems = [process.communicate(timeout=150)[1] for process in processes]
    finally:
        for process in processes:
            process.terminate()
    assert [process.returncode for process in processes] == [0] * machines, problems
    told = json.loads((tmp_path / "run" / "told.json").read_text())
    assert told == {"seen": [5, 6, 7, 8, 9, 10, 11, 12], "same": True}
    assert "process-lost" in "".join(problems), "the process that is left says why it stopped"


# --- One voice --------------------------------------------------------------------------------

TRAIN = ["-m", "rulec", "train", "momentum", "--task", "functions", "--batch", "8", "--inner-steps", "2"]


def test_ctrl_c_stops_all_processes_after_the_same_step(tmp_path):
    folder = tmp_path / "run"
    process = started(*TRAIN, "--net", "2-3-1(tanh)", "--population", "2", "--steps", "100000", "--out", folder)
    try:
        until = time.monotonic() + 120
        while not (folder / "checkpoint-00000050.pt").exists() and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        shown, problems = process.communicate(timeout=150)
    finally:
        process.kill()
    stopped = re.findall(r"interrupted after meta-step (\d+); go on with\n  torchrun \.\.\. -m rulec train", problems)
    assert len(stopped) == 1, problems
    assert "error[" not in problems and "mistake of its own" not in problems
    assert checkpoints_in(folder)[-1].name == f"checkpoint-{int(stopped[0]):08d}.pt"
    assert len((folder / "history.jsonl").read_text().splitlines()) == int(stopped[0])
    assert shown.count("best: member") == 1
    assert json.loads((folder / "run.json").read_text())["processes"] == 2


def test_an_error_is_told_once(tmp_path):
    process = started(*TRAIN, "--net", "2-3-1(tanh)", "--out", tmp_path / "run")
    _, problems = process.communicate(timeout=150)
    assert process.returncode == 1
    assert re.findall(r"error\[([\w-]+)\]", problems) == ["too-many-processes"], problems
    assert "give a population: `--population 8`" in problems
    assert not (tmp_path / "run").exists()


def test_more_processes_than_work_are_refused(functions):
    made = planned(load("sgd").compile("2-3-1(tanh)", loss="mse", tasks=3), functions).problem
    check_enough(made, 1, Team(0, 3))
    check_enough(made, 4, Team(0, 4))
    with pytest.raises(RuleError) as error:
        check_enough(made, 1, Team(0, 4))
    (found,) = error.value.diagnostics
    assert found.id == "too-many-processes" and "--nproc-per-node 3" in found.help


def test_what_torchrun_sends_counts_as_ctrl_c():
    with Interruption(terminate=True) as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.asked
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
