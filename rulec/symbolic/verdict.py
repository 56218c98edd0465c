"""What came out of a proof: proved, refuted by numbers, or undecided and then only tested."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import sympy

from rulec.symbolic.algebra import Unsayable
from rulec.symbolic.fields import Exact, Number, Numbers
from rulec.symbolic.limit import OutOfTime, time_limit
from rulec.symbolic.step import Inputs

TOLERANCE = 1e-6  # relative; gradients of floats are finite differences, good to about 1e-9

Kind = Literal["proved", "refuted", "undecided"]


@dataclass(frozen=True)
class Claim:
    """One equation or inequality between numbers, and what it is about: `w.c1[0,1]`."""

    about: str
    relation: str
    left: Number
    right: Number


@dataclass(frozen=True)
class Counterexample:
    """Numbers for which the claim fails, and what they were put into."""

    claim: Claim
    setting: Mapping[str, str]  # network, activation, loss
    inputs: Inputs


@dataclass(frozen=True)
class Verdict:
    """`work` says line by line what was shown; `reason`: why it is undecided; `trials`: how often it held in floats that were finite."""

    kind: Kind
    work: tuple[str, ...] = ()
    reason: str = ""
    trials: int = 0
    worst: float = 0.0  # the largest difference in the trials, relative to the size of the sides
    counterexample: Counterexample | None = None


@dataclass(frozen=True)
class Trial:
    """Claims between floats, and what they were computed from."""

    claims: Sequence[Claim]
    setting: Mapping[str, str]
    inputs: Inputs


def decide(proofs: Iterable[Callable[[], str]], trials: Iterable[Callable[[], Trial]], seconds: float) -> Verdict:
    """Look for numbers that refute; if there are none, prove; say `undecided` when that is not possible in time.

    Each of `proofs` returns a line about what it showed, or raises `Unproved` or `Unsayable`.
    """
    count, worst = 0, 0.0
    for attempt in trials:
        with np.errstate(all="ignore"):  # what overflows is not finite, and says nothing
            trial = attempt()
        known = [(claim, apart) for claim in trial.claims if (apart := _violation(claim)) is not None]
        for claim, apart in known:
            if apart > TOLERANCE:
                return Verdict("refuted", counterexample=Counterexample(claim, trial.setting, trial.inputs))
            worst = max(worst, apart)
        count += bool(known)
    work: list[str] = []
    try:
        with time_limit(seconds):
            work += (proof() for proof in proofs)
    except OutOfTime:
        return Verdict("undecided", tuple(work), f"no proof within {seconds:g} s", count, worst)
    except (Unproved, Unsayable) as error:
        return Verdict("undecided", tuple(work), str(error), count, worst)
    return Verdict("proved", tuple(work), "", count, worst)


class Unproved(Exception):
    """Raised where what is known does not suffice."""


def prove_all(exact: Exact, claims: Iterable[Claim]) -> int:
    """Prove claims between exact values; return how many. Raises `Unproved` at the first that resists."""
    count = 0
    for claim in claims:
        count += 1
        if not _holds(exact, claim):
            raise Unproved(f"cannot decide whether {claim.about}: left {claim.relation} right")
    return count


def _holds(exact: Exact, claim: Claim) -> bool:
    left, right = (exact.number(v) for v in (claim.left, claim.right))
    if claim.relation == "==":
        return exact.algebra.is_zero(left - right)
    more = right - left if claim.relation in ("<=", "<") else left - right
    forms = (more, sympy.expand(more))  # squares show in the one, what cancels in the other
    if claim.relation in ("<", ">"):
        return any(form.is_positive for form in forms)
    return any(form.is_nonnegative for form in forms)


def _violation(claim: Claim) -> float | None:
    """Return by how much a claim between floats fails, relative to the size of its sides; `None` where a side is not finite."""
    left, right = float(claim.left), float(claim.right)
    if not (np.isfinite(left) and np.isfinite(right)):
        return None
    size = max(abs(left), abs(right), 1.0)
    if claim.relation == "==":
        return abs(left - right) / size
    return max(left - right if claim.relation in ("<=", "<") else right - left, 0.0) / size


def claims_between(about: str, relation: str, left: Numbers, right: Numbers) -> list[Claim]:
    """Return one claim per number of two arrays of one shape."""
    return [
        Claim(f"{about}[{','.join(map(str, place))}]" if place else about, relation, left[place], right[place])
        for place in np.ndindex(left.shape)
    ]
