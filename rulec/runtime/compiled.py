"""A rule compiled for a network: pure functions from genome, state and data to the next state."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rulec.backend.layout import Slot, genome_slots, state_slots
from rulec.backend.lowering import Lowered, lower_prediction, lower_step
from rulec.backend.modules import Graph, arguments, executable
from rulec.ir.graph import Program
from rulec.network.graph import Network
from rulec.runtime import messages
from rulec.runtime.initial import Draw, default_weight, net_weight
from rulec.semantics.typed import Domain
from rulec.source import RuleError

Genome = dict[str, Tensor]
State = dict[str, Tensor]


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
    rule_hash: str
    source_text: str = field(repr=False, default="")

    # --- What goes in and out ---

    @property
    def leading(self) -> dict[str, int]:
        named = {"P": self.population, "T": self.tasks, "R": self.replicas}
        return {label: size for label, size in named.items() if size is not None}

    @property
    def lead_shape(self) -> tuple[int, ...]:
        return tuple(self.leading.values())

    @cached_property
    def _genome_slots(self) -> list[Slot]:
        return genome_slots(self.program, self.network)

    @cached_property
    def _state_slots(self) -> list[Slot]:
        return state_slots(self.program, self.network)

    @cached_property
    def genome_spec(self) -> dict[str, EntrySpec]:
        """Names, shapes (without the population axis) and domains of the genome's entries."""
        entries = {e.name: e for e in self.program.genome}
        nets = {n.name: n for n in self.program.nets}
        spec: dict[str, EntrySpec] = {}
        for slot in self._genome_slots:
            entry, net = entries.get(slot.name), nets.get(slot.name.split(".")[0])
            per_layer = entry.per_layer if entry is not None else bool(net and net.per_layer)
            spec[slot.name] = EntrySpec(
                slot.name, slot.shape, entry.domain if entry is not None else Domain(), per_layer
            )
        return spec

    def init_genome(self, seed: int = 0) -> Genome:
        """Draw a genome from the declared initial values; members of a population differ where these are random."""
        generator = torch.Generator().manual_seed(seed)
        lead = (self.population,) if self.population is not None else ()
        entries = {e.name: e for e in self.program.genome}
        genome: Genome = {}
        for slot in self._genome_slots:
            shape = (*lead, *slot.shape)
            if slot.name in entries:
                drawn = Draw(generator, shape, self.network, slot, {}).evaluate(entries[slot.name].initial)
            else:
                drawn = net_weight(generator, shape, slot)
            genome[slot.name] = drawn.to(self.device, self.dtype)
        return genome

    def init_state(self, seed: int = 0, batch: int | None = None) -> State:
        """Draw synapses; tasks and replicas differ, while every genome of a population starts from the same ones.

        Raises `RuleError` if the rule keeps neuron states and `batch` is not given.
        """
        generator = torch.Generator().manual_seed(seed)
        lead = tuple(size for label, size in self.leading.items() if label != "P")
        samples = self._check_batch(batch)
        state: State = {}
        for slot in self._state_slots:
            shape = (*lead, *(samples if size == -1 else size for size in slot.shape))
            if slot.state is None:
                drawn = default_weight(generator, shape, slot)
            else:
                drawn = Draw(generator, shape, self.network, slot, state).evaluate(slot.state.initial)
            state[slot.name] = drawn
        state = {name: self._with_population(value).to(self.device, self.dtype) for name, value in state.items()}
        state["t"] = torch.zeros((), dtype=torch.int64, device=self.device)
        state["seed"] = torch.tensor(seed, dtype=torch.int64, device=self.device)
        return state

    def from_module(self, module: nn.Module, state: State | None = None) -> State:
        """Return a state with the module's weights; the rest is that of `state`, or initial. Raises `RuleError`."""
        from rulec.runtime.modules import state_from_module

        return state_from_module(self, module, self.init_state() if state is None else state)

    def to_module(self, state: State, module: nn.Module) -> nn.Module:
        """Write the weights of a state into the module, in place, and return it. Raises `RuleError`."""
        from rulec.runtime.modules import module_from_state

        return module_from_state(self, state, module)

    def _check_batch(self, batch: int | None) -> int:
        kept = [s.name for s in self.program.states if s.kind == "neuron" and s.keep]
        if kept and batch is None:
            raise RuleError([messages.needs_batch(kept)])
        return batch or 1

    def _with_population(self, value: Tensor) -> Tensor:
        return value if self.population is None else value.expand(self.population, *value.shape).clone()

    # --- Graphs ---

    @cached_property
    def lowered(self) -> Lowered:
        return lower_step(self.optimised, self.network, self.loss, self.leading, self.dtype)

    @cached_property
    def lowered_prediction(self) -> Lowered:
        return lower_prediction(self.optimised, self.network, self.loss, self.leading, self.dtype)

    @cached_property
    def _step_graph(self) -> Graph:
        return executable(self.lowered, self.backend, "Step")

    @cached_property
    def _prediction_graph(self) -> Graph:
        return executable(self.lowered_prediction, self.backend, "Prediction")

    # --- Running ---

    def __call__(self, genome: Genome, state: State, x: Tensor, y: Tensor) -> tuple[State, Output]:
        """Learn from one batch.

        `x` has shape (batch, *input) or (leading..., batch, *input); `y` is (..., batch, outputs), or class numbers
        (..., batch). Raises `RuleError` where names or shapes do not fit.
        """
        x, y = self._input(x), self._target(y)
        t = state["t"] + 1
        noise = self._noise(self.lowered, state, t, x.shape[len(self.lead_shape)])
        results = self._step_graph(*self._arguments(self.lowered, genome, state, x, y, t, noise))
        new = dict(zip(self.lowered.outputs[:-2], results[:-2], strict=True))
        new["t"], new["seed"] = t, state["seed"]
        return new, Output(results[-2], results[-1])

    def predict(self, genome: Genome, state: State, x: Tensor) -> Tensor:
        """Return the prediction (leading..., batch, outputs) without learning. Raises `RuleError` if it needs the target."""
        x = self._input(x)
        batch = x.shape[len(self.lead_shape)]
        y = x.new_zeros((*self.lead_shape, batch, self.network.output.shape[0]))
        t = state["t"] + 1
        noise = self._noise(self.lowered_prediction, state, t, batch)
        return self._prediction_graph(*self._arguments(self.lowered_prediction, genome, state, x, y, t, noise))[0]

    def _arguments(
        self, lowered: Lowered, genome: Genome, state: State, x: Tensor, y: Tensor, t: Tensor, noise: list[Tensor]
    ) -> list[Tensor]:
        lead = (self.population,) if self.population is not None else ()
        for slot in lowered.genome:
            _check_entry("genome", slot, genome, lead)
        for slot in lowered.state:
            _check_entry("state", slot, state, self.lead_shape)
        return arguments(lowered, genome, state, x, y, t.to(self.dtype), noise)

    def _input(self, x: Tensor) -> Tensor:
        own = self.network.input.shape
        count = 1
        for size in own:
            count *= size
        x = torch.as_tensor(x).to(self.device, self.dtype)
        for shape in (own, (count,)):
            lead = x.shape[: x.ndim - len(shape)]
            if tuple(x.shape[x.ndim - len(shape) :]) == shape and len(lead) in (1, len(self.lead_shape) + 1):
                x = x.reshape(*lead, *own)
                return self._expanded(x, len(own), "x")
        raise RuleError([messages.wrong_shape("x", x.shape, (*self.leading, "batch", *own))])

    def _target(self, y: Tensor) -> Tensor:
        outputs = self.network.output.shape[0]
        y = torch.as_tensor(y).to(self.device)
        if not y.is_floating_point() and (y.ndim in (1, len(self.lead_shape) + 1)) and y.shape[-1:] != (outputs,):
            y = torch.nn.functional.one_hot(y.long(), outputs)
        y = y.to(self.dtype)
        if y.shape[-1:] != (outputs,):
            raise RuleError([messages.wrong_shape("y", y.shape, (*self.leading, "batch", outputs))])
        return self._expanded(y, 1, "y")

    def _expanded(self, data: Tensor, trailing: int, name: str) -> Tensor:
        lead = self.lead_shape
        if data.ndim == trailing + 1:
            return data.expand(*lead, *data.shape)
        given = tuple(data.shape[: len(lead)])
        if data.ndim != len(lead) + trailing + 1 or any(
            g not in (1, size) for g, size in zip(given, lead, strict=True)
        ):
            raise RuleError(
                [messages.wrong_shape(name, data.shape, (*lead, "batch", *data.shape[len(data.shape) - trailing :]))]
            )
        return data.expand(*lead, *data.shape[len(lead) :])

    def _noise(self, lowered: Lowered, state: State, t: Tensor, batch: int) -> list[Tensor]:
        """Draw the step's noise from (seed, t): tasks and replicas differ, genomes of a population share it."""
        if not lowered.noise:
            return []
        generator = torch.Generator().manual_seed(int(state["seed"]) * 1_000_003 + int(t))
        lead = tuple(size for label, size in self.leading.items() if label != "P")
        drawn: list[Tensor] = []
        for site in lowered.noise:
            shape = (*lead, *(batch if size == -1 else size for size in site.shape))
            value = torch.randn(shape, generator=generator, dtype=torch.float64).to(self.device, self.dtype)
            drawn.append(value if self.population is None else value.expand(self.population, *shape))
        return drawn


def _check_entry(kind: str, slot: Slot, given: dict[str, Tensor], lead: tuple[int, ...]) -> None:
    value = given.get(slot.name)
    if value is None:
        raise RuleError([messages.missing_entry(kind, slot.name, list(given))])
    expected = (*lead, *slot.shape)
    if len(value.shape) != len(expected) or any(e not in (-1, s) for s, e in zip(value.shape, expected, strict=True)):
        raise RuleError([messages.wrong_shape(slot.name, value.shape, ["batch" if e == -1 else e for e in expected])])
