"""A network from any `torch.nn.Module`, traced with torch.fx.

The trace is a list of calls. A call to weights, a sum, a normalisation gives a *signal* that is still open; an
activation settles it into a layer, and so does whatever else must read it (see `draft.py`). What lies between layers
becomes the path of a connection.

Batch normalisation is always of the present batch, whatever the module's mode: rules keep no running averages.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn

from rulec.network import messages
from rulec.network.calls import Call, is_altered, module_meaning, nodes_in, read_call, supported_names
from rulec.network.draft import Draft, Signal
from rulec.network.evaluation import BATCH, FailedCall, Values, evaluate, in_place
from rulec.network.graph import Network, Shape
from rulec.network.operations import Step, Unmappable, apply_call
from rulec.network.places import describe_call, name_call, place_error
from rulec.source import Diagnostic, RuleError


@dataclass(frozen=True)
class _Trace:
    """A traced module. `needed` are the calls the output depends on, `run` also those that overwrite something."""

    root: nn.Module
    lone: bool  # the module is itself a single layer, and `root` a Sequential around it
    name: str
    modules: Mapping[str, nn.Module]
    input: fx.Node
    output: fx.Node
    needed: tuple[fx.Node, ...]
    run: tuple[fx.Node, ...]


def trace_module(module: nn.Module, input_shape: Shape) -> Network:
    """Return the network of a module for inputs of `input_shape`, the batch axis left out.

    Raises `RuleError` for control flow that depends on values, for calls that are no part of a network of layers and
    connections (all of them at once), for weights used twice and for shapes that do not fit.
    """
    if len(input_shape) not in (1, 3):
        raise RuleError([messages.input_of_wrong_rank(None, input_shape)])
    trace = _trace(module)
    _check_calls(trace)
    try:
        values = evaluate(trace.run, trace.root, input_shape)
    except FailedCall as failed:
        raise RuleError([_refused(failed, trace)]) from failed
    _check_reads(trace, values)
    network = _map(trace, values, input_shape)
    if not network.weighted:
        raise RuleError([messages.no_weights(trace.name)])
    return network


# --- Tracing ---------------------------------------------------------------------------------


class _Tracer(fx.Tracer):
    """Keep supported modules whole, also those that inherit from one of torch's."""

    record_stack_traces = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_meaning(m) is not None or super().is_leaf_module(m, module_qualified_name)


def _trace(module: nn.Module) -> _Trace:
    name, lone = f"`{type(module).__name__}`", module_meaning(module) is not None
    root = nn.Sequential(module) if lone else module
    _check_inputs(root, name)
    try:
        graph = _Tracer().trace(root, concrete_args=_defaults(root))
    except Exception as error:  # whatever the module's own code raises on a symbolic input
        reason = f"{str(error).strip() or type(error).__name__}".splitlines()[0]
        raise RuleError([messages.untraceable_module(name, reason, place_error(error))]) from error
    modules = dict(root.named_modules())
    output = next(node for node in graph.nodes if node.op == "output")
    data = next((node for node in graph.nodes if node.op == "placeholder"), None)
    if data is None:
        raise RuleError([messages.no_weights(name)])
    if not isinstance(output.args[0], fx.Node):
        raise RuleError([messages.not_one_output(name, f"a value of type `{type(output.args[0]).__name__}`")])
    needed = _ancestors({output})
    run = _ancestors({output, *(node for node in graph.nodes if in_place(node, modules))})
    ordered = tuple(node for node in graph.nodes if node in run)
    return _Trace(root, lone, name, modules, data, output, tuple(one for one in ordered if one in needed), ordered)


def _check_inputs(root: nn.Module, name: str) -> None:
    parameters = list(inspect.signature(root.forward).parameters.values())
    spread = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [one.name for one in parameters if one.default is one.empty and one.kind not in spread]
    if len(required) > 1:
        raise RuleError([messages.several_inputs(name, required)])


def _defaults(root: nn.Module) -> dict[str, Any]:
    """Return the defaults of all parameters of `forward` but the first, to be taken as settings."""
    parameters = list(inspect.signature(root.forward).parameters.values())[1:]
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def _ancestors(nodes: set[fx.Node]) -> set[fx.Node]:
    found, waiting = set(nodes), list(nodes)
    while waiting:
        new = set(waiting.pop().all_input_nodes) - found
        found |= new
        waiting.extend(new)
    return found


# --- Checks before the mapping ---------------------------------------------------------------


def _check_calls(trace: _Trace) -> None:
    """Report every call to a module that is not supported or not itself; functions wait until values are known."""
    found: list[Diagnostic] = []
    for node in trace.needed:
        if node.op != "call_module":
            continue
        module = trace.modules[str(node.target)]
        if module_meaning(module) is None:
            found.append(_unsupported(node, trace))
        elif is_altered(module):
            what, reason = name_call(node, trace.modules), "hooks or parametrisations change what it computes"
            found.append(messages.unsupported_setting(what, reason, describe_call(node), "remove them before tracing"))
    _raise(found)


def _check_reads(trace: _Trace, values: Values) -> None:
    """Report the calls that give tensors and are not supported, and reads of what was overwritten in place."""
    found: list[Diagnostic] = []
    constants = values.constants
    for node in trace.needed:
        if node.op in ("placeholder", "output") or node in constants:
            continue
        if read_call(node, trace.modules, constants) is None:
            found.append(_unsupported(node, trace))
    for (reader, _), writer in values.overwritten.items():
        if reader in trace.needed:
            what, by = name_call(reader, trace.modules), name_call(writer, trace.modules)
            found.append(messages.stale_read(what, by, describe_call(reader)))
    _raise(found)


def _raise(found: list[Diagnostic]) -> None:
    if found:
        raise RuleError(found)


def _refused(failed: FailedCall, trace: _Trace) -> Diagnostic:
    """Say that torch refuses a call, or, of one that is not supported anyway, just that."""
    node = failed.node
    if node.op != "output" and read_call(node, trace.modules, {}) is None:
        return _unsupported(node, trace)
    what = name_call(node, trace.modules)
    return messages.failed_call(what, failed.reason, failed.shapes, describe_call(node))


def _unsupported(node: fx.Node, trace: _Trace) -> Diagnostic:
    names = supported_names()
    target = trace.modules[str(node.target)] if node.op == "call_module" else None
    modules = target is not None
    supported = [one for one in names if one[0].isupper() == modules]
    help = "build it from supported ones, or trace the part of the network without it"
    return messages.unsupported_call(name_call(node, trace.modules), describe_call(node), supported, help)


# --- Mapping ---------------------------------------------------------------------------------


def _map(trace: _Trace, values: Values, input_shape: Shape) -> Network:
    """Turn the calls, in order, into signals, and those into layers and connections."""
    draft = Draft(input_shape)
    signals: dict[fx.Node, Signal] = {trace.input: draft.input()}
    constants, owners = values.constants, dict[int, fx.Node]()
    uses = _uses(trace, constants)
    for node in trace.needed:
        if node in constants or node.op in ("placeholder", "output"):
            continue
        call = read_call(node, trace.modules, constants)
        assert call is not None, "unsupported calls were reported before"
        call = replace(call, path="") if trace.lone else call
        _claim_parameters(call, node, owners, trace)
        signal = _apply(node, call, draft, signals, values, trace)
        signals[node] = draft.settle(signal) if uses[node] > 1 else signal
    result = trace.output.args[0]
    assert isinstance(result, fx.Node)
    if result not in signals:
        raise RuleError([messages.not_one_output(trace.name, f"a value of type `{type(values.of[result]).__name__}`")])
    _check_shape(trace.output, signals[result], values.of[result], trace)
    return draft.finish(signals[result], trace.name.strip("`"))


def _apply(
    node: fx.Node, call: Call, draft: Draft, signals: Mapping[fx.Node, Signal], values: Values, trace: _Trace
) -> Signal:
    value = values.of[node]
    for one in call.inputs:
        if call.kind != "reshape":
            _check_shape(node, signals[one], values.of[one], trace)
    step = Step(draft, call, tuple(signals[one] for one in call.inputs), tuple(value.shape[1:]))
    try:
        if value.shape[:1] != (BATCH,):
            raise Unmappable("it mixes the samples of a batch", "keep the batch as the first axis")
        if value.dtype != values.of[trace.input].dtype:
            raise Unmappable("it changes the type of the numbers", "keep one type throughout")
        signal = apply_call(step)
    except Unmappable as error:
        raise RuleError(
            [
                messages.unsupported_setting(
                    name_call(node, trace.modules), error.reason, describe_call(node), error.help
                )
            ]
        ) from error
    if call.kind != "reshape":
        _check_shape(node, signal, value, trace)
    return signal


def _check_shape(node: fx.Node, signal: Signal, value: torch.Tensor, trace: _Trace) -> None:
    """Report values with axes of size one that were added or lost and not put right before they are used."""
    if tuple(value.shape) != (BATCH, *signal.shape):
        found, meant = messages.render_shape(value.shape[1:]) or "one number", messages.render_shape(signal.shape)
        raise RuleError(
            [
                messages.unsupported_setting(
                    name_call(node, trace.modules),
                    f"a value of shape {found} stands where the layers have {meant}",
                    describe_call(node),
                    "flatten to features, or keep channels, height and width",
                )
            ]
        )


def _uses(trace: _Trace, constants: Mapping[fx.Node, Any]) -> Counter[fx.Node]:
    """Count how often each value is read, twice by `y + y`; reading its size does not count."""
    uses: Counter[fx.Node] = Counter()
    for node in trace.needed:
        if node not in constants:
            uses.update(nodes_in((node.args, node.kwargs)))
    return uses


def _claim_parameters(call: Call, node: fx.Node, owners: dict[int, fx.Node], trace: _Trace) -> None:
    """Report parameters that another call uses already."""
    for parameter in call.module.parameters() if call.module else ():
        first = owners.setdefault(id(parameter), node)
        if first is not node:
            what, before = name_call(node, trace.modules), name_call(first, trace.modules)
            raise RuleError([messages.shared_weights(what, before, describe_call(node))])
