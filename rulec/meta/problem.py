"""One outer problem: a rule, a task and an objective, as functions of the meta-parameters and of the meta-step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from rulec.meta.batches import Batches, laid_out
from rulec.meta.objective import Scored, scored
from rulec.meta.parameters import Free, Parameters, with_initial
from rulec.meta.part import Part
from rulec.meta.processes import ALONE, Team
from rulec.meta.seeds import derived_seed
from rulec.runtime.compiled import CompiledRule, Genome, State
from rulec.runtime.unrolls.engine import Memory
from rulec.semantics.typed import Outer
from rulec.tasks.task import Task


@dataclass(frozen=True)
class Problem:
    """Everything that stays the same during meta-training. `step` always has a population axis: the members."""

    step: CompiledRule
    task: Task
    outer: Outer
    parameters: Parameters
    fixed: Genome  # (members, ...)
    seed: int
    inner_steps: int
    batch: int
    query: int | None
    memory: int | None = None  # bytes that an inner loop may keep for its way back; None: everything
    team: Team = ALONE  # the processes that share the work
    part: Part | None = None  # of a larger problem, where this is the share of one process

    @property
    def members(self) -> int:
        return self.step.population or 1

    def widened(self, count: int) -> Problem:
        """Return the same problem with `count` members in the place of each: those of one member stand side by side."""
        fixed = {name: value.repeat_interleave(count, 0) for name, value in self.fixed.items()}
        step = self.step.resized(population=self.members * count, tasks=self.step.tasks, replicas=self.step.replicas)
        return replace(self, step=step, fixed=fixed)

    def batches(self, number: int) -> Batches:
        """Draw the data of meta-step `number`."""
        part = self.part if self.part is not None and self.part.by_tasks else None
        draw = partial(self.task.some_tasks, part.own) if part else self.task.episode
        episode = draw(
            seed=derived_seed("episode", self.seed, number),
            steps=self.inner_steps,
            batch=self.batch,
            tasks=part.whole if part else self.step.tasks or 1,
            query=self.query,
        )
        return laid_out(episode, self.step)

    def start(self, free: Free, number: int) -> State:
        """Draw fresh synapses for meta-step `number`; learned initial values take the place of drawn ones."""
        state = self.step.init_state(derived_seed("synapses", self.seed, number), batch=self.batch)
        return with_initial(self.step, state, self.parameters.initial_state(free))

    def begun(self, free: Free, number: int) -> Inner:
        """Return the inner problem of meta-step `number`: genome, initial state and data."""
        return Inner(self.parameters.genome(free, self.fixed), self.start(free, number), self.batches(number))

    def lesson(self, free: Free, number: int, *, straight: bool = False, memory: Memory = None) -> Scored:
        """Learn for `inner_steps` updates from the support, then judge the predictions on the query.

        `straight` and `memory` are those of `CompiledRule.lesson`; the problem's own memory goes before.
        """
        inner = self.begun(free, number)
        return self.judged(inner, inner.state, 0, straight=straight, memory=memory)

    def judged(
        self, inner: Inner, state: State, first: int, *, straight: bool = False, memory: Memory = None
    ) -> Scored:
        """Make the updates from `first` on, which find this state, and judge the predictions on the query."""
        data, memory = inner.batches, self.memory or memory
        x, y = data.x[first:], data.y[first:]
        prediction = self.step.lesson(inner.genome, state, x, y, data.query_x, straight=straight, memory=memory)
        return scored(self.task, self.outer.objectives, prediction, data.query_y)

    def updated(self, inner: Inner, state: State, first: int, last: int) -> State:
        """Make the updates from `first` up to `last`; states that no prediction reads are left out."""
        x, y = inner.batches.x[first:last], inner.batches.y[first:last]
        return self.step.unroll(inner.genome, state, x, y, unread=False, memory=self.memory)


@dataclass(frozen=True)
class Inner:
    """One inner problem: whole genome, the state at its start, and the data."""

    genome: Genome
    state: State
    batches: Batches
