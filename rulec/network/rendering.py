"""A network as a small table."""

from __future__ import annotations

from math import prod

from rulec.network.graph import Add, Concat, Connection, Dense, Flatten, Layer, Leaf, Network, Norm, Pad, Path
from rulec.network.messages import render_shape
from rulec.network.sizes import norm_shape, parameter_count

_HEADER = ("layer", "shape", "norm", "activation", "connection", "from", "weights", "parameters")


def render_network(network: Network) -> str:
    """Return a line per layer and connection, with the number of the network's own parameters."""
    rows = [_HEADER]
    for layer in network.layers:
        first = (layer.name, render_shape(layer.shape), _norm(layer.norm), layer.activation)
        incoming = [_connection_cells(one) for one in network.incoming(layer.name)] or [("", "", "", "")]
        rows += [(*(first if not index else ("",) * 4), *cells) for index, cells in enumerate(incoming)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = [_line(row, widths) for row in rows]
    return "\n".join([f"network {network.spec}", *lines, f"{_total(network)} parameters"])


def render_path(path: Path) -> str:
    """Return a path as nested calls: `flatten(max 2x2(hidden1))`."""
    if isinstance(path, Leaf):
        return path.layer
    if isinstance(path, Concat):
        return f"concat({', '.join(map(render_path, path.sources))})"
    if isinstance(path, Add):
        return " + ".join(map(render_path, path.sources))
    inner = render_path(path.source)
    if isinstance(path, Flatten):
        return f"flatten({inner})"
    if isinstance(path, Pad):
        return f"pad({inner}, {' '.join(map(str, path.amounts))})"
    stride = f" / {render_shape(path.stride)}" if path.stride != path.kernel else ""
    return f"{path.kind} {render_shape(path.kernel)}{stride}({inner})"


def _connection_cells(connection: Connection) -> tuple[str, str, str, str]:
    return connection.name, render_path(connection.path), _weights(connection), str(parameter_count(connection))


def _weights(connection: Connection) -> str:
    weights = connection.weights
    if weights is None:
        return "none"
    if isinstance(weights, Dense):
        return f"dense {weights.inputs} -> {weights.outputs}"
    parts = [f"conv {weights.inputs} -> {weights.outputs}, {render_shape(weights.kernel)}"]
    parts += [f"stride {render_shape(weights.stride)}"] if weights.stride != (1, 1) else []
    parts += [f"padding {render_shape(weights.padding)}"] if weights.padding != (0, 0) else []
    parts += [f"dilation {render_shape(weights.dilation)}"] if weights.dilation != (1, 1) else []
    parts += [f"groups {weights.groups}"] if weights.groups > 1 else []
    return ", ".join(parts)


def _norm(norm: Norm | None) -> str:
    if norm is None:
        return ""
    groups = f"({norm.groups})" if norm.kind == "group" else ""
    return f"{norm.kind}{groups}{' affine' if norm.affine else ''}"


def _total(network: Network) -> int:
    return sum(map(parameter_count, network.connections)) + sum(map(_norm_count, network.layers))


def _norm_count(layer: Layer) -> int:
    affine = layer.norm is not None and layer.norm.affine
    return 2 * prod(norm_shape(layer.norm, layer.shape)) if affine and layer.norm else 0


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
    return "  ".join([*cells, row[-1].rjust(widths[-1])]).rstrip()
