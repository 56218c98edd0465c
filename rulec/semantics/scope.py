"""What is known while a rule is checked: its declarations, and the place an expression stands in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rulec.semantics.operators import BUILTIN_INDEXED, BUILTIN_INDICES, BUILTIN_NAMES
from rulec.semantics.typed import Axes, Extent, GenomeEntry, Net, OptionValue, State
from rulec.source import Diagnostic, Diagnostics, Span


@dataclass
class Scope:
    """The declarations of one rule. `ignored` are names in lines that could not be parsed: nobody complains about them."""

    found: Diagnostics
    rule: str = ""
    ignored: frozenset[str] = frozenset()
    options: dict[str, OptionValue] = field(default_factory=dict)
    extents: dict[str, Extent] = field(default_factory=dict)
    genome: dict[str, GenomeEntry] = field(default_factory=dict)
    nets: dict[str, Net] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)  # declared, but wrongly: reported once, at the declaration
    declared_at: dict[str, Span] = field(default_factory=dict)

    def report(self, diagnostic: Diagnostic) -> None:
        self.found.add(diagnostic)

    def is_poisoned(self, name: str) -> bool:
        return name in self.broken or name in self.ignored

    def value_names(self) -> list[str]:
        return [*self.genome, *self.states, *self.options, *BUILTIN_NAMES, *BUILTIN_INDEXED]

    def index_names(self) -> list[str]:
        return [*BUILTIN_INDICES, *self.extents]

    def extent(self, index: str) -> Extent | None:
        return self.extents.get(index)


@dataclass
class Local:
    version: int
    axes: Axes | None  # None: poisoned
    span: Span
    read: bool = False


@dataclass
class Place:
    """Where an expression stands: which neurons it can see, and what has been computed before it."""

    kind: str  # input forward output backward update parameters law initial
    sides: Axes  # the neuron indices that the header binds
    loss_known: bool = False
    target_axes: Axes = frozenset()
    locals: dict[str, Local] = field(default_factory=dict)

    @property
    def title(self) -> str:
        arrows = {
            "input": "input i",
            "forward": "forward i -> j",
            "output": "output j",
            "backward": "backward i <- j",
            "update": "update i -> j",
            "parameters": "update",
            "law": "laws",
            "initial": "an initial value",
        }
        return arrows[self.kind]


def declaration(name: str, sides: str, indices: tuple[str, ...]) -> str:
    """Return how a state is written in full: `w[i,j,k]`."""
    letters = [*(sides if sides in ("i", "j", "ij", "ji") else ""), *indices]
    return f"{name}[{','.join(letters)}]" if letters else name


Options = Mapping[str, OptionValue]
