"""How well a rule learns with given genomes: accuracy and loss after so many weight updates, on held-out data.

"@t" means after t updates: @0 is the untrained network, @1 has seen one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rulec.meta import messages
from rulec.meta.batches import batch_for, laid_out
from rulec.meta.parameters import with_initial
from rulec.meta.seeds import derived_seed
from rulec.runtime.compiled import CompiledRule, Genome, State
from rulec.runtime.losses import mean_loss
from rulec.source import RuleError
from rulec.tasks.registry import task_from
from rulec.tasks.task import Task

UPDATES = (0, 1, 2, 3, 5, 10, 20, 50)


@dataclass(frozen=True)
class Curve:
    """Mean and standard deviation over episodes of accuracy and loss, a place per number of updates."""

    updates: tuple[int, ...]
    accuracy: tuple[float, ...]
    accuracy_sd: tuple[float, ...]
    loss: tuple[float, ...]
    loss_sd: tuple[float, ...]
    episodes: int
    task: str
    network: str
    by_name: dict[str, tuple[float, ...]]  # accuracy of each kind of task among the episodes
    together: bool = True  # whether a query was predicted as one batch, whose statistics a normalisation may use

    def at(self, updates: int) -> float:
        """Return the accuracy after `updates` updates."""
        return self.accuracy[self.updates.index(updates)]

    def rows(self) -> list[dict[str, object]]:
        """Return one record per number of updates; `_ci95` is half of a 95% interval of the mean over episodes."""
        names = ("updates", "accuracy", "accuracy_sd", "loss", "loss_sd")
        rows = [
            dict(zip(names, values, strict=True))
            for values in zip(*(getattr(self, name) for name in names), strict=True)
        ]
        return [
            row | {f"{name}_ci95": 1.96 * row[f"{name}_sd"] / self.episodes**0.5 for name in ("accuracy", "loss")}
            for row in rows
        ]


@dataclass(frozen=True)
class Measured:
    """Accuracy and loss, (updates, members, episodes), and the kind of task of each episode."""

    updates: tuple[int, ...]
    accuracy: Tensor
    loss: Tensor
    names: tuple[str, ...]
    together: bool = True


@dataclass(frozen=True)
class Setting:
    """On what to evaluate: so many episodes at once, each with data and initial synapses of its own."""

    updates: tuple[int, ...] = UPDATES
    episodes: int = 16
    batch: int = 128
    query: int | None = None
    seed: int = 0
    held_out: bool = True
    together: bool = True

    def __post_init__(self) -> None:
        valid = self.updates and all(isinstance(u, int) and u >= 0 for u in self.updates)
        if not valid or list(self.updates) != sorted(set(self.updates)):
            raise RuleError([messages.no_updates(self.updates)])
        for name, value in (("episodes", self.episodes), ("batch", self.batch)):
            if not isinstance(value, int) or value < 1:
                raise RuleError([messages.wrong_number(name, value, 1)])


def evaluate(
    compiled: CompiledRule,
    genome: Genome,
    task: str | Task,
    *,
    updates: Sequence[int] = UPDATES,
    episodes: int = 16,
    batch: int | None = None,
    query: int | None = None,
    seed: int = 0,
    held_out: bool = True,
    together: bool = True,
    initial: State | None = None,
) -> Curve:
    """Let one genome learn and judge it after each number of updates, on held-out data unless told otherwise.

    `genome` and the learned initial states `initial` have no population axis. All episodes run side by side, whatever axes the
    rule was compiled for. Where a normalisation uses the statistics of a batch, predicting a query `together` is transductive: each answer
    depends on the other questions; otherwise every sample is predicted in a batch with the support alone. Raises `RuleError` where genome, task and network do not fit.
    """
    task = task_from(task)
    setting = Setting(tuple(updates), episodes, batch_for(task, batch), query, seed, held_out, together)
    members = as_members(compiled, genome)
    if len(next(iter(members.values()), torch.zeros(1))) != 1:
        name = next(iter(members))
        raise RuleError([messages.wrong_start(name, genome[name].shape, compiled.genome_spec[name].shape)])
    wide = {name: value.unsqueeze(0) for name, value in (initial or {}).items()}
    return curve_of(measure(compiled, members, task, setting, wide), 0, task, compiled.network.spec)


@torch.no_grad()
def measure(
    compiled: CompiledRule, genome: Genome, task: Task, setting: Setting, initial: State | None = None
) -> Measured:
    """Evaluate genomes (members, ...) side by side. Initial synapses differ between episodes, not between members."""
    check_fit(compiled, task)
    count = len(next(iter({**genome, **(initial or {})}.values()), torch.zeros(1)))
    step = compiled.resized(population=count, tasks=setting.episodes, replicas=None)
    part = "held-out" if setting.held_out else "training"
    episode = task.episode(
        seed=derived_seed("evaluate", part, setting.seed),
        steps=setting.updates[-1],
        batch=setting.batch,
        tasks=setting.episodes,
        query=setting.query,
        held_out=setting.held_out,
    )
    batches = laid_out(episode, step)
    state = step.init_state(derived_seed("evaluate", "synapses", setting.seed), batch=setting.batch)
    state = with_initial(step, state, initial or {})
    accuracy, loss, done = [], [], 0
    for updates in setting.updates:
        state = step.unroll(genome, state, batches.x[done:updates], batches.y[done:updates], unread=False)
        known = batches.x[max(updates - 1, 0) :][:1] if not setting.together else None
        prediction = _predicted(step, genome, state, batches.query_x, known)
        accuracy.append(task.accuracy(prediction, batches.query_y))
        loss.append(mean_loss(task.loss, prediction, batches.query_y))
        done = updates
    return Measured(
        setting.updates, torch.stack(accuracy).cpu(), torch.stack(loss).cpu(), episode.names, setting.together
    )


def _predicted(step: CompiledRule, genome: Genome, state: State, x: Tensor, known: Tensor | None) -> Tensor:
    """Predict a query as one batch, or each of its samples in a batch with the support that was last learned from, `known`."""
    if known is None:
        return step.predict(genome, state, x)
    axis = len(step.lead_shape)
    beside = [] if not len(known) else [known[0]]
    ones = (torch.cat([*beside, one], axis) for one in x.split(1, axis))
    return torch.cat([step.predict(genome, state, one).select(axis, -1).unsqueeze(axis) for one in ones], axis)


def curve_of(measured: Measured, member: int, task: Task, network: str) -> Curve:
    """Sum up one member over the episodes."""
    accuracy, loss = measured.accuracy[:, member].double(), measured.loss[:, member].double()
    kinds = {
        name: [k for k, other in enumerate(measured.names) if other == name] for name in dict.fromkeys(measured.names)
    }
    return Curve(
        measured.updates,
        _mean(accuracy),
        _spread(accuracy),
        _mean(loss),
        _spread(loss),
        accuracy.shape[1],
        task.name,
        network,
        {name: _mean(accuracy[:, places]) for name, places in kinds.items()},
        measured.together,
    )


def _mean(values: Tensor) -> tuple[float, ...]:
    return tuple(values.mean(1).tolist())


def _spread(values: Tensor) -> tuple[float, ...]:
    """Return the standard deviation over episodes, or zero if there is but one."""
    return tuple(values.std(1).tolist() if values.shape[1] > 1 else [0.0] * len(values))


def as_members(compiled: CompiledRule, genome: Genome) -> Genome:
    """Return the genome with a population axis, and check its names and shapes. Raises `RuleError`."""
    members: Genome = {}
    for name, spec in compiled.genome_spec.items():
        if name not in genome:
            raise RuleError([messages.missing_genome_entry(name, list(genome))])
        value = genome[name].detach().to(compiled.device, compiled.dtype)
        value = value.unsqueeze(0) if value.ndim == len(spec.shape) else value
        if tuple(value.shape[1:]) != spec.shape:
            raise RuleError([messages.wrong_start(name, genome[name].shape, spec.shape)])
        members[name] = value
    return members


def check_fit(compiled: CompiledRule, task: Task) -> None:
    """Check that the network takes and gives what the task does. Raises `RuleError` (`task-does-not-fit`)."""
    network = compiled.network
    given, own = task.input_shape, network.input.shape
    if given != own and _count(given) != _count(own):
        raise RuleError([messages.sizes_differ(network.spec, _shown(own), task.name, _shown(given), "input shape")])
    if network.output.shape[0] != task.outputs:
        raise RuleError(
            [messages.sizes_differ(network.spec, network.output.shape[0], task.name, task.outputs, "number of outputs")]
        )


def _count(shape: Sequence[int]) -> int:
    return int(torch.Size(shape).numel())


def _shown(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
