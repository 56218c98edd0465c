"""Genome files: tensors with names, and beside them everything one must know to use and to repeat them.

A safetensors file whose header holds texts: the rule and its hash, options, network, task, outer step, seed, versions, the
training curve. Learned initial states are stored as `init(w.c1)`. The text of the rule is written next to it.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

import rulec
from rulec.meta import messages
from rulec.runtime.atomic import write_bytes
from rulec.runtime.compiled import CompiledRule, EntrySpec, Genome, State
from rulec.runtime.domains import inside
from rulec.source import Diagnostic, Diagnostics, RuleError

VERSION = "1"


@dataclass(frozen=True)
class GenomeFile:
    """What a genome file holds. `warnings` are differences that do not keep the genome from being used."""

    genome: Genome
    initial: State
    about: Mapping[str, object]
    warnings: tuple[Diagnostic, ...] = ()


def save_genome(
    path: str | Path,
    genome: Genome,
    compiled: CompiledRule,
    *,
    initial: State | None = None,
    about: Mapping[str, object] | None = None,
) -> Path:
    """Write one genome (without population axis) atomically, and the text of its rule beside it as `.rule`.

    `about` adds to the header: anything that JSON can hold. Raises `RuleError` (`cannot-write`).
    """
    path = Path(path)
    tensors = {name: genome[name] for name in compiled.genome_spec} | {
        f"init({name})": value for name, value in (initial or {}).items()
    }
    plain = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    content = {**_header(compiled), **(about or {})}
    metadata = {"format": VERSION, "about": json.dumps(content, sort_keys=True)}
    write_bytes(path, save(plain, metadata=metadata))
    write_bytes(path.with_suffix(".rule"), compiled.source_text.encode())
    return path


def _header(compiled: CompiledRule) -> dict[str, object]:
    return {
        "rule": compiled.program.name,
        "rule_hash": compiled.rule_hash,
        "options": compiled.program.options,
        "network": compiled.network.spec,
        "connections": len(compiled.network.connections),
        "loss": compiled.loss,
        "domains": {name: str(spec.domain) for name, spec in compiled.genome_spec.items()},
        "provenance": {
            "rulec": rulec.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        },
    }


def load_genome(path: str | Path, compiled: CompiledRule | None = None) -> GenomeFile:
    """Read a genome file; with a compiled rule, check that it fits and put it on its device.

    Raises `RuleError` for a file that is none or of another format, and for entries that are missing, too many, of another shape,
    outside their domain or not finite. Another text of the same rule is a warning only.
    """
    path = Path(path)
    tensors, about = _read(path)
    own = about.get("outer_entries")  # of the outer step: the rule alone knows nothing of them
    if compiled is not None and isinstance(own, list):
        known = compiled.genome_spec
        tensors = {n: v for n, v in tensors.items() if n in known or n.split(".")[0] not in own}
    initial = {name[5:-1]: value for name, value in tensors.items() if name.startswith("init(")}
    genome = {name: value for name, value in tensors.items() if not name.startswith("init(")}
    if compiled is None:
        return GenomeFile(genome, initial, about)
    _check(path, genome, about, compiled)
    warnings = []
    if about.get("rule_hash") != compiled.rule_hash:
        warnings.append(
            messages.other_rule_hash(path, str(about.get("rule_hash")), compiled.rule_hash, compiled.program.name)
        )
    placed = [
        {name: value.to(compiled.device, compiled.dtype) for name, value in part.items()} for part in (genome, initial)
    ]
    return GenomeFile(placed[0], placed[1], about, tuple(warnings))


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    if not path.is_file():
        raise RuleError([messages.no_genome_file(path)])
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RuleError([messages.not_a_genome_file(path, str(error))]) from error
    if "format" not in metadata or "about" not in metadata:
        raise RuleError([messages.not_a_genome_file(path, "it holds tensors, but its header names no rule")])
    if metadata["format"] != VERSION:
        raise RuleError([messages.unknown_version(path, metadata["format"], VERSION)])
    try:
        about = json.loads(metadata["about"])
    except ValueError as error:
        raise RuleError([messages.not_a_genome_file(path, f"its header is no JSON: {error}")]) from error
    if not isinstance(about, dict):
        raise RuleError([messages.not_a_genome_file(path, "its header is no JSON object")])
    return tensors, about


def _check(path: Path, genome: Genome, about: Mapping[str, object], compiled: CompiledRule) -> None:
    found = Diagnostics()
    rule, spec = compiled.program.name, compiled.genome_spec
    missing, extra = [n for n in spec if n not in genome], [n for n in genome if n not in spec]
    if missing:
        found.add(messages.missing_from_file(path, missing, rule))
    if extra:
        found.add(messages.extra_in_file(path, extra, rule))
    problems = [
        p
        for name, entry in spec.items()
        if name in genome and (p := _problem(entry, genome[name], about, compiled)) is not None
    ]
    raising = [*found.errors, *problems]  # several entries may have the same problem, at no place in a text
    if raising:
        raise RuleError(raising)


def _problem(
    entry: EntrySpec, value: torch.Tensor, about: Mapping[str, object], compiled: CompiledRule
) -> Diagnostic | None:
    if tuple(value.shape) != entry.shape:
        causes, help = _causes(entry, about, compiled)
        return messages.wrong_genome_shape(entry.name, value.shape, entry.shape, causes, help)
    if not value.isfinite().all():
        return messages.not_finite(entry.name)
    if not inside(value, entry.domain).all():
        return messages.outside_its_domain(entry.name, str(entry.domain))
    return None


def _causes(entry: EntrySpec, about: Mapping[str, object], compiled: CompiledRule) -> tuple[tuple[str, ...], str]:
    """Say what probably makes the shape differ: an option, or the number of connections."""
    then, now = about.get("options"), compiled.program.options
    differing = {
        name: then[name] for name in now if isinstance(then, dict) and name in then and then[name] != now[name]
    }
    causes = [f"option `{name}` was {value} then and is {now[name]} now" for name, value in differing.items()]
    if entry.per_layer and about.get("connections") != len(compiled.network.connections):
        causes.append(
            f"the entry is per layer: the network `{about.get('network')}` has {about.get('connections')} connections, "
            f"`{compiled.network.spec}` has {len(compiled.network.connections)}"
        )
    if differing:
        settings = ", ".join(f"{json.dumps(name)}: {value!r}" for name, value in differing.items())
        return tuple(causes), f"compile with `options={{{settings}}}`"
    return tuple(causes), f"compile for the network it was learned on: `{about.get('network')}`"
