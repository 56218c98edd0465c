"""Generated kernels: single functions against torch, and whole unrolls against a loop under autograd."""

from __future__ import annotations

import ctypes
import dataclasses
import shutil
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import rulec
from rulec.backend.kernel import build, operations
from rulec.backend.kernel.build import load_library
from rulec.backend.kernel.functions import Function
from rulec.backend.kernel.source import prelude, resource
from rulec.backend.kernel.views import View, coalesced, dense
from rulec.backend.rewrites import rewritten
from rulec.source import RuleError
from tests.backend.test_planned import draws, program, step
from tests.rules.by_hand.networks import RULES, compiled_on, few_rounds
from tests.runtime.test_unroll import Case, assert_same

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RULEC_CXX", raising=False)
    monkeypatch.setattr(build, "FLAGS", tuple("-O1" if flag == "-O3" else flag for flag in build.FLAGS))


# --- Views -----------------------------------------------------------------------------------

changes = st.lists(
    st.tuples(
        st.sampled_from(["permute", "select", "slice", "unsqueeze", "expand", "reshape", "flatten"]), st.integers(0, 50)
    ),
    max_size=6,
)


def changed(value: Tensor, view: View, how: str, number: int) -> tuple[Tensor, View]:
    rank = value.ndim
    if how == "unsqueeze":
        axis = number % (rank + 1)
        sizes, strides = list(view.sizes), list(view.strides)
        sizes.insert(axis, 1)
        strides.insert(axis, 0)
        return value.unsqueeze(axis), View(view.base, tuple(sizes), tuple(strides), view.offset)
    if rank == 0:
        return value, view
    axis = number % rank
    if how == "permute":
        order = [*range(axis, rank), *range(axis)]
        return value.permute(order), view.permuted(order)
    if how == "select":
        index = number % value.shape[axis]
        return value.select(axis, index), view.selected(axis, index)
    if how == "slice" and value.shape[axis] > 1:
        return value.narrow(axis, 1, value.shape[axis] - 1), view.sliced(axis, 1, value.shape[axis], 1)
    if how == "expand":
        sizes = [3, *value.shape]
        return value.expand(sizes), view.expanded(sizes)
    shapes = [[-1], [value.shape[0], -1]] if how == "flatten" else [[*value.shape[:-1], 1, value.shape[-1]]]
    for shape in shapes:
        try:
            return value.view(shape), view.reshaped(shape)
        except RuntimeError:
            with pytest.raises(ValueError, match="no view"):
                view.reshaped(shape)
    return value, view


@given(changes)
def test_views_are_those_of_torch(steps: list[tuple[str, int]]):
    value = torch.arange(24).reshape(2, 3, 4)
    view = View("a", (2, 3, 4), dense((2, 3, 4)))
    for how, number in steps:
        if value.numel() > 500:
            break
        value, view = changed(value, view, how, number)
    assert view.sizes == tuple(value.shape) and view.offset == value.storage_offset()
    relevant = [(s, d) for s, d in zip(value.shape, view.strides, strict=True) if s > 1]
    assert relevant == [(s, d) for s, d in zip(value.shape, value.stride(), strict=True) if s > 1]


def test_loops_are_joined_where_all_walk_alike():
    one, other = View("a", (2, 3, 4), dense((2, 3, 4))), View("b", (2, 3, 4), (0, 4, 1))
    assert [v.sizes for v in coalesced([one, other])] == [(2, 12), (2, 12)]
    assert [v.sizes for v in coalesced([one, one])] == [(24,), (24,)]


# --- Functions -------------------------------------------------------------------------------


def run_function(function: Callable[..., list[Tensor]], arguments: list[Tensor]) -> list[Tensor]:
    module = rewritten(make_fx(function, tracing_mode="fake")(*arguments))
    made = Function("made", module)
    names = [*(f"in[{k}]" for k in range(len(arguments))), *(f"out[{k}]" for k in range(len(made.results)))]
    call = f'extern "C" void call(const real* const* in, real* const* out, real* work) {{ made({", ".join([*names, "work"])}); }}'
    images = [resource("images.h")] if made.sees_images else []
    library = load_library("\n".join((prelude(arguments[0].dtype == torch.float64), *images, made.source(), call)))
    results = [torch.empty(tuple(r.meta["val"].shape), dtype=arguments[0].dtype) for r in made.results]
    work = torch.empty(made.work + 16, dtype=arguments[0].dtype)

    def pointers(values: list[Tensor]) -> object:
        return (ctypes.c_void_p * len(values))(*(v.data_ptr() for v in values))

    library.call(pointers(arguments), pointers(results), ctypes.c_void_p(work.data_ptr()))
    return results


@settings(max_examples=15)
@given(st.lists(step, min_size=4, max_size=14), st.lists(st.integers(0, 20), min_size=1, max_size=4))
def test_random_programs(steps: list[tuple[int, int, int]], results: list[int]):
    if any(which == 12 for which, _, _ in steps):  # `cumsum`, of which there is no kernel
        steps = [s for s in steps if s[0] != 12]
    function = program(steps, results)
    arguments = draws(3)
    for one, other in zip(run_function(function, arguments), function(*arguments), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


SINGLE: list[Callable[[Tensor], Tensor]] = [
    torch.exp,
    torch.tanh,
    torch.sigmoid,
    torch.nn.functional.softplus,
    torch.sign,
    lambda a: a.var((0, 2), correction=0),
    lambda a: torch.log_softmax(a, 1),
    lambda a: torch.amax(a, 0),
    lambda a: torch.cat([a, a[:, :1]], 1),
    lambda a: a.clamp(min=-0.5),
    lambda a: torch.where(a > 0, a, torch.zeros_like(a)).pow(3),
]


@pytest.mark.parametrize("function", SINGLE)
def test_single_precision(function: Callable[[Tensor], Tensor]):
    extremes = torch.tensor([0.0, 1e-30, -1e-6, 0.625, -0.62, 9.0, -9.0, 87.0, -87.3, 100.0, -100.0, 1e30])
    value = torch.cat([extremes, torch.linspace(-5, 5, 36)]).reshape(4, 4, 3)
    (made,) = run_function(lambda a: [function(a)], [value])
    torch.testing.assert_close(made, function(value), rtol=2e-6, atol=1e-30 if function is torch.exp else 2e-6)


@pytest.mark.parametrize("function", [torch.exp, torch.tanh, torch.relu, torch.sigmoid])
def test_not_a_number_stays_one(function: Callable[[Tensor], Tensor]):
    value = torch.tensor([float("nan"), 1.0, float("inf"), -float("inf")])
    (made,) = run_function(lambda a: [function(a)], [value])
    torch.testing.assert_close(made, function(value), equal_nan=True)


# --- Unrolls ---------------------------------------------------------------------------------


def test_large_products_are_those_of_the_library(monkeypatch: pytest.MonkeyPatch):
    if build.matrix_library() is None:
        pytest.skip("this PyTorch lends no products")
    monkeypatch.setattr(operations, "_LARGE", 8)
    monkeypatch.setattr(operations, "_THIN", 2)
    compiled = rulec.load("blur").compile("7-6-5", replicas=3, loss="mse", dtype="float64", backend="kernel")
    case = Case(compiled, 3)
    assert_same(case, ("unroll", "least", "lesson"))
    (kernel, *_) = compiled.graphs.kernels.values()
    assert "product(" in kernel.source.split("net_step")[0].split("step_forward")[1]


@pytest.mark.parametrize("kept", [False, True], ids=["made again", "kept"])
def test_any_memory_gives_the_same(kept: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rulec.runtime.unrolls.run.SMALL_STEP", 0 if kept else 1 << 30)
    compiled = rulec.load("blur").compile("3-4-2", replicas=3, loss="mse", dtype="float64", backend="kernel")
    assert_same(Case(compiled, 17), ("unroll", "least", "little", "lesson"))


def test_the_way_back_can_be_taken_twice():
    compiled = rulec.load("blur").compile("3-4-2", loss="mse", dtype="float64", backend="kernel")
    case = Case(compiled)
    genome, state = case.leaves()
    loss = case.prediction("lesson", genome, state).square().sum()
    entries = [v for n, v in genome.items() if n in ("forward_gain", "forward_mix")]
    first, second = (torch.autograd.grad(loss, entries, retain_graph=True) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


SOME = ("blur", "adam", "equilibrium_propagation", "learned_optimizer", "node_perturbation")
MODES = ("unroll", "lesson")


@pytest.mark.parametrize("name", SOME)
def test_like_a_loop_under_autograd(name: str):
    axes = {"population": 2, "tasks": 3, "replicas": 2}
    assert_same(Case(compiled_on(few_rounds(name), "dense", loss="mse", backend="kernel", **axes)), MODES)


@pytest.mark.experiment
@pytest.mark.parametrize("axes", [{}, {"replicas": 2}], ids=["one", "replicas"])
@pytest.mark.parametrize("name", RULES)
def test_every_rule_like_a_loop_under_autograd(name: str, axes: dict[str, int]):
    assert_same(Case(compiled_on(rulec.load(name), "dense", loss="mse", backend="kernel", **axes)), MODES)


def test_data_of_their_own_for_tasks_and_replicas():
    compiled = rulec.load("blur").compile(
        "3-4-2", population=2, tasks=2, replicas=3, loss="mse", dtype="float64", backend="kernel"
    )
    case = Case(compiled)
    case.x = torch.randn(4, 1, 2, 1, 5, 3, dtype=torch.float64)
    case.y = torch.randn(4, 1, 2, 3, 5, 2, dtype=torch.float64)
    assert_same(case, MODES)


def test_first_order_is_that_of_the_other_backend():
    compiled = rulec.load("blur").compile("3-4-2", loss="mse", dtype="float64", backend="kernel")
    found = []
    for backend in ("fx", "kernel"):
        case = Case(dataclasses.replace(compiled, backend=backend))
        genome, state = case.leaves()
        prediction = case.compiled.lesson(genome, state, case.x, case.y, case.query, straight=True)
        found.append(torch.autograd.grad(prediction.square().sum(), list(genome.values()), allow_unused=True))
    for one, other in zip(*found, strict=True):
        if one is not None:
            torch.testing.assert_close(one, other)


def test_what_no_kernel_is_generated_for_is_refused_and_left_to_others_by_auto(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(operations.OPERATIONS, "bmm")
    given_ = {"loss": "mse", "dtype": "float64", "replicas": 2}
    case = Case(rulec.load("blur").compile("3-4-2", backend="kernel", **given_))
    with pytest.raises(RuleError, match="no-kernel"):
        case.prediction("lesson", case.genome, case.state)
    auto = Case(rulec.load("blur").compile("3-4-2", backend="auto", **given_))
    auto.prediction("lesson", auto.genome, auto.state)
    assert auto.compiled.choice(5).backend == "fx" and "bmm" in auto.compiled.choice(5).reason


def test_auto_takes_kernels_where_cores_have_work(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    small, large, many = (
        rulec.load("blur").compile(net, backend="auto", replicas=replicas)
        for net, replicas in (("2-20-1", 1), ("784-128-10", 3), ("784-128-10", 4))
    )
    found = [small.choice(32), large.choice(64), many.choice(64)]
    lent = build.matrix_library() is not None
    assert [c.backend for c in found] == ["kernel", "fx", "kernel" if lent else "fx"]
    assert all("kB" in c.reason for c in found)


def test_a_missing_compiler_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RULEC_CXX", "no-such-compiler")
    with pytest.raises(RuleError, match="no-compiler"):
        load_library("int x;")
    assert rulec.load("blur").compile("2-20-1", backend="auto").choice(32).backend == "fx"


def test_a_failing_compiler_is_said():
    with pytest.raises(RuleError, match="compiler-failed"):
        load_library("this is not C++")


def test_a_library_is_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = 'extern "C" int one() { return 1; }'
    assert load_library(source).one() == 1
    (made,) = (tmp_path / "rulec" / "kernels").iterdir()
    before = made.stat().st_mtime_ns
    assert load_library(source).one() == 1
    assert made.stat().st_mtime_ns == before
