"""Exact values: polynomials and quotients over symbols, where every function of something is a symbol of its own.

`tanh(w*x + b)` is one symbol, an *application*, defined by the function and its argument in expanded form. Equal arguments
give the same symbol, so the size of a value does not grow with the depth of the network, and an equation between
values is an equation between polynomials. What is known about applications beyond their name is used where they are made
(`tanh(-z)` is `-tanh(z)`, `exp(a + b)` is a product) and where an equation is decided (`sqrt(a)^2` is `a`). Whatever has a
kink is written with `step`: |a| is a (2 step(a) - 1). Equations are meant where both sides are defined, off the kinks.

No text is ever parsed by sympy: names of symbols are only shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sympy
from sympy import Expr, Rational, Symbol

from rulec.semantics.operators import POINTWISE, Pointwise

GENERIC = "generic"  # a smooth function of which nothing is known; its derivatives have primes

_ODD = ("tanh", "sin", "erf")
_EVEN = ("cos",)
_ZERO_OR_ONE = ("step", "is_zero")
_POSITIVE = ("exp", "sigmoid", "softplus", "sqrt")


@dataclass(frozen=True)
class Application:
    """A function and its arguments in expanded form."""

    function: str
    arguments: tuple[Expr, ...]


class Algebra:
    """Makes values and decides whether they are zero. Values of different algebras must not meet."""

    def __init__(self) -> None:
        self.applications: dict[Symbol, Application] = {}
        self.symbols: dict[str, Symbol] = {}
        self._made: dict[Application, Symbol] = {}
        self._slopes: dict[tuple[Symbol, Symbol], Expr] = {}
        self._inside: dict[Symbol, frozenset[Symbol]] = {}

    # --- Making values ---

    def symbol(self, name: str, positive: bool = False) -> Symbol:
        """Return the real number of this name; `positive`: it is known to be."""
        if name not in self.symbols:
            assumptions = {"positive": True} if positive else {"real": True}
            self.symbols[name] = Symbol(name, **assumptions)
        return self.symbols[name]

    def number(self, value: float | Expr) -> Expr:
        """Return a number exactly as it is written: 0.1 is one tenth."""
        if isinstance(value, Expr):
            return value
        value = float(value)
        if not math.isfinite(value):
            raise Unsayable(f"the number {value}")
        return Rational(int(value)) if value.is_integer() and abs(value) < 2**53 else Rational(repr(value))

    def apply(self, function: str, *arguments: Any) -> Expr:
        """Apply a function of the operator table, a comparison, arithmetic, or `generic` with any number of primes."""
        values = tuple(self.number(a) for a in arguments)
        special = _ARITHMETIC.get(function) or _SPECIAL.get(function)
        if special is not None:
            return special(self, *values)
        defined = POINTWISE.get(function)
        if defined is not None and defined.define is not None:
            return _exactly(defined.define(_Functions(self), *values))
        return self._named(function, *values)

    def _named(self, function: str, *values: Expr) -> Expr:
        """Return the application's symbol, after what parity and known values at numbers have to say."""
        arguments = tuple(sympy.expand(v) for v in values)
        if len(arguments) == 1:
            if arguments[0] == 0 and function in _AT_ZERO:
                return sympy.Integer(_AT_ZERO[function])
            if function in _ODD and arguments[0].could_extract_minus_sign():
                return -self._named(function, -arguments[0])
            if function in _EVEN and arguments[0].could_extract_minus_sign():
                return self._named(function, -arguments[0])
        return self._application(function, *arguments)

    def _application(self, function: str, *arguments: Expr) -> Symbol:
        application = Application(function, arguments)
        if application not in self._made:
            short = all(len(a.args) <= 4 and not any(b.args for b in a.args if b.is_Add) for a in arguments)
            name = f"{function}({', '.join(map(str, arguments))})" if short else f"{function}#{len(self._made)}"
            assumptions = {"positive": True} if function in _POSITIVE else {"real": True}
            atom = sympy.Dummy(name, **assumptions)
            self._made[application] = atom
            self.applications[atom] = application
        return self._made[application]

    # --- Derivatives ---

    def derivative(self, value: Expr, variable: Symbol) -> Expr:
        """Differentiate through every application, by the slopes of the operator table."""
        total = sympy.S.Zero
        for symbol in value.free_symbols:
            if symbol == variable:
                total += sympy.diff(value, symbol)
            elif symbol in self.applications and variable in self._below(symbol):
                total += sympy.diff(value, symbol) * self._slope_of(symbol, variable)
        return total

    def _slope_of(self, atom: Symbol, variable: Symbol) -> Expr:
        key = (atom, variable)
        if key not in self._slopes:
            application = self.applications[atom]
            slopes = self.slopes(application.function, application.arguments)
            self._slopes[key] = sum(
                (
                    self.number(slope) * self.derivative(argument, variable)
                    for slope, argument in zip(slopes, application.arguments, strict=True)
                    if slope is not None
                ),
                sympy.S.Zero,
            )
        return self._slopes[key]

    def slopes(self, function: str, arguments: tuple[Expr, ...]) -> tuple[Expr | None, ...]:
        """Return the partial derivatives of a function; None where one is zero almost everywhere."""
        if function.rstrip("'").startswith(GENERIC):
            return (self._named(function + "'", *arguments),)
        if function == "inverse":
            return (-(self._named("inverse", *arguments) ** 2),)
        if function == "power":
            base, exponent = arguments
            whole = self._named("power", base, exponent)
            return exponent * whole * self.apply("div", 1, base), whole * self.apply("log", base)
        if function in _ZERO_OR_ONE:
            return (None,) * len(arguments)
        if function.startswith("loss"):
            before = [int(k) for k in function.split("_")[1:]]
            names = ("_".join(["loss", *map(str, sorted([*before, k]))]) for k in range(len(arguments)))
            return tuple(self._named(name, *arguments) for name in names)
        entry: Pointwise = POINTWISE[function]
        slopes = entry.slope(_Functions(self), *arguments)
        return tuple(None if slope is None else _exactly(slope) for slope in slopes)

    def _below(self, atom: Symbol) -> frozenset[Symbol]:
        """Return every symbol that an application depends on."""
        if atom not in self._inside:
            found: set[Symbol] = set()
            for argument in self.applications[atom].arguments:
                for symbol in argument.free_symbols:
                    found.add(symbol)
                    if symbol in self.applications:
                        found |= self._below(symbol)
            self._inside[atom] = frozenset(found)
        return self._inside[atom]

    def depends_on(self, value: Expr) -> frozenset[Symbol]:
        """Return the plain symbols that a value depends on, through applications too."""
        found: set[Symbol] = set()
        for symbol in value.free_symbols:
            found |= self._below(symbol) if symbol in self.applications else {symbol}
        return frozenset(s for s in found if s not in self.applications)

    # --- Deciding ---

    def is_zero(self, value: Expr) -> bool:
        """Return whether a value is known to be zero. False means unknown: it may still be."""
        value = sympy.expand(value)
        if value == 0:
            return True
        return self._reduced(self._cleared(value)) == 0

    def _cleared(self, value: Expr) -> Expr:
        """Return a value that is zero exactly when this one is, free of denominators."""
        while True:
            inverses = {
                s: 1 / self.applications[s].arguments[0]
                for s in value.free_symbols
                if s in self.applications and self.applications[s].function == "inverse"
            }
            if inverses:
                value = value.subs(inverses)
            value = sympy.expand(sympy.numer(sympy.together(value)))
            if not inverses:
                return value

    def _reduced(self, value: Expr) -> Expr:
        """Use what is known of powers: sqrt(a)^2 is a, a step is 0 or 1."""
        for _ in range(64):
            if value == 0 or value.is_number:
                break
            before = value
            for atom in sorted((s for s in value.free_symbols if s in self.applications), key=str):
                value = self._reduce_powers(value, atom)
            value = sympy.expand(value)
            if value == before:
                break
        return sympy.S.Zero if value.is_number and value.equals(0) else value

    def _reduce_powers(self, value: Expr, atom: Symbol) -> Expr:
        application = self.applications[atom]
        function, argument = application.function, application.arguments[0]
        if function in _ZERO_OR_ONE:
            return value.replace(lambda e: e.is_Pow and e.base == atom, lambda e: atom)
        if function == "sqrt":
            return value.replace(
                lambda e: e.is_Pow and e.base == atom and e.exp.is_Integer and e.exp >= 2,
                lambda e: argument ** (e.exp // 2) * atom ** (e.exp % 2),
            )
        return value

    # --- Numbers ---

    def evaluate(self, value: Expr, numbers: Mapping[Symbol, float], functions: Callable[..., float]) -> float:
        """Evaluate in floating point; `functions(name, *arguments)` knows the applied functions."""
        known: dict[Symbol, float] = dict(numbers)

        def number_of(e: Expr) -> float:
            for symbol in e.free_symbols:
                if symbol not in known:
                    application = self.applications[symbol]
                    known[symbol] = functions(application.function, *(number_of(a) for a in application.arguments))
            return float(e.subs({s: sympy.Float(known[s], 30) for s in e.free_symbols}))

        return number_of(value)


def _exactly(value: Any) -> Expr:
    """Turn the floats that a formula of the operator table brings along into the numbers that they are written as."""
    value = sympy.sympify(value)
    return value.xreplace({one: Rational(repr(float(one))) for one in value.atoms(sympy.Float)})


class Unsayable(Exception):
    """Raised for what has no exact value here."""


class _Functions:
    """The functions that formulas of the operator table call."""

    def __init__(self, algebra: Algebra) -> None:
        self._algebra = algebra

    def __getattr__(self, name: str) -> Callable[..., Expr]:
        return lambda *arguments: self._algebra.apply(name, *map(_exactly, arguments))


_AT_ZERO = {"tanh": 0, "sin": 0, "cos": 1, "erf": 0}


def _divide(algebra: Algebra, a: Expr, b: Expr) -> Expr:
    b = sympy.expand(b)
    if b.is_zero:
        raise Unsayable("a division by zero")
    if not b.is_Add:
        return a / b
    content, primitive = b.as_content_primitive()
    if primitive.could_extract_minus_sign():
        content, primitive = -content, -primitive
    return a / content * algebra._application("inverse", sympy.expand(primitive))


def _power(algebra: Algebra, a: Expr, b: Expr) -> Expr:
    if b.is_Integer:
        return a**b if b >= 0 else _divide(algebra, sympy.S.One, a ** (-b))
    if b == Rational(1, 2):
        return algebra.apply("sqrt", a)
    if a.is_zero and b.is_positive:
        return sympy.S.Zero
    if (a.is_Symbol and a.is_positive and b.is_Symbol) or a == 1:
        return a**b
    return algebra._named("power", a, b)


def _exp(algebra: Algebra, a: Expr) -> Expr:
    """exp of a sum is a product, with whole multiples as powers."""
    result = sympy.S.One
    for term in sympy.Add.make_args(sympy.expand(a)):
        if term == 0:
            continue
        coefficient, rest = term.as_coeff_Mul()
        if coefficient.is_Integer and rest != 1:
            result *= algebra._application("exp", rest) ** coefficient
        elif coefficient.is_negative:
            result /= algebra._application("exp", -term)
        else:
            result *= algebra._application("exp", term)
    return result


def _log(algebra: Algebra, a: Expr) -> Expr:
    a = sympy.expand(a)
    if a == 1:
        return sympy.S.Zero
    application = algebra.applications.get(a)
    if application is not None and application.function == "exp":
        return application.arguments[0]
    return algebra._application("log", a)


def _sqrt(algebra: Algebra, a: Expr) -> Expr:
    """Take out squares: sqrt(g^2) is |g|."""
    a = sympy.expand(a)
    if a.is_number:
        return sympy.sqrt(a)
    if not a.is_polynomial(*a.free_symbols):
        return algebra._application("sqrt", a)
    coefficient, factors = sympy.factor_list(a)
    outside, inside = sympy.S.One, sympy.S.One
    if coefficient > 0:
        outside = sympy.sqrt(coefficient)
    else:
        inside = coefficient
    for factor, exponent in factors:
        half, odd = divmod(exponent, 2)
        outside *= algebra.apply("abs", factor) ** half
        inside *= factor**odd
    return outside if inside == 1 else outside * algebra._application("sqrt", sympy.expand(inside))


def _abs(algebra: Algebra, a: Expr) -> Expr:
    return a * _sign(algebra, a)


def _sign(algebra: Algebra, a: Expr) -> Expr:
    a = sympy.expand(a)
    return sympy.sign(a) if a.is_number else 2 * _step(algebra, a) - 1


def _step(algebra: Algebra, a: Expr) -> Expr:
    a = sympy.expand(a)
    if a.is_positive:
        return sympy.S.One
    if a.is_nonpositive:
        return sympy.S.Zero
    application = algebra.applications.get(a)
    if application is not None and application.function in ("tanh", "erf"):  # they keep the sign
        return _step(algebra, application.arguments[0])
    return 1 - algebra._application("step", -a) if a.could_extract_minus_sign() else algebra._application("step", a)


def _relu(algebra: Algebra, a: Expr) -> Expr:
    return a * _step(algebra, a)


def _sigmoid(algebra: Algebra, a: Expr) -> Expr:
    a = sympy.expand(a)
    if a == 0:
        return Rational(1, 2)
    return (
        1 - algebra._application("sigmoid", -a) if a.could_extract_minus_sign() else algebra._application("sigmoid", a)
    )


def _is_zero(algebra: Algebra, a: Expr) -> Expr:
    a = sympy.expand(a)
    if a.is_number:
        return sympy.S.One if a == 0 else sympy.S.Zero
    if a.is_nonzero:
        return sympy.S.Zero
    return algebra._application("is_zero", -a if a.could_extract_minus_sign() else a)


def _where(algebra: Algebra, condition: Expr, then: Expr, otherwise: Expr) -> Expr:
    chosen = condition
    if condition.is_number:
        return then if condition != 0 else otherwise
    if not _is_flag(algebra, condition):
        chosen = 1 - _is_zero(algebra, condition)
    return chosen * then + (1 - chosen) * otherwise


def _is_flag(algebra: Algebra, value: Expr) -> bool:
    """Whether a value is 0 or 1: a comparison, its opposite, or products of these."""
    if value in (0, 1):
        return True
    if value.is_Mul:
        return all(_is_flag(algebra, factor) for factor in value.args)
    if value in algebra.applications:
        return algebra.applications[value].function in _ZERO_OR_ONE
    opposite = sympy.expand(1 - value)
    return opposite in algebra.applications and algebra.applications[opposite].function in _ZERO_OR_ONE


def _at_least(algebra: Algebra, a: Expr) -> Expr:
    """1 where a >= 0: between numbers, the end counts."""
    a = sympy.expand(a)
    return sympy.S.One if a.is_nonnegative else _step(algebra, a)


_ARITHMETIC: dict[str, Callable[..., Expr]] = {
    "add": lambda algebra, a, b: a + b,
    "sub": lambda algebra, a, b: a - b,
    "mul": lambda algebra, a, b: a * b,
    "neg": lambda algebra, a: -a,
    "div": _divide,
    "pow": _power,
}

_SPECIAL: dict[str, Callable[..., Expr]] = {
    "exp": _exp,
    "log": _log,
    "sqrt": _sqrt,
    "abs": _abs,
    "sign": _sign,
    "step": _step,
    "relu": _relu,
    "sigmoid": _sigmoid,
    "where": _where,
    "is_zero": _is_zero,
    "less": lambda algebra, a, b: _step(algebra, b - a),
    "greater": lambda algebra, a, b: _step(algebra, a - b),
    "less_equal": lambda algebra, a, b: _at_least(algebra, b - a),
    "greater_equal": lambda algebra, a, b: _at_least(algebra, a - b),
    "equal": lambda algebra, a, b: _is_zero(algebra, a - b),
    "not_equal": lambda algebra, a, b: 1 - _is_zero(algebra, a - b),
    "not": _is_zero,
    "min": lambda algebra, a, b: a - _relu(algebra, a - b),
    "max": lambda algebra, a, b: a + _relu(algebra, b - a),
}
