"""Run a graph of primitive operations in memory that is planned once and used again in every call.

Fresh memory is slow: its pages are made when they are first touched, which can cost more than the arithmetic. Every value here
has its place in a buffer before the first call; buffers are shared by values that do not live at the same time, and a pointwise
result takes the place of an argument that is not needed any more. What a call returns is lent from a pool, and goes back to it
with `Pool.give`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from rulec.backend.overloads import ELEMENTWISE, Key, bytes_of, form_of, is_view, key_of, name_of, out_variant


class Pool:
    """Tensors to lend, by form. One that is lent is known by its storage, so a view of it can be given back as well."""

    def __init__(self) -> None:
        self.free: dict[Key, list[Tensor]] = {}
        self.lent: dict[int | None, tuple[Key, Tensor]] = {}

    def take(self, key: Key) -> Tensor:
        free = self.free.get(key)
        if free:
            tensor = free.pop()
        else:
            size, stride, dtype, device = key
            tensor = torch.empty_strided(size, stride, dtype=dtype, device=device)
        self.lent[tensor.untyped_storage().data_ptr()] = (key, tensor)
        return tensor

    def give(self, tensors: Iterable[Tensor | None], but: Iterable[Tensor] = ()) -> None:
        """Take back what is lent, except where it is the memory of `but`; anything else is passed over."""
        needed = {tensor.untyped_storage().data_ptr() for tensor in but}
        for tensor in tensors:
            place = None if tensor is None else tensor.untyped_storage().data_ptr()
            if place not in needed:
                found = self.lent.pop(place, None)
                if found is not None:
                    self.free.setdefault(found[0], []).append(found[1])


def planned(module: fx.GraphModule, pool: Pool) -> Callable[..., tuple[Any, ...]]:
    """Return a function of the graph's arguments. Its results are lent by the pool, or are arguments, or views of these."""
    return _Planner(module, pool).function()


def planned_bytes(module: fx.GraphModule) -> tuple[int, int]:
    """Return the bytes of the buffers that a planned graph has for itself, and of those that it takes from the pool in a call."""
    planner = _Planner(module, Pool())
    planner.function()
    lent = [root for root in planner.escaping if root.op == "call_function"]
    return sum(space.numel() for space in planner.spaces), sum(map(bytes_of, lent))


class _Planner:
    def __init__(self, module: fx.GraphModule, pool: Pool) -> None:
        self.module, self.pool = module, pool
        self.nodes = list(module.graph.nodes)
        self.places = {node: place for place, node in enumerate(self.nodes)}
        self.results: Sequence[Any] = self.nodes[-1].args[0]
        self.roots: dict[fx.Node, fx.Node] = {}
        for node in self.nodes:
            self.roots[node] = self.roots[node.all_input_nodes[0]] if is_view(node) else node
        self.last = self._last_uses()
        self.escaping = {self.roots[n] for n in self.results if isinstance(n, fx.Node)}
        self.buffers: dict[fx.Node, int] = {}  # root -> its buffer
        self.targets = self._targets()
        self.spaces: list[Tensor] = []
        self.vacant: list[int] = []
        self.names: dict[str, Any] = {"take": pool.take, "fitted": fitted}
        self.lines: list[str] = []
        self.static: dict[fx.Node, Tensor] = {}  # values whose place never changes
        self.looked: set[fx.Node] = set()  # views that are written already

    def _last_uses(self) -> dict[fx.Node, int]:
        last: dict[fx.Node, int] = {}
        for place, node in enumerate(self.nodes):
            for used in node.all_input_nodes:
                last[self.roots[used]] = place
        return last

    def _targets(self) -> dict[fx.Node, fx.Node]:
        """Find the values that can be made where a result will be: those that the result is made from in place."""
        targets: dict[fx.Node, fx.Node] = {}
        for node in reversed(self.nodes):
            if node.op != "call_function" or is_view(node):
                continue
            goal = node if node in self.escaping else targets.get(node)
            before = self._in_place(node)
            if goal is not None and before is not None and before not in self.escaping and before not in targets:
                targets[before] = goal
        return targets

    def _in_place(self, node: fx.Node) -> fx.Node | None:
        """Return the root that the node may overwrite: an argument of the same form that is not needed afterwards."""
        name = name_of(node)
        if out_variant(node) is None or not (name in ELEMENTWISE or name in ("baddbmm", "addmm")):
            return None
        place = self.places[node]
        candidates = node.args[:1] if name in ("baddbmm", "addmm") else node.all_input_nodes
        for argument in candidates:
            if not isinstance(argument, fx.Node):
                continue
            root = self.roots[argument]
            others = [a for a in node.all_input_nodes if self.roots[a] is root and a is not argument]
            if (
                root.op == "call_function"
                and out_variant(root) is not None
                and self.last.get(root) == place
                and not others
                and list(node.args).count(argument) == 1
                and form_of(argument) == form_of(node)
                and bytes_of(root) == bytes_of(node)
            ):
                return root
        return None

    # --- Writing the function ---

    def function(self) -> Callable[..., tuple[Any, ...]]:
        inputs = [n.name for n in self.nodes if n.op == "placeholder"]
        for place, node in enumerate(self.nodes):
            if node.op == "get_attr":
                self.static[node] = _attribute(self.module, str(node.target))
            elif node.op == "call_function":
                self._call(node)
                self._release(node, place)
        returned = "".join(f"{self._spelled(result)}, " for result in self.results)
        body = "\n    ".join([*self.lines, f"return ({returned})"])
        scope = dict(self.names)
        exec(f"def run({', '.join(inputs)}):\n    {body}\n", scope)
        return scope["run"]  # type: ignore[no-any-return]

    def _call(self, node: fx.Node) -> None:
        if is_view(node) and self.roots[node] not in self.static:
            return  # made where it is needed
        arguments = [self._spelled(a) for a in node.args] + [f"{k}={self._spelled(v)}" for k, v in node.kwargs.items()]
        if is_view(node) and self.roots[node] in self.static:
            values = fx.node.map_arg(node.args, lambda n: self.static[n])
            self.static[node] = node.target(*values, **node.kwargs)  # type: ignore[operator]
            return
        out = None if is_view(node) else out_variant(node)
        if out is None:
            made = f"{self._global(node.target)}({', '.join(arguments)})"
            value = node.meta.get("val")
            if isinstance(value, Tensor) and value.ndim > 1:
                made = f"fitted({made}, {tuple(value.stride())})"
            self.lines.append(f"{node.name} = {made}")
            return
        function, keyword, copies = out
        where = self._place(node)
        if copies:
            self.lines.append(f"{where}.copy_({arguments[0]})")
        else:
            self.lines.append(f"{self._global(function)}({', '.join([*arguments, f'{keyword}={where}'])})")

    def _place(self, node: fx.Node) -> str:
        """Say where a value is written: in place, where a result will be, or in a buffer."""
        before = self._in_place(node)
        goal = node if node in self.escaping else self.targets.get(node)
        if before is not None and (self.targets.get(before) is goal if goal is not None else before in self.static):
            if goal is None:
                self.static[node] = self._shaped(self.buffers[before], node)
                self.buffers[node] = self.buffers.pop(before)
                return self._spelled(node)
            source = next(a for a in node.all_input_nodes if self.roots[a] is before and form_of(a) == form_of(node))
            self.lines.append(f"{node.name} = {self._spelled(source)}")
            return node.name
        if goal is not None:
            self.lines.append(f"{node.name} = take({self._global(key_of(goal))})")
            if goal is not node and key_of(goal) != key_of(node):
                self.lines.append(f"{node.name} = {node.name}.as_strided({form_of(node)[0]}, {form_of(node)[1]})")
            return node.name
        self.buffers[node] = self._space(node)
        self.static[node] = self._shaped(self.buffers[node], node)
        return self._spelled(node)

    def _space(self, node: fx.Node) -> int:
        """Return a vacant buffer that is large enough but not much too large, or a new one."""
        wanted = bytes_of(node)
        device = node.meta["val"].device
        fitting = [
            k
            for k in self.vacant
            if wanted <= self.spaces[k].numel() <= 2 * wanted + 4096 and self.spaces[k].device == device
        ]
        if fitting:
            best = min(fitting, key=lambda k: self.spaces[k].numel())
            self.vacant.remove(best)
            return best
        self.spaces.append(torch.empty(wanted, dtype=torch.uint8, device=device))
        return len(self.spaces) - 1

    def _shaped(self, space: int, node: fx.Node) -> Tensor:
        size, stride, dtype = form_of(node)
        flat = self.spaces[space][: bytes_of(node)].view(dtype)
        return flat.as_strided(size, stride)

    def _release(self, node: fx.Node, place: int) -> None:
        for used in {self.roots[n] for n in (*node.all_input_nodes, node)}:
            if used in self.buffers and self.last.get(used, place) <= place:
                self.vacant.append(self.buffers.pop(used))

    def _spelled(self, value: Any) -> str:
        if isinstance(value, fx.Node):
            if is_view(value) and value not in self.static and value not in self.looked:
                self._look(value)
            return self._global(self.static[value]) if value in self.static else value.name
        if isinstance(value, (list, tuple)):
            inner = ", ".join(self._spelled(v) for v in value)
            return f"[{inner}]" if isinstance(value, list) else f"({inner},)" if value else "()"
        if value is None or isinstance(value, (bool, int, str)):
            return repr(value)
        return self._global(value)

    def _look(self, node: fx.Node) -> None:
        """Write a view of something whose place changes from call to call: in one go, if it begins where that begins."""
        root = self.roots[node]
        whole, part = root.meta["val"], node.meta["val"]
        if part.storage_offset() == whole.storage_offset():
            made = f"{self._spelled(root)}.as_strided({tuple(part.shape)}, {tuple(part.stride())})"
        else:
            made = f"{self._global(node.target)}({', '.join(self._spelled(a) for a in node.args)})"
        self.looked.add(node)
        self.lines.append(f"{node.name} = {made}")

    def _global(self, value: Any) -> str:
        for name, known in self.names.items():
            if known is value:
                return name
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name


def fitted(value: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Return a value that lies in memory as the tracer was told it would; an operation may lay out what it makes otherwise."""
    if value.stride() == stride:
        return value
    return torch.empty_strided(value.shape, stride, dtype=value.dtype, device=value.device).copy_(value)


def _attribute(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module
