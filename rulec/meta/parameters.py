"""The meta-parameters: which numbers an outer step changes, and how they become a genome and initial states.

They are searched in free space, where every real number is allowed: see `rulec.runtime.domains`. Every tensor here has a
first axis of members, one member per genome.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from rulec.ir.inner_problem import copies_of
from rulec.meta import messages
from rulec.network.graph import Connection, Network
from rulec.runtime.compiled import CompiledRule, Genome, State
from rulec.runtime.domains import from_free, to_free
from rulec.semantics.typed import Domain, Learned, Outer, Within
from rulec.source import RuleError

Free = dict[str, Tensor]  # unconstrained meta-parameters: genome entries, and initial states as "init(w.c1)"


@dataclass(frozen=True)
class Parameters:
    """The genome entries that are learned, with their domains, and the states whose initial values are learned."""

    entries: dict[str, Domain]
    initial: tuple[str, ...]

    def free(self, genome: Genome, initial: State) -> Free:
        """Map a genome and initial states (members, ...) to free space."""
        free = {name: to_free(genome[name], domain) for name, domain in self.entries.items()}
        return free | {f"init({name})": initial[name] for name in self.initial}

    def genome(self, free: Free, fixed: Genome) -> Genome:
        """Return the whole genome: learned entries from free space, the others as they are fixed."""
        return {**fixed, **{name: from_free(free[name], domain) for name, domain in self.entries.items()}}

    def values(self, free: Free) -> Free:
        """Return what is learned, in its own domains."""
        return self.genome(free, {}) | {f"init({name})": value for name, value in self.initial_state(free).items()}

    def initial_state(self, free: Free) -> State:
        return {name: free[f"init({name})"] for name in self.initial}


def parameters_of(outer: Outer, step: CompiledRule) -> Parameters:
    """Read the `meta` clause for a compiled rule. Raises `RuleError` for what the rule or the network does not have."""
    entries: dict[str, Domain] = {}
    initial: list[str] = []
    for item in outer.meta:
        if item.name == "init":
            initial += _states(item, step)
        else:
            entries |= {name: step.genome_spec[name].domain for name in _entries(item, step)}
    if not entries and not initial:
        raise RuleError([messages.nothing_to_learn(outer.span, step.program.name)])
    return Parameters(entries, tuple(dict.fromkeys(initial)))


def _entries(item: Learned, step: CompiledRule) -> list[str]:
    if item.name == "genome":
        return list(step.genome_spec)
    wanted = item.name.split(".", 1)[-1]
    found = [name for name in step.genome_spec if name == wanted or name.startswith(f"{wanted}.")]
    if not found:
        raise RuleError([messages.unknown_meta_entry(item.span, wanted, list(step.genome_spec))])
    return found


def _states(item: Learned, step: CompiledRule) -> list[str]:
    slots = [name for name in step.init_state(0, batch=1) if name not in ("t", "seed")]
    stems = list(dict.fromkeys(name.split(".", 1)[0] for name in slots))
    found: list[str] = []
    for wanted in item.arguments or ("w",):
        matching = [name for name in slots if name.split(".", 1)[0] == wanted]
        if not matching:
            raise RuleError([messages.unknown_initial(item.span, str(wanted), stems)])
        found += matching
    return found if item.within is None else _of_layers(found, item, item.within, step.network)


def _of_layers(names: list[str], item: Learned, within: Within, network: Network) -> list[str]:
    """Keep what belongs to some of the connections, or to the neurons that they lead to. Raises `RuleError` if nothing is left."""
    places = {name for c in connections_within(network, within) for name in (c.name, c.target)}
    kept = [name for name in names if name.split(".")[1] in places]
    if not kept:
        raise RuleError([messages.no_such_layers(item.span, network.spec, len(network.weighted))])
    return kept


def connections_within(network: Network, within: Within) -> list[Connection]:
    return [network.weighted[k] for k in within.places(len(network.weighted))]


def shared_initial(step: CompiledRule, names: tuple[str, ...], seed: int) -> State:
    """Draw initial states without task and replica axes: the first of those that `init_state` draws."""
    if not names:
        return {}
    state = step.init_state(seed, batch=1)
    axes = [label for label in step.leading if label != "P"]
    members = step.population or 1
    chosen: State = {}
    for name in names:
        value = state[name] if step.population is not None else state[name].unsqueeze(0)
        for _ in axes:
            value = value[:, 0]
        chosen[name] = value.reshape(members, *value.shape[1:]).clone()
    return chosen


def with_copies(step: CompiledRule, names: Collection[str]) -> dict[str, str]:
    """Return states and those that begin as copies of them, each with the one whose value it takes."""
    found: dict[str, str] = {}
    for name in names:
        stem, place = name.split(".", 1)
        found |= {f"{copy}.{place}": name for copy in copies_of(step.program, stem)}
    return found | {name: name for name in names}


def with_initial(step: CompiledRule, state: State, initial: State) -> State:
    """Put initial values (members, ...) in the place of drawn ones, the same for all tasks and replicas."""
    return step.widened(with_common(step, state, initial))


def with_common(step: CompiledRule, state: State, initial: State) -> State:
    """Put initial values (members, ...) in the place of drawn ones, of size one along tasks and replicas.

    States that begin as copies of others follow them.
    """
    for copy, name in with_copies(step, initial).items():
        if copy in state:
            initial = {copy: initial[name], **initial}
    count = len([label for label in step.leading if label != "P"])
    placed = dict(state)
    for name, value in initial.items():
        value = value if step.population is not None else value[0].unsqueeze(0)
        lead = value.shape[:1] if step.population is not None else ()
        own = value.shape[1:]
        placed[name] = value.reshape(*lead, *[1] * count, *own)
    return placed


def all_finite(tensors: Free) -> Tensor:
    """Say for each member whether all its numbers are finite: (members,)."""
    return torch.stack([value.isfinite().reshape(len(value), -1).all(1) for value in tensors.values()]).all(0)
