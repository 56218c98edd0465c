"""The small networks that laws are tried on: chains, and one in which two connections meet."""

from __future__ import annotations

from rulec.network.graph import Connection, Dense, Layer, Leaf, Network
from rulec.symbolic.algebra import GENERIC


def chain(*widths: int, activation: str = GENERIC, skip: bool = False) -> Network:
    """Return a dense chain; hidden layers have the activation, the output none. `skip`: the input also feeds the output."""
    names = ["input", *(f"hidden{k}" for k in range(1, len(widths) - 1)), "output"]
    layers = [
        Layer(name, (width,), activation if name.startswith("hidden") else "identity")
        for name, width in zip(names, widths, strict=True)
    ]
    pairs = list(zip(range(len(widths) - 1), range(1, len(widths)), strict=True))
    if skip:
        pairs.append((0, len(widths) - 1))
    connections = tuple(
        Connection(f"c{k}", Leaf(names[a]), Dense(widths[a], widths[b]), names[b], (widths[a],))
        for k, (a, b) in enumerate(pairs, start=1)
    )
    spec = "-".join(map(str, widths)) + (" with a skip connection" if skip else "")
    return Network(tuple(layers), connections, spec)


# Two outputs where two connections meet: with one, cross-entropy would be zero.
def proving_networks(activation: str = GENERIC) -> tuple[Network, ...]:
    """Return the networks with this activation in their hidden layers."""
    shapes = ((2, 2, 1), False), ((2, 2, 2, 1), False), ((2, 2, 2), True)
    return tuple(chain(*widths, activation=activation, skip=skip) for widths, skip in shapes)


PROVING: tuple[Network, ...] = proving_networks()
