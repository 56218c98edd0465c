"""Write a compiled rule to a folder: `step.py`, `step.pt2` and `manifest.json`."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import rulec
from rulec.backend.layout import Slot
from rulec.backend.lowering import Lowered
from rulec.backend.modules import arguments, graph_module
from rulec.backend.standalone import body_lines, result_names
from rulec.runtime.atomic import write_text
from rulec.runtime.compiled import CompiledRule

FORMAT = 1


def write_bundle(compiled: CompiledRule, folder: Path, batch: int = 64) -> list[Path]:
    """Write the three files and return their paths; `batch` is the example that the export is traced with."""
    folder.mkdir(parents=True, exist_ok=True)
    step, manifest, exported = folder / "step.py", folder / "manifest.json", folder / "step.pt2"
    write_text(step, standalone_source(compiled))
    write_text(manifest, json.dumps(describe(compiled), indent=2) + "\n")
    torch.export.save(export_step(compiled, batch), exported)
    return [step, exported, manifest]


# --- manifest.json ---------------------------------------------------------------------------


def describe(compiled: CompiledRule) -> dict[str, Any]:
    """Return what a reader of the bundle needs: the rule, its options, the network, every shape, and the versions."""
    return {
        "format": FORMAT,
        "rule": compiled.program.name,
        "rule_hash": compiled.rule_hash,
        "options": compiled.program.options,
        "network": compiled.network.spec,
        "loss": compiled.loss,
        "dtype": str(compiled.dtype).removeprefix("torch."),
        "leading_axes": {"population": compiled.population, "tasks": compiled.tasks, "replicas": compiled.replicas},
        "genome": {s.name: _shape(s, compiled.population) for s in compiled.lowered.genome},
        "domains": {name: str(spec.domain) for name, spec in compiled.genome_spec.items()},
        "state": {
            s.name: [*compiled.lead_shape, *("batch" if x == -1 else x for x in s.shape)]
            for s in compiled.lowered.state
        },
        "input": [*compiled.lead_shape, "batch", *compiled.network.input.shape],
        "target": [*compiled.lead_shape, "batch", compiled.network.output.shape[0]],
        "noise": {s.name: ["batch" if x == -1 else x for x in s.shape] for s in compiled.lowered.noise},
        "step_pt2": {"arguments": _argument_names(compiled.lowered), "results": list(compiled.lowered.outputs)},
        "versions": {"rulec": rulec.__version__, "torch": torch.__version__},
    }


def _shape(slot: Slot, population: int | None) -> list[int]:
    return [*([population] if population is not None else []), *slot.shape]


def _argument_names(lowered: Lowered) -> list[str]:
    return [
        *(s.name for s in lowered.genome),
        *(s.name for s in lowered.state),
        "x",
        "y",
        "t",
        *(s.name for s in lowered.noise),
    ]


# --- step.pt2 --------------------------------------------------------------------------------


def export_step(compiled: CompiledRule, batch: int) -> torch.export.ExportedProgram:
    """Export the step's graph, with flat arguments in the order that the manifest gives."""
    genome = compiled.init_genome(0)
    state = compiled.init_state(0, batch)
    x = torch.randn(*compiled.lead_shape, batch, *compiled.network.input.shape, dtype=compiled.dtype)
    y = torch.rand(*compiled.lead_shape, batch, compiled.network.output.shape[0], dtype=compiled.dtype)
    noise = [
        torch.randn(*compiled.lead_shape, *(batch if s == -1 else s for s in site.shape), dtype=compiled.dtype)
        for site in compiled.lowered.noise
    ]
    flat = arguments(compiled.lowered, genome, state, x, y, torch.ones((), dtype=compiled.dtype), noise)
    distinct: list[Tensor] = [value.clone().contiguous() for value in flat]  # aliased examples are merged by the tracer
    return torch.export.export(graph_module(compiled.lowered), tuple(distinct))


# --- step.py ---------------------------------------------------------------------------------

_HEAD = '''"""One training step of the rule `{rule}` on the network {network}.

Written by rulec {version}; needs only torch, and gives the same results as the compiled rule.

    state, prediction, loss = step(genome, state, x, y)

x has shape {x}, y has shape {y}; loss is the mean {loss} over the batch.
`genome` and `state` are dictionaries of tensors; the state also holds `t`, the number of steps taken, and `seed`.
"""

import torch

GENOME = {genome}

STATE = {state}

NOISE = {noise}
'''

_STEP = '''

def draw_noise(state, batch, like):
    """Return the step's normal numbers, which depend on the state's seed and step count alone."""
    generator = torch.Generator().manual_seed(int(state["seed"]) * 1_000_003 + int(state["t"]) + 1)
    drawn = []
    for shape in NOISE.values():
        shape = ({own}*(batch if size == "batch" else size for size in shape),)
        value = torch.randn(shape, generator=generator, dtype=torch.float64).to(like.device, like.dtype)
        drawn.append(value{expand})
    return drawn
'''


def standalone_source(compiled: CompiledRule) -> str:
    """Return the text of `step.py`."""
    described = describe(compiled)
    head = _HEAD.format(
        rule=compiled.program.name,
        network=compiled.network.spec,
        version=rulec.__version__,
        x=described["input"],
        y=described["target"],
        loss=compiled.loss.replace("_", " "),
        genome=_table(described["genome"]),
        state=_table(described["state"]),
        noise=_table(described["noise"]),
    )
    parts = [head]
    if compiled.lowered.noise:
        text = _STEP.replace("{own}", "".join(f"{n}, " for label, n in compiled.leading.items() if label != "P"))
        parts.append(
            text.replace(
                "{expand}", f".expand({compiled.population}, *shape)" if compiled.population is not None else ""
            )
        )
    parts.append(_function("step", compiled, compiled.lowered))
    parts.append(_function("predict", compiled, compiled.lowered_prediction))
    return "".join(parts)


def _table(entries: dict[str, Any]) -> str:
    if not entries:
        return "{}"
    return "{\n" + "".join(f"    {name!r}: {shape},\n" for name, shape in entries.items()) + "}"


def _function(name: str, compiled: CompiledRule, lowered: Lowered) -> str:
    used = {node.name for node in lowered.graph.nodes if node.op == "placeholder" and node.users}
    names = [node.name for node in lowered.graph.nodes if node.op == "placeholder"]
    slots = [*(("genome", s.name) for s in lowered.genome), *(("state", s.name) for s in lowered.state)]
    results = result_names(lowered)
    kept = used | set(results)
    lines = [f"{n} = {kind}[{key!r}]" for n, (kind, key) in zip(names, slots, strict=False) if n in kept]
    trailing = names[len(slots) :]
    if "t" in used:
        lines.append('t = (state["t"] + 1).to(x.dtype)')
    if lowered.noise and any(n in used for n in trailing[3:]):
        axis = len(compiled.lead_shape)
        lines.append(f"{', '.join(trailing[3:])}, = draw_noise(state, x.shape[{axis}], x)")
    lines += body_lines(lowered)
    signature = "genome, state, x, y" if name == "step" else "genome, state, x"
    doc = (
        "Learn from one batch; return the new state, the prediction and the loss."
        if name == "step"
        else "Return the prediction without learning."
    )
    if name == "step":
        lines += [
            "",
            "new = {",
            *(f"    {key!r}: {value}," for key, value in zip(lowered.outputs[:-2], results[:-2], strict=True)),
            '    "t": state["t"] + 1,',
            '    "seed": state["seed"],',
            "}",
            f"return new, {results[-2]}, {results[-1]}",
        ]
    else:
        lines += ["", f"return {results[0]}"]
    body = "\n".join(lines).replace("\n\n\n", "\n\n")
    return f'\n\ndef {name}({signature}):\n    """{doc}"""\n' + textwrap.indent(body, "    ") + "\n"
