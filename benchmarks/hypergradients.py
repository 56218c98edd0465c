"""Benchmark 9: how far each hypergradient is from the exact one, how much it varies, and what it costs in time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.agreement import TOLERANCE
from benchmarks.contender import Row, Run, Section
from benchmarks.estimates import BATCH, Estimator, by_hand, estimator, exact, exact_of_segments, running
from benchmarks.fresh import HOW_MEMORY, Failed, peak
from benchmarks.suite import Effort
from benchmarks.timing import interleaved
from rulec.source import RuleError


@dataclass(frozen=True)
class Way:
    """A hypergradient as an outer step names it after `through`; `draws` estimates of it are averaged where they vary."""

    through: str
    draws: int = 1
    note: str = ""


WAYS = (
    Way("unroll"),
    Way("unroll with checkpoint"),
    Way("first_order"),
    Way("truncated(5)"),
    Way("one_step"),
    Way("forward"),
    Way("forward(directions = 4)", 200),
    Way("implicit(cg, steps = 20)"),
    Way("neumann(steps = 20)"),
    Way("finite_difference(eps = 0.001)"),
    Way("es(sigma = 0.05, pairs = 16)", 100, "of the loss, smoothed"),
    Way("pes(sigma = 0.05, pairs = 16)", 100, "of the mean loss after each fifth, smoothed"),
    Way("evograd", 100),
)
ALL_NOTES = (
    "`bias`: distance between the mean estimate and the exact gradient; `standard error`: what chance alone makes of it; `variance`: "
    "mean square of the distance between an estimate and their mean; all relative to the length of the exact gradient (variance: to its "
    "square). `cosine`: between the mean estimate and the exact gradient.",
    "`pes` estimates the gradient of another objective and is compared with that. `implicit` and `neumann` are exact at a fixed point; before "
    "it, their bias is what the inner loop has not done yet.",
)


@dataclass(frozen=True)
class Place:
    """A network and a number of updates."""

    title: str
    net: str
    updates: int
    share: float = 1.0  # of the draws


PLACES = (
    Place("before the inner loop has converged", "64-16-10:tanh", 50),
    Place("where the inner loop has converged", "64-10", 500, 0.25),
)


def sections(effort: Effort) -> Iterator[Section]:
    for place in PLACES[:1] if effort.quick else PLACES:
        updates = effort.sized(place.updates, 10)
        effort.say(f"Hypergradients, {place.title}")
        yield _section(effort, place, updates)


def prepared(through: str, net: str, steps: int) -> Run:
    """Prepare a way, in a process that measures memory."""
    return running(estimator(through, net, steps))


def judged(draws: Tensor, expected: Tensor) -> dict[str, float]:
    """Compare estimates (draws, n) with the exact gradient."""
    size, mean = expected.norm(), draws.mean(0)
    several = len(draws) > 1
    spread = draws.var(0).sum() if several else torch.zeros(())
    found = {"bias": (mean - expected).norm() / size}
    if several:
        found["standard error"] = (spread / len(draws)).sqrt() / size
    found["cosine"] = torch.nn.functional.cosine_similarity(mean, expected, 0)
    found["variance"] = spread / size**2
    return {name: float(value) for name, value in found.items()}


def _section(effort: Effort, place: Place, updates: int) -> Section:
    truth, by_loop = exact(place.net, updates), by_hand(place.net, updates)
    apart = float((truth - by_loop).norm() / by_loop.norm())
    if apart > TOLERANCE["float64"]:
        raise ArithmeticError(f"`unroll` differs by {apart:.1e} from a loop written by hand")
    rows, runs = [], {}
    for way in WAYS:
        effort.say(f"  {way.through}")
        row, made = _row(effort, way, place, updates, truth)
        rows.append(row)
        if made is not None:
            runs[row.name] = running(made)
    effort.say(f"  timing {len(runs)}, {effort.sized(7, 2)} rounds")
    samples = interleaved(runs, effort.sized(7, 2))
    for row in rows:
        if row.name in samples:
            row.wall, row.cpu = samples[row.name].wall, samples[row.name].cpu
    _memory(effort, rows, place, updates)
    return Section(
        f"Hypergradients {place.title}",
        f"Descent with a rate and weight decays on digits, {place.net}, {len(truth)} meta-parameters, {updates} updates on one batch of {BATCH}, "
        "float64",
        rows,
        WAYS[0].through,
        "estimate",
        [
            *ALL_NOTES,
            f"Length of the exact gradient {float(truth.norm()):.3g}; it was compared with autograd through a loop that was written by hand: they differ by {apart:.0e}.",
            HOW_MEMORY,
        ],
    )


def _row(effort: Effort, way: Way, place: Place, updates: int, truth: Tensor) -> tuple[Row, Estimator | None]:
    row = Row(way.through, note=way.note)
    expected = exact_of_segments(place.net, updates) if way.through.startswith("pes") else truth
    count = effort.sized(max(1, round(way.draws * place.share)), 3) if way.draws > 1 else 1
    try:
        made = estimator(way.through, place.net, updates)
        row.values |= judged(torch.stack([made.estimate(n) for n in range(count)]), expected)
    except RuleError as problem:
        row.status, row.note = "absent", problem.diagnostics[0].message
        return row, None
    except TypeError as problem:
        row.status, row.note = "absent", str(problem)
        return row, None
    return row, made


def _memory(effort: Effort, rows: list[Row], place: Place, updates: int) -> None:
    for way, row in zip(WAYS, rows, strict=True):
        if row.status == "ok" and not (effort.quick and way is not WAYS[0]):
            effort.say(f"  memory of {row.name}")
            try:
                row.peak = peak(
                    "benchmarks.hypergradients:prepared", {"through": way.through, "net": place.net}, updates
                )
            except Failed as failed:
                row.note = f"memory: {failed}"
