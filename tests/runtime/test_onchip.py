"""Triton kernels of whole unrolls: single operations against torch, unrolls against calling the rule in a loop.

Here Triton runs its kernels in Python, which needs no GPU; what a GPU makes of them is for the tests marked `gpu`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import rulec
from rulec.backend.onchip import operations
from rulec.backend.onchip.blocks import padded, plain, regrouping
from rulec.backend.onchip.build import has_triton, load_launcher
from rulec.backend.onchip.source import Array, Loop, Part, loop_source
from rulec.backend.rewrites import rewritten
from rulec.runtime.compiled import CompiledRule
from rulec.runtime.unrolls import ways
from rulec.source import RuleError
from tests.backend.test_planned import draws, program, step
from tests.rules.by_hand.networks import RULES, compiled_on, few_rounds
from tests.runtime.test_unroll import Case
from tests.runtime.test_unroll import assert_same as runtime_assert_same

pytestmark = [
    pytest.mark.usefixtures("quiet"),
    pytest.mark.skipif(not has_triton(), reason="there is no Triton: pip install 'rulec[triton]'"),
]


@pytest.fixture
def quiet() -> Iterator[None]:
    """Padding holds anything at all; NumPy, which runs the kernels, would say so."""
    with np.errstate(all="ignore"):
        yield


# --- Blocks ----------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.data())
def test_axes_regroup_where_nothing_moves(sizes: list[int], data: st.DataObject):
    """Numbers are looked for in the padded places of both groupings: they must be the same ones."""
    value = torch.arange(int(np.prod(sizes))).reshape(sizes)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(sizes)))))
    ends = [0, *cuts, len(sizes)]
    wanted = [int(np.prod(sizes[a:b])) for a, b in pairwise(ends)]
    axes = regrouping(plain(sizes), wanted)
    assert axes is not None and [int(np.prod(axis)) for axis in axes] == wanted
    assert np.prod([padded(axis) for axis in axes]) == np.prod([padded(axis) for axis in plain(sizes)])
    back = regrouping(axes, sizes)
    assert back == plain(sizes)
    assert value.reshape(wanted).reshape(sizes).equal(value)


@pytest.mark.parametrize(
    ("sizes", "wanted", "found"),
    [
        ((20,), (5, 4), ((5,), (4,))),  # a power of two can be split off
        ((20,), (4, 5), None),  # 5 would take eight places
        ((3, 4), (12,), ((3, 4),)),
        ((3, 4), (4, 3), None),
        ((6, 1), (1, 6), ((), (6,))),
    ],
)
def test_where_numbers_would_move(sizes: tuple[int, ...], wanted: tuple[int, ...], found: object):
    assert regrouping(plain(sizes), wanted) == found


# --- Single operations -----------------------------------------------------------------------


def run_function(function: Callable[..., list[Tensor]], arguments: list[Tensor]) -> list[Tensor]:
    """Run a function as what comes after no steps at all."""
    module = rewritten(make_fx(function, tracing_mode="fake")(*arguments))
    nothing = Part(make_fx(lambda: [])(), ())
    arrays = tuple(Array(tuple(a.shape), ()) for a in arguments)
    last = Part(module, tuple(("fixed", k) for k in range(len(arguments))))
    double = arguments[0].dtype == torch.float64
    source = loop_source(Loop(nothing, last, arrays, (), (), (), double, False))
    results = [torch.full(r.shape, torch.nan, dtype=r.dtype) for r in function(*arguments)]
    scratch = arguments[0].new_empty(source.memory)
    constants = [c.to(scratch) for c in source.constants]
    load_launcher(source.text)(1, 4, *arguments, *constants, *results, scratch, 0, 0, 1, 1, 1)
    return results


@settings(max_examples=40)
@given(st.lists(step, min_size=1, max_size=14), st.lists(st.integers(0, 20), min_size=1, max_size=4))
def test_random_programs(steps: list[tuple[int, int, int]], results: list[int]):
    steps = [s for s in steps if s[0] != 12]  # `cumsum`, of which there is no kernel
    function = program(steps, results)
    arguments = draws(3)
    for one, other in zip(run_function(function, arguments), function(*arguments), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "sum of what a row was added to": lambda a: (a + a[:1, :1]).sum(1),
    "sum of what a number was added to": lambda a: (a + a.sum()).sum((0, 1)),
    "sum of what a number was taken from": lambda a: (a.sum() - a * a).sum(1),
    "sum of a product that a row was added to": lambda a: (a @ a.transpose(1, 2) + a[:1, :1, :1]).sum((1, 2)),
    "infinity": lambda a: torch.maximum(a, torch.full_like(a, -torch.inf)),
    "slice": lambda a: a[:, 1:4:2] + 1,
    "cat": lambda a: torch.cat([a, a[:, :1] * 2], 1),
    "stack": lambda a: torch.stack([a, a * 2, a * 3], 1),
    "flatten and take apart": lambda a: a.reshape(15, 4).t().reshape(4, 5, 3).sum(1),
    "split where it moves": lambda a: a.reshape(60).reshape(4, 15).mean(0),
    "joined and not": lambda a: (a * 2).reshape(3, 20) + torch.arange(20).to(a.dtype),
    "select": lambda a: a[1, -1] * a[0],
    "variance": lambda a: a.var((0, 2), correction=1),
    "extremes": lambda a: a.amax((0, 1)) - a.amin(2, keepdim=True),
    "dot": lambda a: torch.dot(a[0, 0], a[1, 1]) * torch.mv(a[0], a[2, 2]),
    "softmax": lambda a: torch.softmax(a, 1) * torch.log_softmax(a, 2),
    "powers": lambda a: a**3 + (a * a + 1) ** 0.5 + (a * a) ** 1.3 + 2.0**a,
    "functions": lambda a: torch.erf(a) + torch.sin(a) * torch.cos(a) + torch.rsqrt(a * a + 1),
    "masks": lambda a: torch.where(torch.logical_and(a > 0, a < 1), a, torch.nn.functional.softplus(a)),
    "constants": lambda a: a + torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]], dtype=a.dtype),
}


@pytest.mark.parametrize("name", SHAPES)
def test_operations(name: str):
    value = torch.randn(3, 5, 4, dtype=torch.float64)
    (made,) = run_function(lambda a: [SHAPES[name](a)], [value])
    torch.testing.assert_close(made, SHAPES[name](value), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("sizes", [(5, 3, 4), (33, 20, 7), (2, 50, 40), (40, 2, 40)])
@pytest.mark.parametrize("summed", [0, 1 << 12], ids=["tensor cores", "as it is"])
def test_products(sizes: tuple[int, int, int], summed: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(operations, "SUMMED", summed)
    rows, inner, columns = sizes
    a, b = torch.randn(rows, inner, dtype=torch.float64), torch.randn(inner, columns, dtype=torch.float64)
    wide = torch.randn(3, rows, inner, dtype=torch.float64)

    def function(a: Tensor, b: Tensor, wide: Tensor) -> list[Tensor]:
        return [
            a @ b,
            wide @ b.expand(3, inner, columns),
            torch.baddbmm(wide, wide, (b @ b.t()).expand(3, inner, inner)),
        ]

    for made, expected in zip(run_function(function, [a, b, wide]), function(a, b, wide), strict=True):
        torch.testing.assert_close(made, expected, rtol=1e-11, atol=1e-11)


EDGES = [float("nan"), float("inf"), -float("inf"), 0.0, -1e-30, 0.62, -90.0, 100.0]


@pytest.mark.parametrize(
    "function", [torch.tanh, torch.relu, torch.sigmoid, torch.sign, torch.nn.functional.softplus, torch.exp]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_edges(function: Callable[[Tensor], Tensor], dtype: torch.dtype):
    value = torch.cat([torch.tensor(EDGES, dtype=dtype), torch.linspace(-9, 9, 41, dtype=dtype)])
    if function is torch.sign:  # whose sign of what is no number is 0; the interpreter's is none, and so is a kernel's
        value = value[1:]
    (made,) = run_function(lambda a: [function(a)], [value])
    small = 2e-6 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(made, function(value), rtol=small, atol=0, equal_nan=True)


def test_a_step_may_leave_anything_in_the_padding_of_what_it_carries():
    start, row = torch.randn(5, 3, dtype=torch.float64), torch.randn(1, 3, dtype=torch.float64)
    step_ = Part(make_fx(lambda s, r: [s + r])(start, row), (("carried", 0), ("fixed", 0)))
    last = Part(make_fx(lambda s: [s.sum(0)])(start), (("carried", 0),))
    source = loop_source(Loop(step_, last, (Array((1, 3), ()),), (Array((5, 3), ()),), (), (), True, False))
    result = torch.empty(3, dtype=torch.float64)
    load_launcher(source.text)(1, 4, row, start, result, start.new_empty(source.memory), 2, 0, 1, 1, 1)
    torch.testing.assert_close(result, (start + 2 * row).sum(0))


# --- Unrolls ---------------------------------------------------------------------------------


def assert_same(compiled: CompiledRule) -> None:
    """Compare states, predictions and tangents with those of planned graphs, which have tests of their own."""
    case, other = Case(compiled), Case(replace(compiled, backend="fx"))
    for mode in ("unroll", "lesson"):
        found, expected = (c.prediction(mode, case.genome, case.state) for c in (case, other))
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12, msg=mode)
    start = {n: v for n, v in case.state.items() if v.is_floating_point() and n in compiled.carried(False)}
    some = dict(list((case.genome | start).items())[-3:])
    tangents = {name: torch.randn(3, *value.shape, dtype=value.dtype) for name, value in some.items()}
    given_ = (case.genome, case.state, tangents, case.x, case.y, case.query)
    for one, two in zip(compiled.lesson_tangents(*given_), other.compiled.lesson_tangents(*given_), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-11)
    assert len(compiled.graphs.chips) == 3 and not compiled.graphs.engines and not compiled.graphs.tangents


@pytest.mark.parametrize("name", RULES)
def test_every_rule(name: str):
    assert_same(compiled_on(few_rounds(name), "dense", loss="mse", backend="triton"))


@pytest.mark.parametrize("name", ["sgd", "weight_perturbation"])
def test_all_leading_axes(name: str):
    axes = {"population": 2, "tasks": 3, "replicas": 2}
    assert_same(compiled_on(few_rounds(name), "dense", loss="mse", backend="triton", **axes))


def test_data_of_their_own_for_tasks_and_replicas():
    axes = {"population": 2, "tasks": 2, "replicas": 3}
    compiled = rulec.load("blur").compile("3-4-2", loss="mse", dtype="float64", backend="triton", **axes)
    case, other = Case(compiled), Case(replace(compiled, backend="fx"))
    for c in (case, other):
        torch.manual_seed(0)
        c.x = torch.randn(4, 1, 2, 1, 5, 3, dtype=torch.float64)
        c.y = torch.randn(4, 1, 2, 3, 5, 2, dtype=torch.float64)
    found, expected = (c.prediction("lesson", c.genome, c.state) for c in (case, other))
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


def test_a_way_back_goes_over_graphs():
    compiled = rulec.load("blur").compile("3-4-2", loss="mse", dtype="float64", backend="triton")
    runtime_assert_same(Case(compiled), ("unroll", "lesson"))
    assert compiled.graphs.engines


def test_what_no_core_holds_is_refused():
    compiled = rulec.load("backprop").compile("784-128-10", loss="mse", dtype="float64", backend="triton")
    case = Case(compiled)
    with pytest.raises(RuleError, match="no-kernel") as caught:
        case.prediction("lesson", case.genome, case.state)
    assert "no core holds" in caught.value.diagnostics[0].notes[0]


# --- Choosing --------------------------------------------------------------------------------


def test_the_quickest_way_is_taken_and_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(ways, "measures", lambda rule: True)
    compiled = rulec.load("blur").compile("3-4-2", loss="mse", backend="auto")
    calls: list[str] = []

    def way(name: str, seconds: float) -> Callable[[], str]:
        return lambda: (calls.append(name), time.sleep(seconds), name)[-1]  # type: ignore[return-value]

    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    assert ways.on_chip_or(compiled, "one", way("chip", 0.02), way("graphs", 0.001)) == "graphs"
    assert ways.on_chip_or(compiled, "two", way("chip", 0.001), way("graphs", 0.02)) == "chip"
    assert calls.count("chip") > 2
    calls.clear()
    again = replace(compiled)  # a second start
    assert ways.on_chip_or(again, "one", way("chip", 0), way("graphs", 1e-9)) == "graphs"
    assert ways.on_chip_or(again, "two", way("chip", 0), way("graphs", 0)) == "chip"
    assert calls == ["graphs", "chip"]


def test_a_way_that_does_not_exist_is_not_taken():
    def none() -> None:
        raise RuleError([])

    assert ways.quickest({"triton": none, "graphs": lambda: time.sleep(0.01)}, lambda: None) == "graphs"


def test_triton_on_a_processor_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(RuleError, match="triton-on-cpu"):
        rulec.load("blur").compile("3-4-2", backend="triton")


def test_a_missing_triton_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rulec.runtime.compile.has_triton", lambda: False)
    with pytest.raises(RuleError, match="no-triton"):
        rulec.load("blur").compile("3-4-2", backend="triton")


# --- For a GPU that is not there ------------------------------------------------------------

COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from rulec.backend.onchip.build import imported
kernel = imported("kernel", sys.argv[1]).unroll
whole = ("steps", "begin", "members", "tasks", "replicas")
signature = {name: "i32" if name in whole else "*fp32" for name in kernel.arg_names}
made = triton.compile(ASTSource(fn=kernel, signature=signature, constexprs={}), target=GPUTarget("cuda", 90, 32), options={"num_warps": int(sys.argv[2])})
assert "unroll" in made.asm["ptx"] and made.asm["cubin"]
print(made.metadata.shared)
"""


def test_triton_compiles_a_kernel_for_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """All that can be tried without a GPU: Triton types the kernel, lowers it and assembles it."""
    given_ = {"loss": "mse", "replicas": 16, "dtype": "float32", "backend": "triton"}
    compiled = rulec.load("blur").compile("2-20-1", **given_)
    x, y = torch.randn(2, 32, 2), torch.randn(2, 32, 1)
    pairs = [(a.expand(16, *a.shape), b.expand(16, *b.shape)) for a, b in zip(x, y, strict=True)]
    chip = compiled.chip(("R",), False, pairs, True)
    path = tmp_path / "kernel.py"
    path.write_text(chip.source.text)
    monkeypatch.delenv("TRITON_INTERPRET")
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(path), str(chip.warps)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200 * 1024  # bytes of shared memory


# --- On a GPU --------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
def test_on_a_gpu(name: str, dtype: str):
    axes = {"population": 2, "replicas": 3, "loss": "mse"}
    here = Case(compiled_on(few_rounds(name), "dense", backend="fx", **axes))
    there = compiled_on(few_rounds(name), "dense", backend="triton", device="cuda", dtype=dtype, **axes)
    own = {
        k: v.to("cuda", there.dtype if v.is_floating_point() else None) for k, v in (here.genome | here.state).items()
    }
    data = [v.to("cuda", there.dtype) for v in (here.x, here.y, here.query)]
    found = there.lesson({n: own[n] for n in here.genome}, {n: own[n] for n in here.state}, *data)
    expected = here.prediction("lesson", here.genome, here.state)
    small = 1e-4 if dtype == "float32" else 1e-9
    torch.testing.assert_close(found.cpu().double(), expected, rtol=small, atol=small)
