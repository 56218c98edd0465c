"""What the papers promise of their rules, beyond the equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from rulec import Rule, parse
from rulec.runtime.compiled import CompiledRule
from tests.rules.by_hand import feedback, settling
from tests.rules.by_hand.chain import LOSSES, Chain, dense_chain
from tests.rules.by_hand.step import Task, Tensors, apart, disturbed, random_batches
from tests.shipped import load


def flat(state: Tensors, names: list[str]) -> Tensor:
    return torch.cat([state[name].flatten() for name in names])


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a @ b) / (a.norm() * b.norm()))


def parameters_of(chain: Chain) -> list[str]:
    return [name for k, link in enumerate(chain.links, 1) for name in (f"w.c{k}", f"b.{link.layer}")]


def descent(chain: Chain, state: Tensors, x: Tensor, y: Tensor, loss: str = "mse") -> Tensor:
    """Return the direction of steepest descent, by the hand-written backpropagation (itself checked against autograd)."""
    task = Task(chain, {"lr": torch.tensor(1.0, dtype=torch.float64)}, x, y, LOSSES[loss], {})
    names = parameters_of(chain)
    own = {name: state[name] for name in names}
    return flat(feedback.backprop(task, own)[0], names) - flat(own, names)


# --- Alignment --------------------------------------------------------------------------------


def test_kolen_pollack_feedback_closes_in_on_the_weights() -> None:
    """The difference of the two directions shrinks by 1 - decay at every step, whatever the data."""
    compiled = load("kolen_pollack").compile("5-6-4-3 : tanh", loss="mse", dtype="float64")
    genome, state = compiled.init_genome(0), compiled.init_state(0)
    genome["decay"] = torch.tensor(0.07, dtype=torch.float64)
    for x, y in random_batches((5,), 3, 4):
        before = [state[f"w.c{k}"] - state[f"v.c{k}"] for k in (1, 2, 3)]
        assert min(gap.norm() for gap in before) > 0.1
        state, _ = compiled(genome, state, x, y)
        for k, gap in enumerate(before, 1):
            assert apart(state[f"w.c{k}"] - state[f"v.c{k}"], 0.93 * gap) < 1e-14


@pytest.mark.parametrize("name", ["feedback_alignment", "direct_feedback_alignment"])
def test_feedback_never_learns(name: str) -> None:
    compiled = load(name).compile("5-6-3 : tanh", loss="mse", dtype="float64")
    state = compiled.init_state(0)
    for x, y in random_batches((5,), 3, 2):
        after, _ = compiled(compiled.init_genome(0), state, x, y)
        assert all(torch.equal(after[key], state[key]) for key in state if key.startswith("v."))


# --- Principal components ---------------------------------------------------------------------


def correlated(size: int = 400) -> tuple[Tensor, np.ndarray]:
    """Return samples with well-separated variances along random directions, and those directions by decreasing variance."""
    generator = np.random.default_rng(0)
    mixing = np.linalg.qr(generator.normal(size=(5, 5)))[0] * np.sqrt([5.0, 2.5, 1.0, 0.3, 0.1])
    x = generator.normal(size=(size, 5)) @ mixing.T
    _, vectors = np.linalg.eigh(x.T @ x / size)
    return torch.from_numpy(x), vectors[:, ::-1].copy()


def trained(name: str, outputs: int, rate: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    x, vectors = correlated()
    compiled = load(name).compile(f"5-{outputs}", loss="mse", dtype="float64")
    genome, state = {"lr": torch.tensor(rate, dtype=torch.float64)}, compiled.init_state(0)
    for _ in range(steps):
        state, _ = compiled(genome, state, x, torch.zeros(len(x), outputs, dtype=torch.float64))
    return state["w.c1"].numpy(), vectors


def test_oja_finds_the_first_principal_component() -> None:
    """Both outputs find the same direction, of length one: the angle to the eigenvector is below 1e-6."""
    w, vectors = trained("oja", 2, 0.02, 500)
    assert np.allclose(np.linalg.norm(w, axis=0), 1, atol=1e-9)
    assert np.all(1 - np.abs(vectors[:, 0] @ w) < 1e-12)


def test_sanger_finds_the_components_in_order() -> None:
    w, vectors = trained("sanger", 3, 0.02, 1500)
    found = np.abs(vectors[:, :3].T @ w)
    assert np.allclose(found, np.eye(3), atol=1e-6)


# --- Perturbation -----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "least"), [("node_perturbation", 0.95), ("weight_perturbation", 0.9)])
def test_average_over_noise_is_the_gradient(name: str, least: float) -> None:
    """A thousand replicas draw their own noise; the mean of their steps points along steepest descent."""
    chain, names = dense_chain("tanh", 2), parameters_of(dense_chain("tanh", 2))
    compiled = load(name).compile(chain.spec, loss="mse", dtype="float64", replicas=1000)
    genome, state = compiled.init_genome(0), compiled.init_state(0)
    state = {key: value[:1].expand_as(value) if value.ndim else value for key, value in state.items()}
    x, y = random_batches(chain.input_shape, 3, 1)[0]
    after, _ = compiled(genome, state, x, y)
    steps = torch.cat([(after[key] - state[key]).flatten(1) for key in names], 1)
    true = descent(chain, {key: state[key][0] for key in names}, x, y)
    assert cosine(steps.mean(0), true) > least
    assert cosine(steps[0], true) < 0.9, "one draw alone is far off"
    size = (steps.mean(0) @ true / (true @ true)).item() / genome["lr"].item()
    assert 0.85 < size < 1.15, "the step is an unbiased estimate, not only aligned"


# --- Settling ---------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("rate", "least", "each"), [(1e-4, 0.99, 0.99999), (0.1, 0.5, 0.0)])
def test_predictive_coding_follows_backpropagation(loss: str, rate: float, least: float, each: float) -> None:
    """Each layer's step has the direction of steepest descent while the hidden values stay near the forward pass.

    As shipped they move, and take over a part of the output's error: downhill everywhere, but not steepest.
    """
    chain = dense_chain("tanh", 3)
    compiled = load("predictive_coding").compile(chain.spec, loss=loss, dtype="float64")
    state, names = compiled.init_state(0), parameters_of(chain)
    genome = compiled.init_genome(0) | {"rate": torch.tensor(rate, dtype=torch.float64)}
    x, y = random_batches(chain.input_shape, 3, 1, size=40)[0]
    after, _ = compiled(genome, state, x, y)
    moved, true = flat(after, names) - flat(state, names), descent(chain, state, x, y, loss)
    sizes = [state[name].numel() for name in names]
    for name, a, b in zip(names, moved.split(sizes), true.split(sizes), strict=True):
        assert cosine(a, b) > each, name
    # Layer by layer the sizes differ by orders of magnitude where the rate is small; compare directions alone.
    units = [torch.cat([part / part.norm() for part in whole.split(sizes)]) for whole in (moved, true)]
    assert cosine(*units) > least


def free_cost(compiled: CompiledRule, chain: Chain, state: Tensors, x: Tensor, y: Tensor) -> float:
    """Return the mean over samples of half the squared error where the network comes to rest on its own."""
    task = Task(chain, {"dt": torch.tensor(0.5, dtype=torch.float64)}, x, y, LOSSES["mse"], {})
    rest = settling.settle(task, state, settling.at_rest(task, state), 80, 0.0)
    return float(0.5 * ((rest[-1] - y) ** 2).sum(1).mean())


def finite_differences(compiled: CompiledRule, chain: Chain, state: Tensors, x: Tensor, y: Tensor) -> Tensor:
    """Return the gradient of the free cost by central differences, one number at a time."""
    step, slopes = 1e-5, []
    for name in parameters_of(chain):
        for k in range(state[name].numel()):
            costs = []
            for sign in (1, -1):
                moved = state[name].clone()
                moved.view(-1)[k] += sign * step
                costs.append(free_cost(compiled, chain, state | {name: moved}, x, y))
            slopes.append((costs[0] - costs[1]) / (2 * step))
    return torch.tensor(slopes, dtype=torch.float64)


def settled_longer() -> Rule:
    text = load("equilibrium_propagation").text
    assert "repeat 20:" in text and "repeat 6:" in text
    return parse(text.replace("repeat 20:", "repeat 80:").replace("repeat 6:", "repeat 80:"))


@pytest.mark.parametrize(("longer", "beta", "least", "size"), [(False, 0.5, 0.9, 0.4), (True, 1e-3, 1 - 1e-5, 0.005)])
def test_equilibrium_propagation_descends_the_free_cost(longer: bool, beta: float, least: float, size: float) -> None:
    """As shipped roughly; at equilibrium and for a small beta exactly (theorem 1 of the paper)."""
    chain = dense_chain("tanh", 2)
    rule = settled_longer() if longer else load("equilibrium_propagation")
    compiled = rule.compile(chain.spec, loss="mse", dtype="float64")
    state, names = disturbed(compiled.init_state(0)), parameters_of(chain)
    genome = compiled.init_genome(0) | {"beta": torch.tensor(beta, dtype=torch.float64)}
    x, y = random_batches(chain.input_shape, 3, 1)[0]
    after, _ = compiled(genome, state, x, y)
    moved = (flat(after, names) - flat(state, names)) / genome["lr"]
    true = -finite_differences(compiled, chain, state, x, y)
    assert cosine(moved, true) > least
    assert abs(float(moved.norm() / true.norm()) - 1) < size
