"""A kind of finding: how it is found, and what `rulec explain` says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from rulec.ir.graph import Program
from rulec.lints.components import Components
from rulec.lints.flow import Flow, flow_of
from rulec.lints.paths import Paths
from rulec.lints.sites import Found, find_sites
from rulec.semantics import typed as t
from rulec.source import Diagnostic


@dataclass(frozen=True)
class Variant:
    """A rule under one choice of its options. The first variant of a rule has the defaults."""

    rule: t.Rule
    program: Program

    @cached_property
    def flow(self) -> Flow:
        return flow_of(self.program)

    @cached_property
    def components(self) -> Components:
        return Components(self.flow)

    @cached_property
    def paths(self) -> Paths:
        return Paths(self.flow)

    @cached_property
    def sites(self) -> Found | None:
        """Where a value or a derivative may be infinite or undefined; None if nowhere."""
        return find_sites(self.program)


def nothing(*about: object) -> Iterator[Diagnostic]:
    """Find nothing."""
    yield from ()


@dataclass(frozen=True)
class Lint:
    """`find` sees all variants of a rule at once: what is dead under one option may live under another.

    `find_outer` sees an outer step and the rule that it trains, with the options it trains it with.
    `explanation` is what `rulec explain ID` prints: what is wrong with it, an example, and what to write instead. Its first
    line stands for the whole in a list.
    """

    id: str
    explanation: str
    find: Callable[[Sequence[Variant]], Iterator[Diagnostic]] = nothing
    find_outer: Callable[[t.Outer, Variant], Iterator[Diagnostic]] = nothing
