"""One step and its reverse as two graphs: the compiler differentiates once, and whoever owns the loop runs them.

The step is traced together with its vector-Jacobian product into one graph of primitive operations, which is then cut in two:
what the results need runs forward, the rest backward. What crosses the cut is the residuals. Views are not kept but made
again, and so is what is not needed for the results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.autograd import grad
from torch.fx.experimental.proxy_tensor import make_fx

from rulec.backend.rewrites import Applied, in_bfloat16, rewrites


@dataclass(frozen=True)
class Reversible:
    """`forward(*arguments)` gives the results, then the residuals; `backward(*kept, *cotangents)` gives gradients.

    `kept` are the arguments numbered in `reads`, then the residuals; there is a cotangent for each result numbered in `pulls`
    and a gradient for each argument in `wrt`, or None where nothing depends on it.
    """

    forward: fx.GraphModule
    backward: fx.GraphModule
    results: int
    reads: tuple[int, ...]
    pulls: tuple[int, ...]
    wrt: tuple[int, ...]
    residual_bytes: int
    applied: tuple[Applied, ...]  # what rewriting did to the graph of both


def reversible(
    step: Callable[..., Sequence[Tensor]],
    examples: Sequence[Tensor],
    wrt: Sequence[int],
    rewrite: bool = True,
    halved: bool = False,
) -> Reversible:
    """Trace `step` for arguments like `examples` and differentiate it with respect to those numbered in `wrt`.

    Without `rewrite`, the graphs stay as they were traced. With `halved`, the factors of products are rounded to bfloat16. The examples are distinct tensors: a tracer takes two arguments that are one tensor for the same.
    """
    assert len({id(e) for e in examples}) == len(examples)
    pulls: list[int] = []

    def joint(arguments: list[Tensor], cotangents: list[Tensor]) -> list[Any]:
        with torch.enable_grad():
            given = list(arguments)
            for place in wrt:
                given[place] = given[place].detach().requires_grad_()
            results = [result.contiguous() for result in step(*given)]
            moving = [k for k, result in enumerate(results) if result.requires_grad]
            pulls[:] = moving
            if not moving or not wrt:
                return [*results, *([None] * len(wrt))]
            leaves = [given[place] for place in wrt]
            pulled = [cotangents[k] for k in moving]
            gradients = grad([results[k] for k in moving], leaves, pulled, allow_unused=True)
        return [*results, *(None if g is None else g.contiguous() for g in gradients)]

    with torch.no_grad():
        shapes = step(*examples)
    cotangents = [torch.empty(r.shape, dtype=r.dtype, device=r.device) for r in shapes]  # as results are: without gaps
    traced = make_fx(joint, tracing_mode="fake")(list(examples), cotangents)
    applied = tuple(rewrites(traced)) if rewrite else ()
    if halved:
        in_bfloat16(traced.graph)
    return replace(_cut(traced, len(examples), len(shapes), tuple(pulls), tuple(wrt)), applied=applied)


def _cut(joint: fx.GraphModule, count: int, made: int, pulls: tuple[int, ...], wrt: tuple[int, ...]) -> Reversible:
    graph = joint.graph
    inputs = [n for n in graph.nodes if n.op == "placeholder"]
    primals, tangents = inputs[:count], inputs[count:]
    output = next(n for n in graph.nodes if n.op == "output").args[0]
    results, gradients = output[:made], output[made:]
    ahead = _ancestors([r for r in results if isinstance(r, fx.Node)])
    pulled = [tangents[k] for k in pulls]
    crossing = _crossing(graph, ahead, [g for g in gradients if isinstance(g, fx.Node)])
    read = [p for p in primals if p in crossing]
    residuals = [n for n in crossing if n not in primals]
    forward = _part(joint, primals, [*results, *residuals])
    backward = _part(joint, [*read, *residuals, *pulled], list(gradients))
    size = sum(_bytes(n) for n in residuals)
    reads = tuple(primals.index(p) for p in read)
    return Reversible(forward, backward, len(results), reads, pulls, wrt, size, ())


def _ancestors(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    found: set[fx.Node] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack += node.all_input_nodes
    return found


def _crossing(graph: fx.Graph, ahead: set[fx.Node], gradients: Sequence[fx.Node]) -> list[fx.Node]:
    """Return what the way back takes from the way forward, in the order of the graph."""
    needed: set[fx.Node] = set()
    seen: set[fx.Node] = set()
    stack = list(gradients)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node in ahead and not _is_made_again(node):
            needed.add(node)
        else:
            stack += node.all_input_nodes
    return [n for n in graph.nodes if n in needed]


def _is_made_again(node: fx.Node) -> bool:
    """Whether a value costs nothing: a view, or a constant."""
    if node.op == "get_attr":
        return True
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    return node.target.is_view or node.target.namespace == "prim" or not node.all_input_nodes


def _part(joint: fx.GraphModule, inputs: Sequence[fx.Node], outputs: Sequence[fx.Node | None]) -> fx.GraphModule:
    """Return the part of a graph between some of its values."""
    part = fx.Graph()
    made: dict[fx.Node, fx.Node] = {}
    for node in inputs:
        made[node] = part.placeholder(node.name)
        made[node].meta = dict(node.meta)
    wanted = _between(inputs, [n for n in outputs if n is not None])
    for node in joint.graph.nodes:
        if node in wanted and node not in made:
            made[node] = part.node_copy(node, lambda n: made[n])
    part.output(tuple(None if n is None else made[n] for n in outputs))
    part.lint()
    return fx.GraphModule(joint, part)


def _between(inputs: Sequence[fx.Node], outputs: Sequence[fx.Node]) -> set[fx.Node]:
    found, stack, ends = set[fx.Node](), list(outputs), set(inputs)
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack += [] if node in ends else node.all_input_nodes
    return found


def _bytes(node: fx.Node) -> int:
    value = node.meta.get("val")
    return value.untyped_storage().nbytes() if isinstance(value, Tensor) else 0
