"""Count the work of any graph with shapes alone: nothing is computed and no memory is taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class Call:
    """One operation as it reaches the dispatcher: floating-point operations, and bytes that are read and written."""

    name: str
    products: int
    elementwise: int
    traffic: int

    @property
    def operations(self) -> int:
        return self.products + self.elementwise


@dataclass(frozen=True)
class Cost:
    """Of one run of a graph. `products` are floating-point operations in matrix products and convolutions, two to a
    multiply-add; `elementwise` is one per element that a pointwise function makes or a reduction takes. `traffic` is the
    bytes that all operations read and write, as if none were fused; `compulsory` those that remain if all were: arguments
    read once and results written once. `peak` is the most bytes alive at once, arguments included.
    """

    batch: int
    calls: tuple[Call, ...]
    peak: int
    arguments: int  # bytes, read or not
    compulsory: int

    @property
    def products(self) -> int:
        return sum(call.products for call in self.calls)

    @property
    def elementwise(self) -> int:
        return sum(call.elementwise for call in self.calls)

    @property
    def operations(self) -> int:
        return self.products + self.elementwise

    @property
    def traffic(self) -> int:
        return sum(call.traffic for call in self.calls)


def graph_cost(module: fx.GraphModule, like: Iterable[Tensor], batch: int) -> Cost:
    """Count for arguments that look like these. Sources of counts: torch.utils.flop_counter; liveness of the graph."""
    forms = [(tuple(x.shape), x.stride(), x.dtype) for x in like]
    counter = _Counter()
    with FakeTensorMode(allow_non_fake_inputs=True):
        inputs = [torch.empty_strided(shape, stride, dtype=dtype) for shape, stride, dtype in forms]
        live = _Liveness(module)
        with counter:
            results = live.run(*inputs)
    places = [n for n in module.graph.nodes if n.op == "placeholder"]
    read = [x for x, place in zip(inputs, places, strict=True) if place.users]
    given = {_storage(x) for x in inputs}
    written = [x for x in tree_leaves(results) if isinstance(x, Tensor) and _storage(x) not in given]
    return Cost(batch, tuple(counter.calls), live.peak, _bytes(inputs), _bytes(read) + _bytes(written))


class _Counter(TorchDispatchMode):
    """Note what the operations do, one by one as they reach the dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        taken = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        made = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        if not made or _is_view(taken, made):
            return result
        traffic = sum(_occupied(x) for x in (*taken, *made))
        count = flop_registry.get(operation.overloadpacket)
        products = int(count(*args, **(kwargs or {}), out_val=result)) if count is not None else 0
        elementwise = 0
        if operation.overloadpacket is torch.ops.aten.dot:  # which the table of counts lacks
            products = 2 * taken[0].numel()
        elif count is None and _computes(operation):
            sizes = [x.numel() for x in taken] if _reduces(operation) else [x.numel() for x in made]
            elementwise = max(sizes, default=0)
        self.calls.append(Call(operation.overloadpacket.__name__, products, elementwise, traffic))
        return result


def _is_view(taken: list[Tensor], made: list[Tensor]) -> bool:
    storages = {_storage(x) for x in taken}
    return all(_storage(x) in storages for x in made)


_COPIES = frozenset(
    {
        "clone",
        "copy",
        "_to_copy",
        "empty",
        "full",
        "zeros",
        "ones",
        "stack",
        "cat",
        "arange",
        "scalar_tensor",
        "lift_fresh",
        "lift_fresh_copy",
        "empty_like",
        "zeros_like",
        "constant_pad_nd",
        "index",
        "im2col",
    }
)


def _computes(operation: Any) -> bool:
    return operation.overloadpacket.__name__ not in _COPIES


def _reduces(operation: Any) -> bool:
    return operation.overloadpacket.__name__ in _REDUCTIONS


_REDUCTIONS = frozenset({"sum", "mean", "amax", "amin", "var", "linalg_vector_norm", "_softmax", "_log_softmax"})


def _storage(value: Tensor) -> int:
    return value.untyped_storage()._cdata


def _occupied(value: Tensor) -> int:
    """Return the bytes of the elements that differ: an expanded axis is one element long."""
    own = prod(size if stride else 1 for size, stride in zip(value.shape, value.stride(), strict=True))
    return own * value.element_size()


def _bytes(values: Sequence[Tensor]) -> int:
    return sum({_storage(v): _occupied(v) for v in values}.values())


class _Liveness(fx.Interpreter):
    """Run the graph and watch how many bytes its values hold; each is let go after its last use."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=True)
        self.peak = 0
        self.kept: list[Tensor] = []

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "placeholder":
            self.kept += [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        alive = [x for x in tree_leaves((list(self.env.values()), result)) if isinstance(x, Tensor)]
        sizes = {_storage(x): x.untyped_storage().nbytes() for x in (*self.kept, *alive)}
        self.peak = max(self.peak, sum(sizes.values()))
        return result
