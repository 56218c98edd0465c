"""rulec: the shipped rule, compiled by either backend."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import rulec
from benchmarks.contender import Answer, Contender, Run, answer
from benchmarks.problems import GENOME, Blur
from rulec.runtime.compiled import CompiledRule

State = dict[str, Tensor]
Genome = dict[str, Tensor]


def lesson(compiled: CompiledRule, genome: Genome, state: State, problem: Blur, **how: Any) -> Tensor:
    """Make one update per support batch and predict on the query, in one call."""
    return compiled.lesson(genome, state, problem.x, problem.y, problem.query_x, **how)


def looped(compiled: CompiledRule, genome: Genome, state: State, problem: Blur) -> Tensor:
    """The same by a call per update, differentiated by autograd."""
    return _looped(compiled, genome, state, problem, lambda *given: compiled(*given)[0])


def again(compiled: CompiledRule, genome: Genome, state: State, problem: Blur) -> Tensor:
    """The same, with each update computed a second time on the way back."""

    def update(*given: Any) -> State:
        return checkpoint(lambda *values: compiled(*values)[0], *given, use_reentrant=False, preserve_rng_state=False)

    return _looped(compiled, genome, state, problem, update)


def _looped(
    compiled: CompiledRule, genome: Genome, state: State, problem: Blur, update: Callable[..., State]
) -> Tensor:
    for x, y in zip(problem.x, problem.y, strict=True):
        state = update(genome, state, x, y)
    return compiled.predict(genome, state, problem.query_x)


KINDS: dict[str, Callable[..., Tensor]] = {
    "unroll": lesson,
    "unroll, least memory": partial(lesson, memory="least"),
    "unroll, first order": partial(lesson, straight=True),
    "loop": looped,
    "loop, every update twice": again,
}


@lru_cache(maxsize=2)
def _compiled(
    net: str, states: int, replicas: int, population: int | None, dtype: torch.dtype, backend: str
) -> CompiledRule:
    """Compile once for problems that differ in their length only."""
    return rulec.load("blur").compile(
        net, options={"states": states}, replicas=replicas, population=population, dtype=dtype, backend=backend
    )


def compiled_blur(problem: Blur, backend: str) -> tuple[CompiledRule, Genome, State]:
    """Compile for the problem; return the entries of the genome that the problem does not set, and the initial state."""
    compiled = _compiled(problem.net, problem.states, problem.replicas, problem.population, problem.dtype, backend)
    others = {name: value for name, value in compiled.init_genome().items() if name not in GENOME}
    state = compiled.init_state()
    layers = [layer.name for layer in compiled.network.layers[1:]]
    for number, layer in enumerate(layers):
        given = {
            f"w.c{number + 1}": problem.forward[number],
            f"v.c{number + 1}": problem.backward[number],
            f"b.{layer}": problem.bias[number],
        }
        state |= {name: value.expand_as(state[name]).clone() for name, value in given.items() if name in state}
    return compiled, others, state


def prepare_gradient(problem: Blur, backend: str = "fx", kind: str = "unroll") -> Run:
    compiled, others, state = compiled_blur(problem, backend)

    def run() -> Answer:
        leaves = problem.leaves()
        prediction = KINDS[kind](compiled, {**others, **leaves}, dict(state), problem)
        loss = ((prediction - problem.query_y) ** 2).mean() * (problem.population or 1)
        gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
        return answer(dict(zip(leaves, gradients, strict=True)))

    return run


def prepare_forward(problem: Blur, backend: str = "fx") -> Run:
    compiled, others, state = compiled_blur(problem, backend)

    def run() -> Answer:
        with torch.no_grad():
            return answer({"prediction": lesson(compiled, {**others, **problem.genome}, dict(state), problem)})

    return run


def gradient(backend: str, kind: str = "unroll") -> Contender[Blur]:
    return _contender(backend, kind, partial(prepare_gradient, backend=backend, kind=kind))


def forward(backend: str) -> Contender[Blur]:
    return _contender(backend, "unroll", partial(prepare_forward, backend=backend))


def _contender(backend: str, kind: str, prepare: Callable[[Blur], Run]) -> Contender[Blur]:
    name = f"rulec {backend}" + ("" if kind == "unroll" else f", {kind.removeprefix('unroll, ')}")
    slow = backend == "inductor"
    return Contender(name, prepare, limit=300 if slow else None, slow_start=slow)
