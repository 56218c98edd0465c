"""What one step costs, counted on the lowered graph with shapes alone: nothing is computed and no memory is taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from rulec.backend.layout import Slot
from rulec.backend.lowering import Lowered
from rulec.network.graph import Network


@dataclass(frozen=True)
class Cost:
    """Of one step. `products` are floating-point operations in matrix products and convolutions, two to a multiply-add;
    `elementwise` is one per element that a pointwise function makes or a reduction takes. `traffic` is the bytes that
    all operations read and write, as if none were fused; `peak` the most bytes alive at once, arguments included.
    """

    batch: int
    products: int
    elementwise: int
    traffic: int
    peak: int
    arguments: int  # bytes of genome, state and data

    @property
    def operations(self) -> int:
        return self.products + self.elementwise


def step_cost(
    lowered: Lowered, network: Network, leading: Mapping[str, int], dtype: torch.dtype, batch: int = 64
) -> Cost:
    """Count the work of one step on `batch` samples. Sources of counts: torch.utils.flop_counter; liveness of the graph."""
    counter = _Counter()
    with FakeTensorMode():
        inputs = list(_inputs(lowered, network, leading, dtype, batch))
        live = _Liveness(fx.GraphModule(torch.nn.Module(), lowered.graph))
        with counter:
            live.run(*inputs)
    return Cost(batch, counter.products, counter.elementwise, counter.traffic, live.peak, _bytes(inputs))


def _inputs(
    lowered: Lowered, network: Network, leading: Mapping[str, int], dtype: torch.dtype, batch: int
) -> Iterator[Tensor]:
    """Make arguments in the order of the placeholders; data are shared by the leading axes, as in a run."""
    lead = tuple(leading.values())
    population = (leading["P"],) if "P" in leading else ()

    def sized(slot: Slot, front: tuple[int, ...]) -> Tensor:
        return torch.empty((*front, *(batch if size == -1 else size for size in slot.shape)), dtype=dtype)

    yield from (sized(slot, population) for slot in lowered.genome)
    yield from (sized(slot, lead) for slot in lowered.state)
    for shape in (network.input.shape, network.output.shape[:1]):
        yield torch.empty((batch, *shape), dtype=dtype).expand(*lead, batch, *shape)
    yield torch.empty((), dtype=dtype)
    for site in lowered.noise:
        shape = tuple(batch if size == -1 else size for size in site.shape)
        yield torch.empty((*lead, *shape), dtype=dtype)


class _Counter(TorchDispatchMode):
    """Add up what the operations do, one by one as they reach the dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.products = self.elementwise = self.traffic = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        taken = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        made = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        if _is_view(taken, made):
            return result
        self.traffic += sum(_occupied(x) for x in (*taken, *made))
        count = flop_registry.get(operation.overloadpacket)
        if count is not None:
            self.products += int(count(*args, **(kwargs or {}), out_val=result))
        elif _computes(operation):
            sizes = [x.numel() for x in taken] if _reduces(operation) else [x.numel() for x in made]
            self.elementwise += max(sizes, default=0)
        return result


def _is_view(taken: list[Tensor], made: list[Tensor]) -> bool:
    storages = {_storage(x) for x in taken}
    return bool(made) and all(_storage(x) in storages for x in made)


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


def _bytes(values: list[Tensor]) -> int:
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
