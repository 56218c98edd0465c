"""Rewrite graphs of primitive operations; each keeps every value but for the last digits.

What the tracer leaves behind is removed, nothing is overwritten, equal operations are shared, a product that is added to something is accumulated
there, and a sum of all products of two arrays is one inner product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, fx

from rulec.backend.overloads import is_view, name_of

aten = torch.ops.aten


@dataclass(frozen=True)
class Applied:
    """One rewrite: what it does, in how many places it did, and the number of operations before and after."""

    about: str
    places: int
    before: int
    after: int


def rewritten(module: fx.GraphModule) -> fx.GraphModule:
    """Apply every rewrite, in place."""
    for _ in rewrites(module):
        pass
    return module


def rewrites(module: fx.GraphModule) -> Iterator[Applied]:
    """Apply the rewrites one by one, in place, and tell what each did."""
    for change in (_without_mutation, _drop_dead, _drop_empty, _share, _inner_products, _accumulate, _drop_empty):
        before = len(_calls(module.graph))
        places = change(module.graph)
        if change is not _without_mutation:  # which leaves nothing behind
            module.graph.eliminate_dead_code()
        about = (change.__doc__ or "").partition("\n")[0].rstrip(".")
        yield Applied(about, places, before, len(_calls(module.graph)))
    module.graph.lint()
    module.recompile()


def _calls(graph: fx.Graph) -> list[fx.Node]:
    return [node for node in graph.nodes if node.op == "call_function"]


def _value(node: Any) -> Tensor:
    return node.meta["val"]  # type: ignore[no-any-return]


def _same_form(one: fx.Node, other: fx.Node) -> bool:
    a, b = _value(one), _value(other)
    return a.shape == b.shape and a.stride() == b.stride() and a.dtype == b.dtype


def _without_mutation(graph: fx.Graph) -> int:
    """Replace operations that overwrite their first argument by those that do not; later uses read the new value."""
    found = 0
    for node in _calls(graph):
        target = node.target
        if not isinstance(target, torch._ops.OpOverload) or not target._schema.is_mutable:
            continue
        changed = node.args[0]
        assert isinstance(changed, fx.Node) and not is_view(changed) and not any(is_view(u) for u in changed.users)
        name = target.overloadpacket.__name__
        assert name.endswith("_"), f"{target} has no form that leaves its arguments alone"
        node.target = getattr(getattr(aten, name[:-1]), target._overloadname)
        order = list(graph.nodes)
        later = set(order[order.index(node) + 1 :])
        changed.replace_all_uses_with(node, delete_user_cb=later.__contains__)
        found += 1
    return found


def _drop_dead(graph: fx.Graph) -> int:
    """Remove what nothing reads."""
    before = len(_calls(graph))
    graph.eliminate_dead_code()
    return before - len(_calls(graph))


def _drop_empty(graph: fx.Graph) -> int:
    """Remove views that change nothing, and views of views that come back to the beginning."""
    found = 0
    for node in _calls(graph):
        if not is_view(node):
            continue
        source = node.args[0]
        assert isinstance(source, fx.Node)
        while True:
            if _same_form(source, node) and _covers(source, node):
                node.replace_all_uses_with(source)
                found += 1
                break
            if not is_view(source):
                break
            source = source.args[0]
            assert isinstance(source, fx.Node)
    return found


def _covers(source: fx.Node, node: fx.Node) -> bool:
    """Whether two views of one form show the same memory: yes, unless one between them selects a part or reorders."""
    between, now = [], node
    while now is not source:
        between.append(now)
        now = now.args[0]  # type: ignore[assignment]
    names = [n.target.overloadpacket.__name__ for n in between]  # type: ignore[union-attr]
    if all(name in ("detach", "alias", "view", "_unsafe_view", "expand", "unsqueeze", "squeeze") for name in names):
        return True
    return (
        len(names) == 2
        and names[0] == names[1]
        and names[0] in ("t", "transpose")
        and between[0].args[1:] == between[1].args[1:]
    )


def _share(graph: fx.Graph) -> int:
    """Compute once what is computed several times."""
    known: dict[Any, fx.Node] = {}
    found = 0
    for node in _calls(graph):
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            continue
        try:
            first = known.setdefault((node.target, _frozen(node.args), _frozen(node.kwargs)), node)
        except TypeError:
            continue
        if first is not node:
            node.replace_all_uses_with(first)
            found += 1
    return found


def _frozen(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(v) for v in value)
    if isinstance(value, dict):
        return tuple(sorted((k, _frozen(v)) for k, v in value.items()))
    return (type(value).__name__, value)


# --- Products --------------------------------------------------------------------------------


def _inserted(graph: fx.Graph, before: fx.Node, target: Callable[..., Any], *arguments: Any) -> fx.Node:
    """Insert a call, with the value that it has on tensors without data."""
    with graph.inserting_before(before):
        node = graph.call_function(target, arguments)
    values = fx.node.map_arg(arguments, _value)
    mode = next(v.fake_mode for v in values if hasattr(v, "fake_mode"))
    with mode:
        node.meta["val"] = target(*values)
    return node


def _inner_products(graph: fx.Graph) -> int:
    """Make `sum(a * b)` over everything one inner product."""
    found = 0
    for node in _calls(graph):
        if node.target is not aten.sum.default:
            continue
        product = node.args[0]
        if not isinstance(product, fx.Node) or product.target is not aten.mul.Tensor or len(product.users) != 1:
            continue
        left, right = product.args
        if not (isinstance(left, fx.Node) and isinstance(right, fx.Node)):
            continue
        a, b = _value(left), _value(right)
        if a.shape != b.shape or a.dtype != b.dtype or not (a.is_contiguous() and b.is_contiguous()) or a.numel() < 2:
            continue
        flat = [_inserted(graph, node, aten.view.default, side, [prod(a.shape)]) for side in (left, right)]
        node.replace_all_uses_with(_inserted(graph, node, aten.dot.default, *flat))
        found += 1
    return found


def _accumulate(graph: fx.Graph) -> int:
    """Let a matrix product that is added to something begin there."""
    found = 0
    for node in _calls(graph):
        if node.target is not aten.add.Tensor or len(node.args) != 2 or node.kwargs:
            continue
        for place in (0, 1):
            other, seen = node.args[1 - place], node.args[place]
            if not isinstance(seen, fx.Node) or not isinstance(other, fx.Node):
                continue
            product = _product_behind(seen)
            if product is None or not _same_form(seen, node) or not _same_form(other, node):
                continue
            if other.op != "call_function" or is_view(other):
                continue
            start = _inserted(graph, node, aten.view.default, other, list(_value(product).shape))
            whole = _inserted(graph, node, aten.baddbmm.default, start, *product.args)
            node.replace_all_uses_with(_inserted(graph, node, aten.view.default, whole, list(_value(node).shape)))
            found += 1
            break
    return found


def _product_behind(node: fx.Node) -> fx.Node | None:
    """Return the batched product that a value is a plain view of, if nothing else reads either."""
    while len(node.users) == 1:
        if node.target is aten.bmm.default:
            return node if _value(node).is_contiguous() else None
        if not is_view(node) or node.target.overloadpacket.__name__ not in ("view", "_unsafe_view"):  # type: ignore[union-attr]
            return None
        node = node.args[0]  # type: ignore[assignment]
    return None


def in_bfloat16(graph: fx.Graph) -> int:
    """Let matrix products multiply and return numbers that are rounded to bfloat16. Return how many there are."""
    found = 0
    halves: dict[fx.Node, fx.Node] = {}
    for node in _calls(graph):
        start = _FACTORS.get(name_of(node))
        if start is None or _value(node).dtype != torch.float32:
            continue
        first, *factors = (node, *node.args[start:])
        rounded = [_rounded(graph, f, first, halves) for f in factors]  # type: ignore[arg-type]
        plain = aten.bmm.default if len(_value(factors[0]).shape) == 3 else aten.mm.default
        whole = _inserted(graph, node, aten._to_copy.default, _inserted(graph, node, plain, *rounded))
        whole.kwargs = {"dtype": torch.float32}
        whole.meta["val"] = _value(node)
        if start:
            whole = _inserted(graph, node, aten.add.Tensor, node.args[0], whole)
        node.replace_all_uses_with(whole)
        graph.erase_node(node)
        found += 1
    graph.lint()
    return found


_FACTORS = {"bmm": 0, "mm": 0, "baddbmm": 1, "addmm": 1}  # where they begin among the arguments


def _rounded(graph: fx.Graph, value: fx.Node, before: fx.Node, known: dict[fx.Node, fx.Node]) -> fx.Node:
    if value not in known:
        half = _inserted(graph, before, aten._to_copy.default, value)
        half.kwargs = {"dtype": torch.bfloat16}
        with _value(value).fake_mode:  # type: ignore[attr-defined]
            half.meta["val"] = _value(value).to(torch.bfloat16)
        known[value] = half
    return known[value]
