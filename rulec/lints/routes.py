"""The way of each meta-parameter to the objective: through which named quantities a derivative comes back, or what cuts it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from rulec.ir.graph import Write
from rulec.lints.flow import INITIAL, Source, lasts
from rulec.lints.gradients import entries_of
from rulec.lints.lint import Variant
from rulec.lints.paths import Key, Paths, cut_name, flat_arguments
from rulec.lints.wording import lines


class Stop(NamedTuple):
    """A named quantity on the way, and the line that sets it. `later`: what comes next on the way belongs to the next step."""

    name: str
    line: int | None
    later: bool = False


@dataclass(frozen=True)
class Route:
    """`stops` lead from a meta-parameter to the prediction, which stands last; there are none if `why` says what is in the way.

    `first_order`: whether a first-order gradient reaches the meta-parameter, too.
    """

    name: str
    stops: tuple[Stop, ...]
    why: str
    first_order: bool


def routes(variant: Variant) -> Iterator[Route]:
    """Yield the shortest way of each genome entry, net and initial value; one in few steps is shorter than one in many."""
    paths = variant.paths
    live = {name for name, _ in variant.components.live}
    found = _Search(paths)
    for name in entries_of(variant):
        keys = paths.named(name)
        yield _route(name, name in live, found.nearest(keys), keys, paths, bool(paths.first_order & {*keys}))
    for name in _synapses(variant):
        keys = [key for key in paths.ops if paths.states_read([key]) == {name}]
        direct = name in paths.states_read(paths.last)
        yield _route(f"init({name})", name in live, found.nearest(keys), keys, paths, direct)


def _synapses(variant: Variant) -> list[str]:
    names = [s.name for s in variant.program.states if s.kind == "synapse" and lasts(variant.program, s.name)]
    return ["w", *names] if variant.program.acts_on_parameters else names


def _route(
    name: str, live: bool, stops: tuple[Stop, ...] | None, keys: Iterable[Key], paths: Paths, first_order: bool
) -> Route:
    if not live:
        return Route(name, (), "no prediction depends on it", False)
    if stops is not None:
        return Route(name, stops, "", first_order)
    cuts = paths.cuts(paths.exact, paths.depending_on(keys))
    places = list(dict.fromkeys(op.span.line for op in cuts if op.span))
    by = " and ".join(dict.fromkeys(cut_name(op) for op in cuts))
    return Route(name, (), f"cut by {by}" + (f", {lines(places)}" if places else ""), False)


class _Search:
    """The shortest ways from the prediction back to every op that a derivative reaches."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.set_by: dict[Key, Stop] = {}  # the first quantity that has an op's value
        for site in paths.flow.writes:
            self.set_by.setdefault((site.block, id(site.write.value)), _stop(site.write))
        self.cost: dict[Key, tuple[int, int]] = {}  # steps, and named quantities
        self.before: dict[Key, tuple[Key | None, tuple[Stop, ...]]] = {}
        self._run()

    def nearest(self, keys: Iterable[Key]) -> tuple[Stop, ...] | None:
        """Return the way from the nearest of some ops to the prediction; None if no derivative reaches any."""
        key = min((key for key in keys if key in self.cost), key=self.cost.__getitem__, default=None)
        if key is None:
            return None
        stops: list[Stop] = []
        while key is not None:
            key, passed = self.before[key]
            stops += passed
        return tuple(stops)

    def _run(self) -> None:
        pending: list[tuple[tuple[int, int], Key]] = []

        def reach(used: Key, cost: tuple[int, int], user: Key | None, passed: tuple[Stop, ...]) -> None:
            new = (cost[0] + any(stop.later for stop in passed), cost[1] + len(passed))
            if used not in self.cost or new < self.cost[used]:
                self.cost[used], self.before[used] = new, (user, passed)
                heapq.heappush(pending, (new, used))

        for source in self.paths.flow.final:
            if source != INITIAL:
                reach(self.paths.root(source), (0, 0), None, self._crossed(source))
        while pending:
            cost, key = heapq.heappop(pending)
            if cost == self.cost[key]:
                for used, passed in self._steps(key):
                    reach(used, cost, key, passed)

    def _steps(self, key: Key) -> Iterator[tuple[Key, tuple[Stop, ...]]]:
        """Yield what a value is computed from with a derivative, and the named quantities between the two."""
        block, op = key[0], self.paths.ops[key]
        flat = flat_arguments(op.name, len(op.args))
        for number, argument in enumerate(op.args):
            if number not in flat:
                used = (block, id(argument))
                own = self.set_by.get(used)
                yield used, () if own is None else (own,)
        for source in self.paths.flow.sources(block, op):
            if source != INITIAL:
                yield self.paths.root(source), self._crossed(source)

    def _crossed(self, source: Source) -> tuple[Stop, ...]:
        """Return what an assignment sets, after what else has the value that it gives."""
        stop = _stop(self.paths.flow.writes[source.write].write)
        others = (self.set_by[self.paths.root(source)],)
        return (*(other for other in others if other.name != stop.name), stop._replace(later=source.earlier))


def _stop(write: Write) -> Stop:
    return Stop(write.name, write.span.line if write.span else None)
