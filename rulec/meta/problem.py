"""One outer problem: a rule, a task and an objective, as functions of the meta-parameters and of the meta-step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor

from rulec.meta.batches import Batches, laid_out
from rulec.meta.objective import Judged, Scored, per_member, scored
from rulec.meta.parameters import Free, Parameters, with_common, with_copies, with_initial
from rulec.meta.part import Part
from rulec.meta.processes import ALONE, Team
from rulec.meta.seeds import derived_seed
from rulec.runtime.compiled import CompiledRule, Genome, State
from rulec.runtime.unrolls.engine import Memory
from rulec.semantics.typed import Outer
from rulec.tasks.task import Episode, Task


@dataclass(frozen=True)
class Problem:
    """Everything that stays the same during meta-training. `step` always has a population axis: the members.

    Inner loops may go on from meta-step to meta-step: of `horizon` updates, `inner_steps` are made in each. They are then resumed from the
    state `living`, (members, ...). `task` is what is evaluated, `lessons` the same with the keys of the outer step.
    """

    step: CompiledRule
    task: Task
    lessons: Task
    outer: Outer
    parameters: Parameters
    fixed: Genome  # (members, ...)
    seed: int
    inner_steps: int
    horizon: int
    batch: int
    query: int | None
    memory: int | None = None  # bytes that an inner loop may keep for its way back; None: everything
    living: State | None = None
    _whole: dict[tuple[int, Part | None], Episode] = field(
        default_factory=dict, compare=False, repr=False
    )  # the last trajectory's data
    team: Team = ALONE  # the processes that share the work
    part: Part | None = None  # of a larger problem, where this is the share of one process, or worked on in its turn
    draws: Draws | None = None  # what was drawn for a larger problem before it came to this part of it
    at_once: int | None = (
        None  # networks that are worked on at a time where there is a gradient; None: all (`rulec.meta.turns`)
    )

    @property
    def members(self) -> int:
        return self.step.population or 1

    def widened(self, count: int) -> Problem:
        """Return the same problem with `count` members in the place of each: those of one member stand side by side."""
        fixed = {name: value.repeat_interleave(count, 0) for name, value in self.fixed.items()}
        living = self.living and {n: v.repeat_interleave(count, 0) if v.ndim else v for n, v in self.living.items()}
        step = self.step.resized(population=self.members * count, tasks=self.step.tasks, replicas=self.step.replicas)
        return replace(self, step=step, fixed=fixed, living=living)

    @property
    def goes_on(self) -> bool:
        """Whether inner loops are longer than a meta-step."""
        return self.horizon > self.inner_steps

    def place(self, number: int) -> tuple[int, int]:
        """Return to which inner loop meta-step `number` belongs, and which part of it that is, both counted from 0."""
        return divmod(number, self.horizon // self.inner_steps) if self.goes_on else (number, 0)

    def batches(self, number: int) -> Batches:
        """Draw the data of meta-step `number`. Where all episodes are the same task, each part of an inner loop draws its own."""
        return laid_out(self.episode(number), self.step)

    def episode(self, number: int) -> Episode:
        """Draw the episode of meta-step `number`, or the part of one that an inner loop which goes on has come to."""
        if self.draws is not None:
            return self.draws.episode
        if not self.goes_on or self.lessons.single:
            return self._drawn(number, self.inner_steps)
        trajectory, place = self.place(number)
        key = trajectory, self.part
        if key not in self._whole:
            self._whole.clear()
            self._whole[key] = self._drawn(trajectory, self.horizon)
        whole, updates = self._whole[key], slice(place * self.inner_steps, (place + 1) * self.inner_steps)
        return replace(whole, support_x=whole.support_x[updates], support_y=whole.support_y[updates])

    def _drawn(self, number: int, steps: int) -> Episode:
        """Draw an episode, or of one that several processes share, the tasks of this one."""
        part = self.part if self.part is not None and self.part.by_tasks else None
        draw = partial(self.lessons.some_tasks, part.own) if part else self.lessons.episode
        return draw(
            seed=derived_seed("episode", self.seed, number),
            steps=steps,
            batch=self.batch,
            tasks=part.whole if part else self.step.tasks or 1,
            query=self.query,
        )

    def start(self, free: Free, number: int) -> State:
        """Draw fresh synapses for meta-step `number`, or go on; learned initial values take the place of drawn ones."""
        if self.living is not None:
            return self.living
        state = self.synapses(number)
        return with_initial(self.step, state, self.parameters.initial_state(free))

    def synapses(self, number: int) -> State:
        """Draw fresh synapses for meta-step `number`, but for those that begin with what is learned."""
        if self.draws is not None:
            return self.draws.state
        seed = derived_seed("synapses", self.seed, self.place(number)[0])
        given = with_copies(self.step, self.parameters.initial)
        return self.step.init_state(seed, batch=self.batch, given=given)

    def drawn(self, number: int) -> Draws:
        """Draw all that meta-step `number` begins with, for parts of the problem that take turns."""
        return Draws(self.episode(number), {} if self.living is not None else self.synapses(number))

    def begun(self, free: Free, number: int) -> Inner:
        """Return the inner problem of meta-step `number`: genome, initial state and data."""
        genome = self.parameters.genome(free, self.fixed)
        state = common = self.start(free, number)
        if self.living is None:
            common = with_common(self.step, state, self.parameters.initial_state(free))
        return Inner(genome, state, self.batches(number), self.parameters.values(free), common)

    def lesson(self, free: Free, number: int, *, straight: bool = False, memory: Memory = None) -> Scored:
        """Learn for `inner_steps` updates from the support, then judge the predictions on the query.

        `straight` and `memory` are those of `CompiledRule.lesson`; the problem's own memory goes before.
        """
        inner = self.begun(free, number)
        return self.judged(inner, inner.common, 0, straight=straight, memory=memory)

    def judged(
        self, inner: Inner, state: State, first: int, *, straight: bool = False, memory: Memory = None
    ) -> Scored:
        """Make the updates from `first` on, which find this state, and judge the predictions on the query.

        States may have size one along tasks and replicas.
        """
        data, memory = inner.batches, self.memory or memory
        x, y = data.x[first:], data.y[first:]

        def found(questions: Tensor, answers: Tensor) -> Judged:
            loss, prediction = self.step.judged_lesson(
                inner.genome, state, x, y, questions, answers, self.task.loss, straight=straight, memory=memory
            )
            return Judged(loss, per_member(self.task.accuracy(prediction, answers)))

        on = {"query": found(data.query_x, data.query_y)}
        if any(objective.on == "support" for objective in self.outer.objectives):
            on["support"] = found(data.x[-1], data.y[-1])
        return scored(self.outer.objectives, on, inner.learned)

    def updated(self, inner: Inner, state: State, first: int, last: int) -> State:
        """Make the updates from `first` up to `last`; states that no prediction reads are left out."""
        x, y = inner.batches.x[first:last], inner.batches.y[first:last]
        return self.step.unroll(inner.genome, state, x, y, unread=False, memory=self.memory)


@dataclass(frozen=True)
class Draws:
    """What chance has to say about a meta-step but noise: data, and synapses (members, tasks, ...) where they are fresh."""

    episode: Episode
    state: State

    def of(self, part: Part) -> Draws:
        return Draws(self.episode.some_tasks(part.tasks), part.of_states(self.state))


@dataclass(frozen=True)
class Inner:
    """One inner problem: whole genome, the state at its start, the data, and what is learned, in its own domains."""

    genome: Genome
    state: State
    batches: Batches
    learned: Free
    common: State  # the state at the start once more, where what is learned has size one along tasks and replicas
