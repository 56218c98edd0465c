"""One genome on other tasks and other networks, as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from torch import nn

from rulec.meta.evaluate import Curve, evaluate
from rulec.network import network_from
from rulec.network.graph import Network
from rulec.runtime.compiled import CompiledRule, Genome
from rulec.tasks.registry import task_from
from rulec.tasks.task import Task

Pair = tuple["str | Task", "str | Network | nn.Module"]


def transfer_table(
    compiled: CompiledRule,
    genome: Genome,
    pairs: Iterable[Pair],
    *,
    updates: Sequence[int] = (1, 3, 5, 10, 20),
    episodes: int = 16,
    batch: int | None = None,
    query: int | None = None,
    seed: int = 0,
) -> list[Curve]:
    """Evaluate the genome, without retuning, on each (task, network): one curve per pair, which names both.

    The rule is compiled anew for each network with the options it has, and for the loss of the task.
    Raises `RuleError` for a genome that is per layer and does not fit the layers of a network.
    """
    curves = []
    for named, net in pairs:
        task = task_from(named)
        network = net if isinstance(net, Network) else network_from(net, task.input_shape, task.outputs)
        other = replace(compiled, network=network, loss=task.loss)
        curves.append(
            evaluate(other, genome, task, updates=updates, episodes=episodes, batch=batch, query=query, seed=seed)
        )
    return curves
