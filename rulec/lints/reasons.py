"""Reasons: one sentence that says how a value comes to be 0, or negative."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rulec.ir.graph import Op, Program, is_constant
from rulec.lints.beginnings import initial_range
from rulec.lints.hazards import Bad
from rulec.lints.intervals import NEGATIVE, NON_NEGATIVE, TINIEST, Interval, intersect
from rulec.lints.reachable import Evaluation
from rulec.lints.written import quoted


@dataclass(frozen=True)
class Asking:
    """Where a reason is sought: a program, all evaluations of it, and the one in which the value is bad.

    `followed`: a state has been followed to where it is set; once is enough for a sentence.
    """

    program: Program
    evaluations: Sequence[Evaluation]
    evaluation: Evaluation
    followed: bool = False

    def range(self, op: Op) -> Interval:
        return self.evaluation.ranges.of(op)

    def is_bad(self, op: Op, bad: Bad) -> bool:
        interval = self.range(op)
        return 0 in interval if bad == "zero" else intersect(interval, NEGATIVE) is not None


def reason(op: Op, bad: Bad, asking: Asking) -> str:
    """Say how an op's value comes to be bad: by the first thing on the way down that is no matter of arithmetic."""
    rule = _RULES.get(op.name)
    found = rule(op, bad, asking) if rule is not None else ""
    return found or _plain(op, bad)


def _plain(op: Op, bad: Bad) -> str:
    text = "it" if op.span is None else quoted(op.span)
    return f"nothing keeps {text} from 0" if bad == "zero" else f"nothing keeps {text} at 0 or above"


# --- Values without arguments ----------------------------------------------------------------


def _state(op: Op, bad: Bad, asking: Asking) -> str:
    name = op["name"]
    state = next((s for s in asking.program.states if s.name == name), None)
    if state is None:
        return ""
    begins = initial_range(state.initial, {s.name: s for s in asking.program.states})
    lasts = state.kind == "synapse" or state.keep
    if bad == "zero" and lasts and begins.is_point and 0 in begins:
        stays = intersect(asking.range(op), NON_NEGATIVE) == asking.range(op)
        return f"`{name}` starts at 0" + (", and no step takes it below" if stays else "")
    if lasts:
        return ""
    return _set(op, bad, asking) or (
        f"`{name}` is 0 where no block has set it" if bad == "zero" and 0 in begins else ""
    )


def _set(op: Op, bad: Bad, asking: Asking) -> str:
    """Say where a neuron's state is set to a bad value."""
    for one in () if asking.followed else asking.evaluations:
        there = Asking(asking.program, asking.evaluations, one, followed=True)
        for write in one.block.writes:
            if write.name == op["name"] and write.span is not None and there.is_bad(write.value, bad):
                return f"it is set on line {write.span.line}, where {reason(write.value, bad, there)}"
    return ""


def _genome(op: Op, bad: Bad, asking: Asking) -> str:
    entry = next(e for e in asking.program.genome if e.name == op["name"])
    if entry.domain.name == "real":
        return f"`{entry.name}` may be any real number"
    begins = bad == "zero" and 0 in initial_range(entry.initial, {})
    return f"`{entry.name}` begins at 0" if begins else f"`{entry.name}` may be anything in {entry.domain}"


def _constant(op: Op, bad: Bad, asking: Asking) -> str:
    return f"`{op['value']:g}` is 0 in float32" if bad == "zero" and 0 < abs(op["value"]) <= TINIEST else ""


def _data(op: Op, bad: Bad, asking: Asking) -> str:
    return f"{quoted(op.span)} may be any number" if op.span is not None else ""


def _loss(op: Op, bad: Bad, asking: Asking) -> str:
    return "`loss` is 0 where the prediction is perfect"


def _position(op: Op, bad: Bad, asking: Asking) -> str:
    return f"`{op['index']}` counts from 0"


# --- Functions -------------------------------------------------------------------------------


def _first(op: Op, bad: Bad, asking: Asking) -> str:
    """Ask the argument."""
    return reason(op.args[0], bad, asking)


def _either(op: Op, bad: Bad, asking: Asking) -> str:
    """Ask the argument that is bad."""
    places = op.args[1:] if op.name == "where" else op.args
    return next((reason(a, bad, asking) for a in places if asking.is_bad(a, bad)), "")


def _inserted(op: Op, bad: Bad, asking: Asking) -> str:
    """Ask what is put in before what was there."""
    return next((reason(a, bad, asking) for a in reversed(op.args) if asking.is_bad(a, bad)), "")


def _at_zero(op: Op, bad: Bad, asking: Asking) -> str:
    """A function that is 0 at 0, or has the sign of its argument."""
    return reason(op.args[0], bad, asking) if asking.is_bad(op.args[0], bad) else ""


def _relu(op: Op, bad: Bad, asking: Asking) -> str:
    return "" if op.span is None else f"{quoted(op.span)} is 0 wherever its argument is not positive"


def _product(op: Op, bad: Bad, asking: Asking) -> str:
    factors = op.args[:1] if op.name == "div" and bad == "zero" else op.args
    return next((reason(a, bad, asking) for a in factors if asking.is_bad(a, bad)), "")


def _sum(op: Op, bad: Bad, asking: Asking) -> str:
    if bad == "negative":
        return _either(op, bad, asking)
    a, b = op.args
    if asking.range(op).low == 0:  # nothing has to cancel: the terms are 0, or begin as 0
        beginnings = [_state(part, bad, asking) for part in _parts(op) if part.name == "state"]
        tiny = [_constant(part, bad, asking) for part in op.args if is_constant(part)]
        found = next((text for text in (*beginnings, *tiny) if "starts at" in text or "float32" in text), "")
        if found or all(asking.range(x).low == 0 for x in op.args):
            return found or "both terms can be 0"
    if a.span is None or b.span is None or is_constant(a) or is_constant(b):
        return ""
    return f"{quoted(a.span)} and {quoted(b.span)} can cancel"


def _parts(op: Op) -> list[Op]:
    """Return what an op is made of by arithmetic alone."""
    return [part for a in op.args for part in _parts(a)] if op.name in ("add", "sub", "mul", "stop") else [op]


_LEVELLING = frozenset(("tanh", "sigmoid", "erf", "softsign", "relu_tanh"))


def _difference(op: Op, bad: Bad, asking: Asking) -> str:
    a, b = op.args
    if bad == "zero" and a.name == "time" and is_constant(b):
        return f"`t - {b['value']:g}` is 0 in step {b['value']:g}"
    if a.span is None or b.span is None:
        return ""
    if bad == "zero" and is_constant(a) and b.name == "genome":
        return f"`{b['name']}` can be {a['value']:g}"
    if bad == "zero" and is_constant(a, 1.0) and b.name == "pow" and asking.is_bad(b.args[1], bad):
        return f"{reason(b.args[1], bad, asking)}, and any number to the power 0 is 1"
    if bad == "zero" and b.name in _LEVELLING:
        return f"{quoted(b.span)} is rounded to {quoted(a.span)} for large arguments"
    return f"{quoted(b.span)} can {'equal' if bad == 'zero' else 'exceed'} {quoted(a.span)}"


def _reduce(op: Op, bad: Bad, asking: Asking) -> str:
    if op.span is None:
        return ""
    if bad == "zero" and op["operator"] == "var":
        return f"{quoted(op.span)} is 0 where all values are the same"
    if bad == "zero" and op["operator"] in ("sum", "mean", "norm") and asking.range(op).low == 0:
        return f"{quoted(op.span)} is 0 where every term is"
    return _at_zero(op, bad, asking) if op["operator"] in ("max", "min", "norm") or bad == "negative" else ""


_RULES: dict[str, Callable[[Op, Bad, Asking], str]] = {
    "state": _state,
    "genome": _genome,
    "constant": _constant,
    "input": _data,
    "target": _data,
    "prediction": _data,
    "loss": _loss,
    "position": _position,
    "relu": _relu,
    "relu_tanh": _relu,
    **dict.fromkeys(("stop", "rename", "take"), _first),
    **dict.fromkeys(("where", "min", "max"), _either),
    "insert": _inserted,
    **dict.fromkeys(("sqrt", "abs", "square", "tanh", "erf", "softsign", "silu", "gelu", "elu", "selu"), _at_zero),
    "pow": _at_zero,
    "mul": _product,
    "div": _product,
    "add": _sum,
    "sub": _difference,
    "reduce": _reduce,
}
