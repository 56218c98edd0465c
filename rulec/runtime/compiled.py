"""A rule compiled for a network: pure functions from genome, state and data to the next state."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from rulec.backend.layout import Slot, genome_slots, state_slots
from rulec.backend.liveness import carried_states, restricted
from rulec.backend.lowering import Lowered, lower_prediction, lower_step
from rulec.backend.modules import Graph, arguments, executable
from rulec.ir.graph import Program
from rulec.network.graph import Network
from rulec.runtime.arguments import check_entries, input_of, target_of
from rulec.runtime.graphs import Graphs, kept
from rulec.runtime.initial import drawn_genome, drawn_state
from rulec.runtime.losses import mean_loss
from rulec.runtime.unroll import data_axes, judged, narrowed, unroll
from rulec.runtime.unrolls.alike import Once, stored_once
from rulec.runtime.unrolls.choice import Choice, chosen_backend
from rulec.runtime.unrolls.engine import Data, Engine, Form, Memory, engine_for
from rulec.runtime.unrolls.kernel import Kernel, kernel_for
from rulec.runtime.unrolls.onchip import OnChip, Turning, on_chip, unroll_on_chip
from rulec.runtime.unrolls.tangents import tangent_engine, unroll_with_tangents
from rulec.runtime.unrolls.ways import on_chip_or
from rulec.semantics.typed import Domain

Genome = dict[str, Tensor]
State = dict[str, Tensor]
Kind = Literal["step", "prediction", "loss"]
Batches = Sequence[Tensor] | Tensor
Axes = tuple[int | None, int | None, int | None]  # population, tasks, replicas


class Output(NamedTuple):
    """`prediction` (leading..., batch, outputs) and the mean `loss` (leading...)."""

    prediction: Tensor
    loss: Tensor


@dataclass(frozen=True)
class EntrySpec:
    """A genome entry: its shape without the population axis, and its domain."""

    name: str
    shape: tuple[int, ...]
    domain: Domain
    per_layer: bool


@dataclass(frozen=True)
class CompiledRule:
    """One training step of a rule on a network.

    `step(genome, state, x, y)` returns the next state and an `Output`, and changes nothing. Leading axes, in this order and
    only where asked for: population (own genome), task, replica (own synapses). The state is a dictionary of tensors: `w.c1`
    is state `w` on connection `c1`, declared indices first; `t` counts steps and `seed` is the key of the noise.
    """

    program: Program  # as built: what the interpreter runs
    optimised: Program
    network: Network
    loss: str
    population: int | None
    tasks: int | None
    replicas: int | None
    device: torch.device
    dtype: torch.dtype
    backend: str
    precision: str
    rule_hash: str
    source_text: str = field(repr=False, default="")
    among: tuple[int, int] | None = None  # (first, all): these tasks are those from `first` on among so many

    # --- What goes in and out ---

    @cached_property
    def leading(self) -> dict[str, int]:
        named = {"P": self.population, "T": self.tasks, "R": self.replicas}
        return {label: size for label, size in named.items() if size is not None}

    @cached_property
    def lead_shape(self) -> tuple[int, ...]:
        return tuple(self.leading.values())

    def resized(self, *, population: int | None, tasks: int | None, replicas: int | None) -> CompiledRule:
        """Return the rule compiled for other leading axes; asked for again, the same one, with the graphs that it has made."""
        return self._related((population, tasks, replicas), self.among if tasks == self.tasks else None)

    @property
    def one(self) -> CompiledRule:
        """The rule compiled for a single network: what a kernel is generated from, whatever the leading axes."""
        return self.resized(population=None, tasks=None, replicas=None)

    def some_tasks(self, first: int, last: int) -> CompiledRule:
        """Return the rule compiled for a part of its tasks: those get the synapses and the noise that they have in the whole.

        Parts of one size run on the same graphs.
        """
        begin, whole = self.among or (0, self.tasks or 1)
        return self._related((self.population, last - first, self.replicas), (begin + first, whole))

    def _related(self, axes: Axes, among: tuple[int, int] | None) -> CompiledRule:
        if (axes, among) not in self._relatives:
            population, tasks, replicas = axes
            other = replace(self, population=population, tasks=tasks, replicas=replicas, among=among)
            graphs = self.graphs.resized() if among is None else self._related(axes, None).graphs
            vars(other).update(_relatives=self._relatives, graphs=graphs)
            self._relatives[axes, among] = other
        return self._relatives[axes, among]

    @cached_property
    def _relatives(self) -> dict[tuple[Axes, tuple[int, int] | None], CompiledRule]:
        """The same rule for other leading axes, and for other tasks of a whole."""
        return {((self.population, self.tasks, self.replicas), self.among): self}

    @property
    def drawn_axes(self) -> tuple[int, ...]:
        """The axes along which chance differs: tasks, those of the whole where these are a part, and replicas."""
        sizes = self.leading | ({"T": self.among[1]} if self.among else {})
        return tuple(size for label, size in sizes.items() if label != "P")

    def own_tasks(self, drawn: Tensor) -> Tensor:
        """Keep the own tasks of what was drawn for all."""
        return drawn if self.among is None else drawn.narrow(0, self.among[0], self.tasks or 1)

    @cached_property
    def genome_layout(self) -> list[Slot]:
        return genome_slots(self.program, self.network)

    @cached_property
    def state_layout(self) -> list[Slot]:
        return state_slots(self.program, self.network)

    @cached_property
    def genome_spec(self) -> dict[str, EntrySpec]:
        """Names, shapes (without the population axis) and domains of the genome's entries."""
        entries = {e.name: e for e in self.program.genome}
        nets = {n.name: n for n in self.program.nets}
        spec: dict[str, EntrySpec] = {}
        for slot in self.genome_layout:
            entry, net = entries.get(slot.name), nets.get(slot.name.split(".")[0])
            per_layer = entry.per_layer if entry is not None else bool(net and net.per_layer)
            spec[slot.name] = EntrySpec(
                slot.name, slot.shape, entry.domain if entry is not None else Domain(), per_layer
            )
        return spec

    def init_genome(self, seed: int = 0) -> Genome:
        """Draw a genome from the declared initial values; members of a population differ where these are random."""
        return drawn_genome(self, seed)

    def init_state(self, seed: int = 0, batch: int | None = None, given: Collection[str] = ()) -> State:
        """Draw synapses; tasks and replicas differ, while every genome of a population starts from the same ones.

        States that are `given`, as others will take their places, are zeros where no other one needs their numbers.
        Raises `RuleError` if the rule keeps neuron states and `batch` is not given.
        """
        return drawn_state(self, seed, batch, given)

    def from_module(self, module: nn.Module, state: State | None = None) -> State:
        """Return a state with the module's weights; the rest is that of `state`, or initial. Raises `RuleError`."""
        from rulec.runtime.modules import state_from_module

        return state_from_module(self, module, self.init_state() if state is None else state)

    def to_module(self, state: State, module: nn.Module) -> nn.Module:
        """Write the weights of a state into the module, in place, and return it. Raises `RuleError`."""
        from rulec.runtime.modules import module_from_state

        return module_from_state(self, state, module)

    # --- Graphs ---

    @property
    def lowered(self) -> Lowered:
        return self.lowered_for("step", tuple(self.leading))

    @property
    def lowered_prediction(self) -> Lowered:
        return self.lowered_for("prediction", tuple(self.leading))

    def lowered_for(self, kind: Kind, axes: tuple[str, ...]) -> Lowered:
        """Return the graph for data that have these of the leading axes."""
        lower = lower_prediction if kind == "prediction" else lower_step
        given = (self.optimised, self.network, self.loss, self.leading, self.dtype, axes)
        return kept(self.graphs.lowered, (kind, axes), lambda: lower(*given))

    @cached_property
    def graphs(self) -> Graphs:
        """What was made so far."""
        return Graphs()

    def backend_for(self, batch: int) -> str:
        """Return the backend of unrolls over batches of so many samples; with `triton`, of those that it cannot do."""
        if self.backend == "triton":
            return "inductor" if self.device.type == "cuda" else "fx"
        return self.choice(batch).backend if self.backend == "auto" else self.backend

    def choice(self, batch: int) -> Choice:
        """Return the backend that `auto` means for batches of so many samples, and why."""
        return kept(self.graphs.choices, batch, lambda: chosen_backend(self, batch))

    def kernel(self, form: Form, data: Sequence[Tensor], query: Sequence[Tensor]) -> Kernel:
        """Return the generated kernel of an unroll, whatever the sizes of leading axes: see `rulec.runtime.unrolls.kernel`.

        Raises `RuleError` where there can be none.
        """
        key = (form, *(d.shape[len(form.axes) :] for d in (*data, *query)))
        return kept(self.graphs.kernels, key, lambda: kernel_for(self, form, data, query))

    def chip(
        self, axes: tuple[str, ...], unread: bool, data: Data, predicts: bool, turning: Turning | None = None
    ) -> OnChip:
        """Return the Triton kernel of an unroll: see `rulec.runtime.unrolls.onchip`. Raises `RuleError` where there can be none."""
        key = (axes, unread, predicts, turning, *(d.shape for pair in (data[0], data[-1]) for d in pair))
        return kept(self.graphs.chips, key, lambda: on_chip(self, axes, unread, data, predicts, turning))

    def engine(self, form: Form, data: Sequence[Tensor], query: Sequence[Tensor]) -> Engine:
        """Return the graphs of an unroll, compiled once for each form of the data: see `rulec.runtime.unroll`."""
        key = (form, *((d.shape, d.stride()) for d in (*data, *query)))
        return kept(self.graphs.engines, key, lambda: engine_for(self, form, data, query))

    # --- Running ---

    def __call__(self, genome: Genome, state: State, x: Tensor, y: Tensor) -> tuple[State, Output]:
        """Learn from one batch.

        `x` has shape (batch, *input) or (leading..., batch, *input); `y` is (..., batch, outputs), or class numbers
        (..., batch). Raises `RuleError` where names or shapes do not fit.
        """
        t = state["t"] + 1
        results = self._run("step", genome, state, input_of(self, x), target_of(self, y), t)
        new = dict(zip(self.lowered.outputs[:-2], results[:-2], strict=True))
        new["t"], new["seed"] = t, state["seed"]
        return new, Output(results[-2], results[-1])

    def predict(self, genome: Genome, state: State, x: Tensor) -> Tensor:
        """Return the prediction (leading..., batch, outputs) without learning. Raises `RuleError` if it needs the target."""
        x = input_of(self, x)
        return self._run("prediction", genome, state, x, self.unknown_target(x), state["t"] + 1)[0]

    def loss_on(self, genome: Genome, state: State, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean loss of the prediction, (leading...), without learning; weighted, where the inner problem weights it."""
        t = state["t"] + 1
        return self._run("loss", genome, state, input_of(self, x), target_of(self, y), t)[0]

    def unroll(
        self, genome: Genome, state: State, x: Batches, y: Batches, *, memory: Memory = None, unread: bool = True
    ) -> State:
        """Learn from one batch after another: `x` and `y` have a first axis of steps. Return the state after all of them.

        The value is that of calling the rule in a loop; its gradient with respect to genome and state costs less, since the
        reverse pass is compiled too. `memory` bounds the bytes that are kept for that pass, and steps are made again where
        it is short; `"least"` keeps about twice the square root of the number of steps in states. Without `unread`, states that
        no prediction ever reads are left out. The result cannot be differentiated twice.
        """
        data = self._batches(x, y)
        if not data:
            return dict(state)
        names = self.carried(unread)
        final = unroll(self, genome, state, data, None, unread=unread, memory=memory)
        return {**dict(zip(names, final, strict=True)), "t": state["t"] + len(data), "seed": state["seed"]}

    def lesson(
        self,
        genome: Genome,
        state: State,
        x: Batches,
        y: Batches,
        query: Tensor,
        *,
        memory: Memory = None,
        straight: bool = False,
    ) -> Tensor:
        """Learn as `unroll` does, then predict on `query` (..., batch, *input): (leading..., batch, outputs).

        With `straight`, the gradient takes the Jacobian of each step's state to be the identity: the first-order
        approximation. Finn et al. 2017, section 5.2.
        """
        data = self._batches(x, y)
        if not data:
            return self.predict(genome, state, query)
        return unroll(self, genome, state, data, input_of(self, query), unread=False, straight=straight, memory=memory)[
            0
        ]

    def judged_lesson(
        self,
        genome: Genome,
        state: State,
        x: Batches,
        y: Batches,
        query: Tensor,
        answers: Tensor,
        loss: str,
        *,
        memory: Memory = None,
        straight: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Learn as `lesson` does, and judge the predictions: return the mean `loss` of each member, (members,), and the predictions.

        Only the loss can be differentiated; a generated kernel does so one network after the other, and keeps nothing of those that
        are done. States may have size one along tasks and replicas, where all begin alike.
        """
        data = self._batches(x, y)
        pair = input_of(self, query), target_of(self, answers)
        found = data and judged(self, genome, state, data, pair, loss, straight=straight, memory=memory)
        if found:
            return found[0], found[1]
        prediction = self.lesson(genome, self.widened(state), x, y, query, memory=memory, straight=straight)
        members = self.population or 1
        return mean_loss(loss, prediction, pair[1]).reshape(members, -1).mean(1), prediction.detach()

    def widened(self, state: Mapping[str, Tensor]) -> State:
        """Return states in full size: those of size one along tasks and replicas are the same for all."""
        count = len(self.lead_shape)
        return {n: v.expand(*self.lead_shape, *v.shape[count:]) if v.ndim else v for n, v in state.items()}

    def lesson_tangents(
        self, genome: Genome, state: State, tangents: Mapping[str, Tensor], x: Batches, y: Batches, query: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what `lesson` does, and its derivatives along directions of genome entries and initial states.

        `tangents` holds (directions, *shape) for each entry or state that moves; the result is (directions, leading..., batch, outputs).
        Forward mode: memory does not depend on the number of steps.
        """
        asked = input_of(self, query)
        pairs = [*self._batches(x, y), (asked, self.unknown_target(asked))]
        axes = data_axes(self, pairs)
        pairs = [(narrowed(self, a, axes).contiguous(), narrowed(self, b, axes).contiguous()) for a, b in pairs]
        moving = tuple(name for name in tangents if name in self.genome_spec)
        directions = next(iter(tangents.values())).shape[0]
        key = ("tangents", axes, moving, directions, *(tuple(v.shape) for v in (*pairs[0], *pairs[-1])))

        def graphs() -> tuple[Tensor, Tensor]:
            engine = kept(self.graphs.tangents, key, lambda: tangent_engine(self, axes, moving, directions, pairs))
            return unroll_with_tangents(self, engine, genome, state, tangents, pairs[:-1], pairs[-1])

        def chip() -> tuple[Tensor, Tensor]:
            made = self.chip(axes, False, pairs, True, Turning(moving, directions))
            prediction, turned = unroll_on_chip(self, made, axes, genome, state, pairs[:-1], pairs[-1], tangents)
            return prediction, turned

        return on_chip_or(self, (*key, len(pairs)), chip, graphs)

    def carried(self, unread: bool) -> tuple[str, ...]:
        """Return the states that steps hand on; without `unread`, only those that a prediction may depend on."""

        def names() -> tuple[str, ...]:
            like = self.one if self.backend in ("kernel", "triton") else self  # what is lowered for other reasons, too
            return like.lowered.outputs[:-2] if unread else carried_states(like.lowered, like.lowered_prediction)

        return kept(self.graphs.carried, unread, names)

    def once(self, unread: bool) -> Once | None:
        """Return the rule with states stored once that may be equal, for unrolls that find them so."""
        return kept(self._once, unread, lambda: stored_once(self, unread))

    @cached_property
    def _once(self) -> dict[bool, Once | None]:
        return {}

    def _batches(self, x: Batches, y: Batches) -> list[tuple[Tensor, Tensor]]:
        return [(input_of(self, a), target_of(self, b)) for a, b in zip(x, y, strict=True)]

    def unknown_target(self, x: Tensor) -> Tensor:
        """Return targets for predictions, which do not read them."""
        return x.new_zeros(self.network.output.shape[0]).expand(*x.shape[: len(self.lead_shape) + 1], -1)

    def _run(self, kind: Kind, genome: Genome, state: State, x: Tensor, y: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        axes = data_axes(self, [(x, y)])

        def call() -> tuple[Lowered, Graph]:
            lowered = self.lowered_for(kind, axes)
            lowered = restricted(lowered, ("loss",) if kind == "loss" else lowered.outputs)
            return lowered, executable(lowered, self.backend, kind.capitalize())

        lowered, graph = kept(self.graphs.calls, (kind, axes), call)
        check_entries(self, lowered, genome, state)
        noise = self.noise_of(lowered, int(state["seed"]), int(t), x.shape[len(self.lead_shape)])
        x, y = narrowed(self, x, axes), narrowed(self, y, axes)
        return graph(*arguments(lowered, genome, state, x, y, t.to(self.dtype), noise))

    def noise_of(self, lowered: Lowered, seed: int, t: int, batch: int) -> list[Tensor]:
        """Draw the step's noise from (seed, t): tasks and replicas differ, genomes of a population share it."""
        if not lowered.noise:
            return []
        generator = torch.Generator().manual_seed(seed * 1_000_003 + t)
        lead = self.drawn_axes
        drawn: list[Tensor] = []
        for site in lowered.noise:
            shape = (*lead, *(batch if size == -1 else size for size in site.shape))
            value = torch.randn(shape, generator=generator, dtype=torch.float64)
            value = self.own_tasks(value).to(self.device, self.dtype)
            drawn.append(value if self.population is None else value.expand(self.population, *value.shape))
        return drawn
