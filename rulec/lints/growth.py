"""States that are multiplied in each step by a genome entry that may exceed one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rulec.ir.graph import Op, walk_ops
from rulec.lints.beginnings import genome_range
from rulec.lints.flow import Site, lasts
from rulec.lints.functions import UNARY
from rulec.lints.intervals import (
    AT_LEAST_ONE,
    NON_NEGATIVE,
    ONE,
    REALS,
    ZERO,
    Interval,
    add,
    divide,
    hull,
    maximum,
    minimum,
    multiply,
    point,
    subtract,
)
from rulec.lints.lint import Lint, Variant
from rulec.lints.wording import listing
from rulec.source import Diagnostic

_KEEPING = ("rename", "take", "stop")
_BINARY = {"add": add, "sub": subtract, "mul": multiply, "div": divide, "min": minimum, "max": maximum}


@dataclass(frozen=True)
class Factor:
    """What a value is multiplied by, if it is a state times something that no data enter; and the genome entries in that."""

    range: Interval
    entries: tuple[Op, ...] = ()


class _Otherwise:
    """The value depends on the state in another way, which may well bound it."""


OTHERWISE = _Otherwise()
Share = Factor | _Otherwise | None  # None: it does not depend on the state


class Shares:
    """In what way the values of a block depend on one state as it was before."""

    def __init__(self, variant: Variant, name: str, side: str) -> None:
        self.ranges = {e.name: genome_range(e) for e in variant.program.genome}
        self.name, self.side = name, side
        self.made: dict[int, Share] = {}
        self.plain: dict[int, Factor | None] = {}  # what is made of genome entries and numbers alone

    def of(self, root: Op) -> Share:
        for op in walk_ops([root]):
            if id(op) not in self.made:
                self.plain[id(op)] = self._plain(op)
                self.made[id(op)] = self._share(op)
        return self.made[id(root)]

    def _plain(self, op: Op) -> Factor | None:
        match op.name:
            case "constant":
                return Factor(point(op["value"]))
            case "genome":
                return Factor(self.ranges[op["name"]], (op,))
            case "extent" | "time":
                return Factor(AT_LEAST_ONE)
            case "position":
                return Factor(NON_NEGATIVE)
        parts = [self.plain[id(a)] for a in op.args]
        known = [p for p in parts if p is not None]
        if not parts or len(known) < len(parts):
            return None
        if op.name in _KEEPING:
            return known[0]
        found = _range(op.name, [p.range for p in known])
        return None if found is None else Factor(found, tuple(e for p in known for e in p.entries))

    def _share(self, op: Op) -> Share:
        if op.name == "state" and op["name"] == self.name:
            return Factor(ONE) if op["side"] == self.side else OTHERWISE
        shares = [self.made[id(a)] for a in op.args]
        if all(share is None for share in shares):
            return None
        if op.name in _KEEPING:
            return shares[0]
        if op.name == "insert":
            return _hull(shares[0], shares[1])
        if op.name in ("add", "sub", "neg"):
            return _added(op.name, shares)
        if op.name in ("mul", "div"):
            return self._scaled(op, shares)
        if op.name == "where" and shares[0] is None:
            return _hull(shares[1], shares[2])
        return OTHERWISE

    def _scaled(self, op: Op, shares: list[Share]) -> Share:
        """A state times a number that no data enter: what the number can be."""
        if op.name == "div" and shares[1] is not None:
            return OTHERWISE
        place = 0 if shares[0] is not None else 1
        share, other = shares[place], self.plain[id(op.args[1 - place])]
        if not isinstance(share, Factor) or other is None:
            return OTHERWISE
        return Factor(_BINARY[op.name](share.range, other.range), share.entries + other.entries)


def _range(name: str, parts: list[Interval]) -> Interval | None:
    """Return where the value of a pointwise operator lies; None if the operator is none."""
    if name in UNARY and len(parts) == 1:
        return UNARY[name](parts[0])
    return _BINARY[name](*parts) if name in _BINARY else REALS if name == "pow" else None


def _added(name: str, shares: list[Share]) -> Share:
    if any(share is OTHERWISE for share in shares):
        return OTHERWISE
    factors = [share if isinstance(share, Factor) else Factor(ZERO) for share in shares]
    found = _range(name, [f.range for f in factors])
    return OTHERWISE if found is None else Factor(found, tuple(e for f in factors for e in f.entries))


def _hull(left: Share, right: Share) -> Share:
    """Either of the two: a factor that may be large is one of them."""
    if isinstance(left, Factor) and isinstance(right, Factor):
        return Factor(hull(left.range, right.range), left.entries + right.entries)
    return right if left is None else left if right is None else OTHERWISE


def unbounded_growth(variants: Sequence[Variant]) -> Iterator[Diagnostic]:
    """Find lasting states that may grow from step to step under every choice of the options: a choice is a decision."""
    growing: dict[str, list[tuple[str, Factor]]] = {}  # by the genome entry that lets them
    judged: set[str] = set()
    for variant in variants:
        for name in (site.write.name for site in _assignments(variant)):
            if name not in judged:
                judged.add(name)
                found = [_growing(other, name) for other in variants if _has(other, name)]
                if found[0] is not None and None not in found:
                    growing.setdefault(found[0].entries[0]["name"], []).append((name, found[0]))
    entries = {entry.name: entry for variant in variants for entry in variant.program.genome}
    for name, states in growing.items():
        span = genome_range(entries[name])
        yield _finding([state for state, _ in states], states[0][1], span.low >= 0 and span.high <= 1)


def _assignments(variant: Variant) -> list[Site]:
    return [site for site in variant.flow.writes if lasts(variant.program, site.write.name)]


def _has(variant: Variant, name: str) -> bool:
    return any(site.write.name == name for site in _assignments(variant))


def _growing(variant: Variant, name: str) -> Factor | None:
    """Return the factor of an assignment that lets a state grow, if there is one."""
    for site in _assignments(variant):
        if site.write.name == name:
            share = Shares(variant, name, site.write.side).of(site.write.value)
            if isinstance(share, Factor) and share.entries and share.range.high > 1 + 1e-9:
                return share
    return None


def _finding(states: list[str], factor: Factor, is_share: bool) -> Diagnostic:
    """Tell of states that one entry lets grow; `is_share`: the entry itself lies from 0 to 1 already, what is made of it does not."""
    cause = factor.entries[0]
    entry, listed = cause["name"], listing([f"`{name}`" for name in states])
    bound = (
        f"keep what is made of `{entry}` at one or below"
        if is_share
        else f"declare `{entry} : unit`, with a value below 1"
    )
    limit = "" if factor.range.high == float("inf") else f": it may be {factor.range.high:g}"
    return Diagnostic(
        "unbounded-growth",
        f"{listed} may be multiplied by more than one in each step, and nothing bounds {'it' if len(states) == 1 else 'them'}",
        cause.span,
        f"the domain of `{entry}` lets the factor exceed one{limit}",
        notes=("a factor of 1.1 makes 13,781 times as much in 100 steps",),
        help=f"{bound}; or add decay, saturation or a norm",
        severity="warning",
    )


GROWTH = Lint(
    "unbounded-growth",
    """A synapse or a kept state that a genome entry multiplies in each step, where the entry may exceed one.

    genome
      keep = 1
    ...
    update i -> j
      w[i,j] = keep * w[i,j] + gain * mean[n](x[i] * x[j])

`keep` may be any real number. During meta-learning, over ten steps, a factor of 1.1 does little harm; a thousand steps later
everything is `inf`. Declare where it lies:

    genome
      keep : unit = 0.99

Nothing is said if the assignment depends on the state in another way too, which may bound it: a decay with the activity, as
in Oja's rule, a saturation, a norm; nor if an option of the rule adds one: what one can choose has been thought about.""",
    unbounded_growth,
)
