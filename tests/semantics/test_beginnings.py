"""Initial values and domains: what each kind of entry may begin with."""

from __future__ import annotations

import pytest

from rulec.semantics import typed as t
from rulec.semantics.check import check_source, load_library
from rulec.semantics.rules import check_rule
from rulec.source import Diagnostics, Source

RULE = """rule begin
option states = 2
index k, l : states

genome
  lr = 0.1
{genome}
neuron
  x
{neuron}
broadcast
  r
{broadcast}
synapse
  w[i,j] = normal(0, 1 / sqrt(fan_in))
{synapse}
input i
  x[i] = input[i]

forward i -> j
  x[j] = act(sum[i](w[i,j] * x[i]))

output j
  prediction[j] = x[j]

update i -> j
  w[i,j] += lr * mean[n](x[i] * x[j])
"""


def source(**entries: str) -> Source:
    parts = dict.fromkeys(("genome", "neuron", "broadcast", "synapse"), "") | {
        k: f"  {v}\n" for k, v in entries.items()
    }
    return Source("begin.rule", RULE.format(**parts))


def ids(**entries: str) -> list[str]:
    return [diagnostic.id for diagnostic in check_source(source(**entries)).errors]


FIXED = ["q = 1", "q = states / 2", "q = -sqrt(2)", "q[k,l] = eye", "q[k] = [1, 2]", "q[k,l] = 2 * [[1, 0], [0, 1]] + eye",
         "q[k] = [1, 2] if states == 2 else 0"]  # fmt: skip


@pytest.mark.parametrize("entry", FIXED)
@pytest.mark.parametrize("kind", ["neuron", "broadcast", "genome"])
def test_known_values_begin_anything(kind: str, entry: str):
    assert not ids(**{kind: entry})


@pytest.mark.parametrize("entry", ["q = normal(0, 1)", "q = 2 * uniform(0, 1)", "q = 1 / sqrt(fan_in)", "q = fan_out",
                                   "q = outputs", "q[k] = normal(0, states)"])  # fmt: skip
@pytest.mark.parametrize("kind", ["neuron", "broadcast"])
def test_neurons_do_not_begin_at_random(kind: str, entry: str):
    assert ids(**{kind: entry}) == ["random-neuron-initial"]
    assert ids(**{kind: f"keep {entry}"})[-1] == "random-neuron-initial"


@pytest.mark.parametrize("entry", ["q = r", "q = x", "q = x[j]", "q = w", "q = w[i,j]"])
def test_nothing_but_synapses_begins_from_a_state(entry: str):
    name = entry.split(" = ")[1]
    for kind in ("neuron", "broadcast"):
        expected = "unknown-name" if kind == "neuron" and name == "r" else "random-neuron-initial"
        found = ids(**{kind: entry})
        assert found in ([expected], ["unknown-name"])
    assert ids(genome=entry) in (["not-initial"], ["unknown-name"])


@pytest.mark.parametrize("entry", ["v[j,i] = w", "v[j,i] = 2 * w[i,j] + normal(0, 1)", "v[i,j,k] = uniform(-1, 1)", "b[j] = fan_in / outputs",
                                   "v[i,j,k,l] = eye"])  # fmt: skip
def test_synapses_may_be_drawn_and_copied(entry: str):
    assert not ids(synapse=entry)


@pytest.mark.parametrize(
    ("kind", "entry", "id"),
    [
        ("synapse", "b[j] = w", "initial-shape"),
        ("synapse", "v[i,j,k] = w", "initial-shape"),
        ("synapse", "v[i,j] = eye", "initial-shape"),
        ("synapse", "v[i,j] = [1, 2]", "initial-shape"),
        ("synapse", "v[i,j] = x[j]", "not-initial"),
        ("synapse", "v[i,j] = lr", "not-initial"),
        ("synapse", "v[i,j] = loss", "not-initial"),
        ("synapse", "v[i,j] = stop(1)", "not-initial"),
        ("synapse", "v[i,j] = tanh'(1)", "not-initial"),
        ("synapse", "v[i,j,k] = k", "not-initial"),
        ("genome", "q = fan_in", "shared-fan"),
        ("genome", "q = normal(0, 1 / fan_out)", "shared-fan"),
        ("genome", "q[k] = [[1, 2]]", "initial-shape"),
        ("genome", "q = eye", "initial-shape"),
        ("genome", "q = normal(0)", "wrong-argument-count"),
        ("genome", "q = noise", "not-initial"),
        ("neuron", "q = t", "not-initial"),
        ("neuron", "q[k] = [1, 2, 3]", "initial-shape"),
    ],
)
def test_what_is_not_known_when_values_begin_is_told(kind: str, entry: str, id: str):
    assert ids(**{kind: entry}) == [id]


DOMAINS = {
    "": {-1e9: True, 0: True},
    ": real": {-1e9: True},
    ": positive": {-1: False, 0: False, 1e-30: True, 1e9: True},
    ": unit": {-0.1: False, 0: True, 0.5: True, 1: True, 1.1: False},
    ": interval(-2, states)": {-2.5: False, -2: True, 2: True, 2.5: False},
}


@pytest.mark.parametrize(
    ("domain", "value", "inside"), [(d, v, ok) for d, cases in DOMAINS.items() for v, ok in cases.items()]
)
def test_values_lie_in_their_domains(domain: str, value: float, inside: bool):
    assert ids(genome=f"q {domain} = {value!r}") == ([] if inside else ["outside-domain"])
    assert ids(genome=f"q[k] {domain} = [{value!r}, {value!r}]") == ([] if inside else ["outside-domain"])


@pytest.mark.parametrize("domain", ["interval(1, 1)", "interval(2, 1)", "interval(1)", "interval(0, 1, 2)"])
def test_an_interval_has_two_ends_in_order(domain: str):
    assert ids(genome=f"q : {domain} = 1") == ["bad-interval"]


def test_declared_domains_reach_the_typed_rule():
    found = Diagnostics()
    library = load_library(source(genome="q : interval(-1, states) = 0"), found)
    rule = check_rule(library.rules["begin"], found, {"states": 3})
    assert rule is not None
    assert rule.genome[-1].domain == t.Domain("interval", -1.0, 3.0)
    assert str(rule.genome[-1].domain) == "interval(-1, 3)"
