"""Break a canonical line that is too long, where the layout lets it go on."""

from __future__ import annotations

from dataclasses import dataclass

WIDEST = 110  # columns
_HANG = 4  # further than the line they go on with

_BEFORE_SUM = (" + ", " - ")
_BEFORE_PRODUCT = (" * ", " / ")
_RELATION = (" == ",)


@dataclass(frozen=True)
class _Opportunity:
    """A place where the line can be broken; lower ranks are tried first."""

    position: int
    rank: int


def wrap(text: str, indent: int) -> list[str]:
    """Return `text`, which stands at column `indent`, as lines; the first one is not indented, the others hang.

    A line is broken before the `+` and `-` outside all brackets; if that does not do, inside the outermost brackets,
    before `*` and `/`, and so on inwards. What has no such place stays long.
    """
    if indent + len(text) <= WIDEST or '"' in text:
        return [text]
    opportunities = _opportunities(text)
    pieces = [(0, len(text))]
    for rank in sorted({opportunity.rank for opportunity in opportunities}):
        cuts = [opportunity.position for opportunity in opportunities if opportunity.rank == rank]
        pieces = [piece for old in pieces for piece in _refine(old, cuts, indent)]
    lines = [text[start:end].rstrip() for start, end in pieces]
    return [lines[0], *(" " * _HANG + line for line in lines[1:])]


def _refine(piece: tuple[int, int], cuts: list[int], indent: int) -> list[tuple[int, int]]:
    """Cut a piece that is too long into as few pieces as `cuts` allow."""
    start, end = piece
    lines: list[tuple[int, int]] = []
    while end - start > _room(start, indent):
        inside = [cut for cut in cuts if start < cut < end]
        fitting = [cut for cut in inside if cut - start <= _room(start, indent)]
        if not inside:
            break
        cut = fitting[-1] if fitting else inside[0]
        lines.append((start, cut))
        start = cut
    return [*lines, (start, end)]


def _room(start: int, indent: int) -> int:
    return WIDEST - indent - (_HANG if start else 0)


def _opportunities(text: str) -> list[_Opportunity]:
    found: list[_Opportunity] = []
    depth = 0
    for position, character in enumerate(text):
        if character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        sign = text[position : position + 3]
        if sign in _BEFORE_SUM or (depth == 0 and text[position : position + 4] in _RELATION):
            found.append(_Opportunity(position + 1, _rank(depth, product=False)))
        elif sign in _BEFORE_PRODUCT:
            found.append(_Opportunity(position + 1, _rank(depth, product=True)))
        elif depth > 0 and sign[:2] == ", ":
            found.append(_Opportunity(position + 2, _rank(depth, product=False)))
    return found


def _rank(depth: int, product: bool) -> int:
    """Order: sums outside, the inside of the outermost brackets, products outside, products one deeper, ..."""
    if depth <= 1:
        return depth + (2 if product else 0)
    return 2 * depth + (1 if product else 0)
