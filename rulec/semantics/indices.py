"""Check index letters: declared, bound where they stand, and running over what they index."""

from __future__ import annotations

from rulec.semantics import messages
from rulec.semantics import typed as t
from rulec.semantics.scope import Place, Scope
from rulec.syntax import ast

# What the built-in letters run over.
COUNTED = {"n": "samples", "i": "neurons", "j": "neurons"}


def neuron_side(letter: str, scope: Scope) -> str | None:
    """Return the side a letter stands for: `i`, `j`, or the side of an index declared as `index m : j`."""
    if letter in ("i", "j"):
        return letter
    owner = scope.extents.get(letter)
    return owner if owner in ("i", "j") else None


def known_index(item: ast.IndexName, scope: Scope) -> bool:
    """Whether a letter is declared; report it once if it is not."""
    if item.name in scope.extents:
        return True
    if not scope.is_poisoned(item.name):
        scope.report(messages.unknown_index(item.span, item.name, scope.index_names()))
        scope.broken.add(item.name)
    return False


def check_letters(items: tuple[ast.IndexItem, ...], scope: Scope, place: Place) -> bool:
    """Report indices that are undeclared, not bound in this block, or used twice."""
    good = True
    seen: set[str] = set()
    for item in items:
        if not isinstance(item, ast.IndexName):
            continue
        if item.name in seen:
            scope.report(messages.repeated_index(item.span, item.name))
            good = False
        seen.add(item.name)
        good &= _check_letter(item, scope, place)
    return good


def _check_letter(item: ast.IndexName, scope: Scope, place: Place) -> bool:
    if item.name == "n":
        return True
    if item.name not in ("i", "j") and not known_index(item, scope):
        return False
    side = neuron_side(item.name, scope)
    if side is not None and side not in place.sides:
        scope.report(messages.index_not_in_block(item.span, item.name, place.title))
        return False
    return True


def letters_only(
    items: tuple[ast.IndexItem, ...], scope: Scope, help: str = "name an index, such as `i` or `n`"
) -> tuple[str, ...] | None:
    """Return index letters; a number among them is reported."""
    number = next((item for item in items if isinstance(item, ast.IndexNumber)), None)
    if number is not None:
        scope.report(messages.number_for_index(number.span, number.value, help))
        return None
    return tuple(item.name for item in items if isinstance(item, ast.IndexName))


def varies(value: t.Expr, items: tuple[ast.IndexItem, ...], function: str, scope: Scope) -> bool:
    """Whether a value has the indices that a function goes over; report the first it has not."""
    for item in items:
        if isinstance(item, ast.IndexName) and item.name not in value.axes:
            scope.report(messages.absent_reduction(item.span, function, item.name))
            return False
    return True


def resolve_indices(
    name: str, items: tuple[ast.IndexItem, ...], shape: tuple[t.Extent, ...], scope: Scope, place: Place
) -> tuple[str | int, ...] | None:
    """Check the declared indices of a reference against the declared extents; return letters and numbers."""
    resolved: list[str | int] = []
    for item, extent in zip(items, shape, strict=True):
        if isinstance(item, ast.IndexNumber):
            if isinstance(extent, int) and not 0 <= item.value < extent:
                scope.report(messages.component_out_of_range(item.span, item.value, name, extent))
                return None
            resolved.append(item.value)
            continue
        own = "outputs" if item.name == "j" and place.kind == "output" else scope.extent(item.name)
        if own != extent:
            scope.report(messages.extent_mismatch(item.span, item.name, COUNTED.get(item.name, own), name, extent))
            return None
        resolved.append(item.name)
    return tuple(resolved)


def letters_of(indices: tuple[str | int, ...]) -> t.Axes:
    return frozenset(i for i in indices if isinstance(i, str))
