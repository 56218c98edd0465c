"""How mathematics is spelled: as plain Unicode text, or as LaTeX. A notation is one class with a spelling per construct."""

# ruff: noqa: RUF001

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

GREEK = {
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "delta": "δ",
    "epsilon": "ε",
    "zeta": "ζ",
    "eta": "η",
    "theta": "θ",
    "kappa": "κ",
    "lambda": "λ",
    "mu": "μ",
    "nu": "ν",
    "xi": "ξ",
    "rho": "ρ",
    "sigma": "σ",
    "tau": "τ",
    "phi": "φ",
    "chi": "χ",
    "psi": "ψ",
    "omega": "ω",
}
CUSTOM = {"lr": "eta", "eps": "epsilon"}  # what papers call them

_RAISED = str.maketrans("0123456789-+tnijk", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ᵗⁿⁱʲᵏ")
_LOWERED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_NUMBERED = re.compile(r"([a-z]+?)_?(\d*)")


def greek(name: str) -> tuple[str, str] | None:
    """Return the Greek letter's name and the number behind it: `beta1` is beta, 1."""
    match = _NUMBERED.fullmatch(name)
    if match is None:
        return None
    word = CUSTOM.get(match[1], match[1])
    return (word, match[2]) if word in GREEK else None


class Plain:
    """Unicode text on one line."""

    minus, times, arrow, drawn, delta, loss = "−", "·", "←", "∼", "Δ", "L"
    relations: ClassVar[Mapping[str, str]] = {"==": "=", "<=": "≤", ">=": "≥", "<": "<", ">": ">", "!=": "≠"}

    def name(self, name: str) -> str:
        letter = greek(name)
        return name if letter is None else GREEK[letter[0]] + letter[1].translate(_LOWERED)

    def word(self, name: str) -> str:
        return name

    def function(self, name: str, arguments: str, primes: int = 0) -> str:
        return f"{name}{'′' * primes}({arguments})"

    def indexed(self, name: str, indices: list[str]) -> str:
        if not indices:
            return name
        return f"{name}_{('' if all(len(i) == 1 for i in indices) else ',').join(indices)}"

    def number(self, value: float) -> str:
        mantissa, _, exponent = f"{value:g}".partition("e")
        if exponent:
            power = "10" + str(int(exponent)).translate(_RAISED)
            return power if mantissa == "1" else f"{mantissa}·{power}"
        return mantissa.replace("-", self.minus)

    def power(self, base: str, exponent: str) -> str:
        if re.fullmatch(r"−?\d+|[tnijk]", exponent):
            return base + exponent.replace("−", "-").translate(_RAISED)
        return f"{base}^{exponent}" if re.fullmatch(r"\w+", exponent) else f"{base}^({exponent})"

    def group(self, text: str) -> str:
        return f"({text})"

    def sum(self, indices: list[str], body: str) -> str:
        return f"{self.indexed('Σ', indices)} {body}"

    def mean(self, indices: list[str], body: str) -> str:
        return self.indexed(f"⟨{body}⟩", indices)

    def norm(self, indices: list[str], body: str) -> str:
        return self.indexed(f"‖{body}‖", indices)

    def over(self, name: str, indices: list[str], body: str) -> str:
        return f"{self.indexed(name, indices)}({body})"

    def fraction(self, top: str, bottom: str) -> str:
        return f"{top} / {bottom}"

    def root(self, body: str) -> str:
        return f"√{body}" if re.fullmatch(r"\w+", body) else f"√({body})"

    def absolute(self, body: str) -> str:
        return f"|{body}|"

    def condition(self, body: str) -> str:
        return f"[{body}]"

    def partial(self, value: str, variable: str) -> str:
        return f"∂{value}/∂{variable}"

    def gradient(self, value: str, variable: str) -> str:
        return f"∇_{variable} {value}"

    def normal(self) -> str:
        return "N(0, 1)"

    def product(self, left: str, right: str) -> str:
        """Letters stand side by side, as in print; words want a dot between them, and so does a number that follows."""
        before, after = re.search(r"\w+$", left), re.match(r"(\w+)[′(]?", right)
        words = [before[0]] if before else []
        words += [after[1]] if after and after[0] == after[1] else []
        dotted = any(len(word.split("_")[0]) > 2 and not word[0].isdigit() for word in words) or right[0].isdigit()
        return f"{left} {self.times} {right}" if dotted else f"{left} {right}"


class Latex:
    """LaTeX, one line of an `align` environment."""

    minus, times, arrow, drawn, delta, loss = "-", r"\cdot", r"\leftarrow", r"\sim", r"\Delta ", r"\mathcal{L}"
    relations: ClassVar[Mapping[str, str]] = {
        "==": "=",
        "<=": r"\leq",
        ">=": r"\geq",
        "<": "<",
        ">": ">",
        "!=": r"\neq",
    }

    def name(self, name: str) -> str:
        letter = greek(name)
        if letter is not None:
            return rf"\{letter[0]}" + (f"_{{{letter[1]}}}" if letter[1] else "")
        return name if len(name) == 1 else self.word(name)

    def word(self, name: str) -> str:
        return r"\mathrm{" + name.replace("_", r"\_") + "}"

    def function(self, name: str, arguments: str, primes: int = 0) -> str:
        return self.word(name) + "'" * primes + rf"\left({arguments}\right)"

    def indexed(self, name: str, indices: list[str]) -> str:
        if not indices:
            return name
        name = f"{{{name}}}" if "_" in name else name
        return f"{name}_{{{('' if all(len(i) == 1 for i in indices) else ',').join(indices)}}}"

    def number(self, value: float) -> str:
        mantissa, _, exponent = f"{value:g}".partition("e")
        if exponent:
            power = f"10^{{{int(exponent)}}}"
            return power if mantissa == "1" else rf"{mantissa} \cdot {power}"
        return mantissa

    def power(self, base: str, exponent: str) -> str:
        return f"{{{base}}}^{{{exponent}}}"

    def group(self, text: str) -> str:
        return rf"\left({text}\right)"

    def sum(self, indices: list[str], body: str) -> str:
        return rf"\sum_{{{''.join(indices)}}} {body}"

    def mean(self, indices: list[str], body: str) -> str:
        return rf"\left\langle {body} \right\rangle_{{{''.join(indices)}}}"

    def norm(self, indices: list[str], body: str) -> str:
        return rf"\left\lVert {body} \right\rVert_{{{''.join(indices)}}}"

    def over(self, name: str, indices: list[str], body: str) -> str:
        return rf"\operatorname{{{name}}}_{{{''.join(indices)}}}\left({body}\right)"

    def fraction(self, top: str, bottom: str) -> str:
        return rf"\frac{{{top}}}{{{bottom}}}"

    def root(self, body: str) -> str:
        return rf"\sqrt{{{body}}}"

    def absolute(self, body: str) -> str:
        return rf"\left|{body}\right|"

    def condition(self, body: str) -> str:
        return rf"\left[{body}\right]"

    def partial(self, value: str, variable: str) -> str:
        return rf"\frac{{\partial {value}}}{{\partial {variable}}}"

    def gradient(self, value: str, variable: str) -> str:
        return rf"\nabla_{{{variable}}} {value}"

    def normal(self) -> str:
        return r"\mathcal{N}(0, 1)"

    def product(self, left: str, right: str) -> str:
        return rf"{left} \cdot {right}" if re.match(r"[\d.]", right) else rf"{left} \, {right}"


Notation = Plain | Latex
