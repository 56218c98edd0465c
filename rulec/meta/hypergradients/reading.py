"""Checks that methods share when they read the clauses of an outer step."""

from __future__ import annotations

from rulec.meta import messages
from rulec.semantics.messages import unknown_setting
from rulec.semantics.typed import Outer
from rulec.source import RuleError


def no_settings(outer: Outer) -> None:
    """Refuse arguments after `through`. Raises `RuleError`."""
    if outer.through.arguments:
        raise RuleError([messages.unexpected_argument(outer.through.span, outer.through.name)])
    for name in outer.through.settings:
        raise RuleError([unknown_setting(outer.through.span, name, ())])


def no_checkpoint(outer: Outer) -> None:
    if outer.checkpoint:
        raise RuleError([messages.checkpoint_misplaced(outer.span, outer.through.name)])


def check_differentiable(outer: Outer) -> None:
    """Refuse objectives that have no gradient. Raises `RuleError`."""
    if any(name == "error" for _, name in outer.objectives):
        raise RuleError([messages.error_has_no_gradient(outer.span, outer.through.name)])
