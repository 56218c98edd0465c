"""Emit the network's own forward pass and its gradient, for rules over all parameters alike."""

from __future__ import annotations

from dataclasses import dataclass, field

from rulec.backend import units
from rulec.backend.losses import loss_slope
from rulec.backend.maps import ConvMaps
from rulec.backend.paths import PathMap, neuron_labels
from rulec.backend.products import contract_labels
from rulec.backend.values import Emitter, Value
from rulec.network.graph import Connection, Conv, Layer, Network


@dataclass
class Plain:
    """Reverse-mode differentiation of the network, layer by layer; `parameters` by name, as `c1.weight`."""

    emit: Emitter
    network: Network
    parameters: dict[str, Value]
    before: dict[str, Value] = field(default_factory=dict)
    after: dict[str, Value] = field(default_factory=dict)
    paths: dict[str, PathMap] = field(default_factory=dict)
    seen: dict[str, Value] = field(default_factory=dict)

    def forward(self, x: Value) -> Value:
        """Return the prediction, with the label `j` for its outputs."""
        self.after[self.network.input.name] = x
        for layer in self.network.layers[1:]:
            total: Value | None = None
            for connection in self.network.incoming(layer.name):
                part = self._send(connection)
                total = part if total is None else total + part
            assert total is not None
            self.before[layer.name] = total
            out = units.activate(self.emit, layer, total, "j", self._affine(layer))
            self.after[layer.name] = self._turn(out, "j", "i")
        return self._turn(self.after[self.network.output.name], "i", "j")

    def _turn(self, value: Value, old: str, new: str) -> Value:
        return self.emit.renamed(value, {old: new, f"{old}y": f"{new}y", f"{old}x": f"{new}x"})

    def _affine(self, layer: Layer) -> units.Affine | None:
        if layer.norm is None or not layer.norm.affine:
            return None
        ends = neuron_labels("j", layer.shape if layer.norm.kind == "layer" else layer.shape[:1])
        scale, shift = (self._labelled(f"{layer.name}.{name}", ends) for name in ("scale", "shift"))
        return scale, shift

    def _labelled(self, name: str, labels: tuple[str, ...]) -> Value:
        """Give a parameter's anonymous axes their labels."""
        value = self.parameters[name]
        front = tuple(x for x in value.labels if not x.startswith("p"))
        return Value(self.emit, value.node, (*front, *labels))

    def _kernel(self, connection: Connection) -> Value:
        labels = ("j", "q", "ky", "kx") if isinstance(connection.weights, Conv) else ("i", "j")
        return self._labelled(f"{connection.name}.weight", labels)

    def _contract(self, connection: Connection, factors: list[Value], drop: set[str]) -> Value:
        everything = set().union(*(f.labels for f in factors))
        if isinstance(connection.weights, Conv):
            drop = drop | ({"q", "ky", "kx"} if "i" in drop else set())
            return ConvMaps(self.emit, connection.weights, connection.input_shape).contract(
                factors, tuple(everything - drop)
            )
        places = {"i": connection.input_shape[0], "j": self.network.layer(connection.target).shape[0]}
        return contract_labels(self.emit, factors, tuple(everything - drop), places)

    def _send(self, connection: Connection) -> Value:
        path = PathMap(self.emit, self.network, connection)
        path.record(self.after)
        self.paths[connection.name] = path
        seen = path.apply(self.after)
        self.seen[connection.name] = seen
        if connection.weights is None:
            return self._turn(seen, "i", "j")
        value = self._contract(connection, [self._kernel(connection), seen], {"i", "iy", "ix"})
        return value + self._labelled(f"{connection.name}.bias", ("j",)) if connection.bias else value

    def gradients(self, target: Value, loss: str, weight: Value | None = None) -> dict[str, Value]:
        """Return the gradient of the mean loss by parameter name, with the parameters' anonymous labels.

        `weight`: by what the loss of each sample is multiplied.
        """
        emit = self.emit
        prediction = self._turn(self.after[self.network.output.name], "i", "j")
        slope = loss_slope(emit, prediction, target, loss, self.network.output.shape[0])
        slope = slope if weight is None else slope * weight
        back: dict[str, Value] = {self.network.output.name: slope / Value(emit, emit.batch_of(slope), ())}
        gradient: dict[str, Value] = {}
        for layer in reversed(self.network.layers[1:]):
            if layer.name not in back:
                continue
            arriving = back[layer.name]
            self._scale_and_shift(layer, arriving, gradient)
            delta = units.pull_back(emit, layer, self.before[layer.name], arriving, "j", self._affine(layer))
            for connection in self.network.incoming(layer.name):
                self._weights(connection, delta, gradient)
                self._send_back(connection, delta, back)
        return {name: self._anonymous(gradient[name], name) for name in self.parameters}

    def _anonymous(self, value: Value, name: str) -> Value:
        labels = tuple(x for x in self.parameters[name].labels if x.startswith("p"))
        front = tuple(x for x in value.labels if x in ("P", "T", "R"))
        return Value(self.emit, value.node, (*front, *labels))

    def _scale_and_shift(self, layer: Layer, arriving: Value, gradient: dict[str, Value]) -> None:
        affine = self._affine(layer)
        if affine is None:
            return
        z = self.before[layer.name]
        plain = Layer(layer.name, layer.shape, layer.activation)
        inner = units.pull_back(
            self.emit, plain, units.normalise(self.emit, layer, z, "j", affine), arriving, "j", None
        )
        unit = units.normalise(self.emit, layer, z, "j", None)
        over = ["n"] if layer.norm is not None and layer.norm.kind == "layer" else ["n", "jy", "jx"]
        gradient[f"{layer.name}.scale"] = self.emit.reduce("sum", inner * unit, over)
        gradient[f"{layer.name}.shift"] = self.emit.reduce("sum", inner, over)

    def _weights(self, connection: Connection, delta: Value, gradient: dict[str, Value]) -> None:
        if connection.weights is None:
            return
        drop = {"n", "iy", "ix", "jy", "jx"}
        gradient[f"{connection.name}.weight"] = self._contract(connection, [self.seen[connection.name], delta], drop)
        if connection.bias:
            gradient[f"{connection.name}.bias"] = self.emit.reduce("sum", delta, ["n", "jy", "jx"])

    def _send_back(self, connection: Connection, delta: Value, back: dict[str, Value]) -> None:
        if connection.weights is None:
            arriving = self._turn(delta, "j", "i")
        else:
            arriving = self._contract(connection, [self._kernel(connection), delta], {"j", "jy", "jx"})
        for source in connection.sources:
            part = self.paths[connection.name].adjoint(source, arriving)
            if part is not None:
                part = self._turn(part, "i", "j")
                back[source] = part if source not in back else back[source] + part
