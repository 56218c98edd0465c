"""Write a graph of primitive operations as one C function: a loop nest for each operation, in memory planned beforehand."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import fx

from rulec.backend.kernel.expressions import EXPRESSIONS, number, written
from rulec.backend.kernel.images import IMAGE_OPERATIONS, SEVERAL, is_several
from rulec.backend.kernel.operations import OPERATIONS, VIEWS, Unsupported, given, name_of
from rulec.backend.kernel.views import View, coalesced, dense, rounded

PART = 400  # lines


class Function:
    """A C function of a graph: `void name(arguments..., results..., work)`, each an array of `real` without gaps."""

    def __init__(self, name: str, module: fx.GraphModule, library: bool = False) -> None:
        self.name, self.module = name, module
        self.library = library  # whether large products are those of a library
        self.nodes = list(module.graph.nodes)
        self.lines: list[str] = []
        self.ended: list[int] = []  # how many lines there were after each operation
        self.views: dict[fx.Node, View] = {}
        self.constants: list[str] = []
        self.free: list[tuple[int, int]] = []  # (offset, length) of vacant work space
        self.work = 0
        self.taken: dict[int, int] = {}  # offset -> length of what is in use
        self.tenants: dict[int, set[fx.Node]] = {}  # whose values lie there
        self.passing: list[int] = []  # taken by the operation under way
        self.arguments = [node for node in self.nodes if node.op == "placeholder"]
        self.results = list(self.nodes[-1].args[0])
        self.places = {node: place for place, node in enumerate(self.nodes)}
        self.fused = {node for node in self.nodes if _fuses(node)}
        self.direct = self._direct()
        self.begun = self._begun()
        self.last = self._last_uses()
        self.ends: dict[int, list[fx.Node]] = {}
        for node in self.nodes:
            self.ends.setdefault(max(self.last.get(node, 0), self.places[node]), []).append(node)
        self._write()

    @property
    def sees_images(self) -> bool:
        return any(is_several(node) or name_of(node) in IMAGE_OPERATIONS for node in self.nodes)

    def source(self) -> str:
        """Return the function; a long one in parts, since compilers take more than twice as long for twice the text."""
        parameters = [f"const real* __restrict a{k}" for k in range(len(self.arguments))]
        parameters += [f"real* __restrict r{k}" for k in range(len(self.results))]
        parameters.append("real* __restrict work")
        body, made = self._parts(), list[str]()
        if len(body) > 1:
            for k, lines in enumerate(body):
                used = set(re.findall(r"\b(?:[ar]\d+|work)\b", "\n".join(lines)))
                taken = [parameter for parameter in parameters if parameter.rpartition(" ")[2] in used]
                made += _function(f"__attribute__((noinline)) {self.name}_{k}", taken, lines)
                body[k] = [f"{self.name}_{k}({', '.join(p.rpartition(' ')[2] for p in taken)});"]
        return "\n".join(
            [*self.constants, *made, *_function(self.name, parameters, [x for part in body for x in part])]
        )

    def _parts(self) -> list[list[str]]:
        """Cut the lines between operations into parts of about `PART`."""
        cuts = [0]
        for end in self.ended:
            if end - cuts[-1] >= PART:
                cuts.append(end)
        return [self.lines[begin:end] for begin, end in pairwise([*cuts, len(self.lines)])]

    # --- The graph ---

    def _write(self) -> None:
        for k, node in enumerate(self.arguments):
            sizes = tuple(node.meta["val"].shape)
            self.views[node] = View(f"a{k}", sizes, dense(sizes))
        for place, node in enumerate(self.nodes):
            if node.op == "get_attr":
                self._constant(node)
            elif node.op == "call_function":
                self._operation(node)
                self.ended.append(len(self.lines))
                self._release(place)
        for k, result in enumerate(self.results):
            if isinstance(result, fx.Node) and self.views[result].base != f"r{k}":
                seen = self.views[result]
                self.pointwise(View(f"r{k}", seen.sizes, dense(seen.sizes)), "clone", [seen])

    def _last_uses(self) -> dict[fx.Node, int]:
        """Return where each value is used for the last time; what is fused, or one of several results, is computed where it is used."""
        last: dict[fx.Node, int] = {}
        for node in reversed(self.nodes):
            later = node in self.fused or is_several(node)
            place = last.get(node, 0) if later else self.places[node]
            for used in node.all_input_nodes:
                last[used] = max(last.get(used, 0), place)
        return last

    def _direct(self) -> dict[fx.Node, int]:
        """Find the values that can be made where a result belongs."""
        found: dict[fx.Node, int] = {}
        for k, result in enumerate(self.results):
            root = result
            while isinstance(root, fx.Node) and name_of(root) in ("view", "_unsafe_view", "detach", "alias"):
                root = root.args[0]
            if isinstance(root, fx.Node) and root.op == "call_function" and name_of(root) not in VIEWS:
                found.setdefault(root, k)
        return found

    def _begun(self) -> dict[fx.Node, fx.Node]:
        """Find the values that a product is added to and nothing else reads: they are made where its result will be."""
        found: dict[fx.Node, fx.Node] = {}
        for node in self.nodes:
            if name_of(node) not in ("baddbmm", "addmm") or list(node.args).count(node.args[0]) > 1:
                continue
            root = node.args[0]
            while name_of(root) in ("view", "_unsafe_view") and len(root.users) == 1:
                root = root.args[0]
            alone = len(root.users) == 1 and root.op == "call_function" and root not in self.direct
            if alone and name_of(root) not in VIEWS and root.meta["val"].numel() == node.meta["val"].numel():
                found[root] = node
        return found

    def _operation(self, node: fx.Node) -> None:
        if node.target is operator.getitem:
            source, which = given(node)
            if not is_several(source):
                raise Unsupported(str(source.target))
            SEVERAL[name_of(source)](self, node, source, which)
            return
        if not isinstance(node.target, torch._ops.OpOverload):
            raise Unsupported(str(node.target))
        name = name_of(node)
        if node in self.fused or is_several(node):
            return
        if name in VIEWS:
            try:
                self._seat(node, VIEWS[name](self, node))
            except ValueError:  # a shape that is no view of what there is
                source, out = self.view(node.args[0]), self.out(node)
                self.pointwise(View(out.base, source.sizes, dense(source.sizes), out.offset), "clone", [source])
        elif name in EXPRESSIONS:
            self._elementwise(node, name)
        elif name in OPERATIONS:
            OPERATIONS[name](self, node)
        elif name in IMAGE_OPERATIONS:
            IMAGE_OPERATIONS[name](self, node)
        else:
            raise Unsupported(str(node.target))

    def _elementwise(self, node: fx.Node, name: str) -> None:
        leaves = self._leaves(node)
        out = self.out(node)

        def body(views: Sequence[View], indices: list[str]) -> str:
            known = {leaf: view.at(indices) for leaf, view in zip(leaves, views[1:], strict=True)}
            return f"{views[0].at(indices)} = {self._formula(node, known)};"

        self.loops([out, *(self.views[leaf].expanded(out.sizes) for leaf in leaves)], body)

    def _leaves(self, node: fx.Node) -> list[fx.Node]:
        """Return the values in memory that a node is computed from, through what is fused into it."""
        found: dict[fx.Node, None] = {}
        for used in _operands(node):
            if isinstance(used, fx.Node):
                found |= dict.fromkeys(self._leaves(used) if used in self.fused else [used])
        return list(found)

    def _formula(self, node: fx.Node, known: dict[fx.Node, str]) -> str:
        terms = [
            (known[a] if a in known else self._formula(a, known))
            if isinstance(a, fx.Node)
            else ""
            if a is None
            else number(a)
            for a in _operands(node)
        ]
        extra = [number(node.kwargs["alpha"])] if "alpha" in node.kwargs else []
        return written(name_of(node), [*terms, *extra])

    def view(self, node: Any) -> View:
        return self.views[node]

    # --- Memory ---

    def out(self, node: fx.Node) -> View:
        """Return the place for a node's value."""
        if node in self.views:  # a product whose beginning stands there already
            return self.views[node]
        shape = tuple(node.meta["val"].shape)
        if node in self.direct:
            value = View(f"r{self.direct[node]}", shape, dense(shape))
        elif node in self.begun:
            place = self.out(self.begun[node])
            value = View(place.base, shape, dense(shape), place.offset)
        else:
            value = View("work", shape, dense(shape), self.space(prod(shape)))
        self._seat(node, value)
        return value

    def _seat(self, node: fx.Node, view: View) -> None:
        """Remember where a value lies: its space is taken as long as anything that lies there is used."""
        self.views[node] = view
        if view.base == "work":
            begin = max(offset for offset in self.taken if offset <= view.offset)
            self.tenants.setdefault(begin, set()).add(node)

    def space(self, count: int) -> int:
        """Take work space for so many numbers; it is given back after the operation unless a value lies there."""
        count = max(16, rounded(count))
        fitting = [(length, offset) for offset, length in self.free if length >= count]
        if fitting:
            length, offset = min(fitting)
            self.free.remove((offset, length))
            if length > count:
                self.free.append((offset + count, length - count))
        else:
            offset, self.work = self.work, self.work + count
        self.taken[offset] = count
        self.passing.append(offset)
        return offset

    def _release(self, place: int) -> None:
        """Give back the space of values that nothing looks at any more."""
        emptied = set(self.passing)
        self.passing = []
        for node in self.ends.get(place, ()):
            view = self.views.get(node)
            if view is None or view.base != "work":
                continue
            del self.views[node]
            for offset, tenants in self.tenants.items():
                if node in tenants:
                    tenants.discard(node)
                    emptied.add(offset)
                    break
        for offset in sorted(emptied):
            if not self.tenants.get(offset):
                self.tenants.pop(offset, None)
                self.free.append((offset, self.taken.pop(offset)))
        if emptied:
            self._join()

    def _join(self) -> None:
        joined: list[tuple[int, int]] = []
        for offset, length in sorted(self.free):
            if joined and sum(joined[-1]) == offset:
                joined[-1] = (joined[-1][0], joined[-1][1] + length)
            else:
                joined.append((offset, length))
        self.free = joined

    def _constant(self, node: fx.Node) -> None:
        value: Any = self.module
        for part in str(node.target).split("."):
            value = getattr(value, part)
        name = f"{self.name}_{node.name}"
        listed = ", ".join(number(v) for v in value.detach().double().reshape(-1).tolist())
        self.constants.append(f"static const real {name}[] = {{{listed}}};")
        self.views[node] = View(name, tuple(value.shape), dense(value.shape))

    # --- Loops ---

    def loops(self, views: Sequence[View], body: Callable[[Sequence[View], list[str]], str], simd: bool = True) -> None:
        """Write a loop nest over views of one shape; the innermost loop is a vector."""
        views = coalesced(views)
        sizes = views[0].sizes
        indices = [f"i{k}" for k in range(len(sizes))]
        for k, size in enumerate(sizes):
            if k == len(sizes) - 1 and simd and size > 3:
                self.lines.append("#pragma omp simd")
            self.lines.append(f"{'  ' * k}for (int {indices[k]} = 0; {indices[k]} < {size}; ++{indices[k]})")
        self.lines.append("  " * len(sizes) + body(views, indices))

    def pointwise(self, out: View, name: str, operands: Sequence[Any], extra: Sequence[str] = ()) -> None:
        places = [o for o in operands if isinstance(o, View)]
        places = [p.expanded(out.sizes) for p in places]

        def body(views: Sequence[View], indices: list[str]) -> str:
            rest = iter(views[1:])
            terms = [
                next(rest).at(indices) if isinstance(o, View) else "" if o is None else number(o) for o in operands
            ]
            return f"{views[0].at(indices)} = {written(name, [*terms, *extra])};"

        self.loops([out, *places], body)

    def fill(self, out: View, value: str) -> None:
        self.loops([out], lambda views, indices: f"{views[0].at(indices)} = {value};")

    def accumulated(self, out: View, source: View, axes: Sequence[int], start: str, step: str, end: str = "") -> None:
        """Reduce axes of a view into `out`, which has the others.

        `step` and `end` say how: `$` is a number, `^` what there is so far.
        """
        kept = [k for k in range(len(source.sizes)) if k not in axes]
        if kept and source.strides[kept[-1]] == 1 and source.sizes[kept[-1]] > 3:
            self._row_by_row(out, source, kept, axes, start, step, end)
            return
        inner = source.permuted([*kept, *axes])
        indices = self._outer_loops(inner.sizes[: len(kept)])
        self.lines.append(f"{{ real total = {start};")
        for k in range(len(kept), len(inner.sizes)):
            if k == len(inner.sizes) - 1 and "+" in step and inner.sizes[k] > 7:
                self.lines.append("#pragma omp simd reduction(+ : total)")
            self.lines.append(f"for (int i{k} = 0; i{k} < {inner.sizes[k]}; ++i{k})")
            indices.append(f"i{k}")
        self.lines.append(f"total = {step.replace('^', 'total').replace('$', inner.at(indices))};")
        target = out.at(indices[: len(kept)])
        self.lines.append(f"{target} = {end.replace('^', 'total') if end else 'total'}; }}")

    def _row_by_row(
        self, out: View, source: View, kept: Sequence[int], axes: Sequence[int], start: str, step: str, end: str
    ) -> None:
        """Reduce whole rows at once, where what is kept lies side by side."""
        self.fill(out, start)
        inner = source.permuted([*kept[:-1], *axes, kept[-1]])
        spread = View(out.base, inner.sizes, (*out.strides[:-1], *[0] * len(axes), out.strides[-1]), out.offset)
        self.loops(
            [inner, spread],
            lambda v, i: f"{v[1].at(i)} = {step.replace('^', v[1].at(i)).replace('$', v[0].at(i))};",
        )
        if end:
            self.loops([out], lambda v, i: f"{v[0].at(i)} = {end.replace('^', v[0].at(i))};")

    def _outer_loops(self, sizes: Sequence[int]) -> list[str]:
        for k, size in enumerate(sizes):
            self.lines.append(f"for (int i{k} = 0; i{k} < {size}; ++i{k})")
        return [f"i{k}" for k in range(len(sizes))]


def _function(name: str, parameters: Sequence[str], lines: Sequence[str]) -> list[str]:
    return [f"static void {name}({', '.join(parameters)}) {{", *("  " + line for line in lines), "}"]


def _operands(node: fx.Node) -> Sequence[Any]:
    return node.args[:1] if name_of(node) in ("clone", "_to_copy", "lift_fresh_copy") else node.args


def _fuses(node: fx.Node) -> bool:
    """Whether a value is computed where it is used: by one pointwise operation of the same shape, and by nothing else."""
    if name_of(node) not in EXPRESSIONS or len(node.users) != 1:
        return False
    (user,) = node.users
    if name_of(user) not in EXPRESSIONS or node not in _operands(user):
        return False
    return bool(node.meta["val"].shape == user.meta["val"].shape) and list(user.args).count(node) == 1
