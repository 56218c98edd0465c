"""Write a lowered step as a Python file that needs only torch.

Every statement is a node of the graph, in the graph's order, so the results are the same bits; arithmetic that is used once
stands inside the expression that uses it, and each group of statements names the line of the rule it came from.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import fx
from torch.nn import functional, grad

from rulec.backend.lowering import Lowered

_INFIX: dict[Callable[..., Any], tuple[str, int]] = {
    operator.add: ("+", 1),
    operator.sub: ("-", 1),
    operator.mul: ("*", 2),
    operator.truediv: ("/", 2),
    operator.pow: ("**", 4),
    operator.lt: ("<", 0),
    operator.le: ("<=", 0),
    operator.gt: (">", 0),
    operator.ge: (">=", 0),
    operator.eq: ("==", 0),
    operator.ne: ("!=", 0),
}
_LONGEST = 100


def body_lines(lowered: Lowered) -> list[str]:
    """Return the statements of the graph between its inputs and its results."""
    return list(_Writer(lowered.graph).lines())


def result_names(lowered: Lowered) -> list[str]:
    """Return the expression of each result, in the order of `lowered.outputs`."""
    output = next(node for node in lowered.graph.nodes if node.op == "output")
    return [_literal(argument) for argument in output.args[0]]


class _Writer:
    def __init__(self, graph: fx.Graph) -> None:
        self.graph = graph
        self.inlined: dict[fx.Node, tuple[str, int]] = {}

    def lines(self) -> Iterator[str]:
        line = None
        for node in self.graph.nodes:
            if node.op != "call_function":
                continue
            text, strength = self._expression(node)
            if self._can_inline(node, text):
                self.inlined[node] = (text, strength)
                continue
            span = node.meta.get("span")
            if span is not None and (span.source.name, span.line) != line:
                line = (span.source.name, span.line)
                yield ""
                yield f"# line {span.line}: {span.source.line(span.line).split('#')[0].strip()}"
            yield f"{node.name} = {text}"

    def _can_inline(self, node: fx.Node, text: str) -> bool:
        if len(node.users) != 1 or "named" in node.meta or len(text) > _LONGEST:
            return False
        user = next(iter(node.users))
        arithmetic = user.target in _INFIX or user.target is operator.neg
        own = node.target in _INFIX or node.target in (operator.neg, operator.getitem)
        return user.op == "call_function" and (own or (arithmetic and len(text) < _LONGEST // 2))

    def _expression(self, node: fx.Node) -> tuple[str, int]:
        """Return the text and how strongly its outermost operator binds."""
        target, args = node.target, node.args
        assert callable(target)
        if target in _INFIX:
            sign, strength = _INFIX[target]
            left = self._operand(args[0], strength if strength != 4 else 5)
            right = self._operand(args[1], strength + 1)
            return f"{left} {sign} {right}", strength
        if target is operator.neg:
            return f"-{self._operand(args[0], 3)}", 3
        if target is operator.getitem:
            return f"{self._operand(args[0], 9)}[{_index(args[1])}]", 9
        words = [self._operand(a, 0) for a in args] + [f"{k}={self._operand(v, 0)}" for k, v in node.kwargs.items()]
        name = _function_name(target)
        if name.startswith("."):
            return f"{self._operand(args[0], 9)}{name}({', '.join(words[1:])})", 9
        return f"{name}({', '.join(words)})", 9

    def _operand(self, argument: Any, strength: int) -> str:
        if isinstance(argument, fx.Node) and argument in self.inlined:
            text, own = self.inlined[argument]
            return text if own >= strength else f"({text})"
        if isinstance(argument, (tuple, list)):
            inner = ", ".join(self._operand(a, 0) for a in argument)
            return f"[{inner}]" if isinstance(argument, list) else f"({inner},)" if len(argument) == 1 else f"({inner})"
        text = _literal(argument)
        return f"({text})" if text.startswith("-") and strength > 1 else text


def _function_name(target: Callable[..., Any]) -> str:
    if isinstance(target, torch._ops.OpOverload):
        return f"torch.ops.{target.namespace}.{target.__name__}"
    name = target.__name__
    if getattr(torch.Tensor, name, None) is target:
        return f".{name}"
    if getattr(grad, name, None) is target:
        return f"torch.nn.grad.{name}"
    if getattr(torch, name, None) is target or name == "einsum":
        return f"torch.{name}"
    if getattr(torch.linalg, name.removeprefix("linalg_"), None) is target:
        return f"torch.linalg.{name.removeprefix('linalg_')}"
    for candidate in (name, name.lstrip("_"), "max_pool2d"):
        if getattr(functional, candidate, None) is target:
            return f"torch.nn.functional.{candidate}"
    raise AssertionError(f"no name for {target}")


def _index(index: Any) -> str:
    if isinstance(index, tuple):
        return ", ".join(_index(i) for i in index)
    return ":" if isinstance(index, slice) else str(index)


def _literal(value: Any) -> str:
    if isinstance(value, fx.Node):
        return value.name
    if isinstance(value, (tuple, list)):
        inner = ", ".join(_literal(v) for v in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner},)" if len(value) == 1 else f"({inner})"
    return str(value) if isinstance(value, torch.dtype) else repr(value)
