"""What a step is proved or tried on: a symbol for everything, or random numbers that a rule can reach."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rulec.ir.graph import Program
from rulec.ir.initial import initial_array
from rulec.network.graph import Network
from rulec.semantics import typed as t
from rulec.symbolic.fields import Exact, Field, Number, Numbers
from rulec.symbolic.step import Inputs, State, Step

BATCH = 2
PARAMETERS = {"p": (2,)}  # what a rule on parameters is tried on; it treats all alike


def genome_shapes(program: Program, network: Network) -> dict[str, tuple[int, ...]]:
    """Return the shape of every genome entry and of the weights of every net."""
    shapes: dict[str, tuple[int, ...]] = {}
    lead = (len(network.connections),)
    for entry in program.genome:
        own = tuple(_extent(e, network) for e in entry.shape)
        shapes[entry.name] = (*lead, *own) if entry.per_layer else own
    for net in program.nets:
        for k, (a, b) in enumerate(zip(net.sizes, net.sizes[1:], strict=False)):
            own = lead if net.per_layer else ()
            shapes[f"{net.name}.{k}.weight"], shapes[f"{net.name}.{k}.bias"] = (*own, a, b), (*own, b)
    return shapes


def state_shapes(program: Program, network: Network) -> dict[str, tuple[int, ...]]:
    """Return the shape of everything that survives from step to step."""
    shapes: dict[str, tuple[int, ...]] = {}
    if program.acts_on_parameters:
        names = ["w", *(s.name for s in program.states if s.kind == "synapse")]
        return {f"{name}.{p}": shape for name in names for p, shape in PARAMETERS.items()}
    for state in program.states:
        lead = tuple(_extent(e, network) for e in state.shape)
        if state.kind == "neuron" and state.keep:
            shapes |= {f"{state.name}.{layer.name}": (*lead, BATCH, *layer.shape) for layer in network.layers}
        elif state.kind == "synapse" and len(state.sides) == 2:
            for c in network.weighted:
                shapes[f"{state.name}.{c.name}"] = (*lead, *c.input_shape, *network.layer(c.target).shape)
        elif state.kind == "synapse":
            targets = dict.fromkeys(c.target for c in network.weighted)
            shapes |= {f"{state.name}.{name}": (*lead, *network.layer(name).shape) for name in targets}
    return shapes


def _extent(extent: int | str, network: Network) -> int:
    return extent if isinstance(extent, int) else network.output.shape[0]


# --- Symbols ---------------------------------------------------------------------------------


def symbols(exact: Exact, name: str, shape: tuple[int, ...], positive: bool = False) -> Numbers:
    """Return an array of symbols, `name` or `name[0,1]`."""
    found = np.empty(shape, object)
    for place in np.ndindex(shape):
        shown = f"{name}[{','.join(map(str, place))}]" if place else name
        found[place] = exact.algebra.symbol(shown, positive)
    return found


Given = Mapping[str, np.ndarray]  # genome entries that have numbers; the rest is arbitrary


def declared_genome(program: Program) -> dict[str, np.ndarray]:
    """Return the genome entries to which the rule, or a named genome, gives numbers."""
    return {
        entry.name: initial_array(entry.initial, [e for e in entry.shape if isinstance(e, int)])
        for entry in program.genome
        if not is_sampled(entry.initial) and all(isinstance(e, int) for e in entry.shape)
    }


def symbolic_inputs(exact: Exact, program: Program, network: Network, given: Given | None = None) -> Inputs:
    """Return a symbol for every number of the genome, the state and the data; domains become assumptions."""
    domains = {e.name: e.domain for e in program.genome}
    given = given or {}
    genome = {
        name: number_array(exact, np.broadcast_to(given[name], shape))
        if name in given
        else symbols(exact, name, shape, is_positive(domains.get(name)))
        for name, shape in genome_shapes(program, network).items()
    }
    state = {name: symbols(exact, name, shape) for name, shape in state_shapes(program, network).items()}
    return Inputs(
        genome,
        state,
        symbols(exact, "x", (BATCH, network.input.shape[0])),
        symbols(exact, "y", (BATCH, network.output.shape[0])),
        exact.algebra.symbol("t", positive=True),
        lambda name, shape: symbols(exact, name, shape),
        {name: symbols(exact, f"g.{name}", shape) for name, shape in PARAMETERS.items()},
    )


def is_positive(domain: t.Domain | None) -> bool:
    return domain is not None and (
        domain.name in ("positive", "unit") or (domain.name == "interval" and (domain.low or 0.0) > 0)
    )


# --- Random numbers --------------------------------------------------------------------------


def random_inputs(
    over: Field,
    program: Program,
    network: Network,
    rng: np.random.Generator,
    steps: int = 0,
    given: Given | None = None,
) -> Inputs:
    """Return short random numbers: a genome within its domains, and a state that `steps` steps of the rule lead to."""
    genome = {}
    entries = {e.name: e for e in program.genome}
    given = given or {}
    for name, shape in genome_shapes(program, network).items():
        drawn = draw(rng, shape, entries[name].domain if name in entries else t.Domain())
        genome[name] = np.broadcast_to(given[name], shape).astype(object) if name in given else drawn
    state: State = {}
    declared = {s.name: s for s in program.states}
    for name, shape in state_shapes(program, network).items():
        state[name] = _start(rng, declared.get(name.split(".")[0]), shape)
    inputs = _with_data(Inputs(genome, state, *_data(rng, network), 1.0, lambda *_: np.zeros(0)), rng, network)
    for time in range(1, steps + 1):
        after = Step(over, program, network, "mse", inputs).state
        inputs = _with_data(Inputs(genome, after, inputs.x, inputs.y, time + 1.0, inputs.noise), rng, network)
    return inputs


def _data(rng: np.random.Generator, network: Network) -> tuple[Numbers, Numbers]:
    classes = rng.integers(0, network.output.shape[0], BATCH)
    y = np.eye(max(network.output.shape[0], 2))[classes][:, : network.output.shape[0]]
    return draw(rng, (BATCH, *network.input.shape)), y.astype(object)


def _with_data(inputs: Inputs, rng: np.random.Generator, network: Network) -> Inputs:
    """Return the inputs with data, gradients and noise of their own."""
    known: dict[str, Numbers] = {}

    def noise(name: str, shape: tuple[int, ...]) -> Numbers:
        if name not in known:
            known[name] = draw(rng, shape)
        return known[name]

    gradient = {name: draw(rng, shape) for name, shape in PARAMETERS.items()}
    return Inputs(inputs.genome, inputs.state, *_data(rng, network), inputs.time, noise, gradient)


def _start(rng: np.random.Generator, state: t.State | None, shape: tuple[int, ...]) -> Numbers:
    """Draw what starts at random, or has no start of its own; the rest starts where the rule says."""
    if state is None or is_sampled(state.initial):
        return draw(rng, shape)
    lead = initial_array(state.initial, shape[: len(state.shape)])
    return np.broadcast_to(lead.reshape(*lead.shape, *[1] * (len(shape) - lead.ndim)), shape).astype(object)


def is_sampled(value: t.Expr) -> bool:
    """Whether an initial value is drawn at random, or depends on the connection's size."""
    if isinstance(value, (t.Sample, t.SizeRef)):
        return True
    return isinstance(value, t.Apply) and any(is_sampled(a) for a in value.arguments)


def draw(rng: np.random.Generator, shape: tuple[int, ...], domain: t.Domain | None = None) -> Numbers:
    """Draw multiples of one eighth from -2 to 2 without zero, or within the domain."""
    kind = domain.name if domain else "real"
    eighths = rng.integers(1, 17, shape) * rng.choice([-1, 1], shape)
    if kind == "positive":
        eighths = np.abs(eighths)
    elif kind == "unit":
        eighths = rng.integers(1, 8, shape)
    elif kind == "interval" and domain is not None and domain.low is not None and domain.high is not None:
        return np.asarray(domain.low + (domain.high - domain.low) * rng.integers(1, 8, shape) / 8).astype(object)
    return np.asarray(eighths / 8).astype(object)


def number_array(over: Field, values: np.ndarray) -> Numbers:
    flat: list[Number] = [over.number(v) for v in np.asarray(values, float).reshape(-1)]
    return np.array(flat, object).reshape(np.shape(values))
