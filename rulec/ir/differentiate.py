"""Reverse-mode differentiation of index expressions, by one rule per op."""

from __future__ import annotations

from collections.abc import Callable

from rulec.ir.graph import FUNCTIONS, Op, constant, pointwise, reduce, walk_ops
from rulec.semantics.operators import POINTWISE
from rulec.semantics.typed import Axes

Cotangents = tuple[Op | None, ...]

_ARITHMETIC = ("add", "sub", "mul", "div", "pow", "neg")


class NoDerivative(Exception):
    """Raised for an op without a derivative rule; `op` is that op."""

    def __init__(self, op: Op) -> None:
        self.op = op
        super().__init__(op.name)


def differentiate(value: Op, variable: Op) -> Op | None:
    """Return d(value)/d(variable), summed over every axis that value has and variable has not.

    `variable` is found by identity or by being the same read of a state. Returns None if the value does not depend on it.
    """
    order = list(walk_ops([value]))
    reaching = _reaching(order, variable)
    if id(value) not in reaching:
        return None
    cotangents: dict[int, Op] = {id(value): constant(1.0)}
    result: Op | None = None
    for op in reversed(order):
        cotangent = cotangents.pop(id(op), None)
        if cotangent is None or id(op) not in reaching:
            continue
        if _same(op, variable):
            result = cotangent if result is None else result + cotangent
            continue
        for argument, part in zip(op.args, _pull(op, cotangent), strict=True):
            if part is None or id(argument) not in reaching:
                continue
            part = _sum_to(part, op, argument)
            before = cotangents.get(id(argument))
            cotangents[id(argument)] = part if before is None else before + part
    return result


def _same(op: Op, variable: Op) -> bool:
    return op is variable or (op.name == "state" and variable.name == "state" and op.attributes == variable.attributes)


def _reaching(order: list[Op], variable: Op) -> set[int]:
    found: set[int] = set()
    for op in order:
        if _same(op, variable) or (op.name != "stop" and any(id(a) in found for a in op.args)):
            found.add(id(op))
    return found


def _sum_to(cotangent: Op, op: Op, argument: Op) -> Op:
    """Sum over the axes along which the argument was broadcast; along some of them the cotangent may be constant."""
    summed = reduce("sum", sorted(cotangent.axes - argument.axes), cotangent)
    constant_along = tuple(sorted(_broadcast_axes(op, argument) - cotangent.axes))
    return summed * _count(constant_along) if constant_along else summed


def _broadcast_axes(op: Op, argument: Op) -> Axes:
    if op.name == "insert":
        replaced = frozenset(index for index, _ in op["at"]) if argument is op.args[1] else frozenset()
        return op.axes - argument.axes - replaced
    return op.axes - argument.axes if op.name in POINTWISE or op.name in _ARITHMETIC else frozenset()


def _pull(op: Op, cotangent: Op) -> Cotangents:
    rule = _RULES.get(op.name)
    if rule is not None:
        return rule(op, cotangent)
    if op.name in POINTWISE:
        slopes = POINTWISE[op.name].slope(FUNCTIONS, *op.args)
        return tuple(None if s is None else s * cotangent if isinstance(s, Op) else cotangent * s for s in slopes)
    raise NoDerivative(op)


def _power(op: Op, c: Op) -> Cotangents:
    base, exponent = op.args
    return c * (exponent * base ** (exponent - 1)), c * (op * pointwise("log", base))


def _reduction(op: Op, c: Op) -> Cotangents:
    (argument,) = op.args
    operator, indices = op["operator"], op["indices"]
    if operator == "sum":
        return (c,)
    if operator == "mean":
        return (c / _count(indices),)
    if operator == "softmax":
        return (op * (c - reduce("sum", indices, op * c)),)
    if operator == "norm":
        return (c * argument / op,)
    if operator == "var":
        return (c * 2.0 * (argument - reduce("mean", indices, argument)) / _count(indices),)
    return (c * pointwise("equal", argument, op),)


def _count(indices: tuple[str, ...]) -> Op:
    count: Op = constant(1.0)
    for index in indices:
        count = count * Op("extent", (), (("index", index),))
    return count


def _rename(op: Op, c: Op) -> Cotangents:
    back = {new: old for old, new in op["letters"]}
    pairs = tuple((new, old) for new, old in back.items() if new in c.axes)
    if not pairs:
        return (c,)
    axes = frozenset(back.get(a, a) for a in c.axes)
    return (Op("rename", (c,), (("letters", pairs),), axes, op.span),)


def _take(op: Op, c: Op) -> Cotangents:
    axes = c.axes | {index for index, _ in op["at"]}
    zeros = Op("insert", (constant(0.0), c), (("at", op["at"]),), axes, op.span)
    return (zeros,)


def _insert(op: Op, c: Op) -> Cotangents:
    at = tuple((index, number) for index, number in op["at"] if index in c.axes)
    taken = Op("take", (c,), (("at", at),), c.axes - {i for i, _ in at}, op.span) if at else c
    kept = Op("insert", (c, constant(0.0)), (("at", op["at"]),), c.axes | {i for i, _ in op["at"]}, op.span)
    return kept, taken


def _loss(op: Op, c: Op) -> Cotangents:
    slope = Op("loss_slope", op.args, (("letter", "j"),), frozenset("nj"), op.span)
    return tuple(c * slope for _ in op.args)


def _act(op: Op, c: Op) -> Cotangents:
    return (Op("pullback", (op.args[0], c), (("side", op["side"]),), op.axes | c.axes, op.span),)


def _slope(op: Op, c: Op) -> Cotangents:
    attributes = (("side", op["side"]), ("order", op["order"] + 1))
    return (c * Op("slope", op.args, attributes, op.axes, op.span),)


_RULES: dict[str, Callable[[Op, Op], Cotangents]] = {
    "add": lambda op, c: (c, c),
    "sub": lambda op, c: (c, -c),
    "mul": lambda op, c: (c * op.args[1], c * op.args[0]),
    "div": lambda op, c: (c / op.args[1], -(c * op / op.args[1])),
    "neg": lambda op, c: (-c,),
    "pow": _power,
    "reduce": _reduction,
    "rename": _rename,
    "take": _take,
    "insert": _insert,
    "loss": _loss,
    "act": _act,
    "slope": _slope,
    **{
        name: lambda op, c: (None,) * len(op.args)
        for name in ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "not")
    },
}
