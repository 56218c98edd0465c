"""The gold identities: one number is learned, minimising (x - 1)^2 + l x^2, and judged by (x - 1/2)^2.

The exact hypergradient at the minimum is (l - 1) / (l + 1)^3. Bohdal et al. 2021, section 4, has this problem.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import rulec
from rulec.meta.hypergradients import READERS, Settings
from rulec.semantics.typed import Call
from rulec.source import RuleError
from rulec.tasks.task import Episode, Task

from .conftest import planned

RULE = """
rule toy "gradient descent on (x - 1)^2 + l x^2; x is the weight of a network whose input is one"

genome
  l : interval(0, 100) = 0.5

neuron
  a

synapse
  w[i,j] = 0

input i
  a[i] = input[i]

forward i -> j
  a[j] = sum[i](w[i,j] * a[i])

output j
  prediction[j] = a[j]

update i -> j
  w[i,j] -= 0.1 * (2 * (w[i,j] - 1) + 2 * l * w[i,j])

outer exact
  inner rule for 200 steps on support
  meta genome
  minimize loss on query
  through unroll
  by sgd(lr = 0.1)
"""


class Half(Task):
    """Every input is one, every target one half."""

    name, input_shape, outputs, loss = "half", (1,), 1, "mse"

    def episode(self, *, seed, steps, batch, tasks=1, query=None, held_out=False):
        support, asked = torch.ones(steps, tasks, batch, 1), torch.ones(tasks, query or batch, 1)
        return Episode(support, support / 2, asked, asked / 2, ("half",) * tasks)

    def accuracy(self, prediction, target):
        return (prediction - target).abs().mean((-2, -1))

    def describe(self):
        return {"name": self.name}


def slope(
    weight: float, method: str, *arguments, updates: int = 200, members: int | None = None, number: int = 0, **settings
):
    """Return d(x - 1/2)^2 / dl through a method, per member."""
    rule = rulec.parse(RULE)
    compiled = rule.compile("1-1", loss="mse", dtype="float64", population=members)
    start = {"l": torch.tensor(weight, dtype=torch.float64)}
    made = planned(compiled, Half(), rule.outer("exact"), start=start, inner_steps=updates, batch=1)
    outer = replace(made.problem.outer, through=Call(method, arguments, settings, made.problem.outer.through.span))
    found = READERS[method](outer, Settings(1e9, 5, members))
    problem = replace(made.problem, outer=outer)
    _, gradient = found.gradient(problem, made.free, number)
    ((_, value),) = gradient.items()
    (free,) = made.free.values()
    leaf = free.detach().requires_grad_()
    by_free = torch.autograd.grad(problem.parameters.genome({"l": leaf}, {})["l"].sum(), leaf)[0]
    return (value / by_free).flatten()


EXACT = {0.1: -0.676183, 0.5: -0.148148, 1.5: 0.032000}
SERIES = {0.1: -0.480957, 0.5: -0.123249, 1.5: 0.031}  # five terms: what is left out shrinks with l


@pytest.mark.parametrize("weight", EXACT)
@pytest.mark.parametrize(
    ("method", "arguments", "settings"),
    [
        ("unroll", (), {}),
        ("forward", (), {}),
        ("forward", (), {"directions": 3}),  # of one number, every direction of signs tells all
        ("truncated", (200,), {}),
        ("implicit", ("cg",), {"steps": 3}),
        ("implicit", ("neumann",), {"steps": 200}),
        ("neumann", (), {"steps": 200}),
        ("finite_difference", (), {"eps": 1e-4}),
    ],
    ids=lambda given: str(given) if given else "-",
)
def test_all_that_is_exact_is_the_formula(weight, method, arguments, settings):
    assert slope(weight, method, *arguments, **settings).item() == pytest.approx(
        (weight - 1) / (weight + 1) ** 3, abs=1e-6
    )
    assert (weight - 1) / (weight + 1) ** 3 == pytest.approx(EXACT[weight], abs=1e-6)


@pytest.mark.parametrize("weight", SERIES)
def test_five_terms_of_neumanns_series_are_the_last_five_updates(weight):
    series, updates = slope(weight, "neumann", steps=5), slope(weight, "truncated", 5)
    assert series.item() == pytest.approx(updates.item(), abs=1e-9)
    assert series.item() == pytest.approx(SERIES[weight], abs=5e-4)


def test_one_step_is_one_update():
    assert slope(0.5, "one_step").item() == pytest.approx(slope(0.5, "truncated", 1).item(), abs=1e-12)


# --- Evolution -------------------------------------------------------------------------------


def draws(weight: float, method: str, count: int, segments: int, **settings) -> torch.Tensor:
    """Return the estimates of many meta-steps in the free space of `l`: (count,)."""
    rule = rulec.parse(RULE)
    start = {"l": torch.tensor(weight, dtype=torch.float64)}
    made = planned(
        rule.compile("1-1", loss="mse", dtype="float64"),
        Half(),
        replace(rule.outer("exact"), horizon=4 * segments),
        start=start,
        inner_steps=4,
        batch=1,
    )
    call = Call(method, (), settings, made.problem.outer.through.span)
    found = READERS[method](replace(made.problem.outer, through=call), Settings(1e9, 5, None))
    search, estimates = found.begin(made.problem, made.free), []
    for number in range(count):
        after, _ = found.step(made.problem, search, number)
        (moved,), (free,) = after.free.values(), search.free.values()
        estimates.append(float((free - moved) / 0.1))  # the outer optimiser is sgd(lr = 0.1)
        search = replace(after, free=search.free)  # estimates at one place
    return torch.tensor(estimates)


def smoothed(weight: float, sigma: float, segments: int, forgets: bool = False) -> float:
    """Return the slope of the mean objective after segments of four updates, each with noise of its own in the free space of `l`."""
    rule = rulec.parse(RULE)
    made = planned(rule.compile("1-1", loss="mse", dtype="float64"), Half(), rule.outer("exact"), batch=1)
    start = made.problem.parameters.free({"l": torch.tensor([weight], dtype=torch.float64)}, {})["l"]
    nodes, masses = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(24))
    x, noise, mass, total = torch.zeros(1).double(), torch.zeros(1).double(), torch.ones(1).double(), 0.0
    for _ in range(segments):
        place = made.problem.parameters.genome({"l": start + sigma * nodes}, {})["l"].repeat(len(x))
        x, noise = x.repeat_interleave(24), (noise[:, None] * (not forgets) + nodes).flatten()
        mass = (mass[:, None] * masses / masses.sum()).flatten()
        for _ in range(4):
            x = x - 0.1 * (2 * (x - 1) + 2 * place * x)
        total += float(((x - 0.5) ** 2 * noise * mass).sum() / sigma) / segments
    return total


@pytest.mark.parametrize(
    ("method", "segments", "weight"),
    [("es", 1, 3.0), ("pes", 1, 3.0), ("pes", 3, 0.3)],
    ids=["es", "pes, one segment", "pes, three segments"],
)
def test_evolution_is_unbiased(method, segments, weight):
    found = draws(weight, method, 120, segments, sigma=0.3, pairs=200).double()
    found = found.reshape(-1, segments).mean(1)  # of whole trajectories
    error = found.std() / len(found) ** 0.5
    expected = smoothed(weight, 0.3, segments)
    assert abs(float(found.mean()) - expected) < 3.5 * float(error)
    assert float(error) < 0.05 * abs(expected)  # so that it says something


def test_what_earlier_segments_owe_to_the_genome_counts():
    """So that an estimate which forgot it would not pass for the one above."""
    assert abs(smoothed(0.3, 0.3, 3, forgets=True) - smoothed(0.3, 0.3, 3)) > 0.18 * abs(smoothed(0.3, 0.3, 3))


def test_members_are_alone():
    together = slope(0.5, "implicit", "cg", members=3)
    torch.testing.assert_close(together, slope(0.5, "implicit", "cg").expand(3))


def test_conjugate_gradients_stop_at_the_solution():
    few, many = (slope(0.5, "implicit", "cg", **{"steps": n}) for n in (1, 50))
    torch.testing.assert_close(few, many, rtol=1e-12, atol=0)


def test_damping_shrinks():
    damped = slope(0.5, "implicit", "cg", damping=0.3).item()
    assert damped == pytest.approx(-0.148148 * 0.3 / (0.3 + 0.3), abs=1e-6)  # I - dF/dw is 0.2 (1 + l) = 0.3


@pytest.mark.parametrize(
    ("method", "arguments", "settings", "id"),
    [
        ("truncated", (), {}, "needs-count"),
        ("truncated", (0,), {}, "needs-count"),
        ("implicit", (), {}, "unknown-solver"),
        ("implicit", ("lu",), {}, "unknown-solver"),
        ("implicit", ("cg",), {"steps": 0}, "wrong-setting"),
        ("neumann", (), {"damping": 1.0}, "unknown-setting"),
        ("forward", (3,), {}, "unexpected-argument"),
        ("finite_difference", (), {"eps": 0}, "wrong-setting"),
    ],
)
def test_what_is_set_wrongly_is_told(method, arguments, settings, id):
    with pytest.raises(RuleError) as caught:
        slope(0.5, method, *arguments, **settings)
    assert caught.value.diagnostics[0].id == id
