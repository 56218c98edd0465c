"""Compile-time values: what options make of an expression before the rule is compiled."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rulec.semantics import messages
from rulec.semantics.operators import ACTIVATIONS
from rulec.semantics.typed import OptionValue
from rulec.source import Diagnostic, Diagnostics, Span
from rulec.syntax import ast

BOOLEANS = {"yes": True, "no": False, "true": True, "false": False}


def evaluate(expression: ast.Expression, options: Mapping[str, OptionValue], found: Diagnostics) -> OptionValue | None:
    """Return the value of a compile-time expression, or None after reporting what stops it.

    A bare name that is no option stands for itself, so that `backward == additive` compares choices.
    """
    match expression:
        case ast.Number():
            value = expression.value
            return int(value) if value.is_integer() and expression.text.isdigit() else value
        case ast.Name(name=name):
            return options.get(name, BOOLEANS.get(name, name))
        case ast.Unary(operator=sign, operand=operand):
            return _unary(sign, operand, options, found)
        case ast.Binary(operator="and" | "or" as word, left=left, right=right):
            first, second = evaluate(left, options, found), evaluate(right, options, found)
            if first is None or second is None:
                return None
            return bool(first and second) if word == "and" else bool(first or second)
        case ast.Binary():
            return _binary(expression, options, found)
        case ast.Conditional(then=then, condition=condition, otherwise=otherwise):
            chosen = evaluate(condition, options, found)
            return None if chosen is None else evaluate(then if chosen else otherwise, options, found)
        case ast.Call(name=name, arguments=arguments) if name in _FUNCTIONS and not expression.indices:
            values = [evaluate_number(a, options, found) for a in arguments]
            return None if None in values else _computed(expression, _FUNCTIONS[name], values, found)
    found.add(messages.not_constant(expression.span, expression.span.text))
    return None


def _unary(
    sign: str, operand: ast.Expression, options: Mapping[str, OptionValue], found: Diagnostics
) -> OptionValue | None:
    if sign != "not":
        value = evaluate_number(operand, options, found)
        return None if value is None else -value
    truth = evaluate(operand, options, found)
    return None if truth is None else not truth


def _binary(expression: ast.Binary, options: Mapping[str, OptionValue], found: Diagnostics) -> OptionValue | None:
    compared = expression.operator in ("==", "!=")
    read = evaluate if compared else evaluate_number
    left, right = read(expression.left, options, found), read(expression.right, options, found)
    if left is None or right is None:
        return None
    if expression.operator == "/" and right == 0:
        found.add(messages.division_by_zero(expression.right.span))
        return None
    if compared:  # words compare as they are written: `yes` is an option's value, and may be one of its choices
        left, right = _comparable(left, right), _comparable(right, left)
    return _computed(expression, _BINARY[expression.operator], [left, right], found)


def _comparable(value: OptionValue, other: OptionValue) -> OptionValue:
    return spelling(value) if isinstance(other, str) else value


def _computed(
    expression: ast.Expression, function: Callable[..., Any], values: list[Any], found: Diagnostics
) -> OptionValue | None:
    """Apply a function to numbers; what has no finite real value is reported."""
    try:
        result = function(*values)
    except TypeError:
        found.add(messages.not_constant(expression.span, expression.span.text))
        return None
    except (ValueError, ArithmeticError):
        result = math.nan
    if isinstance(result, complex) or (isinstance(result, float) and not math.isfinite(result)):
        found.add(messages.not_finite(expression.span, expression.span.text))
        return None
    return result  # type: ignore[no-any-return]


def _power(base: float, exponent: float) -> complex:
    """Raise to a power; whole results beyond the largest float are refused before they are computed."""
    approximate: complex = float(base) ** float(exponent)  # raises OverflowError
    exact: complex = base**exponent
    return exact if isinstance(approximate, float) else approximate


def evaluate_number(expression: ast.Expression, options: Mapping[str, OptionValue], found: Diagnostics) -> float | None:
    """Return the value if it is a number; words are reported."""
    value = evaluate(expression, options, found)
    if isinstance(value, str):
        found.add(messages.not_constant(expression.span, expression.span.text, [*options]))
        return None
    return value


def evaluate_count(
    expression: ast.Expression,
    options: Mapping[str, OptionValue],
    found: Diagnostics,
    complaint: Callable[[Span, object], Diagnostic],
) -> int | None:
    """Return the value if it is a whole number from 1; anything else is reported, in the words of `complaint`."""
    value = evaluate(expression, options, found)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    if isinstance(value, str) and value == expression.span.text:
        found.add(messages.not_constant(expression.span, value, [*options]))
    elif value is not None:
        found.add(complaint(expression.span, spelling(value)))
    return None


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "^": _power,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "abs": abs,
    "min": min,
    "max": max,
}


def option_value(
    option: ast.Option, given: OptionValue | None, found: Diagnostics, before: Mapping[str, OptionValue] | None = None
) -> OptionValue:
    """Choose an option's value: the one given, checked against the declaration, or the default.

    The default may depend on the options declared `before`.
    """
    default = evaluate(option.default, before or {}, found)
    name, span = option.name.name, option.default.span
    choices = tuple(choice.name for choice in option.choices)
    if default is None:
        default = choices[0] if choices else 0
    if choices and spelling(default) not in choices:
        found.add(
            messages.wrong_option_value(
                name, spelling(default), "one of " + ", ".join(choices), span, messages.nearest(str(default), choices)
            )
        )
        default = choices[0]
    elif not choices and isinstance(default, str) and default not in (*ACTIVATIONS, "act"):
        found.add(
            messages.wrong_option_value(
                name,
                default,
                "a number, `yes`, `no`, an activation, or declared choices `a | b`",
                span,
                messages.nearest(default, (*ACTIVATIONS, *BOOLEANS)),
            )
        )
        default = "identity"  # a word: most likely meant as an activation
    if choices:
        default = spelling(default)
    return default if given is None else _given(name, given, default, choices, found)


def spelling(value: OptionValue) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _given(
    name: str, given: OptionValue, default: OptionValue, choices: tuple[str, ...], found: Diagnostics
) -> OptionValue:
    if isinstance(given, str):
        given = _read(given)
    if choices:
        if spelling(given) in choices:
            return spelling(given)
        expected = "one of " + ", ".join(choices)
        found.add(
            messages.wrong_option_value(
                name, spelling(given), expected, close=messages.nearest(spelling(given), choices)
            )
        )
        return default
    expected = ""
    if isinstance(default, bool):
        expected = "" if isinstance(given, bool) else "`yes` or `no`"
    elif isinstance(default, int):
        expected = "" if isinstance(given, int) and not isinstance(given, bool) else "a whole number"
    elif isinstance(default, float):
        number = isinstance(given, (int, float)) and not isinstance(given, bool) and math.isfinite(given)
        expected = "" if number else "a finite number"
    elif given not in (*ACTIVATIONS, "act"):
        expected = "an activation: " + ", ".join(ACTIVATIONS)
    if expected:
        found.add(
            messages.wrong_option_value(
                name,
                given,
                expected,
                close=messages.nearest(str(given), ACTIVATIONS) if isinstance(default, str) else None,
            )
        )
        return default
    return given


def _read(text: str) -> OptionValue:
    """Read an option's value as the command line gives it."""
    if text in BOOLEANS:
        return BOOLEANS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


# --- Words in conditions ---------------------------------------------------------------------


def check_conditions(rule: ast.Rule, options: Mapping[str, OptionValue], found: Diagnostics) -> None:
    """Report words in compile-time conditions that are no option and no choice: they would never hold, silently."""
    declared = {s.name.name: s for s in rule.sections if isinstance(s, ast.Option)}
    for condition in _conditions(rule):
        _check_truth(condition, _Words(declared, options, found))


@dataclass(frozen=True)
class _Words:
    declared: Mapping[str, ast.Option]
    options: Mapping[str, OptionValue]
    found: Diagnostics


def _conditions(root: ast.Node) -> Iterator[ast.Expression]:
    for node in ast.walk(root):
        if isinstance(node, (ast.If, ast.Conditional, ast.PerLayer)) and node.condition is not None:
            yield node.condition


def _check_truth(node: ast.Expression, words: _Words) -> None:
    """Check an expression that is asked whether it holds."""
    match node:
        case ast.Name(name=name) if isinstance(words.options.get(name), str):
            words.found.add(messages.choice_as_truth(node.span, name, str(words.options[name])))
        case ast.Unary(operator="not", operand=operand):
            _check_truth(operand, words)
        case ast.Binary(operator="and" | "or", left=left, right=right):
            _check_truth(left, words)
            _check_truth(right, words)
        case ast.Binary(operator="==" | "!=", left=left, right=right):
            _check_equality(left, right, words)
        case ast.Name():
            _check_word(node, words)


def _check_word(node: ast.Name, words: _Words) -> None:
    if node.name not in words.options and node.name not in BOOLEANS:
        words.found.add(messages.not_constant(node.span, node.name, [*words.declared]))


def _check_equality(left: ast.Expression, right: ast.Expression, words: _Words) -> None:
    """`feedback == additive`: one side is an option, and a word on the other one of its values."""
    for option, value in ((left, right), (right, left)):
        if isinstance(option, ast.Name) and option.name in words.declared:
            if isinstance(value, ast.Name) and value.name not in words.options:
                _check_choice(words.declared[option.name], value, words)
            return
    for side in (left, right):
        if isinstance(side, ast.Name):
            _check_word(side, words)


def _check_choice(option: ast.Option, value: ast.Name, words: _Words) -> None:
    default = words.options.get(option.name.name)
    choices = tuple(c.name for c in option.choices)
    if not choices and isinstance(default, bool):
        choices = tuple(BOOLEANS)
    elif not choices and isinstance(default, str):
        choices = (*ACTIVATIONS, "act")
    if not choices:
        _check_word(value, words)
    elif value.name not in choices:
        close = messages.nearest(value.name, choices)
        expected = "one of " + ", ".join(choices)
        words.found.add(messages.wrong_option_value(option.name.name, value.name, expected, value.span, close))
