"""Weights to and from a `torch.nn.Module` that a rule was compiled for.

A rule with synapses of its own keeps the module's weights in a state `w[i,j]` and its biases, if it has them, in `b[j]`; a
rule over all parameters keeps them as `w.c1.weight`. Where several connections meet at a layer, `b` is the sum of their biases.
Other states, such as feedback weights, have no place in a module and stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rulec.network.graph import Connection, Layer
from rulec.network.parameters import parameters_from, parameters_to
from rulec.runtime import messages
from rulec.runtime.compiled import CompiledRule, State
from rulec.source import Diagnostic, RuleError


def state_from_module(compiled: CompiledRule, module: nn.Module, state: State) -> State:
    """Return the state with the module's weights and biases in the place of its own.

    Raises `RuleError` for another module than the one compiled for, for leading axes, for a rule whose synapses hold something
    else than one weight, and for biases that the rule has no state for.
    """
    _check_plain(compiled)
    parameters = parameters_from(module, compiled.network)
    placed = _as_parameters(parameters) if compiled.program.acts_on_parameters else _as_synapses(compiled, parameters)
    return {**state, **{name: value.to(compiled.device, compiled.dtype) for name, value in placed.items()}}


def module_from_state(compiled: CompiledRule, state: State, module: nn.Module) -> nn.Module:
    """Write the weights and biases of a state into the module, in place, and return it.

    Raises `RuleError` as `state_from_module` does, and for biases that the module has no parameter for; then nothing is written.
    """
    _check_plain(compiled)
    known = parameters_from(module, compiled.network)
    if compiled.program.acts_on_parameters:
        parameters = {name: _entry(state, f"w.{name}", like.shape) for name, like in known.items()}
    else:
        parameters = _from_synapses(compiled, state, known)
    parameters_to(module, compiled.network, parameters)
    return module


def _check_plain(compiled: CompiledRule) -> None:
    """Check that there is one network with one weight per synapse. Raises `RuleError`."""
    if compiled.leading:
        raise RuleError([_leading_axes(compiled.lead_shape)])
    if compiled.program.acts_on_parameters:
        return
    weight = next((s for s in compiled.program.states if s.name == "w"), None)
    if weight is None or len(weight.sides) != 2 or weight.indices:
        raise RuleError([_no_weights(compiled.program.name)])


def _has_biases(compiled: CompiledRule) -> bool:
    return any(s.name == "b" and s.sides == "j" and not s.indices for s in compiled.program.states)


def _layers(compiled: CompiledRule) -> list[tuple[Layer, list[Connection]]]:
    """Return the layers that weights lead to, with those connections."""
    network = compiled.network
    reached = [(layer, [c for c in network.incoming(layer.name) if c.weights is not None]) for layer in network.layers]
    return [(layer, connections) for layer, connections in reached if connections]


# --- From a module ---------------------------------------------------------------------------


def _as_parameters(parameters: Mapping[str, Tensor]) -> State:
    return {f"w.{name}": value for name, value in parameters.items()}


def _as_synapses(compiled: CompiledRule, parameters: Mapping[str, Tensor]) -> State:
    placed = {f"w.{c.name}": parameters[f"{c.name}.weight"] for c in compiled.network.weighted}
    for layer, connections in _layers(compiled):
        biases = [parameters[f"{c.name}.bias"] for c in connections if c.bias]
        if _has_biases(compiled):
            placed[f"b.{layer.name}"] = sum(
                biases, parameters[f"{connections[0].name}.weight"].new_zeros(layer.shape[0])
            )
        elif any(bias.any() for bias in biases):
            raise RuleError([_biases_unknown(compiled.program.name, layer)])
    return placed | {f"network.{name}": parameters[name] for name in _normalisation(compiled)}


def _normalisation(compiled: CompiledRule) -> list[str]:
    """Return the names of the scales and shifts of normalisations."""
    affine = [layer.name for layer in compiled.network.layers if layer.norm is not None and layer.norm.affine]
    return [f"{layer}.{name}" for layer in affine for name in ("scale", "shift")]


# --- To a module -----------------------------------------------------------------------------


def _from_synapses(compiled: CompiledRule, state: State, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    parameters = {name: _entry(state, f"network.{name}", known[name].shape) for name in _normalisation(compiled)}
    for layer, connections in _layers(compiled):
        for connection in connections:
            name = f"{connection.name}.weight"
            parameters[name] = _entry(state, f"w.{connection.name}", known[name].shape)
        bias = torch.zeros(layer.shape[0])
        if _has_biases(compiled):
            bias = _entry(state, f"b.{layer.name}", bias.shape)
        owners = [c for c in connections if c.bias]
        if not owners and bias.any():
            raise RuleError([_biases_homeless(layer)])
        for place, connection in enumerate(owners):  # the first takes the sum of all
            parameters[f"{connection.name}.bias"] = bias if place == 0 else torch.zeros_like(bias)
    return parameters


def _entry(state: State, name: str, shape: torch.Size) -> Tensor:
    if name not in state:
        raise RuleError([messages.missing_entry("state", name, list(state))])
    if state[name].shape != shape:
        raise RuleError([messages.wrong_shape(name, state[name].shape, shape)])
    return state[name]


# --- Diagnostics -----------------------------------------------------------------------------


def _leading_axes(shape: tuple[int, ...]) -> Diagnostic:
    return Diagnostic(
        "several-networks",
        "a module has room for one network, and this rule was compiled for several",
        notes=(f"its states begin with the axes {list(shape)}",),
        help="compile without `population`, `tasks` and `replicas`",
    )


def _no_weights(rule: str) -> Diagnostic:
    return Diagnostic(
        "no-module-weights",
        f"the synapses of rule `{rule}` are not the weights of a module",
        notes=("a module has one weight per synapse, which a rule keeps in a state `w[i,j]`",),
        help="call it `w[i,j]` and keep other values in states of their own",
    )


def _biases_unknown(rule: str, layer: Layer) -> Diagnostic:
    return Diagnostic(
        "bias-without-place",
        f"the module has biases at `{layer.module or layer.name}`, and rule `{rule}` has no state for them",
        notes=("they are not zero, so leaving them out would make another network",),
        help="declare `b[j] = 0` under `synapse`, or build the module with `bias=False`",
    )


def _biases_homeless(layer: Layer) -> Diagnostic:
    return Diagnostic(
        "bias-without-place",
        f"the rule has learned biases at `{layer.module or layer.name}`, and the module has none there",
        notes=("they are not zero, so leaving them out would make another network",),
        help="build the module with `bias=True`, or the rule without `b[j]`",
    )
