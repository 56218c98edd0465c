"""Where the values come from that a program reads: which assignments, of this step or of an earlier one.

A neuron state has its value at three places, the input layer, the layers between and the output layer, because blocks set
it at some and leave it at others: `input` at the first, `forward` at the last two, `output` at the last, `backward` at the
first two. Synapse states, broadcasts and the prediction have one place. A `repeat` runs until nothing new can be read,
and so do steps: what lasts is read in the step after.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from rulec.ir.graph import Block, Op, Program, Repeat, Write, walk_blocks, walk_ops
from rulec.ir.signals import clamped_states

NAMED = ("genome", "net", "state", "grad", "network")
READS = ("state", "prediction", "loss", "loss_slope", "grad", "network")
PLACES = ("input", "hidden", "output")
OWN = {  # the places that a block visits, and those of the neurons at the other ends of their connections
    "input": (("input",), ()),
    "forward": (("hidden", "output"), ("input", "hidden")),
    "output": (("output",), ()),
    "backward": (("input", "hidden"), ("hidden", "output")),
    "update": (("hidden", "output"), ("input", "hidden")),
}


class Source(NamedTuple):
    """An assignment that a read may see: its number in `Flow.writes`, and whether an earlier step made it."""

    write: int
    earlier: bool


INITIAL = Source(-1, False)  # the value that a state begins with


@dataclass(frozen=True, eq=False)
class Site:
    """An assignment, and the number of the block it stands in."""

    block: int
    kind: str
    write: Write


Place = tuple[str, str]  # a name, and where on the network: empty for what has one value
Reaching = dict[Place, frozenset[Source]]


@dataclass(frozen=True, eq=False)
class Flow:
    """`reads` maps the number of a block and the identity of an op in it to what the op may see."""

    program: Program
    blocks: tuple[Block, ...]
    writes: tuple[Site, ...]
    reads: dict[tuple[int, int], frozenset[Source]]
    final: frozenset[Source]  # the predictions that a step may end with

    def sources(self, block: int, op: Op) -> frozenset[Source]:
        return self.reads.get((block, id(op)), frozenset())

    @cached_property
    def ops(self) -> tuple[tuple[Op, ...], ...]:
        """All ops of each block, arguments before users."""
        return tuple(tuple(walk_ops([w.value for w in block.writes])) for block in self.blocks)

    @cached_property
    def names(self) -> frozenset[str]:
        """Return the names that some op reads."""
        return frozenset(str(op["name"]) for ops in self.ops for op in ops if op.name in NAMED)


def flow_of(program: Program) -> Flow:
    return _Walk(program).run()


def lasts(program: Program, name: str) -> bool:
    """Whether a state goes on from step to step; `w` of rules for all parameters alike is declared nowhere."""
    state = next((s for s in program.states if s.name == name), None)
    return name == "w" if state is None else state.kind == "synapse" or state.keep


def is_own(program: Program, op: Op, kind: str) -> bool:
    """Whether a read of a neuron state in a block is about the neurons that the block visits, not those at the other ends."""
    owner = program.extents.get(op["side"])  # with `index m : j`, `m` stands for the neurons of `j`
    side = owner if isinstance(owner, str) and owner in ("i", "j") else op["side"]
    return bool(side == ("j" if kind in ("forward", "output", "update") else "i"))


class _Walk:
    """Run the blocks in order, with sets of sources in the place of values."""

    def __init__(self, program: Program) -> None:
        self.program = program
        own = (_network(),) if program.acts_on_parameters else ()
        self.nodes: tuple[Block | Repeat, ...] = (*own, *program.blocks)
        self.blocks = tuple(walk_blocks(self.nodes))
        self.number = {id(block): number for number, block in enumerate(self.blocks)}
        self.writes = tuple(Site(n, b.kind, w) for n, b in enumerate(self.blocks) for w in b.writes)
        self.numbered: dict[int, list[tuple[int, Write]]] = {}
        for number, site in enumerate(self.writes):
            self.numbered.setdefault(site.block, []).append((number, site.write))
        self.kinds = {s.name: s.kind for s in program.states}
        self.clamped = clamped_states(program)
        self.found: dict[tuple[int, int], frozenset[Source]] = {}
        self.looked: dict[int, list[Op]] = {}

    def run(self) -> Flow:
        before: Reaching | None = None
        start = dict.fromkeys(self._places(), frozenset({INITIAL}))
        reaching = dict(start)
        while reaching != before:
            before = dict(reaching)
            self._run(self.nodes, reaching)
            end = {place: found for place, found in reaching.items() if lasts(self.program, place[0])}
            final = reaching.get(("prediction", ""), frozenset())
            reaching = start | {place: _aged(found) | {INITIAL} for place, found in end.items()}
            reaching = {place: found | before[place] for place, found in reaching.items()}
        return Flow(self.program, self.blocks, self.writes, self.found, final)

    def _places(self) -> Iterator[Place]:
        yield "prediction", ""
        yield "w", ""
        for name, kind in self.kinds.items():
            yield from ((name, place) for place in (PLACES if kind == "neuron" else ("",)))

    def _run(self, nodes: tuple[Block | Repeat, ...], reaching: Reaching) -> None:
        for node in nodes:
            if isinstance(node, Block):
                self._visit(self.number[id(node)], node, reaching)
                continue
            for _ in range(node.count):
                before, known = dict(reaching), self._known()
                self._run(node.body, reaching)
                if (before, known) == (reaching, self._known()):
                    break

    def _known(self) -> int:
        return sum(len(found) for found in self.found.values())

    def _visit(self, number: int, block: Block, reaching: Reaching) -> None:
        made: dict[str, frozenset[Source]] = {}
        for own, write in self.numbered.get(number, ()):
            made[write.name] = made.get(write.name, frozenset()) | {Source(own, False)}
        for op in self._reading(number, block):
            seen = self._seen(op, block.kind, made, reaching)
            self.found[(number, id(op))] = self.found.get((number, id(op)), frozenset()) | seen
        for name, new in made.items():
            for place in self._set(name, block.kind):
                reaching[(name, place)] = new

    def _reading(self, number: int, block: Block) -> list[Op]:
        if number not in self.looked:
            ops = walk_ops([w.value for w in block.writes])
            self.looked[number] = [op for op in ops if op.name in READS and not (op.args and op.name != "grad")]
        return self.looked[number]

    def _seen(self, op: Op, kind: str, made: dict[str, frozenset[Source]], reaching: Reaching) -> frozenset[Source]:
        name = str(op["name"]) if op.name in ("state", "grad", "network") else "prediction"
        sweeping = kind in ("forward", "backward")
        if self.kinds.get(name) != "neuron":
            before = reaching[(name, "")]
            return before | made.get(name, frozenset()) if sweeping else before
        own, others = OWN[kind]
        if is_own(self.program, op, kind):
            return _union(reaching[(name, place)] for place in own)
        places = [place for place in others if not (sweeping and name in made and place == "hidden")]
        swept = made.get(name, frozenset()) if sweeping else frozenset[Source]()
        return _union(reaching[(name, place)] for place in places) | swept

    def _set(self, name: str, kind: str) -> tuple[str, ...]:
        """Return the places at which a block gives a state its new value."""
        if self.kinds.get(name) != "neuron":
            return ("",)
        own = OWN[kind][0]
        return tuple(p for p in own if not (p == "input" and kind != "input" and name in self.clamped))


def _network() -> Block:
    """Return a block for the forward pass of the network's own, which rules for all parameters alike learn with."""
    value = Op("network", (), (("name", "w"),), frozenset("nj"))
    return Block("output", (Write("prediction", "j", value),))


def _aged(sources: frozenset[Source]) -> frozenset[Source]:
    return frozenset(s if s == INITIAL else Source(s.write, True) for s in sources)


def _union(found: Iterator[frozenset[Source]]) -> frozenset[Source]:
    return frozenset().union(*found)
