"""An account of what passes changed: the printed program before and after each, as far as the two differ.

In an account an op keeps its number from pass to pass, so that only what a pass changed looks different: an op that is made
in the same way as one before has its number, and so has what stands in its place, as the value that a block writes, or as an
argument of ops that do the same. Anything else gets a number that was not used yet.
"""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rulec.ir.graph import Op, Program, walk_ops
from rulec.ir.passes import PASSES, Pass, runs
from rulec.ir.printer import Names, numbered, render_program, roots_of


@dataclass(frozen=True)
class Entry:
    """One run of a pass, its ops counted as they are printed; `changes` are the lines of the difference, none if nothing changed."""

    name: str
    about: str
    before: int
    after: int
    changes: tuple[str, ...]


def account(program: Program, passes: Sequence[Pass] = PASSES) -> Iterator[Entry]:
    """Run passes and tell what each of them changed."""
    names = _Names(program)
    for run in runs(program, passes):
        before = names.now
        text = render_program(run.before, before)
        names.follow(run.before, run.after)
        changes = tuple(difference(text, render_program(run.after, names.now)))
        yield Entry(run.name, run.about, _count(before), _count(names.now), changes)


def count_ops(program: Program) -> int:
    return _count(numbered(program))


def _count(names: Sequence[Names]) -> int:
    return sum(map(len, names))


# --- Numbers that last -----------------------------------------------------------------------


@dataclass
class _Names:
    program: Program
    now: list[Names] = field(init=False)
    used: int = field(init=False)  # how many numbers

    def __post_init__(self) -> None:
        self.now = numbered(self.program)
        self.used = _count(self.now)

    def follow(self, before: Program, after: Program) -> None:
        """Name the ops of the program after a pass like those before it."""
        old, new = roots_of(before), roots_of(after)
        if len(old) != len(new):
            old, self.now = [()] * len(new), [{}] * len(new)
        self.now = [self._followed(*part) for part in zip(old, new, self.now, strict=True)]

    def _followed(self, old: tuple[Op, ...], new: tuple[Op, ...], names: Names) -> Names:
        forms: dict[object, int] = {}
        known = defaultdict(list)  # names by form, in order
        for op, form in _forms(old, forms):
            known[form].append(names[id(op)])
        found: dict[int, str] = {}
        for op, form in _forms(new, forms):
            if known[form]:
                found[id(op)] = known[form].pop(0)
        if len(old) == len(new):
            _hand_down(old, new, names, found)
        for op in walk_ops(new):
            if id(op) not in found:
                found[id(op)] = f"%{self.used}"
                self.used += 1
        return found


def _forms(roots: tuple[Op, ...], forms: dict[object, int]) -> Iterator[tuple[Op, int]]:
    """Yield every op with a number that ops share which are made in the same way from the same."""
    own: dict[int, int] = {}
    for op in walk_ops(roots):
        key = (op.name, op.attributes, op.axes, tuple(own[id(a)] for a in op.args))
        own[id(op)] = forms.setdefault(key, len(forms))
        yield op, own[id(op)]


def _hand_down(old: tuple[Op, ...], new: tuple[Op, ...], names: Names, found: dict[int, str]) -> None:
    """Give what stands in an op's place its name, from the results down."""
    taken = set(found.values())
    pairs = list(zip(reversed(old), reversed(new), strict=True))
    while pairs:
        one, other = pairs.pop()
        if id(other) in found or one.axes != other.axes or names[id(one)] in taken:
            continue
        found[id(other)] = names[id(one)]
        taken.add(names[id(one)])
        if one.name == other.name and len(one.args) == len(other.args):
            pairs += reversed(list(zip(one.args, other.args, strict=True)))


# --- Differences -----------------------------------------------------------------------------


def difference(before: str, after: str) -> Iterator[str]:
    """Yield the lines that differ, with one around them, under the header of the block that they stand in.

    A line that only moved is none of them: the order of a text is that in which values are first needed.
    """
    old, new = before.splitlines(), after.splitlines()
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    changed = [(a, b, c, d) for kind, a, b, c, d in matcher.get_opcodes() if kind != "equal"]
    gone = Counter(line for a, b, _, _ in changed for line in old[a:b])
    come = Counter(line for _, _, c, d in changed for line in new[c:d])
    moved, last = gone & come, -1
    for group in matcher.get_grouped_opcodes(1):
        lines: list[str] = []
        for kind, a, b, c, d in group:
            if kind == "equal":
                lines += [f"  {line.strip()}" for line in new[c:d] if not _is_header(line)]
            else:
                lines += [f"- {line.strip()}" for line in old[a:b] if line not in moved]
                lines += [f"+ {line.strip()}" for line in new[c:d] if line not in moved]
        if any(line[0] != " " for line in lines):
            place = next(c - (c == d) for kind, _, _, c, d in group if kind != "equal")
            header, text = _header(new, place)
            yield "  ..." if header == last else f"@@ {text}"
            yield from lines
            last = header


def _is_header(line: str) -> bool:
    return line.strip().partition(" ")[0] in _HEADERS


_HEADERS = frozenset({"program", "repeat", "input", "forward", "output", "backward", "update", "parameters", "law"})


def _header(lines: Sequence[str], place: int) -> tuple[int, str]:
    """Return where the block of a line begins, and its headers, from the outside in."""
    path: list[int] = []
    depth = len(lines[place])
    for above in range(place, -1, -1):
        indent = len(lines[above]) - len(lines[above].lstrip())
        if _is_header(lines[above]) and indent < depth:
            path.append(above)
            depth = indent
    inside = path[:-1] or path
    return inside[0], ", ".join(lines[above].strip() for above in reversed(inside))
