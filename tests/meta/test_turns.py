"""Parts of a meta-step that take turns find what the whole finds, and hold less."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch

import rulec
from rulec.backend.kernel import build
from rulec.meta.hypergradients.memory import told_memory
from rulec.meta.part import Part, even_parts
from rulec.meta.processes import Team
from rulec.meta.turns import LARGE, Held, networks_at_once, turns
from rulec.semantics.typed import Call
from tests.shipped import load

from .conftest import planned
from .together import CURVES, GOING, PLANE

NEEDS_COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")


def made_for(rule, net, task, outer, *, through=None, text="", batch=8, **axes):
    loaded = rulec.parse(rulec.load(rule).text + text) if text else rulec.load(rule)
    step = loaded.outer("going" if text else outer)
    if through is not None:
        step = replace(step, through=Call(outer, (), through, step.through.span))
    settings = {name: value for name, value in step.settings.items() if name != "tasks"}
    compiled = loaded.compile(net, loss="mse", dtype="float64", **axes)
    return planned(compiled, task, replace(step, settings=settings), batch=batch)


CASES = {
    "maml": lambda: made_for("sgd", *CURVES, "maml", tasks=5, batch=4),
    "fomaml, population": lambda: made_for("sgd", *CURVES, "fomaml", tasks=4, batch=4, population=2, replicas=2),
    "truncated": lambda: made_for("blur", *PLANE, "one_step", tasks=3),
    "members": lambda: made_for("blur", *PLANE, "adam", population=5, tasks=2),
    "noise": lambda: made_for("node_perturbation", *PLANE, "adam", tasks=4, replicas=2),
    "imaml": lambda: made_for("sgd", *CURVES, "imaml", tasks=3, batch=4),
    "reptile": lambda: made_for("sgd", *CURVES, "reptile", tasks=4, batch=4, replicas=2),
    "directions": lambda: made_for("momentum", *PLANE, "forward", through={"directions": 2}, population=3),
    "going on": lambda: made_for("sgd", *CURVES, "unroll", through={}, text=GOING, tasks=5, batch=4),
    "evograd, going on": lambda: made_for(
        "sgd", *CURVES, "evograd", through={}, text=GOING, tasks=3, batch=4, population=2
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_parts_find_what_the_whole_finds(name):
    """Three meta-steps, so that inner loops go on, and a mistake in one step spoils the next."""
    made = CASES[name]()
    results = []
    for at_once in (None, 1, 4):
        problem = replace(made.problem, at_once=at_once)
        assert at_once != 1 or len(turns(problem)) > 1
        search, told = made.method.begin(problem, made.free), []
        for number in range(3):
            search, row = made.method.step(problem, search, number)
            told += [row.loss, row.accuracy, row.norm]
        results.append([*told, *search.free.values(), *search.memory.values()])
    assert not all(torch.equal(made.free[name], search.free[name]) for name in made.free), "nothing was learned"
    for other in results[1:]:
        for one, value in zip(other, results[0], strict=True):
            torch.testing.assert_close(one, value, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["maml", "imaml", "noise", "going on", "directions"])
def test_what_a_process_works_on_is_divided_again(name, monkeypatch):
    monkeypatch.setattr(Team, "total", lambda self, values: values)
    made = CASES[name]()
    whole, slopes = made.method.found(made.problem, made.free, 0)
    parts = [made.method.found(replace(made.problem, at_once=1, team=Team(rank, 2)), made.free, 0) for rank in (0, 1)]
    torch.testing.assert_close(sum(score.loss for score, _ in parts), whole.loss, rtol=1e-10, atol=1e-12)
    for name, value in slopes.items():
        torch.testing.assert_close(sum(found[name] for _, found in parts), value, rtol=1e-10, atol=1e-12)


def test_even_parts_cover_everything_once():
    for whole, least in ((1, 1), (16, 1), (16, 3), (5, 2), (5, 5), (7, 9)):
        parts = even_parts(1, whole, least)
        assert [k for part in parts for k in part.own] == list(range(whole))
        assert all(part.count >= min(least, whole) for part in parts)
        assert max(p.count for p in parts) - min(p.count for p in parts) <= 1
    assert Part(1, 1, 2, 3).within(Part(1, 4, 7, 9)) == Part(1, 5, 6, 9)


def test_parts_of_one_size_share_their_graphs():
    whole = load("blur").compile("2-3-1(tanh)", loss="mse", tasks=5, population=2)
    first, other, larger = whole.some_tasks(0, 2), whole.some_tasks(2, 4), whole.some_tasks(2, 5)
    assert first is not other and first.graphs.engines is other.graphs.engines is not larger.graphs.engines
    assert first is whole.some_tasks(0, 2) and larger.some_tasks(1, 2) is whole.some_tasks(3, 4)
    wide = [part.resized(population=4, tasks=2, replicas=None) for part in (first, other)]
    assert wide[0].graphs is wide[1].graphs and wide[0].among == (0, 5) and wide[1].among == (2, 5)


def test_what_others_take_the_place_of_is_not_drawn():
    compiled = load("momentum").compile("2-3-1(tanh)", loss="mse", population=2, tasks=3)
    drawn, names = compiled.init_state(1), ("w.c1.weight", "w.c2.weight")
    assert set(names) <= set(drawn)
    for given in (names[:1], names[1:], names):
        state = compiled.init_state(1, given=given)
        assert list(state) == list(drawn)
        for name, value in drawn.items():
            assert state[name].shape == value.shape
            assert name in given or torch.equal(state[name], value)
        assert (state[names[1]].count_nonzero() == 0) == (names[1] in given)
        assert (state[names[0]].count_nonzero() == 0) == (given == names), "what comes later is drawn after it"


# --- When, and what is told -------------------------------------------------------------------


def test_a_bound_on_memory_divides_what_would_hold_more():
    compiled = load("blur").compile("2-16-1(tanh)", loss="mse", tasks=8, backend="fx")
    free = planned(compiled, "functions")
    assert len(turns(free.problem)) == 1 and "at a time" not in told_memory(free)
    bound = planned(compiled, "functions", memory=3 * free.held.each)
    assert bound.held == free.held
    assert [part.count for part in turns(bound.problem)] == [4, 4]
    tight = planned(compiled, "functions", memory=1)
    assert len(turns(tight.problem)) == 8 and "as asked, instead of" in told_memory(tight)
    team = replace(bound, problem=replace(bound.problem, team=Team(1, 2), at_once=1))
    assert told_memory(replace(team, problem=replace(team.problem, memory=None))).endswith(
        "(3 updates, 1 of 4 networks at a time)"
    )


@NEEDS_COMPILER
def test_kernels_divide_what_is_large_unasked(monkeypatch):
    monkeypatch.delenv("RULEC_CXX", raising=False)
    plain = load("sgd").compile("2-3-1(tanh)", loss="mse", tasks=16, backend="kernel")
    noisy = load("node_perturbation").compile("2-3-1(tanh)", loss="mse", tasks=16, backend="kernel")
    each = LARGE // 4
    assert networks_at_once(plain, 8, Held(each, "", "both"), None) == 4
    assert networks_at_once(plain, 8, Held(LARGE // 16, "", "both"), None) == 16
    assert networks_at_once(plain, 8, Held(each, "", "graph"), None) == 16
    assert networks_at_once(plain, 8, Held(each, "", "kernel"), each) == 16, "a kernel holds one at a time anyway"
    assert networks_at_once(noisy, 8, Held(each, "", "both"), None) == 16
    assert networks_at_once(noisy, 8, Held(each, "", "both"), 2 * each) == 2


@NEEDS_COMPILER
@pytest.mark.parametrize("straight", [False, True])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("axes", [{"tasks": 3}, {"population": 2, "tasks": 3, "replicas": 2}], ids=["tasks", "all"])
def test_a_kernel_judges_as_autograd_does(axes, loss, straight, monkeypatch):
    """Members' losses count differently, and initial weights are the same for all, or not, on one thread and on two."""
    monkeypatch.delenv("RULEC_CXX", raising=False)
    monkeypatch.setattr(build, "FLAGS", tuple("-O1" if flag == "-O3" else flag for flag in build.FLAGS))
    torch.manual_seed(0)
    compiled = load("momentum").compile("3-4-2(tanh)", loss=loss, dtype="float64", backend="kernel", **axes)
    plain = load("momentum").compile("3-4-2(tanh)", loss=loss, dtype="float64", backend="fx", **axes)
    genome, state, lead = compiled.init_genome(), compiled.init_state(3), compiled.lead_shape
    x, y = torch.randn(4, *lead, 5, 3).double(), torch.randn(4, *lead, 5, 2).double().softmax(-1)
    asked, answers = torch.randn(*lead, 6, 3).double(), torch.randn(*lead, 6, 2).double().softmax(-1)
    common = state["w.c1.weight"][
        (slice(None),) * ("population" in axes) + (slice(0, 1),) * (len(lead) - ("population" in axes))
    ]
    factors = torch.tensor([2.0, -0.5], dtype=torch.float64)[: axes.get("population", 1)]
    found = []
    for rule, threads in ((plain, 1), (compiled, 1), (compiled, 2)):
        torch.set_num_threads(threads)
        leaves = [v.clone().requires_grad_() for v in (*genome.values(), common, state["w.c2.weight"])]
        own = dict(zip(genome, leaves, strict=False))
        given = {**state, "w.c1.weight": leaves[-2], "w.c2.weight": leaves[-1]}
        losses, prediction = rule.judged_lesson(own, given, x, y, asked, answers, loss, straight=straight)
        slopes = torch.autograd.grad((losses * factors).sum(), leaves, allow_unused=straight)
        assert not prediction.requires_grad
        found.append([losses.detach(), prediction, *slopes])
    torch.set_num_threads(1)
    assert all(value is not None and value.abs().max() > 0 for value in found[0])
    for other in found[1:]:
        for one, value in zip(other, found[0], strict=True):
            torch.testing.assert_close(one, value, rtol=1e-10, atol=1e-12)


@NEEDS_COMPILER
def test_a_kernel_that_judges_keeps_one_network_at_a_time(monkeypatch):
    """The same gradient by `lesson` and autograd holds the ways back of all 16 networks."""
    monkeypatch.delenv("RULEC_CXX", raising=False)
    monkeypatch.setattr("rulec.runtime.unrolls.run.SMALL_STEP", 0)
    compiled = load("sgd").compile("64-32-10", loss="mse", tasks=16, backend="kernel")
    genome, state = compiled.init_genome(), compiled.init_state(0)
    x, y, asked, answers = torch.randn(10, 16, 64), torch.randn(10, 16, 10), torch.randn(16, 64), torch.randn(16, 10)

    def kept(judged):
        (kernel,) = compiled.graphs.kernels.values() or [None]
        kernel.spare.clear()
        rate = genome["lr"].clone().requires_grad_()
        given = {"lr": rate}, state, x, y, asked
        loss = compiled.judged_lesson(*given, answers, "mse")[0] if judged else compiled.lesson(*given).square().mean()
        torch.autograd.grad(loss.sum(), [rate])
        return sum(memory.nbytes for memory in kernel.spare)

    rate = genome["lr"].clone().requires_grad_()
    compiled.lesson({"lr": rate}, state, x, y, asked)  # compiles
    assert kept(judged=True) < kept(judged=False) / 4
