"""Many networks in JAX: one network, one genome, `vmap` over replicas and population, `lax.scan` over updates, one `jit`."""

from __future__ import annotations

from typing import Any

from benchmarks.contender import Answer, Contender, Run, need_jax
from benchmarks.contenders.vmap import start
from benchmarks.problems import Blur


def prepare(problem: Blur, learned: bool) -> Run:
    """With `learned`, the gradient with respect to every genome; otherwise the predictions on the query."""
    need_jax()
    import jax
    import jax.numpy as jnp
    import numpy as np

    jax.config.update("jax_enable_x64", True)  # numbers keep the precision they come with
    genome = {name: jnp.asarray(value.numpy()) for name, value in problem.genome.items()}
    synapses = jax.tree.map(lambda v: jnp.asarray(v.numpy()), start(problem))
    x, y, query_x, query_y = (jnp.asarray(v.numpy()) for v in (problem.x, problem.y, problem.query_x, problem.query_y))

    def predicted(genome: Any, synapses: Any) -> Any:
        after, _ = jax.lax.scan(lambda carry, batch: (step(genome, carry, *batch), None), synapses, (x, y))
        return forward(genome, after, query_x)[-1][0]

    replicas = jax.vmap(predicted, (None, 0))

    def loss(genome: Any, synapses: Any) -> Any:
        return jnp.mean((replicas(genome, synapses) - query_y) ** 2)

    members = jax.jit(jax.vmap(jax.grad(loss) if learned else replicas, (0, None)))

    def run() -> Answer:
        found = jax.block_until_ready(members(genome, synapses))
        return {n: np.asarray(v) for n, v in (found if learned else {"prediction": found}).items()}

    return run


def mixed(matrix: Any, layer: Any) -> Any:
    import jax.numpy as jnp

    return jnp.einsum("kl,lbn->kbn", matrix, layer)


def forward(genome: Any, synapses: Any, x: Any) -> list[Any]:
    import jax.numpy as jnp
    from jax.nn import relu

    mix, gain = genome["forward_mix"], genome["neuron_gain"]
    ones = (gain * mix.sum(0))[:, None, None]
    layers: list[Any] = []
    for number, (w, b) in enumerate(zip(synapses[0], synapses[2], strict=True)):
        below = x * (gain * mix[0])[:, None, None] if not number else mixed(gain * mix.T, layers[-1])
        h = jnp.tanh(below @ w + ones * b[:, None])
        layers.append(h if number == len(synapses[0]) - 1 else relu(h))
    return layers


def step(genome: Any, synapses: Any, x: Any, y: Any) -> Any:
    import jax.numpy as jnp
    from jax.nn import relu

    ws, vs, bs = synapses
    mix, gain, keep = genome["backward_mix"], genome["neuron_gain"], genome["neuron_keep"]
    pre, post = genome["pre"], genome["post"]
    kept, rate = genome["synapse_keep"], genome["synapse_gain"]
    layers = forward(genome, synapses, x)
    layers[-1] = jnp.concatenate([layers[-1][:1], y[None], jnp.zeros((len(mix) - 2, *y.shape), y.dtype)])
    for number in range(len(layers) - 2, -1, -1):
        arriving = mixed(gain * mix.T, layers[number + 1]) @ vs[number + 1].swapaxes(-1, -2)
        layers[number] = relu(jnp.tanh(keep * layers[number] + arriving))
    by_post = [mixed(rate * post, layer) for layer in layers]
    by_pre = [pre[0][:, None, None] * x, *(mixed(pre.T, layer) for layer in layers)]
    units = pre.sum(0)[:, None]
    w = tuple(kept * w + a.swapaxes(-1, -2) @ h for w, a, h in zip(ws, by_pre[:-1], by_post, strict=True))
    b = tuple(kept * b + units * h.sum(1) for b, h in zip(bs, by_post, strict=True))
    back = zip(vs[1:], by_post[:-1], by_pre[2:], strict=True)
    return w, (vs[0], *(kept * v + h.swapaxes(-1, -2) @ a for v, h, a in back)), b


FORWARD: Contender[Blur] = Contender("JAX, vmap, scan and jit", lambda problem: prepare(problem, False), limit=180)
GRADIENT: Contender[Blur] = Contender("JAX, vmap, scan and jit", lambda problem: prepare(problem, True), limit=180)
