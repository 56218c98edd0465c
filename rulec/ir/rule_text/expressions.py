"""Write ops as expressions of the rule language."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rulec.ir.graph import Op, Program, is_constant
from rulec.ir.numbers import numbers_of
from rulec.ir.rule_text.nodes import Index, binary, call, indexed, name, negative, number, unspeakable
from rulec.semantics.operators import POINTWISE
from rulec.syntax import ast

Letters = Mapping[str, str]  # how letters are spelled inside a `rename`

_SIGNS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "pow": "^",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
}
_NO_LETTERS: Letters = {}
_MOST_PRIMES = 3


@dataclass(frozen=True)
class Spelling:
    """How a program is written: numbers to so many digits, names of local values by where they stood in the rule."""

    program: Program
    digits: int | None
    local_names: Mapping[tuple[int, int], str]

    def number(self, value: float) -> ast.Expression:
        return number(value, self.digits)

    def state(
        self, own: str, side: str, indices: tuple[Index, ...], letters: Letters = _NO_LETTERS
    ) -> ast.Indexed | ast.Name:
        """Write a state as its declaration orders the letters."""
        declared = next((s for s in self.program.states if s.name == own), None)
        sides = [letter for letter in side.split(",") if letter not in ("", "p")]
        if declared is not None and declared.sides == "ji":
            sides.reverse()
        return indexed(own, tuple(letters.get(str(i), i) for i in (*sides, *indices)))

    def side(self, letter: str) -> str:
        """Return the side of a letter: another neuron of the same layer is on that layer's."""
        extent = self.program.extents.get(letter)
        return str(extent) if extent in ("i", "j") else letter


@dataclass
class Words:
    """The expressions of one block. `names` are how values so far are read, `slope` the variable that `diff(loss, ...)` takes."""

    spelling: Spelling
    kind: str  # of the block
    names: dict[int, ast.Expression] = field(default_factory=dict)
    slope: Callable[[Op], ast.Expression] | None = None
    target: frozenset[str] = frozenset()  # the axes of what is assigned

    def write(self, op: Op, letters: Letters = _NO_LETTERS) -> ast.Expression:
        letters = {old: new for old, new in letters.items() if old in op.axes}
        if id(op) in self.names and not letters:
            return self.names[id(op)]
        if op.name in _SIGNS:
            left, right = (self.write(a, letters) for a in op.args)
            return binary(_SIGNS[op.name], left, right)
        special = _WRITERS.get(op.name)
        if special is not None:
            return special(self, op, letters)
        if op.name in POINTWISE:
            return call(op.name, *(self.write(a, letters) for a in op.args))
        raise unspeakable(op, "the language has no word for it")

    # --- Leaves ---

    def constant(self, op: Op, letters: Letters) -> ast.Expression:
        return self.spelling.number(op["value"])

    def array(self, op: Op, letters: Letters) -> ast.Expression:
        """Write an array as the sum of its components, each where the indices say so."""
        import numpy as np

        data = numbers_of(op)
        terms = [
            binary("*", self._here(zip(op["indices"], place, strict=True), letters), self.spelling.number(value))
            for place, value in np.ndenumerate(data)
            if value != 0
        ]
        return functools.reduce(lambda a, b: binary("+", a, b), terms)

    def _here(self, at: object, letters: Letters) -> ast.Expression:
        pairs = [(str(letters.get(i, i)), n) for i, n in at]  # type: ignore[attr-defined]
        return functools.reduce(
            lambda a, b: binary("*", a, b), [binary("==", name(i), number(int(n))) for i, n in pairs]
        )

    def genome(self, op: Op, letters: Letters) -> ast.Expression:
        return indexed(op["name"], tuple(letters.get(i, i) for i in op["indices"]))

    def state(self, op: Op, letters: Letters) -> ast.Expression:
        return self.spelling.state(op["name"], op["side"], op["indices"], letters)

    def data(self, op: Op, letters: Letters) -> ast.Expression:
        return indexed(op.name, (letters.get(op["letter"], op["letter"]),))

    def position(self, op: Op, letters: Letters) -> ast.Expression:
        return name(letters.get(op["index"], op["index"]))

    def extent(self, op: Op, letters: Letters) -> ast.Expression:
        """Count by adding up ones."""
        index = op["index"]
        if index == "n":  # in what varies over samples alone, or over the neurons of the block's own side
            value = (
                name("loss")
                if self.kind in ("backward", "update")
                else self._any_state({"input": "i"}.get(self.kind, "j"))
            )
            return call("sum", binary("+", binary("*", number(0), value), number(1)), indices=("n",))
        if index == "@":  # places, which a mean over samples adds up in an update
            one = binary("+", binary("*", number(0), self._any_state("j")), number(1))
            return call("mean", one, indices=("n",))
        return call("sum", binary("==", name(index), name(index)), indices=(index,))

    def ones(self, op: Op, letters: Letters) -> ast.Expression:
        raise unspeakable(op, f"a sum over neurons `{op['index']}` of what does not vary with them")

    def noise(self, op: Op, letters: Letters) -> ast.Expression:
        own = tuple(sorted(op.axes - {"n", "p"}, key=lambda letter: (letter not in ("i", "j"), letter)))
        if op.axes & {"i", "j"} or (own and "n" not in op.axes):
            return indexed("noise", own)
        if op.axes == self.target:
            return name("noise")
        raise unspeakable(op, "noise that more than one statement reads")

    def loss_slope(self, op: Op, letters: Letters) -> ast.Expression:
        if self.slope is None or letters:
            raise unspeakable(op, "the derivative of the loss belongs where the prediction is set")
        return call("diff", name("loss"), self.slope(op))

    # --- Functions ---

    def neg(self, op: Op, letters: Letters) -> ast.Expression:
        return negative(self.write(op.args[0], letters))

    def negation(self, op: Op, letters: Letters) -> ast.Expression:
        return ast.Unary("not", self.write(op.args[0], letters), span=name("not").span)

    def act(self, op: Op, letters: Letters) -> ast.Expression:
        return call("act", self._on_neurons(op.args[0], op["side"], letters))

    def slope_of(self, op: Op, letters: Letters) -> ast.Expression:
        if op["order"] > _MOST_PRIMES:
            raise unspeakable(op, f"a derivative of order {op['order']}")
        return call("act", self._on_neurons(op.args[0], op["side"], letters), primes=op["order"])

    def pullback(self, op: Op, letters: Letters) -> ast.Expression:
        slope = call("act", self._on_neurons(op.args[0], op["side"], letters), primes=1)
        return binary("*", slope, self.write(op.args[1], letters))

    def _on_neurons(self, op: Op, side: str, letters: Letters) -> ast.Expression:
        """Write what an activation is applied to; a number is not one per neuron until a neuron's state is in it."""
        value = self.write(op, letters)
        if {"n", side} <= op.axes or any("n" in op.axes and self.spelling.side(a) == side for a in op.axes):
            return value
        return binary("+", value, binary("*", number(0), self._any_state(side)))

    def _any_state(self, side: str) -> ast.Expression:
        state = next(s for s in self.spelling.program.states if s.kind == "neuron")
        return self.spelling.state(state.name, side, (0,) * len(state.indices))

    def reduce(self, op: Op, letters: Letters) -> ast.Expression:
        if set(op["indices"]) & set(letters.values()):
            raise unspeakable(op, "a letter would stand for two things")
        inner = {old: new for old, new in letters.items() if old not in op["indices"]}
        return call(op["operator"], self.write(op.args[0], inner), indices=op["indices"])

    def net(self, op: Op, letters: Letters) -> ast.Expression:
        arguments = [self.write(a, letters) for a in op.args]
        arguments = [
            a if f is None else call("concat", a, indices=(f,)) for a, f in zip(arguments, op["features"], strict=True)
        ]
        out = op["index"]
        return call(op["name"], *arguments, indices=() if out is None else (letters.get(out, out),))

    def solve(self, op: Op, letters: Letters) -> ast.Expression:
        return call("solve", *(self.write(a, letters) for a in op.args), indices=(op["row"], op["column"]))

    def stop(self, op: Op, letters: Letters) -> ast.Expression:
        return call("stop", self.write(op.args[0], letters))

    # --- Components ---

    def take(self, op: Op, letters: Letters) -> ast.Expression:
        """Read a component by adding up the value where the indices are there."""
        indices = tuple(i for i, _ in op["at"])
        value = binary("*", self._here(op["at"], {}), self.write(op.args[0], letters))
        return call("sum", value, indices=indices)

    def insert(self, op: Op, letters: Letters) -> ast.Expression:
        before, value = op.args
        here = self._here(op["at"], letters)
        inside = binary("*", here, self.write(value, letters))
        if is_constant(before, 0.0):
            return inside
        outside = ast.Unary("not", here, span=name("not").span)
        return binary("+", binary("*", outside, self.write(before, letters)), inside)

    def rename(self, op: Op, letters: Letters) -> ast.Expression:
        inner = {old: letters.get(new, new) for old, new in op["letters"]}
        rest = {old: new for old, new in letters.items() if old in op.args[0].axes and old not in inner}
        return self.write(op.args[0], {**rest, **inner})


_WRITERS: dict[str, Callable[[Words, Op, Letters], ast.Expression]] = {
    "constant": Words.constant,
    "array": Words.array,
    "genome": Words.genome,
    "state": Words.state,
    "input": Words.data,
    "target": Words.data,
    "prediction": Words.data,
    "loss": lambda words, op, letters: name("loss"),
    "loss_slope": Words.loss_slope,
    "time": lambda words, op, letters: name("t"),
    "extent": Words.extent,
    "ones": Words.ones,
    "position": Words.position,
    "noise": Words.noise,
    "neg": Words.neg,
    "not": Words.negation,
    "act": Words.act,
    "slope": Words.slope_of,
    "pullback": Words.pullback,
    "reduce": Words.reduce,
    "take": Words.take,
    "insert": Words.insert,
    "rename": Words.rename,
    "net": Words.net,
    "solve": Words.solve,
    "stop": Words.stop,
    "grad": lambda words, op, letters: call("grad", name("loss"), name("w")),
}
