"""`rulec show`: a rule on one page, and its picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from rulec.backend.cost import step_cost
from rulec.backend.counting import Cost
from rulec.cli.console import bold, say
from rulec.ir.build import build
from rulec.lints.lint import Variant
from rulec.lints.routes import routes
from rulec.report.dataflow import draw_dataflow
from rulec.report.tables import text_table
from rulec.runtime.compiled import CompiledRule
from rulec.runtime.rule import load
from rulec.semantics import typed as t
from rulec.semantics.equations import render_equations, render_latex
from rulec.semantics.locality import localities

_BATCH = 64


def show(file: str, net: str, options: Mapping[str, str], out: Path, latex: bool) -> int:
    """Print equations, genome, states, locality, gradient paths and cost of a rule, and draw its data flow into `out`."""
    rule = load(file)
    typed = rule.typed(options)
    if latex:
        say(render_latex(typed))
        return 0
    compiled = rule.compile(net, options=options)
    say(bold(rule.name) + (f"  {rule.doc}" if rule.doc else ""))
    if typed.options:
        say("options: " + ", ".join(f"{name} = {_option(value)}" for name, value in typed.options.items()))
    for title, text in _chapters(typed, compiled):
        say("\n" + bold(title))
        say(text)
    paths = draw_dataflow(typed, out / f"{rule.name}.svg", out / f"{rule.name}.png")
    say("\n" + bold("Picture"))
    say("\n".join(f"  {path}" for path in paths))
    return 0


def _chapters(rule: t.Rule, compiled: CompiledRule) -> Iterator[tuple[str, str]]:
    yield "Equations", _indented(render_equations(rule))
    entries = list(_genome_rows(rule, compiled))
    if entries:
        yield "Genome", _indented(text_table(entries))
    states = list(_state_rows(rule, compiled))
    if states:
        yield f"States on {compiled.network.spec}", _indented(text_table(states))
    yield "Locality", _indented(text_table(list(_locality_rows(rule))))
    paths = list(_path_rows(Variant(rule, build(rule))))
    if paths:
        yield "Gradient paths, with lines; ⇒ leads to the next step", _indented(text_table(paths))
    cost = step_cost(compiled.lowered, compiled.network, compiled.leading, compiled.dtype, _BATCH)
    yield f"Cost of a step on {_BATCH} samples", _indented(render_cost(cost))
    choice = compiled.choice(_BATCH)
    yield "Inner loops run with", _indented(f"{choice.backend}: {choice.reason}")


def _option(value: t.OptionValue) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.split("\n"))


def _genome_rows(rule: t.Rule, compiled: CompiledRule) -> Iterator[dict[str, object]]:
    entries = {entry.name: entry for entry in rule.genome}
    layered = any(spec.per_layer for spec in compiled.genome_spec.values())
    for name, spec in compiled.genome_spec.items():
        entry = entries.get(name)
        initial = "normal(0, 1 / sqrt(inputs))" if name.endswith("weight") else "0"
        row: dict[str, object] = {
            "entry": name,
            "shape": shape_text(spec.shape),
            "domain": str(spec.domain),
            "initial": initial if entry is None else initial_text(entry.initial),
        }
        yield row | {"per layer": spec.per_layer} if layered else row


def initial_text(initial: t.Expr) -> str:
    """Return an initial value as it was written."""
    return f"{initial.value:g}" if isinstance(initial, t.Constant) else " ".join(initial.span.text.split())


def shape_text(shape: tuple[int, ...]) -> str:
    """Return `784 x 128`, with the word `batch` for -1; a number alone is `scalar`."""
    return " x ".join("batch" if size == -1 else str(size) for size in shape) or "scalar"


def _state_rows(rule: t.Rule, compiled: CompiledRule) -> Iterator[dict[str, object]]:
    """Yield a row per tensor that lasts, and a row per neuron state that a step begins anew."""
    for slot in compiled.lowered.state:
        kind = (
            "network's own"
            if slot.state is None
            else f"kept {slot.state.kind}"
            if slot.state.kind == "neuron"
            else slot.state.kind
        )
        initial = "" if slot.state is None else initial_text(slot.state.initial)
        yield {"state": slot.name, "kind": kind, "shape": shape_text(slot.shape), "initial": initial}
    for state in rule.states:
        if state.kind == "synapse" or state.keep:
            continue
        own = tuple(compiled.network.output.shape[0] if extent == "outputs" else extent for extent in state.shape)
        places = (
            [(layer.name, layer.shape) for layer in compiled.network.layers] if state.kind == "neuron" else [("", ())]
        )
        for place, shape in places:
            full = tuple(size for size in (*own, -1, *shape) if isinstance(size, int))
            yield {
                "state": f"{state.name}.{place}".rstrip("."),
                "kind": state.kind,
                "shape": shape_text(full),
                "initial": initial_text(state.initial),
            }


def _locality_rows(rule: t.Rule) -> Iterator[dict[str, object]]:
    for one in localities(rule):
        reason = one.reasons[0] if one.reasons else None
        because = "reads itself and its two neurons" if reason is None else reason.text
        yield {
            "update": one.state,
            "reach": one.kind,
            "because": because,
            "line": None if reason is None else reason.span.line,
        }


def _path_rows(variant: Variant) -> Iterator[dict[str, object]]:
    """Yield the way of each meta-parameter to the objective, or what is in the way."""
    for route in routes(variant):
        way = "".join(
            f"{stop.name}{'' if stop.line is None else f' {stop.line}'} {'⇒' if stop.later else '→'} "
            for stop in route.stops
        )
        yield {
            "meta-parameter": route.name,
            "way to the objective": f"{way}loss" if route.stops else route.why,
            "through first_order": "yes" if route.first_order else "no",
        }


def render_cost(cost: Cost) -> str:
    return "\n".join(
        (
            f"{scaled(cost.operations)} floating-point operations: {scaled(cost.products)} in products, {scaled(cost.elementwise)} elementwise",
            f"{scaled(cost.traffic, 'B')} read and written if nothing is fused",
            f"{scaled(cost.peak, 'B')} of memory at most, {scaled(cost.arguments, 'B')} of it genome, state and data",
        )
    )


def scaled(number: float, unit: str = "") -> str:
    """Return three digits, a decimal prefix and the unit: `26.2 MB`."""
    value, prefixes = float(number), ["", "k", "M", "G", "T", "P"]
    while value >= 999.5 and len(prefixes) > 1:
        value, prefixes = value / 1000, prefixes[1:]
    return f"{value:.3g} {prefixes[0]}{unit}".rstrip()
