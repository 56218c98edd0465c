"""Try a rewrite on numbers: it must agree with the original wherever that is finite, and be finite where that is not.

A value that is finite where only its derivative fails must stay as it is, but for what is too small to matter.

Numbers are drawn from the ranges that the arguments have, at a distance of at least 1e-4 from where the original fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from rulec.ir.differentiate import NoDerivative, differentiate
from rulec.ir.graph import Op, walk_ops
from rulec.lints.hazards import Bad
from rulec.lints.intervals import NEGATIVE, Interval, intersect
from rulec.oracle.arrays import POINTWISE, Array, combine, reduce_axes, scalar

if TYPE_CHECKING:
    from rulec.lints.rewrites import Build, Setting

_DRAW = "draw"  # the axis along which numbers are drawn
_DRAWS = 200
_EXTENT = 3  # of every index
_RELATIVE, _ABSOLUTE = 1e-6, 1e-9
_NEGLIGIBLE = 1e-6  # how far the value may move at a place where only its derivative fails
_LARGEST = 3e38  # about the largest number of float32


def holds(setting: Setting, rewritten: Build) -> bool:
    """Whether a rewrite changes nothing where the original is finite, and is finite with its derivatives where it is not."""
    leaves = [_leaf(k, setting) for k in range(len(setting.arguments))]
    original, other = setting.function(leaves), rewritten(leaves)
    variables = [leaf for leaf in leaves if leaf.name == "state"][: -1 if setting.guarded else None]
    generator = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        given = _points(setting, setting.good, generator)
        if not _agree(_value(original, given), _value(other, given)):
            return False
        failures = 0
        for bad in setting.bad:
            given = _points(setting, bad, generator)
            if not all(_finite(_value(o, given)) for o in _with_derivatives(other, variables, setting.order)):
                return False
            if not setting.guarded and not _agree(_value(original, given), _value(other, given), _NEGLIGIBLE):
                return False
            values = (_value(o, given) for o in _with_derivatives(original, variables, setting.order))
            failures += not all(map(_finite, values))
    return failures > 0


def _leaf(place: int, setting: Setting) -> Op:
    given = setting.arguments[place]
    if not isinstance(given, Interval):
        return Op("constant", (), (("value", float(given)),))
    axes = frozenset((_DRAW, *(setting.indices if place == setting.place else ())))
    return Op("state", (), (("name", f"x{place}"), ("side", ""), ("indices", ())), axes)


def _with_derivatives(value: Op, variables: list[Op], order: int) -> Iterator[Op]:
    """Yield the value and its derivatives up to the order, each taken twice with respect to the same variable."""
    yield value
    for variable in variables:
        derived: Op | None = value
        for _ in range(order):
            try:
                derived = None if derived is None else differentiate(derived, variable)
            except NoDerivative:
                return
            if derived is not None:
                yield derived


# --- Points ----------------------------------------------------------------------------------


def _points(setting: Setting, wanted: Interval | Bad, generator: np.random.Generator) -> dict[str, Array]:
    """Return values for the arguments; the bad one lies where it is wanted, the rest anywhere."""
    points: dict[str, Array] = {}
    axes = (_DRAW, *setting.indices)
    for place, interval in enumerate(setting.arguments):
        if not isinstance(interval, Interval):
            continue
        if place == setting.place:
            data = _wanted(interval, wanted, (_DRAWS, *(_EXTENT for _ in setting.indices)), generator)
            points[f"x{place}"] = Array(axes, data)
        elif setting.guarded and place == len(setting.arguments) - 1:
            points[f"x{place}"] = Array((_DRAW,), np.full(_DRAWS, float(isinstance(wanted, Interval))))
        else:
            points[f"x{place}"] = Array((_DRAW,), _draw(interval, (_DRAWS,), generator))
    return points


def _wanted(
    interval: Interval, wanted: Interval | Bad, shape: tuple[int, ...], generator: np.random.Generator
) -> np.ndarray:
    if wanted == "zero":
        return np.zeros(shape)
    within = intersect(interval, NEGATIVE if wanted == "negative" else wanted)  # type: ignore[arg-type]
    return _draw(interval if within is None else within, shape, generator)


def _draw(interval: Interval, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Draw numbers of many magnitudes from an interval, not too near to an end of it or to 0."""
    if interval.is_point:
        return np.full(shape, interval.low)
    sizes = 10 ** generator.uniform(-4, 4, 4000)
    parts = [sizes, -sizes]
    low, high = interval.low, interval.high
    parts += [low + sizes] if np.isfinite(low) else []
    parts += [high - sizes] if np.isfinite(high) else []
    parts += [generator.uniform(low, high, 4000)] if np.isfinite(low) and np.isfinite(high) else []
    found = np.array([value for value in np.concatenate(parts) if value in interval])
    far = found[np.abs(found) >= 1e-4]
    return generator.choice(far if len(far) else found, shape)


# --- Values ----------------------------------------------------------------------------------


def _value(root: Op, given: Mapping[str, Array]) -> np.ndarray:
    values: dict[int, Array] = {}
    for op in walk_ops([root]):
        args = [values[id(a)] for a in op.args]
        if op.name == "state":
            values[id(op)] = given[op["name"]]
        elif op.name in ("constant", "extent"):
            values[id(op)] = scalar(op["value"] if op.name == "constant" else _EXTENT)
        elif op.name == "reduce":
            values[id(op)] = reduce_axes(op["operator"], args[0], op["indices"])
        else:
            values[id(op)] = combine(POINTWISE[op.name], *args)
    return np.asarray(values[id(root)].data)


def _finite(value: np.ndarray) -> bool:
    return bool(np.all(np.abs(value) < _LARGEST))


def _agree(original: np.ndarray, rewritten: np.ndarray, absolute: float = _ABSOLUTE) -> bool:
    near = np.abs(original - rewritten) <= _RELATIVE * np.maximum(np.abs(original), np.abs(rewritten)) + absolute
    return bool(np.all(near | ~np.isfinite(original)))
