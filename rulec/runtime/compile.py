"""Compile a rule for a network: typed rule to program to optimised program, with everything checked on the way."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rulec.backend.messages import no_triton
from rulec.backend.modules import BACKENDS
from rulec.backend.onchip.build import INTERPRET, has_triton, interpreted
from rulec.ir.graph import Program
from rulec.ir.passes import optimise
from rulec.network import network_from
from rulec.network.graph import Network
from rulec.runtime import messages
from rulec.runtime.compiled import CompiledRule
from rulec.source import RuleError

PRECISIONS = ("full", "tf32", "bf16")
LOSSES = ("cross_entropy", "mse")
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Settings:
    """What `Rule.compile` takes besides the rule and the network."""

    population: int | None
    tasks: int | None
    replicas: int | None
    loss: str
    device: str
    dtype: str | torch.dtype
    backend: str
    precision: str
    input_shape: tuple[int, ...] | None
    outputs: int | None


def compile_program(
    program: Program, rule_hash: str, text: str, net: str | Network | torch.nn.Module, settings: Settings
) -> CompiledRule:
    """Return the compiled rule; see `Rule.compile`. Every layer and connection is lowered here, so that mistakes show now."""
    _check_settings(settings)
    network = net if isinstance(net, Network) else network_from(net, settings.input_shape, settings.outputs)
    compiled = CompiledRule(
        program,
        optimise(program),
        network,
        settings.loss,
        settings.population,
        settings.tasks,
        settings.replicas,
        torch.device(settings.device),
        _dtype(settings.dtype),
        settings.backend,
        settings.precision,
        rule_hash,
        text,
    )
    checked = compiled.one if settings.backend == "kernel" else compiled
    _ = checked.lowered, checked.lowered_prediction
    return compiled


def _check_settings(settings: Settings) -> None:
    for name in ("population", "tasks", "replicas"):
        value = getattr(settings, name)
        if value is not None and (not isinstance(value, int) or value < 1):
            raise RuleError([messages.wrong_count(name, value)])
    known_words = {"loss": LOSSES, "backend": BACKENDS, "device": ("cpu", "cuda"), "precision": PRECISIONS}
    for name, known in known_words.items():
        if getattr(settings, name) not in known:
            raise RuleError([messages.unknown_choice(name, getattr(settings, name), known)])
    if settings.device == "cuda" and settings.backend == "kernel":
        raise RuleError([messages.kernel_on_gpu()])
    if settings.backend == "triton" and settings.device == "cpu" and not interpreted():
        raise RuleError([messages.triton_on_cpu(INTERPRET)])
    if settings.backend == "triton" and not has_triton():
        raise RuleError([no_triton()])
    if settings.precision == "bf16" and settings.backend == "kernel":
        raise RuleError([messages.kernel_in_full()])
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise RuleError([messages.no_gpu()])


def _dtype(given: str | torch.dtype) -> torch.dtype:
    if isinstance(given, torch.dtype):
        return given
    if given not in _DTYPES:
        raise RuleError([messages.unknown_choice("dtype", given, list(_DTYPES))])
    return _DTYPES[given]
