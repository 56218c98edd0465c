"""How far a synapse must reach for its update: what the right-hand side reads, and where that came from.

* local: the synapse itself, its two neurons, and nothing else.
* three-factor: also something that is broadcast to all: the loss, a `broadcast` state, the target. Such a factor may
  arrive at the synapse directly or by way of its neurons.
* weight transport: a neuron's state came back through the synapses that the forward sweep uses, transposed; or a
  synapse of one direction reads one of the other.
* non-local: other synapses, or all neurons of a layer, or the gradient of the loss through the whole network.

A neuron may gather what its synapses bring (`sum[i]`, `sum[j]`) and see its own layer: that is what neurons do. A sum over
synapses alone, as for the norm of a neuron's weights, is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rulec.semantics import typed as t
from rulec.semantics.reads import Read, blocks_of, locals_of, reads, writes_of, written_as
from rulec.source import Span

KINDS = ("local", "three-factor", "weight transport", "non-local")
_ACROSS = {"forward": "i", "backward": "j"}


@dataclass(frozen=True)
class Reason:
    """Why an update is not local, and the piece of text that makes it so."""

    kind: str
    text: str
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Locality:
    """The class of all updates of one synapse state; `reasons` is empty for a local one, worst first otherwise."""

    state: str  # as written: `w[i,j]`
    kind: str
    reasons: tuple[Reason, ...]
    span: Span = field(compare=False, repr=False)


def localities(rule: t.Rule) -> tuple[Locality, ...]:
    """Return the locality of every synapse state that the rule updates, in the order of the text."""
    found: dict[str, Locality] = {}
    for block in blocks_of(rule):
        for write in block.body:
            if write.kind == "state" and block.kind in ("update", "parameters") and write.name not in found:
                found[write.name] = _locality(rule, write)
    return tuple(found.values())


def _locality(rule: t.Rule, write: t.Write) -> Locality:
    reasons = tuple(dict.fromkeys(_Search(rule, write.name).reasons(write.name)))
    reasons = tuple(sorted(reasons, key=lambda r: -KINDS.index(r.kind)))
    return Locality(written_as(rule, write), reasons[0].kind if reasons else KINDS[0], reasons, write.span)


class _Search:
    """Follow the states that the updates of one synapse state read; each is followed once."""

    def __init__(self, rule: t.Rule, target: str) -> None:
        self.rule, self.target = rule, target
        self.carriers = {kind: _carriers(rule, kind) for kind in _ACROSS}
        self.seen: set[str] = set()

    def reasons(self, name: str) -> Iterator[Reason]:
        if name in self.seen:
            return
        self.seen.add(name)
        for block, write in writes_of(self.rule, name):
            for read in reads(write.value, locals_of(block)):
                yield from self._judge(read, block, write)

    def _judge(self, read: Read, block: t.Block, write: t.Write) -> Iterator[Reason]:
        node = read.node
        updating = block.kind in ("update", "parameters")
        if isinstance(node, t.Grad):
            yield Reason("non-local", "the gradient of the loss depends on every synapse of the network", node.span)
        elif isinstance(node, t.DataRef):
            yield from self._data(read, node, block)
        elif isinstance(node, t.StateRef):
            kind = "synapse" if node.side == "p" else self.rule.state(node.name).kind
            if kind == "broadcast":
                yield Reason("three-factor", f"`{node.name}` is broadcast{self._via(write)}", node.span)
            elif updating:
                yield from self._in_update(read, node, kind)
            elif kind == "synapse":
                yield from self._in_sweep(read, node, block, write)
            else:
                yield from self.reasons(node.name)

    def _data(self, read: Read, node: t.DataRef, block: t.Block) -> Iterator[Reason]:
        if read.slope or block.kind == "input" or (block.kind == "output" and node.name != "loss"):
            return  # the layer's own share of the data
        yield Reason("three-factor", f"`{node.name}` is broadcast", node.span)

    def _in_update(self, read: Read, node: t.StateRef, kind: str) -> Iterator[Reason]:
        whole = self._over_neurons(read, node)
        if whole is not None:
            what = "other synapses" if kind == "synapse" else "all neurons of a layer"
            yield Reason("non-local", f"`{whole.operator}` over `{','.join(whole.indices)}` reads {what}", whole.span)
            return
        if kind == "synapse":
            one_way, other_way = self._only("forward"), self._only("backward")
            if (node.name in one_way and self.target in other_way) or (
                node.name in other_way and self.target in one_way
            ):
                yield Reason(
                    "weight transport", f"`{node.name}` belongs to the synapse of the other direction", node.span
                )
        yield from self.reasons(node.name)

    def _only(self, kind: str) -> set[str]:
        other = "backward" if kind == "forward" else "forward"
        return self.carriers[kind] - self.carriers[other]

    def _in_sweep(self, read: Read, node: t.StateRef, block: t.Block, write: t.Write) -> Iterator[Reason]:
        alone = next((r for r in read.under if "n" not in r.argument.axes and self._letters(r)), None)
        if alone is not None:
            yield Reason(
                "non-local", f"`{alone.operator}` over `{','.join(alone.indices)}` reads other synapses", alone.span
            )
        if block.kind == "backward" and node.name in self.carriers["forward"] & self.carriers["backward"]:
            text = f"`{write.name}` came back through `{node.name}`, the synapses of the forward sweep"
            yield Reason("weight transport", text, node.span)

    def _over_neurons(self, read: Read, node: t.StateRef) -> t.Reduce | None:
        """Return the reduction that runs over neurons of the state."""
        letters = set(node.side.split(","))
        return next((r for r in read.under if letters & set(r.indices)), None)

    def _letters(self, reduction: t.Reduce) -> set[str]:
        """Return the letters of neurons among those reduced."""
        return {x for x in reduction.indices if x in ("i", "j") or self.rule.extents.get(x) in ("i", "j")}

    def _via(self, write: t.Write) -> str:
        return (
            "" if self.rule.state(write.name).kind == "synapse" else f", and reaches the synapse through `{write.name}`"
        )


def _carriers(rule: t.Rule, kind: str) -> set[str]:
    """Return the synapse states through which sweeps of a kind send the neurons' states."""
    names: set[str] = set()
    for block in blocks_of(rule):
        if block.kind != kind:
            continue
        for write in block.body:
            for read in reads(write.value, locals_of(block)):
                crossing = any(_ACROSS[kind] in r.indices for r in read.under)
                if isinstance(read.node, t.StateRef) and crossing and rule.state(read.node.name).kind == "synapse":
                    names.add(read.node.name)
    return names
