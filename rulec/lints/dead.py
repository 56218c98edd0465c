"""Genome entries and states, whole or in part, that reach no prediction."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rulec.lints.components import Cell
from rulec.lints.lint import Lint, Variant
from rulec.lints.wording import Declared, component, lines, name_span
from rulec.semantics import typed as t
from rulec.semantics.reads import blocks_of, parts
from rulec.source import Diagnostic

_SHOWN = 6


def dead_entries(variants: Sequence[Variant]) -> Iterator[Diagnostic]:
    """Find the genome entries of which some component has no effect on any prediction, whatever the options."""
    for name, one in _declared(variants).items():
        if not isinstance(one, t.State):
            yield from _judge("dead-entry", "net" if isinstance(one, t.Net) else "genome entry", name, one, variants)


def dead_states(variants: Sequence[Variant]) -> Iterator[Diagnostic]:
    """Find the states of which some component has no effect on any prediction, whatever the options."""
    for name, one in _declared(variants).items():
        if isinstance(one, t.State):
            yield from _judge("dead-state", f"{one.kind} state", name, one, variants)


def _declared(variants: Sequence[Variant]) -> dict[str, Declared]:
    """Return what any variant declares, as the first that does declares it."""
    declared: dict[str, Declared] = {}
    for variant in variants:
        declared = {one.name: one for one in _declarations(variant)} | declared
    return declared


def _judge(id: str, kind: str, name: str, one: Declared, variants: Sequence[Variant]) -> Iterator[Diagnostic]:
    declaring = [v for v in variants if any(name == d.name for d in _declarations(v))]
    every, dead = declaring[0].components.cells(name), _dead(name, one, declaring)
    if not dead:
        return
    read = _lines_reading(name, declaring)
    if not read and _spoken_of(name, variants):  # by a choice of several options at once, which nobody tried
        return
    if len(dead) < len(every):
        yield _partly(id, kind, one, dead, len(every))
    elif not (read and isinstance(one, t.State) and not _is_assigned(name, declaring)):  # told where it is read
        yield _wholly(id, kind, one, read)


def _wholly(id: str, kind: str, one: Declared, read: Sequence[int]) -> Diagnostic:
    return Diagnostic(
        id,
        f"{kind} `{one.name}` reaches no prediction",
        name_span(one),
        "without effect",
        notes=(f"read on {lines(read)}, but what is computed there reaches none" if read else "nothing reads it",),
        help=f"use `{one.name}` where it matters, or remove it",
        severity="warning",
    )


def _partly(id: str, kind: str, one: Declared, dead: Sequence[Cell], count: int) -> Diagnostic:
    listed = ", ".join(f"`{component(one, n)}`" for _, n in dead[:_SHOWN]) + (", ..." if len(dead) > _SHOWN else "")
    reach, them = ("reaches", "it") if len(dead) == 1 else ("reach", "them")
    return Diagnostic(
        id,
        f"{len(dead)} of the {count} components of {kind} `{one.name}` {reach} no prediction",
        name_span(one),
        f"without effect: {listed}",
        notes=(f"no prediction, of this step or of a later one, depends on {them}",),
        help=f"use {them}, or declare `{one.name}` without {them}",
        severity="warning",
    )


def _is_assigned(name: str, variants: Sequence[Variant]) -> bool:
    return any(site.write.name == name for variant in variants for site in variant.flow.writes)


def _dead(name: str, one: Declared, declaring: Sequence[Variant]) -> list[Cell]:
    """Return the components that are dead in every variant that declares them."""
    dead = declaring[0].components.cells(name)
    for variant in declaring:
        if isinstance(one, t.State) or name in variant.flow.names:  # an entry that is not read stays dead
            dead = [cell for cell in dead if cell not in variant.components.live]
        if not dead:
            break
    return dead


def _declarations(variant: Variant) -> tuple[Declared, ...]:
    program = variant.program
    return *program.genome, *program.nets, *program.states


def _lines_reading(name: str, variants: Sequence[Variant]) -> list[int]:
    found = {node.span.line for v in variants for node in _reads(v.rule) if name == getattr(node, "name", "")}
    return sorted(found)


def _reads(rule: t.Rule) -> Iterator[t.Expr]:
    """Yield every expression in the blocks of a rule, and what it is made of."""
    pending = [write.value for block in blocks_of(rule) for write in block.body]
    while pending:
        node = pending.pop()
        yield node
        pending += parts(node)


def _spoken_of(name: str, variants: Sequence[Variant]) -> bool:
    """Whether the text of the rule names it anywhere but where it is declared or assigned."""
    rules = [variant.rule for variant in variants]
    own = {name_span(one).start for variant in variants for one in _declarations(variant)}
    own |= {write.span.start for r in rules for block in blocks_of(r) for write in block.body}
    text = re.sub(r'#[^\n]*|"[^"\n]*"', lambda match: " " * len(match[0]), rules[0].span.text)
    found = (match.start() + rules[0].span.start for match in re.finditer(rf"\b{name}\b", text))
    return any(start not in own for start in found)


ENTRY = Lint(
    "dead-entry",
    """A genome entry, or a component of one, that no prediction depends on.

Meta-learning changes it and nothing happens: the search is larger than it looks, and a genome that was found cannot be
read. Most of the time a matrix was declared for all states and only some of its rows are used.

    index k, l : 2
    genome
      mix[k,l] = eye
    ...
    forward i -> j
      a[j,0] = act(sum[i,k](w[i,j] * mix[k,0] * a[i,k]))

Here `mix[k,1]` is read by nothing. A component counts as dead if no prediction depends on it, neither in the same step nor,
through synapses and kept states, in a later one; a factor that is always zero, such as `(l == 0)` for the second state, does
not count as a use. With options it must be dead under every choice.

Use it, or declare only what is used: `mix[k]`.""",
    dead_entries,
)

STATE = Lint(
    "dead-state",
    """A state, or a component of one, that no prediction depends on.

It is computed and stored in vain; most of the time another name was meant where it should be read.

    neuron
      x
      d
    ...
    backward i <- j
      d[i] = act'(z[i]) * sum[j](w[i,j] * d[j])
    update i -> j
      w[i,j] -= lr * mean[n](x[i] * x[j])

Here the errors `d` reach no update. Read the state where it belongs (`x[i] * d[j]`), or remove it.""",
    dead_states,
)
