"""Write the kernel of an unroll: functions for a step, for the prediction and for the way back through each, of one network.

Around them stands the same driver every time (`driver.h`): it takes each network through a list of moves, in memory of its own. A
network's values stay in the cache of the core that works on it, as far as they fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import prod

from torch import fx

from rulec.backend.kernel.functions import Function
from rulec.backend.kernel.views import rounded
from rulec.backend.lowering import Lowered
from rulec.backend.reverse import Reversible


@dataclass(frozen=True)
class Part:
    """A step or the prediction, for one network; `genome` are the places of the entries that it reads."""

    lowered: Lowered
    reverse: Reversible
    genome: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What the driver has to know: sizes are counts of numbers, of one network."""

    step: Part
    query: Part
    genome: tuple[int, ...]  # size of each entry
    learned: tuple[bool, ...]
    states: tuple[int, ...]
    step_data: tuple[int, ...]  # x, y, and the noise
    query_data: tuple[int, ...]
    outputs: int  # of the prediction
    width: int  # of one sample's
    double: bool
    library: bool  # whether there is one for large products


def kernel_source(plan: Plan) -> str:
    """Return the C++ source. Raises `Unsupported` for operations that no kernel is generated for."""
    functions = [
        Function(f"{name}_{way}", module, plan.library)
        for name, part in (("step", plan.step), ("query", plan.query))
        for way, module in (("forward", part.reverse.forward), ("backward", part.reverse.backward))
    ]
    work = max(f.work for f in functions)
    images = [resource("images.h")] if any(f.sees_images for f in functions) else []
    return "\n".join(
        (prelude(plan.double), *images, *(f.source() for f in functions), *_parts(plan, work), resource("driver.h"))
    )


def prelude(double: bool) -> str:
    """Return what every kernel begins with, for numbers of this type."""
    return f"typedef {'double' if double else 'float'} real;\n{resource('prelude.h')}"


def resource(name: str) -> str:
    return (files("rulec.backend.kernel") / name).read_text()


class _Layout:
    """Where arrays lie behind each other, from a pointer."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.offsets, self.total = [], 0
        for size in sizes:
            self.offsets.append(self.total)
            self.total += rounded(size)

    def at(self, base: str) -> list[str]:
        return [f"{base} + {offset}" for offset in self.offsets]


def _sizes(nodes: Sequence[fx.Node | None]) -> list[int]:
    return [0 if n is None else prod(n.meta["val"].shape) for n in nodes]


def _results(module: fx.GraphModule) -> list[fx.Node | None]:
    return list(next(n for n in module.graph.nodes if n.op == "output").args[0])


class _Stage:
    """How the driver calls the functions of a part."""

    def __init__(self, name: str, part: Part, plan: Plan, first: int) -> None:
        self.name, self.part, self.plan, self.first = name, part, plan, first
        self.states = _Layout(plan.states)
        self.residuals = _Layout(_sizes(_results(part.reverse.forward)[part.reverse.results :]))
        own = zip(part.reverse.wrt, _sizes(_results(part.reverse.backward)), strict=True)
        self.slopes = _Layout([n if k < len(part.genome) else 0 for k, n in own])

    def arguments(self) -> list[str]:
        """Return genome entries, states, x, y, the counter, and noise."""
        stepping = self.name == "step"
        count = len(self.plan.step_data if stepping else self.plan.query_data)
        data = [
            f"net.in[{k}]" + (f" + s * net.call.stride[{k * 4 + 3}]" if stepping else "")
            for k in range(self.first, self.first + count)
        ]
        genome = [f"net.in[{k}]" for k in self.part.genome]
        return [*genome, *self.states.at("now"), *data[:2], "&count", *data[2:]]

    def forward(self, made: Sequence[str]) -> list[str]:
        return [_COUNT, _call(f"{self.name}_forward", [*self.arguments(), *made, *self.residuals.at("kept")])]

    def backward(self, cotangents: Sequence[str], gradient: _Layout) -> list[str]:
        """Go back: the cotangents of the states go to `before`, and what came back for the genome is added to `sum`."""
        reverse, every, entries = self.part.reverse, self.arguments(), len(self.part.genome)
        read = [every[k] for k in reverse.reads]
        pulled = [cotangents[k] for k in reverse.pulls]
        before, slopes = self.states.at("before"), self.slopes.at("slope")
        targets = [before[k - entries] if k >= entries else own for k, own in zip(reverse.wrt, slopes, strict=True)]
        lines = [_COUNT, _call(f"{self.name}_backward", [*read, *self.residuals.at("kept"), *pulled, *targets])]
        for where, node, target in zip(reverse.wrt, _results(reverse.backward), targets, strict=True):
            k = where - entries
            if k >= 0 and node is None:
                lines.append(f"std::memset({target}, 0, {self.plan.states[k]} * sizeof(real));")
            elif k < 0 and node is not None:
                entry = self.part.genome[where]
                lines.append(f"add({gradient.at('sum')[entry]}, {target}, {self.plan.genome[entry]});")
        return lines

    @property
    def moves_back(self) -> bool:
        """Whether going back changes the cotangents of the states; a step that is taken to be straight leaves them."""
        return not self.plan.states or any(k >= len(self.part.genome) for k in self.part.reverse.wrt)


_COUNT = "const real count = real(net.call.begin + s + 1);"


def _call(name: str, arguments: Sequence[str]) -> str:
    return f"{name}({', '.join([*arguments, 'work'])});"


def _copy(target: str, source: str, count: int) -> str:
    return f"std::memcpy({target}, {source}, {count} * sizeof(real));"


def _function(name: str, parameters: str, lines: Sequence[str]) -> str:
    return "\n".join([f"static void {name}(const Net& net, {parameters}) {{", *("  " + line for line in lines), "}"])


def _parts(plan: Plan, work: int) -> list[str]:
    """Return what the driver stands on: sizes, the inputs of a network, and functions on states that lie behind each other."""
    genome, states = len(plan.genome), _Layout(plan.states)
    step = _Stage("step", plan.step, plan, genome)
    query = _Stage("query", plan.query, plan, genome + len(plan.step_data))
    gradient = _Layout([n if wanted else 0 for n, wanted in zip(plan.genome, plan.learned, strict=True)])
    residuals = max(step.residuals.total, query.residuals.total)
    slopes, guess = max(step.slopes.total, query.slopes.total), rounded(plan.outputs)
    sizes = {
        "INPUTS": genome + len(plan.step_data) + len(plan.query_data),
        "STATES": states.total,
        "RESIDUALS": residuals,
        "ENTRY": states.total + step.residuals.total,
        "SLOPES": slopes,
        "GRADIENT": gradient.total,
        "GUESSES": guess,
        "GUESSED": plan.outputs,
        "WIDTH": plan.width,
        "ANSWERS": genome + len(plan.step_data) + 1,
        "STATE_COUNT": len(plan.states),
        "JUDGED": len(plan.states) + genome,
        "MOVES_BACK": int(step.moves_back),
        "SCRATCH": 4 * states.total + slopes + gradient.total + guess + residuals + rounded(work) + 16,
    }
    rows = list(zip(range(len(plan.states)), states.offsets, plan.states, strict=True))
    sums = [
        f"net.give({len(plan.states) + k}, share, {gradient.at('sum')[k]}, {n});"
        for k, (n, wanted) in enumerate(zip(plan.genome, plan.learned, strict=True))
        if wanted
    ]
    return [
        *(f"enum : int64_t {{ {name} = {size} }};" for name, size in sizes.items()),
        resource("call.h"),
        _function(
            "net_start",
            "real* now",
            [_copy(f"now + {at}", f"net.state[{k}]", n) for k, at, n in rows],
        ),
        _function(
            "net_finish",
            "const real* now",
            [_copy(f"net.call.out[{k}] + net.number * {n}", f"now + {at}", n) for k, at, n in rows],
        ),
        _function(
            "net_given",
            "real* back",
            [_copy(f"back + {at}", f"net.call.cotangent[{k}] + net.number * {n}", n) for k, at, n in rows],
        ),
        _function(
            "net_return",
            "int64_t share, const real* back, const real* sum",
            [*(f"net.give({k}, share, back + {at}, {n});" for k, at, n in rows), *sums],
        ),
        _function("net_step", f"int64_t s, const real* now, real* next, {_KEPT}", step.forward(states.at("next"))),
        _function("net_predict", f"int64_t s, const real* now, real* guess, {_KEPT}", query.forward(["guess"])),
        _function("net_pull_step", _PULL, step.backward(states.at("back"), gradient)),
        _function("net_pull_prediction", _PULL, query.backward(["back"], gradient)),
    ]


_KEPT = "real* kept, real* work"
_PULL = (
    "int64_t s, const real* now, const real* kept, const real* back, real* before, real* slope, real* sum, real* work"
)
