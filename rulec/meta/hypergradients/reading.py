"""Checks that methods share when they read the clauses of an outer step."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping

from rulec.meta import messages
from rulec.semantics.outer_messages import unknown_setting
from rulec.semantics.typed import Outer
from rulec.source import RuleError


def no_settings(outer: Outer) -> None:
    """Refuse arguments after `through`. Raises `RuleError`."""
    if outer.through.arguments:
        raise RuleError([messages.unexpected_argument(outer.through.span, outer.through.name)])
    for name in outer.through.settings:
        raise RuleError([unknown_setting(outer.through.span, name, ())])


def no_arguments(outer: Outer) -> None:
    """Refuse arguments without a name after `through`. Raises `RuleError`."""
    if outer.through.arguments:
        raise RuleError([messages.unexpected_argument(outer.through.span, outer.through.name)])


def settings_of(outer: Outer, known: Mapping[str, float], positive: Container[str] = ()) -> dict[str, float]:
    """Read `through method(name = number)`: counts from 1 where the default is whole, numbers from 0 elsewhere. Raises `RuleError`."""
    span, found = outer.through.span, dict(known)
    for name, value in outer.through.settings.items():
        if name not in known:
            raise RuleError([unknown_setting(span, name, tuple(known))])
        counts = isinstance(known[name], int)
        if isinstance(value, (str, bool)) or (counts and not isinstance(value, int)) or not math.isfinite(value):
            raise RuleError(
                [messages.wrong_setting(span, name, value, "a whole number from 1" if counts else "a number")]
            )
        if value < (1 if counts else 0):
            raise RuleError([messages.wrong_setting(span, name, value, f"a number from {1 if counts else 0}")])
        if name in positive and value == 0:
            raise RuleError([messages.wrong_setting(span, name, value, "a number above 0")])
        found[name] = value
    return found


def count_of(outer: Outer) -> int:
    """Read the one whole number of `through truncated(5)`. Raises `RuleError`."""
    arguments = outer.through.arguments
    for setting in outer.through.settings:
        raise RuleError([unknown_setting(outer.through.span, setting, ())])
    if len(arguments) != 1 or isinstance(arguments[0], bool) or not isinstance(arguments[0], int) or arguments[0] < 1:
        raise RuleError([messages.needs_count(outer.through.span, outer.through.name)])
    return arguments[0]


def check_starts(outer: Outer) -> None:
    """Refuse to learn initial values that the method does not look back to. Raises `RuleError`."""
    drawn_back = any(term.from_start and not term.stopped for term in outer.plus)
    for item in outer.meta:
        if item.name == "init" and not (drawn_back and set(item.arguments or ("w",)) == {"w"}):
            raise RuleError([messages.start_forgotten(item.span, outer.through.name)])


def no_checkpoint(outer: Outer) -> None:
    if outer.checkpoint:
        raise RuleError([messages.checkpoint_misplaced(outer.span, outer.through.name)])


def check_differentiable(outer: Outer) -> None:
    """Refuse objectives that have no gradient. Raises `RuleError`."""
    if any(objective.quantity == "error" for objective in outer.objectives):
        raise RuleError([messages.error_has_no_gradient(outer.span, outer.through.name)])


def query_alone(outer: Outer) -> None:
    """Refuse objectives on the support. Raises `RuleError`."""
    for objective in outer.objectives:
        if objective.on == "support":
            raise RuleError([messages.support_not_judged(objective.span, outer.through.name)])


def each_anew(outer: Outer) -> None:
    """Refuse inner loops that go on from meta-step to meta-step. Raises `RuleError`."""
    if outer.horizon is not None and outer.horizon > outer.steps:
        raise RuleError([messages.goes_on(outer.inner.span, outer.through.name)])
