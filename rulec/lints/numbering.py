"""Numbers for ops: equal expressions have equal numbers, wherever in a rule they stand."""

from __future__ import annotations

from collections.abc import Iterable

from rulec.ir.graph import Op, walk_ops

_SYMMETRIC = frozenset(("add", "mul", "equal", "not_equal", "min", "max"))


class Numbering:
    """Two reads of a state at different times have the same number: values belong to one evaluation of one block."""

    def __init__(self) -> None:
        self._by_identity: dict[int, int] = {}
        self._by_key: dict[tuple[object, ...], int] = {}
        self._first: list[Op] = []  # of each number
        self._alive: list[Op] = []  # an id is not used again while its op lives

    def enter(self, roots: Iterable[Op]) -> None:
        for op in walk_ops(roots):
            if id(op) not in self._by_identity:
                key = self._key(op.name, op.args, op.attributes)
                if key not in self._by_key:
                    self._by_key[key] = len(self._first)
                    self._first.append(op)
                self._by_identity[id(op)] = self._by_key[key]
                self._alive.append(op)

    def __getitem__(self, op: Op) -> int:
        return self._by_identity[id(op)]

    def same(self, a: Op, b: Op) -> bool:
        return self[a] == self[b]

    def find(self, name: str, *args: Op) -> Op | None:
        """Return an op of the rule that does this to equal arguments."""
        number = self._by_key.get(self._key(name, args, ()))
        return None if number is None else self._first[number]

    def _key(self, name: str, args: tuple[Op, ...], attributes: object) -> tuple[object, ...]:
        numbers = [self._by_identity[id(a)] for a in args]
        return (name, tuple(sorted(numbers) if name in _SYMMETRIC else numbers), attributes)
