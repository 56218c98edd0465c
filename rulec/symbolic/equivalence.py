"""Prove that two rules do the same: same predictions, same changes of their synapses, for a first step and a second.

Both run on one network, in one algebra. States and genome entries of the two that are said to correspond start as the
same symbols; after a step they must be equal again. Proved for any start, that holds for every later step too, as far
as all states correspond; a state of one rule alone starts where its rule says.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from rulec.ir.graph import Program
from rulec.ir.initial import initial_array
from rulec.network.graph import Network
from rulec.semantics import typed as t
from rulec.symbolic import messages
from rulec.symbolic.fields import Exact, Field, Floats, Numbers
from rulec.symbolic.inputs import (
    BATCH,
    PARAMETERS,
    draw,
    genome_shapes,
    is_positive,
    is_sampled,
    number_array,
    state_shapes,
    symbols,
)
from rulec.symbolic.laws import SECONDS, Setting, generality, networks_for, settings_for
from rulec.symbolic.step import Inputs, State, Step
from rulec.symbolic.verdict import Claim, Trial, Verdict, claims_between, decide, prove_all

Fresh = Callable[[str, tuple[int, ...], t.Domain | None], Numbers]


@dataclass(frozen=True)
class Match:
    """`left[components] = sign * right[components]`: something of the first rule and what it is of the second, or a number."""

    left: str
    left_components: tuple[int, ...]
    right: str | float
    right_components: tuple[int, ...]
    sign: int


_SIDE = r"([A-Za-z_]\w*)(?:\[\s*(\d+(?:\s*,\s*\d+)*)\s*\])?"
_MATCH = re.compile(rf"\s*{_SIDE}\s*=\s*(-?)\s*(?:{_SIDE}|(\d+(?:\.\d*)?(?:e[+-]?\d+)?))\s*", re.ASCII)


def parse_matches(text: str) -> tuple[Match, ...]:
    """Read `a[0]=x,synapse_gain=-lr`. Raises `RuleError` for anything else."""
    found = []
    for piece in re.split(r",(?![^\[]*\])", text) if text.strip() else []:
        match = _MATCH.fullmatch(piece)
        if match is None:
            raise messages.malformed_match(piece.strip())
        left, left_components, sign, right, right_components, number = match.groups()
        target: str | float = float(number) if number is not None else right
        found.append(
            Match(left, _components(left_components), target, _components(right_components), -1 if sign else 1)
        )
    return tuple(found)


def _components(text: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",")) if text else ()


@dataclass(frozen=True)
class Equivalence:
    verdict: Verdict
    seconds: float


def prove_equal(
    first: Program,
    second: Program,
    matches: Sequence[Match] = (),
    *,
    at: Mapping[str, float] | None = None,
    networks: Sequence[Network] | None = None,
    seconds: float = 3 * SECONDS,
    seed: int = 0,
) -> Equivalence:
    """Prove, refute, or say `undecided`. `at`: numbers that entries of both genomes are set to.

    Entries of one name and shape in both rules are the same, whatever they are; others have the numbers their rule gives
    them, or any if it draws them. Synapse states of one name correspond, and those that `matches` names.
    Raises `RuleError` where the rules cannot be compared, or a match names what is not there.
    """
    if first.acts_on_parameters != second.acts_on_parameters:
        raise messages.not_comparable(first.name, second.name)
    pair = _Pair(first, second, tuple(matches), dict(at or {}))
    pair.check()
    start = time.perf_counter()
    verdict = decide(list(_proofs(pair, networks)), _trials(pair, networks, seed), seconds)
    return Equivalence(verdict, time.perf_counter() - start)


@dataclass(frozen=True)
class _Pair:
    """Two programs and what corresponds."""

    first: Program
    second: Program
    matches: tuple[Match, ...]
    at: dict[str, float]

    def check(self) -> None:
        """Raise `RuleError` for names and components that are not there."""
        for match in self.matches:
            _check_side(match.left, match.left_components, self.first)
            if isinstance(match.right, str):
                _check_side(match.right, match.right_components, self.second)
        entries = {e.name for p in (self.first, self.second) for e in p.genome}
        for name in self.at:
            if name not in entries:
                raise messages.unknown_match(name, f"{self.first.name} or {self.second.name}", entries)

    # --- Genomes ---

    def genomes(self, over: Field, network: Network, fresh: Fresh) -> tuple[dict[str, Numbers], dict[str, Numbers]]:
        shapes = [genome_shapes(p, network) for p in (self.first, self.second)]
        same = {name for name, shape in shapes[0].items() if shapes[1].get(name) == shape}
        free = same | {m.right for m in self.matches if isinstance(m.right, str)}
        second = {
            name: self._entry(self.second, name, shape, name in free, over, fresh) for name, shape in shapes[1].items()
        }
        first = {}
        for name, shape in shapes[0].items():
            value = second[name] if name in same else self._entry(self.first, name, shape, False, over, fresh)
            for match in self.matches:
                if match.left == name:
                    source = over.number(match.right) if isinstance(match.right, float) else second[match.right]
                    value = _put(value, match, source, trailing=len(shape))
            first[name] = value
        return first, second

    def _entry(
        self, program: Program, name: str, shape: tuple[int, ...], free: bool, over: Field, fresh: Fresh
    ) -> Numbers:
        entry = next((e for e in program.genome if e.name == name), None)
        if name in self.at:
            return number_array(over, np.full(shape, self.at[name]))
        if free or entry is None or is_sampled(entry.initial):
            return fresh(name if free else f"{program.name}.{name}", shape, entry.domain if entry else None)
        lead = initial_array(entry.initial, shape[1:] if entry.per_layer else shape)
        return number_array(over, np.broadcast_to(lead, shape))

    # --- States ---

    def corresponding(self, network: Network) -> dict[str, str]:
        """Return, for state entries of the first rule such as `w.c1`, those of the second that they start equal to."""
        shapes = [state_shapes(p, network) for p in (self.first, self.second)]
        names = {m.left: m.right for m in self.matches if isinstance(m.right, str)}
        found = {}
        for key in shapes[0]:
            name, place = key.split(".", 1)
            other = f"{names.get(name, name)}.{place}"
            if other in shapes[1]:
                found[key] = other
        return found

    def match_of(self, key: str) -> Match | None:
        """Return what was said of a state entry of the first rule, if anything was."""
        return next((m for m in self.matches if m.left == _state_of(key) and isinstance(m.right, str)), None)

    def seen_as(self, key: str, value: Numbers) -> Numbers:
        """Return a state of the second rule as the first one has it: a component, a sign; more components all get it."""
        match = self.match_of(key)
        if match is None:
            return value
        return match.sign * np.asarray(value[match.right_components], object)


def _check_side(name: str, components: tuple[int, ...], program: Program) -> None:
    """Raise `RuleError` unless the rule has what one side of a match names."""
    shapes: dict[str, tuple[int | str, ...]] = {"w": ()} if program.acts_on_parameters else {}
    shapes |= {entry.name: entry.shape for entry in program.genome}
    shapes |= {state.name: state.shape for state in program.states}
    if name not in shapes:
        raise messages.unknown_match(name, program.name, shapes)
    shape = shapes[name]
    fits = len(components) <= len(shape) and all(
        not isinstance(size, int) or number < size for number, size in zip(components, shape, strict=False)
    )
    if not fits:
        raise messages.unknown_component(name, components, program.name, shape)


def _put(value: Numbers, match: Match, source: Numbers, trailing: int) -> Numbers:
    """Return `value` with the matched components replaced."""
    source = np.asarray(source, object)
    if match.right_components:
        source = np.asarray(source[match.right_components], object)
    made = value.copy()
    if match.left_components:
        made[match.left_components] = match.sign * source[()]
        return made
    return np.broadcast_to(match.sign * source, value.shape).copy()


def _state_of(key: str) -> str:
    """Return the state of an entry such as `w.c1`."""
    return key.partition(".")[0]


def _component(step: Step, name: str, layer: str, components: tuple[int, ...]) -> Numbers:
    """Return a neuron state at the end of a step: (batch, neurons), or with its declared indices behind."""
    value = step.neurons[(name, layer)].spread(("n", "j", *step.program.state(name).indices))
    for component in components:
        value = np.asarray(value[:, :, component], object)
    return value


# --- Running both ----------------------------------------------------------------------------


@dataclass
class _Run:
    """Both rules, step after step, in one field. `arbitrary`: every step starts from any corresponding states."""

    pair: _Pair
    over: Field
    network: Network
    loss: str
    fresh: Fresh
    arbitrary: bool

    def __post_init__(self) -> None:
        self.genomes = self.pair.genomes(self.over, self.network, self.fresh)
        self.corresponding = self.pair.corresponding(self.network)
        self.shapes = [state_shapes(p, self.network) for p in (self.pair.first, self.pair.second)]
        alone = (set(self.shapes[0]) - set(self.corresponding), set(self.shapes[1]) - set(self.corresponding.values()))
        self.states: list[State] = [
            {key: self._start(program, key) for key in keys}
            for program, keys in zip((self.pair.first, self.pair.second), alone, strict=True)
        ]

    def _start(self, program: Program, key: str) -> Numbers:
        state = next((s for s in program.states if s.name == _state_of(key)), None)
        shape = self.shapes[0 if program is self.pair.first else 1][key]
        if state is None or is_sampled(state.initial):
            return self.fresh(f"{program.name}.{key}", shape, None)
        lead = initial_array(state.initial, shape[: len(state.shape)])
        return number_array(
            self.over, np.broadcast_to(lead.reshape(*lead.shape, *[1] * (len(shape) - lead.ndim)), shape)
        )

    def meet(self, number: int) -> None:
        """Let corresponding states start the step equal: at any numbers, or where the second rule has come to."""
        for other in dict.fromkeys(self.corresponding.values()):
            if self.arbitrary:
                self.states[1][other] = self.fresh(other + "'" * (number - 1), self.shapes[1][other], None)
            elif number == 1:
                self.states[1][other] = self._start(self.pair.second, other)
        for key, other in self.corresponding.items():
            value, part = self.pair.seen_as(key, self.states[1][other]), self._part(key)
            if key not in self.states[0]:
                self.states[0][key] = self._start(self.pair.first, key)
            whole = self.states[0][key].copy()
            whole[part] = np.broadcast_to(value, whole[part].shape)
            self.states[0][key] = whole

    def _part(self, key: str) -> tuple[int, ...]:
        """Return the components of a state of the first rule that correspond to something; () for all."""
        match = self.pair.match_of(key)
        return match.left_components if match is not None else ()

    def step(self, number: int) -> list[Claim]:
        """Run the step on both sides and return what must be equal."""
        self.meet(number)
        x = self.fresh(f"x{number}", (BATCH, self.network.input.shape[0]), None)
        y = self.fresh(f"y{number}", (BATCH, self.network.output.shape[0]), None)
        gradient = {name: self.fresh(f"g{number}.{name}", shape, None) for name, shape in PARAMETERS.items()}
        drawn: dict[str, Numbers] = {}

        def noise(name: str, shape: tuple[int, ...]) -> Numbers:
            return drawn.setdefault(name, self.fresh(f"{name}.{number}", shape, None))

        steps = [
            Step(
                self.over,
                program,
                self.network,
                self.loss,
                Inputs(genome, state, x, y, self.over.number(number), noise, gradient),
            )
            for program, genome, state in zip(
                (self.pair.first, self.pair.second), self.genomes, self.states, strict=True
            )
        ]
        self.inputs = steps[0].inputs
        self.states = [step.state for step in steps]
        return self._claims(steps, number)

    def _claims(self, steps: list[Step], number: int) -> list[Claim]:
        claims = []
        if not self.pair.first.acts_on_parameters:
            about = f"the prediction in step {number}"
            claims += claims_between(about, "==", steps[0].prediction, steps[1].prediction)
        claims += self._neuron_claims(steps, number)
        for key, other in self.corresponding.items():
            part = self._part(key)
            about = f"{key} after step {number}" + (f", component {','.join(map(str, part))}" if part else "")
            value = np.asarray(steps[0].state[key][part], object)
            expected = self.pair.seen_as(key, steps[1].state[other])
            claims += claims_between(about, "==", *np.broadcast_arrays(value, expected))
        return claims

    def _neuron_claims(self, steps: list[Step], number: int) -> list[Claim]:
        """Neuron states that are said to correspond must be equal when the step is over, at every layer."""
        claims = []
        kinds = [{s.name for s in p.states if s.kind == "neuron"} for p in (self.pair.first, self.pair.second)]
        for match in self.pair.matches:
            if match.left not in kinds[0] or match.right not in kinds[1] or not isinstance(match.right, str):
                continue
            for layer in self.network.layers:
                left = _component(steps[0], match.left, layer.name, match.left_components)
                right = match.sign * _component(steps[1], match.right, layer.name, match.right_components)
                about = f"{match.left} of {layer.name} in step {number}"
                claims += claims_between(about, "==", *np.broadcast_arrays(left, right))
        return claims


def _proofs(pair: _Pair, networks: Sequence[Network] | None) -> Iterator[Callable[[], str]]:
    for network in networks_for(pair.first, networks):
        yield partial(_prove, pair, network)


def _prove(pair: _Pair, network: Network) -> str:
    exact = Exact()

    def fresh(name: str, shape: tuple[int, ...], domain: t.Domain | None) -> Numbers:
        return symbols(exact, name, shape, is_positive(domain))

    run = _Run(pair, exact, network, "generic", fresh, arbitrary=True)
    count = sum(prove_all(exact, run.step(number)) for number in (1, 2))
    return f"{generality(pair.first, network)}: {count} equations hold in steps 1 and 2"


def _trials(pair: _Pair, networks: Sequence[Network] | None, seed: int) -> Iterator[Callable[[], Trial]]:
    for place, setting in enumerate(settings_for(pair.first, networks)):
        yield partial(_try, pair, setting, [seed, place])


def _try(pair: _Pair, setting: Setting, seed: list[int]) -> Trial:
    rng = np.random.default_rng(seed)
    over, fresh = Floats(setting.activation), lambda name, shape, domain: draw(rng, shape, domain)
    run = _Run(pair, over, setting.network, setting.loss, fresh, arbitrary=False)
    first = run.step(1)
    inputs = run.inputs
    return Trial([*first, *run.step(2)], setting.shown(pair.first), inputs)
