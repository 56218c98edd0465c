"""The expert's version of BLUR in JAX: the layout of `block.py`, the loop a `lax.scan`, everything in one `jit`."""

from __future__ import annotations

from typing import Any

from benchmarks.contender import Answer, Contender, Run, need_jax
from benchmarks.contenders.block import laid_out
from benchmarks.problems import Blur


def prepare(problem: Blur, remembers: bool = True) -> Run:
    """Without `remembers`, each update is computed a second time on the way back."""
    need_jax()
    import jax
    import jax.numpy as jnp
    import numpy as np

    jax.config.update("jax_enable_x64", True)  # numbers keep the precision they come with
    start = laid_out(problem)
    genome = {name: jnp.asarray(value.numpy()) for name, value in problem.genome.items()}
    synapses = jax.tree.map(lambda v: jnp.asarray(v.numpy()), (start.first, *start.rest))
    data = [jnp.asarray(v.numpy()) for v in (problem.x, problem.y, problem.query_x, problem.query_y)]

    def once(genome: Any, synapses: Any, batch: Any) -> tuple[Any, None]:
        return step(genome, synapses, *batch), None

    body = once if remembers else jax.checkpoint(once)  # type: ignore[attr-defined]

    def loss(genome: Any, synapses: Any, x: Any, y: Any, query_x: Any, query_y: Any) -> Any:
        learned, _ = jax.lax.scan(lambda carry, batch: body(genome, carry, batch), synapses, (x, y))
        return jnp.mean((forward(genome, learned, query_x)[-1] - query_y) ** 2)

    gradient = jax.jit(jax.grad(loss))

    def run() -> Answer:
        found = jax.block_until_ready(gradient(genome, synapses, *data))
        return {name: np.asarray(value) for name, value in found.items()}

    return run


def mixed(matrix: Any, layer: Any) -> Any:
    return (matrix @ layer.reshape(layer.shape[0], -1)).reshape(-1, *layer.shape[1:])


def column(vector: Any) -> Any:
    return vector[:, None, None, None]


def forward(genome: Any, synapses: Any, x: Any) -> list[Any]:
    import jax.numpy as jnp
    from jax.nn import relu

    first, ws, bs, _ = synapses
    mix, gain = genome["forward_mix"], genome["neuron_gain"]
    ones = column(gain * mix.sum(0))
    states, replicas, _, m = bs[0].shape
    arriving = (x @ first).reshape(states, -1, replicas, m).swapaxes(1, 2)
    layers = [jnp.tanh(relu(arriving * column(gain * mix[0]) + bs[0] * ones))]
    for w, b in zip(ws[:-1], bs[1:-1], strict=True):
        layers.append(jnp.tanh(relu(mixed(gain * mix.T, layers[-1]) @ w + b * ones)))
    signal = mixed(gain * mix[:, :1].T, layers[-1])[0]
    layers.append(jnp.tanh(signal @ ws[-1] + bs[-1] * ones[0]))
    return layers


def step(genome: Any, synapses: Any, x: Any, y: Any) -> Any:
    import jax.numpy as jnp
    from jax.nn import relu

    first, ws, bs, vs = synapses
    mix, gain, neuron_keep = genome["backward_mix"], genome["neuron_gain"], genome["neuron_keep"]
    pre, post = genome["pre"], genome["post"]
    keep, rate = genome["synapse_keep"], genome["synapse_gain"]

    *hidden, prediction = forward(genome, synapses, x)
    output = jnp.stack([prediction, jnp.broadcast_to(y, prediction.shape)])
    above, rows = output, mix[:2]
    for number in range(len(hidden) - 1, -1, -1):
        arriving = mixed(gain * rows.T, above) @ vs[number]
        hidden[number] = jnp.tanh(relu(neuron_keep * hidden[number] + arriving))
        above, rows = hidden[number], mix

    units = column(pre.sum(0))
    by_post = [*(mixed(rate * post, layer) for layer in hidden), mixed(rate * post[:1, :2], output)]
    by_pre = [*(mixed(pre.T, layer) for layer in hidden), mixed(pre[:2].T, output)]
    factor = (by_post[0] * column(pre[0])).swapaxes(1, 2).reshape(first.shape[0], x.shape[0], -1)
    new_w, new_v = [], []
    new_b = [keep * bs[0] + units * by_post[0].sum(2, keepdims=True)]
    for at, old in enumerate(vs):
        final = at == len(vs) - 1
        low, high = (by_pre[at][0], by_post[-1][0]) if final else (by_pre[at], by_post[at + 1])
        new_w.append(keep * ws[at] + low.swapaxes(-1, -2) @ high)
        new_b.append(keep * bs[at + 1] + (units[0] if final else units) * high.sum(-2, keepdims=True))
        new_v.append(keep * old + by_pre[at + 1].swapaxes(-1, -2) @ by_post[at])
    return keep * first + x.T @ factor, new_w, new_b, new_v


JIT: Contender[Blur] = Contender("JAX, scan and jit", prepare, limit=180, per_length=True)
CHECKPOINTED: Contender[Blur] = Contender(
    "JAX, scan and jit, checkpoint every step",
    lambda problem: prepare(problem, remembers=False),
    limit=180,
    per_length=True,
)
