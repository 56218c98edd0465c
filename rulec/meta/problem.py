"""One outer problem: a rule, a task and an objective, as functions of the meta-parameters and of the meta-step."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rulec.meta.batches import Batches, laid_out
from rulec.meta.objective import Scored, scored
from rulec.meta.parameters import Free, Parameters, with_initial
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

    @property
    def members(self) -> int:
        return self.step.population or 1

    def sized(self, step: CompiledRule) -> Problem:
        """Return the same problem for another number of members, all fixed entries being those of the first."""
        count = step.population or 1
        fixed = {name: value[:1].expand(count, *value.shape[1:]) for name, value in self.fixed.items()}
        return replace(self, step=step, fixed=fixed)

    def batches(self, number: int) -> Batches:
        """Draw the data of meta-step `number`."""
        episode = self.task.episode(
            seed=derived_seed("episode", self.seed, number),
            steps=self.inner_steps,
            batch=self.batch,
            tasks=self.step.tasks or 1,
            query=self.query,
        )
        return laid_out(episode, self.step)

    def start(self, free: Free, number: int) -> State:
        """Draw fresh synapses for meta-step `number`; learned initial values take the place of drawn ones."""
        state = self.step.init_state(derived_seed("synapses", self.seed, number), batch=self.batch)
        return with_initial(self.step, state, self.parameters.initial_state(free))

    def lesson(self, free: Free, number: int, *, straight: bool = False, memory: Memory = None) -> Scored:
        """Learn for `inner_steps` updates from the support, then judge the predictions on the query.

        `straight` and `memory` are those of `CompiledRule.lesson`; the problem's own memory goes before.
        """
        batches = self.batches(number)
        genome = self.parameters.genome(free, self.fixed)
        support = batches.x, batches.y
        prediction = self.step.lesson(
            genome, self.start(free, number), *support, batches.query_x, straight=straight, memory=self.memory or memory
        )
        return scored(self.task, self.outer.objectives, prediction, batches.query_y)
