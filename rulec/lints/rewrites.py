"""Rewrites to paste: a guard for the argument that may be bad, offered only where a trial on numbers bears it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rulec.ir.differentiate import differentiate
from rulec.ir.graph import Op, constant, pointwise, reduce
from rulec.lints.hazards import Bad
from rulec.lints.intervals import NEGATIVE, NON_NEGATIVE, NON_POSITIVE, NONZERO, POSITIVE, TRUTH, Interval, intersect
from rulec.lints.written import Written, in_power, in_sum, is_pasteable, is_repeatable, one_line, replaced
from rulec.semantics import typed as t
from rulec.source import Span

Build = Callable[[Sequence[Op]], Op]

_SMALL = {"sqrt": (1e-24, 1e-12), "pow": (1e-24, 1e-12), "norm": (1e-24,), "log": (1e-12,), "div": (1e-12,)}


@dataclass(frozen=True)
class Rewrite:
    """A text to put in place of a span; `shown`: with its surroundings. `action`: what this does, if it needs saying."""

    span: Span
    text: str
    shown: str
    action: str = ""


@dataclass(frozen=True)
class Subject:
    """An expression that fails where one of its arguments is bad, up to the derivative of this order.

    `arguments`: where they lie, wherever the expression is computed; a number stands for itself. `condition`: the text of
    the condition under which it is used, and whether it is used where that holds. `either_sign`: the bad argument may have
    either, as a denominator and the base of a whole power.
    """

    written: Written
    place: int
    arguments: tuple[Interval | float, ...]
    order: int
    either_sign: bool
    condition: tuple[str, bool] | None = None


@dataclass(frozen=True)
class _Guard:
    """What to write for the bad argument, and what that computes; `whole`: for the expression instead."""

    text: str
    apply: Callable[[Op, Sequence[Op]], Op]
    whole: bool = False


@dataclass(frozen=True)
class Setting:
    """A function, where its arguments lie, and where one of them is bad.

    `good`: where that one lies when the result matters. `guarded`: the last argument is a condition, which holds exactly
    where the bad one is good. `indices`: what the function reduces over.
    """

    function: Build
    arguments: tuple[Interval | float, ...]
    place: int
    bad: tuple[Bad, ...]
    good: Interval
    order: int
    indices: tuple[str, ...]
    guarded: bool


def rewrite(subject: Subject) -> Rewrite | None:
    """Return the first guard that stands its trial."""
    from rulec.lints.trial import holds  # numpy is loaded where there is something to try

    written = subject.written
    if not is_pasteable(written.span) or not isinstance(subject.arguments[subject.place], Interval):
        return None
    setting = _setting(subject)
    for guard in _guards(subject):
        if holds(setting, _guarded(subject, guard)):
            return _pasted(written, subject.place, guard)
    return None


def _pasted(written: Written, place: int, guard: _Guard) -> Rewrite:
    whole, part = written.span, written.arguments[place].span
    if guard.whole:
        return Rewrite(whole, guard.text, guard.text)
    if written.is_augmented:
        before = whole.source.text[whole.start : part.start]
        return Rewrite(part, guard.text, one_line(before + guard.text))
    text = replaced(whole, part, guard.text)
    return Rewrite(whole, text, text)


# --- Guards ----------------------------------------------------------------------------------


def _guards(subject: Subject) -> Iterator[_Guard]:
    operator, argument = subject.written.operator, subject.written.arguments[subject.place]
    text, interval = one_line(argument.span.text), subject.arguments[subject.place]
    if subject.condition is not None:
        condition, truth = subject.condition
        chosen = f"{text}, 1" if truth else f"1, {text}"
        yield _Guard(f"where({condition}, {chosen})", lambda x, rest: pointwise("where", rest[-1], x, 1.0))
        return
    if not isinstance(interval, Interval):
        return
    if operator == "norm":
        indices = subject.written.node.indices  # type: ignore[union-attr]
        inside = f"sqrt(sum[{', '.join(indices)}]({in_power(text)}^2) + {{:g}})"
        for small in _SMALL["norm"]:
            yield _Guard(inside.format(small), lambda x, rest, s=small: _length(x, indices, s), whole=True)  # type: ignore[misc]
        return
    if subject.either_sign and not is_repeatable(argument.span):
        return
    for small in _SMALL[operator]:
        yield _beside(text, interval, small, subject.either_sign)
    if operator == "pow" and not subject.either_sign and is_repeatable(argument.span):
        yield _zero_at_zero(subject.written, text)


def _beside(text: str, interval: Interval, small: float, either_sign: bool) -> _Guard:
    """Keep a value away from 0 on the side where it lies."""
    if intersect(interval, NON_NEGATIVE) == interval:
        return _Guard(f"{in_sum(text)} + {small:g}", lambda x, rest: x + small)
    if not either_sign:
        return _Guard(f"max({text}, {small:g})", lambda x, rest: pointwise("max", x, small))
    if intersect(interval, NON_POSITIVE) == interval:
        return _Guard(f"{in_sum(text)} - {small:g}", lambda x, rest: x - small)
    return _Guard(
        f"where({in_sum(text)} == 0, 1, {text})",
        lambda x, rest: pointwise("where", pointwise("equal", x, 0.0), 1.0, x),
    )


def _zero_at_zero(written: Written, text: str) -> _Guard:
    """Take the power of what is not 0 alone: near 0, powers below 1 make much of what is small."""
    is_zero = f"{in_sum(text)} == 0"
    power = replaced(written.span, written.arguments[0].span, f"where({is_zero}, 1, {text})")

    def apply(x: Op, args: Sequence[Op]) -> Op:
        zero = pointwise("equal", x, 0.0)
        return pointwise("where", zero, 0.0, pointwise("pow", pointwise("where", zero, 1.0, x), args[1]))

    return _Guard(f"where({is_zero}, 0, {power})", apply, whole=True)


def _length(x: Op, indices: tuple[str, ...], small: float) -> Op:
    return pointwise("sqrt", reduce("sum", indices, x**2) + small)


# --- Trials ----------------------------------------------------------------------------------


def _setting(subject: Subject) -> Setting:
    interval, node = subject.arguments[subject.place], subject.written.node
    assert isinstance(interval, Interval)
    bad: tuple[Bad, ...] = ("zero",)
    good = NONZERO
    if not subject.either_sign and subject.written.operator != "norm":
        good = POSITIVE
        bad = ("zero", "negative") if intersect(interval, NEGATIVE) is not None else ("zero",)
    guarded = subject.condition is not None
    return Setting(
        _within_choice(_function(subject.written), guarded),
        (*subject.arguments, *((TRUTH,) if guarded else ())),
        subject.place,
        bad,
        good,
        max(subject.order, 1),
        node.indices if isinstance(node, t.Reduce) else (),
        guarded,
    )


def _function(written: Written) -> Build:
    """Return what builds the expression on other arguments."""
    node = written.node
    if isinstance(node, t.Reduce):
        return lambda args: reduce(node.operator, node.indices, args[0])
    count = len(written.arguments)

    def build(args: Sequence[Op]) -> Op:
        value = pointwise(written.operator, *args[:count])
        for _ in range(written.primes):
            value = differentiate(value, args[0]) or constant(0.0)
        return value

    return build


def _guarded(subject: Subject, guard: _Guard) -> Build:
    """Return what builds the rewritten expression."""
    function, place = _function(subject.written), subject.place

    def build(args: Sequence[Op]) -> Op:
        better = guard.apply(args[place], args)
        return better if guard.whole else function([*args[:place], better, *args[place + 1 :]])

    return _within_choice(build, subject.condition is not None)


def _within_choice(build: Build, guarded: bool) -> Build:
    """Return what builds the expression inside the `where` that uses it, if there is one."""
    return (lambda args: pointwise("where", args[-1], build(args), 0.0)) if guarded else build
