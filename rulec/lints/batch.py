"""Updates whose size depends on the batch size."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rulec.ir.graph import Op, is_constant, walk_ops
from rulec.lints.flow import INITIAL, Flow, Site, lasts
from rulec.lints.lint import Lint, Variant
from rulec.source import Diagnostic

Degrees = frozenset[float]  # with which powers of the batch size the terms of a value grow

_NONE: Degrees = frozenset({0.0})
_BOUNDED = ("sign", "step", "not", "less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
_OVER_SAMPLES = {"sum": 1.0, "norm": 0.5}


class Scaling:
    """How the values of a program grow with the number of samples, when the samples stay what they are."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.made: dict[tuple[int, int], Degrees] = {}

    def of(self, block: int, root: Op) -> Degrees:
        for op in walk_ops([root]):  # arguments first
            if (block, id(op)) not in self.made:
                self.made[(block, id(op))] = _NONE  # what a state that is made from itself finds
                self.made[(block, id(op))] = self._of(block, op)
        return self.made[(block, id(root))]

    def _of(self, block: int, op: Op) -> Degrees:
        parts = [self.made[(block, id(a))] for a in op.args]
        if op.name in _BOUNDED:
            return _NONE
        match op.name:
            case "extent":
                return frozenset({float(op["index"] == "n")})
            case "reduce":
                return _reduced(op, parts[0])
            case "mul":
                return frozenset(a + b for a in parts[0] for b in parts[1])
            case "div":
                return frozenset(a - max(parts[1]) for a in parts[0])
            case "solve":
                return frozenset(a - max(parts[0]) for a in parts[1])
            case "sqrt" | "square":
                return frozenset(a * (2.0 if op.name == "square" else 0.5) for a in parts[0])
            case "pow" if is_constant(op.args[1]):
                return frozenset(a * op.args[1]["value"] for a in parts[0])
            case "where":
                return parts[1] | parts[2]
        return frozenset().union(*parts, *self._read(block, op)) or _NONE

    def _read(self, block: int, op: Op) -> Iterator[Degrees]:
        """What lasts from step to step has the size that it has, whatever the batch."""
        for source in self.flow.sources(block, op):
            if source != INITIAL and not source.earlier:
                site = self.flow.writes[source.write]
                yield self.of(site.block, site.write.value)


def _reduced(op: Op, degrees: Degrees) -> Degrees:
    operator = op["operator"]
    if operator == "var":
        return frozenset(2 * a for a in degrees)
    if operator == "softmax":
        return frozenset({-1.0}) if "n" in op["indices"] else _NONE
    more = _OVER_SAMPLES.get(operator, 0.0) if "n" in op["indices"] else 0.0
    return frozenset(a + more for a in degrees)


def batch_size_dependent(variants: Sequence[Variant]) -> Iterator[Diagnostic]:
    """Find updates that depend on the batch size under every choice of the options: a choice is a decision."""
    judged: set[str] = set()
    for number, variant in enumerate(variants):
        for site in _updates(variant.flow):
            name = site.write.name
            if name in judged:
                continue
            judged.add(name)
            if all(_depends(other, name) for other in variants[number:]):
                yield _finding(variant, site)


def _updates(flow: Flow) -> list[Site]:
    return [site for site in flow.writes if site.kind == "update" and lasts(flow.program, site.write.name)]


def _depends(variant: Variant, name: str) -> bool:
    """Whether some update of a state depends on the batch size, or the variant has none."""
    own = [site for site in _updates(variant.flow) if site.write.name == name]
    scaling = Scaling(variant.flow)
    return not own or any(any(scaling.of(site.block, site.write.value)) for site in own)


def _finding(variant: Variant, site: Site) -> Diagnostic:
    scaling = Scaling(variant.flow)
    own = next(
        s for s in _updates(variant.flow) if s.write.name == site.write.name and any(scaling.of(s.block, s.write.value))
    )
    cause = _cause(variant.flow, own, scaling)
    name = site.write.name
    if cause is None or cause.span is None:
        return _diagnostic(name, own.write.value, "")
    return _diagnostic(name, cause, _averaged(cause))


def _cause(flow: Flow, site: Site, scaling: Scaling) -> Op | None:
    """Return the first reduction over samples that gives a value another power of the batch size."""
    blocks = [site.block, *(number for number in range(len(flow.blocks)) if number != site.block)]
    for block in blocks:
        ops = walk_ops([site.write.value]) if block == site.block else iter(flow.ops[block])
        for op in ops:
            over = op.name == "reduce" and op["operator"] in ("sum", "norm", "softmax") and "n" in op["indices"]
            if over and scaling.of(block, op) != scaling.of(block, op.args[0]):
                return op
    return None


def _diagnostic(name: str, cause: Op, help: str) -> Diagnostic:
    return Diagnostic(
        "batch-size-dependent",
        f"the size of the update of `{name}` depends on the batch size",
        cause.span,
        "adds up over the samples" if help else "not the same for batches of another size",
        notes=("a genome that is found with one batch size will not fit another",),
        help=help or "divide by what grows with the batch, or use `mean[n](...)`",
        severity="warning",
    )


def _averaged(cause: Op) -> str:
    """Return what to write instead of `sum[n,k](...)`: the mean over samples, of the sum over the rest."""
    text = " ".join(cause.span.text.split()) if cause.span else ""
    match = re.fullmatch(r"sum\[([\w, ]+)\](\(.*\))", text)
    if match is None:
        return ""
    rest = [index for index in cause["indices"] if index != "n"]
    inside = f"(sum[{','.join(rest)}]{match[2]})" if rest else match[2]
    return f"average over the batch: `mean[n]{inside}`"


BATCH = Lint(
    "batch-size-dependent",
    """An update that grows with the number of samples in a batch.

    update i -> j
      w[i,j] += gain * sum[n](x[i] * x[j])

With batches twice as large, each step is twice as large: `gain`, and whatever else meta-learning finds, fits one batch size
only. Write the mean:

      w[i,j] += gain * mean[n](x[i] * x[j])

A sum is right where something else grows alike, as in `sum[n](x[i] * e[j]) / sum[n](x[i]^2)`; such updates are not
reported. To add up on purpose, make it a choice: with

    option average = yes
    ...
      dw = mean[n](x[i] * x[j]) if average else sum[n](x[i] * x[j])

nothing is said, whichever is the default: what one can choose has been thought about.""",
    batch_size_dependent,
)
