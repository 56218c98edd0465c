"""Which ops a gradient reaches on its way back from the prediction, and where it is cut. Components are not told apart.

The derivative of `sign`, `step` and comparisons is zero wherever there is one, and nothing passes the condition of `where`;
`stop` stops by intention. A read of what an earlier step left behind joins this step to that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from typing import NamedTuple

from rulec.ir.graph import FUNCTIONS, Op
from rulec.lints.flow import INITIAL, Flow, Source, lasts
from rulec.semantics.operators import POINTWISE

_FLAT = ("stop", "not", "less", "less_equal", "greater", "greater_equal", "equal", "not_equal")

Key = tuple[int, int]  # the number of a block, and the identity of an op in it


class Edge(NamedTuple):
    """`user` is computed from `used`. `cut`: no derivative passes; `earlier`: `used` belongs to an earlier step."""

    user: Key
    used: Key
    cut: bool = False
    earlier: bool = False


@cache
def flat_arguments(name: str, count: int) -> frozenset[int]:
    """Return the arguments of an operator through which no derivative passes."""
    if name in _FLAT:
        return frozenset(range(count))
    if name not in POINTWISE:
        return frozenset()
    free = [Op("state", (), (("name", f"x{number}"),)) for number in range(count)]
    slopes = POINTWISE[name].slope(FUNCTIONS, *free)
    return frozenset(number for number, slope in enumerate(slopes) if slope is None)


class Paths:
    """The graph of one program across its steps: every edge from an op to what it is computed from."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.ops: dict[Key, Op] = {}
        self.edges: dict[Key, list[Edge]] = {}
        for block, ops in enumerate(flow.ops):
            for op in ops:
                key = (block, id(op))
                self.ops[key] = op
                self.edges[key] = list(self._edges(block, op))

    def _edges(self, block: int, op: Op) -> Iterator[Edge]:
        user, flat = (block, id(op)), flat_arguments(op.name, len(op.args))
        for number, argument in enumerate(op.args):
            yield Edge(user, (block, id(argument)), number in flat)
        for source in self.flow.sources(block, op):
            if source != INITIAL:
                yield Edge(user, self.root(source), earlier=source.earlier)

    def root(self, source: Source) -> Key:
        """Return the op whose value an assignment gives."""
        site = self.flow.writes[source.write]
        return site.block, id(site.write.value)

    @property
    def predictions(self) -> list[Key]:
        return [self.root(source) for source in self.flow.final if source != INITIAL]

    def reached(self, start: Iterable[Key], through_cuts: bool = False, across_steps: bool = True) -> set[Key]:
        """Return the ops that values depend on: differentiably, and also by way of earlier steps, unless said otherwise."""
        seen: set[Key] = set()
        pending = list(start)
        while pending:
            key = pending.pop()
            if key in seen:
                continue
            seen.add(key)
            for edge in self.edges[key]:
                if (through_cuts or not edge.cut) and (across_steps or not edge.earlier):
                    pending.append(edge.used)
        return seen

    def depending_on(self, targets: Iterable[Key]) -> set[Key]:
        """Return every op whose value depends on one of the targets, in this step or in a later one."""
        users: dict[Key, list[Key]] = {}
        for edges in self.edges.values():
            for edge in edges:
                users.setdefault(edge.used, []).append(edge.user)
        seen: set[Key] = set()
        pending = list(targets)
        while pending:
            key = pending.pop()
            if key not in seen:
                seen.add(key)
                pending += users.get(key, [])
        return seen

    def named(self, name: str) -> list[Key]:
        """Return the ops that read a genome entry, or call a net."""
        return [key for key, op in self.ops.items() if op.name in ("genome", "net") and op["name"] == name]

    @cached_property
    def exact(self) -> set[Key]:
        """The ops that the gradient of the predictions reaches, through any number of steps."""
        return self.reached(self.predictions)

    @cached_property
    def last(self) -> set[Key]:
        """Those of them that belong to the step of the prediction itself."""
        return self.reached(self.predictions, across_steps=False)

    @cached_property
    def first_order(self) -> set[Key]:
        """The ops that a first-order gradient reaches.

        It goes from the prediction to the states that the last update left, and from those to the update that made them; from
        there back to earlier steps only along each state itself.
        """
        left = [edge.used for key in self.last for edge in self.edges[key] if edge.earlier]
        return self.last | self.reached(left, across_steps=False)

    def states_read(self, keys: Iterable[Key]) -> set[str]:
        """Return the lasting states whose value from before the step is read among the ops."""
        found = set()
        for key in keys:
            op = self.ops[key]
            if op.name in ("state", "grad", "network") and lasts(self.flow.program, str(op["name"])):
                sources = self.flow.sources(key[0], op)
                found |= {str(op["name"])} if any(s == INITIAL or s.earlier for s in sources) else set()
        return found

    def cuts(self, reached: set[Key], wanted: set[Key]) -> list[Op]:
        """Return where a gradient that has come as far as `reached` is cut on its way to `wanted`, in the order of the text."""
        found = [self.ops[e.user] for key in reached for e in self.edges[key] if e.cut and e.used in wanted]
        return sorted(dict.fromkeys(found), key=lambda op: (op.span.start, op.span.end) if op.span else (0, 0))


def cut_name(op: Op) -> str:
    """Say what cuts a gradient."""
    if op.name == "where":
        return "the condition of `where`"
    return f"`{op.name}`" if op.name in ("stop", "sign", "step") else "a comparison"
