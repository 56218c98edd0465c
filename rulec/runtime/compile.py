"""Compile a rule for a network: typed rule to program to optimised program, with everything checked on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from rulec.backend.modules import BACKENDS
from rulec.ir.passes import optimise
from rulec.network import network_from
from rulec.network.graph import Network
from rulec.runtime import messages
from rulec.runtime.compiled import CompiledRule
from rulec.semantics.typed import OptionValue
from rulec.source import RuleError

if TYPE_CHECKING:
    from rulec.runtime.rule import Rule

LOSSES = ("cross_entropy", "mse")
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def compile_rule(
    rule: Rule,
    net: str | Network | torch.nn.Module,
    options: Mapping[str, OptionValue],
    genome: str | None,
    settings: dict[str, Any],
) -> CompiledRule:
    """Return the compiled rule; see `Rule.compile`. Every layer and connection is lowered here, so that mistakes show now."""
    _check_settings(settings)
    program = rule.program(options, genome)
    network = net if isinstance(net, Network) else network_from(net, settings["input_shape"], settings["outputs"])
    compiled = CompiledRule(
        program,
        optimise(program),
        network,
        settings["loss"],
        settings["population"],
        settings["tasks"],
        settings["replicas"],
        torch.device(settings["device"]),
        _dtype(settings["dtype"]),
        settings["backend"],
        rule.hash,
        rule.text,
    )
    _ = compiled.lowered, compiled.lowered_prediction
    return compiled


def _check_settings(settings: dict[str, Any]) -> None:
    for name in ("population", "tasks", "replicas"):
        value = settings[name]
        if value is not None and (not isinstance(value, int) or value < 1):
            raise RuleError([messages.wrong_count(name, value)])
    for name, known in (("loss", LOSSES), ("backend", BACKENDS), ("device", ("cpu", "cuda"))):
        if settings[name] not in known:
            raise RuleError([messages.unknown_choice(name, settings[name], known)])
    if settings["device"] == "cuda" and not torch.cuda.is_available():
        raise RuleError([messages.no_gpu()])


def _dtype(given: str | torch.dtype) -> torch.dtype:
    if isinstance(given, torch.dtype):
        return given
    if given not in _DTYPES:
        raise RuleError([messages.unknown_choice("dtype", given, list(_DTYPES))])
    return _DTYPES[given]
