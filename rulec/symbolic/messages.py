"""Everything that proofs say to the user about what they were asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rulec.ir.graph import Law
from rulec.semantics.messages import nearest
from rulec.semantics.typed import OptionValue
from rulec.source import Diagnostic, RuleError, fail


def malformed_match(text: str) -> RuleError:
    return fail(
        "malformed-match",
        f"`{text}` does not say what corresponds",
        notes=(
            "a match is NAME=NAME, with components in brackets, a minus sign or a number on the right where needed",
        ),
        help="write it as in `--map a[0]=x,synapse_gain=-lr`",
    )


def unknown_match(name: str, rule: str, known: Iterable[str]) -> RuleError:
    close = nearest(name, sorted(known))
    return fail(
        "unknown-match",
        f"`{name}` is neither a state nor a genome entry of {rule}",
        notes=(f"there are {', '.join(f'`{one}`' for one in sorted(known))}",),
        help=f"did you mean `{close}`?" if close else "choose one of these",
    )


def unknown_component(name: str, components: Sequence[int], rule: str, shape: Sequence[object]) -> RuleError:
    given = f"{name}[{','.join(map(str, components))}]"
    sizes = " x ".join(map(str, shape))
    return fail(
        "unknown-component",
        f"`{name}` of {rule} has no component `{given}`",
        notes=(
            f"it has {sizes} components, counted from 0"
            if shape
            else f"it is declared without indices: `{name}` is all of it",
        ),
        help=f"match `{name}`, or one of its components" if shape else f"match `{name}`",
    )


def not_comparable(first: str, second: str) -> RuleError:
    return fail(
        "not-comparable",
        f"`{first}` and `{second}` act on different things",
        notes=("one changes synapses between neurons, the other every parameter of a network by its gradient",),
        help="compare two rules of one kind; a law can say what a rule does to the gradient",
    )


def no_field(rule: str) -> RuleError:
    return fail(
        "no-field",
        f"`{rule}` only sees a gradient, so what it does to weights depends on the network's loss",
        notes=("whether an update is a gradient can be asked of rules with neurons and synapses",),
        help="ask it of such a rule, or prove what this one does to the gradient by a law",
    )


def law_refuted(law: Law, options: Mapping[str, OptionValue], lines: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "law-refuted",
        f"the law `{law.name}` does not hold",
        law.span,
        "numbers refute it",
        notes=("\n".join(lines), *_under(options)),
        help="look for a sign, an index or a missing factor in the rule, or correct the law",
    )


def law_undecided(law: Law, options: Mapping[str, OptionValue], lines: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "law-undecided",
        f"the law `{law.name}` is neither proved nor refuted",
        law.span,
        "no proof was found",
        notes=("\n".join(lines), *_under(options)),
        help="give it more time with `rulec prove --seconds`, or state it in smaller parts",
        severity="warning",
    )


def _under(options: Mapping[str, OptionValue]) -> tuple[str, ...]:
    chosen = ", ".join(f"{name} = {value}" for name, value in options.items())
    return (f"with the options {chosen}",) if chosen else ()
