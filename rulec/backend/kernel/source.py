"""Write the kernel of an unroll: for each network, all steps and the prediction, and the way back, in memory of its own.

A network's values stay in the cache of the core that works on it; nothing but arguments and results goes through main memory.
The way back makes the steps again rather than read a tape that was written before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import prod

from torch import fx

from rulec.backend.kernel.functions import Function
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
    double: bool


def kernel_source(plan: Plan) -> str:
    """Return the C++ source. Raises `Unsupported` for operations that no kernel is generated for."""
    functions = [
        Function(f"{name}_{way}", module)
        for name, part in (("step", plan.step), ("query", plan.query))
        for way, module in (("forward", part.reverse.forward), ("backward", part.reverse.backward))
    ]
    work = max(f.work for f in functions) + 16
    return "\n".join(
        (
            prelude(plan.double),
            *(f.source() for f in functions),
            _driver(plan, work),
            "",
        )
    )


def prelude(double: bool) -> str:
    """Return what every kernel begins with, for numbers of this type."""
    text = (files("rulec.backend.kernel") / "prelude.h").read_text()
    return f"typedef {'double' if double else 'float'} real;\n{text}"


class _Layout:
    """Where the arrays of a part lie behind each other, from a pointer."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.offsets, self.total = [], 0
        for size in sizes:
            self.offsets.append(self.total)
            self.total += _rounded(size)

    def at(self, base: str) -> list[str]:
        return [f"{base} + {offset}" for offset in self.offsets]


def _rounded(count: int) -> int:
    """Return a length that keeps what follows aligned."""
    return -(-count // 8) * 8


def _sizes(nodes: Sequence[fx.Node | None]) -> list[int]:
    return [0 if n is None else prod(n.meta["val"].shape) for n in nodes]


def _results(module: fx.GraphModule) -> list[fx.Node | None]:
    return list(next(n for n in module.graph.nodes if n.op == "output").args[0])


class _Stage:
    """How the driver calls the functions of a part."""

    def __init__(self, name: str, part: Part, plan: Plan, first: int, stepping: bool) -> None:
        self.name, self.part, self.plan, self.first, self.stepping = name, part, plan, first, stepping
        self.states = _Layout(plan.states)
        self.residuals = _Layout(_sizes(_results(part.reverse.forward)[part.reverse.results :]))
        self.slopes = _Layout(_sizes(_results(part.reverse.backward)))

    def arguments(self, state: str) -> list[str]:
        """Return genome entries, states, x, y, the counter, and noise."""
        count = len(self.plan.step_data if self.stepping else self.plan.query_data)
        data = [
            f"in{k}" + (f" + s * stride[{k * 4 + 3}]" if self.stepping else "")
            for k in range(self.first, self.first + count)
        ]
        return [*(f"in{k}" for k in self.part.genome), *self.states.at(state), *data[:2], "&count", *data[2:]]

    def forward(self, made: Sequence[str]) -> str:
        return _call(f"{self.name}_forward", [*self.arguments("now"), *made, *self.residuals.at("kept")])

    def backward(self, cotangents: Sequence[str]) -> str:
        reverse, every = self.part.reverse, self.arguments("now")
        read = [every[k] for k in reverse.reads]
        pulled = [cotangents[k] for k in reverse.pulls]
        return _call(f"{self.name}_backward", [*read, *self.residuals.at("kept"), *pulled, *self.slopes.at("slope")])

    def gathered(self, gradient: _Layout) -> list[str]:
        """Add what came back for the genome, and take the cotangents of the states."""
        lines = []
        found = zip(self.part.reverse.wrt, _results(self.part.reverse.backward), self.slopes.at("slope"), strict=True)
        for where, node, source in found:
            k = where - len(self.part.genome)
            if k >= 0:
                lines.append(_copy(self.states.at("back")[k], source, self.plan.states[k], node is None))
            elif node is not None:
                entry = self.part.genome[where]
                lines.append(f"add({gradient.at('sum')[entry]}, {source}, {self.plan.genome[entry]});")
        return lines


def _call(name: str, arguments: Sequence[str]) -> str:
    return f"{name}({', '.join([*arguments, 'work'])});"


def _copy(target: str, source: str, count: int, blank: bool = False) -> str:
    if blank:
        return f"std::memset({target}, 0, {count} * sizeof(real));"
    return f"std::memcpy({target}, {source}, {count} * sizeof(real));"


def _driver(plan: Plan, work: int) -> str:
    genome, states = len(plan.genome), _Layout(plan.states)
    step = _Stage("step", plan.step, plan, genome, True)
    query = _Stage("query", plan.query, plan, genome + len(plan.step_data), False)
    gradient = _Layout([n if wanted else 0 for n, wanted in zip(plan.genome, plan.learned, strict=True)])
    slopes, guess = max(step.slopes.total, query.slopes.total), _rounded(plan.outputs)
    inputs = genome + len(plan.step_data) + len(plan.query_data)

    def each(target: str, source: str) -> str:
        """Copy all states; `#` is the number of a state, `@` its offset, `$` its size."""
        rows = zip(range(len(plan.states)), states.offsets, plan.states, strict=True)
        filled = [
            [text.replace("#", str(k)).replace("@", str(at)).replace("$", str(n)) for text in (target, source)] + [n]
            for k, at, n in rows
        ]
        return "\n        ".join(_copy(*row) for row in filled)  # type: ignore[arg-type]

    sums = [
        _copy(f"out[{len(plan.states) + k}] + net * {n}", gradient.at("sum")[k], n)
        for k, (n, wanted) in enumerate(zip(plan.genome, plan.learned, strict=True))
        if wanted
    ]
    place = " + ".join(f"{axis} * stride[{{0}} + {k}]" for k, axis in enumerate("ptr"))
    return _TEMPLATE.format(
        pointers="\n      ".join(f"const real* in{k} = in[{k}] + {place.format(k * 4)};" for k in range(inputs)),
        begin=each("now + @", "state[#] + net * $"),
        finish=each("out[#] + net * $", "now + @"),
        given=each("back + @", "cotangent[#] + net * $"),
        returned="\n      ".join([each("out[#] + net * $", "back + @"), *sums]),
        step=step.forward(states.at("next")),
        step_back=step.backward(states.at("back")),
        step_gathered="\n        ".join(step.gathered(gradient)),
        query=query.forward([f"out[0] + net * {plan.outputs}"]),
        query_taped=query.forward(["guess"]),
        query_back=query.backward([f"cotangent[0] + net * {plan.outputs}"]),
        query_gathered="\n        ".join(query.gathered(gradient)),
        states=states.total,
        residuals=step.residuals.total,
        query_residuals=query.residuals.total,
        slopes=slopes,
        gradient=gradient.total,
        guess=guess,
        work=work,
        tape=states.total + step.residuals.total,
        forward_space=2 * states.total + step.residuals.total + query.residuals.total + work + 64,
        backward_space=states.total + slopes + gradient.total + guess + query.residuals.total + work + 64,
    )


_TEMPLATE = """
static inline void add(real* to, const real* from, int count) {{
  for (int k = 0; k < count; ++k) to[k] += from[k];
}}

struct Call {{
  const int64_t* lead;
  int64_t steps;
  double begin;
  int predicts;
  const real* const* in;
  const int64_t* stride;
  const real* const* state;
  const real* const* cotangent;
  real* const* out;
  std::atomic<int> failed;
}};

static real* space_for(Call& call, size_t numbers) {{
  real* space = static_cast<real*>(std::aligned_alloc(64, (numbers * sizeof(real) + 63) / 64 * 64));
  if (!space) call.failed = 1;
  return space;
}}

static void forward_nets(Call& call, int64_t first, int64_t last) {{
  const int64_t steps = call.steps, *lead = call.lead, *stride = call.stride;
  const double begin = call.begin;
  const real *const *in = call.in, *const *state = call.state;
  real* const* out = call.out;
  real* space = space_for(call, {forward_space});
  for (int64_t net = first; space && net < last; ++net) {{
    const int64_t r = net % lead[2], t = net / lead[2] % lead[1], p = net / lead[2] / lead[1];
    {pointers}
    real *now = space, *next = now + {states}, *kept = next + {states}, *work = kept + {residuals} + {query_residuals};
    {begin}
    for (int64_t s = 0; s < steps; ++s) {{
      const real count = real(begin + s + 1);
      {step}
      real* other = now; now = next; next = other;
    }}
    if (call.predicts) {{
      const real count = real(begin + steps + 1);
      {query}
    }} else {{
      {finish}
    }}
  }}
  std::free(space);
}}

static void backward_nets(Call& call, int64_t first, int64_t last) {{
  const int64_t steps = call.steps, *lead = call.lead, *stride = call.stride;
  const double begin = call.begin;
  const real *const *in = call.in, *const *state = call.state, *const *cotangent = call.cotangent;
  real* const* out = call.out;
  real* space = space_for(call, size_t({backward_space}) + size_t(steps + 1) * {tape});
  for (int64_t net = first; space && net < last; ++net) {{
    const int64_t r = net % lead[2], t = net / lead[2] % lead[1], p = net / lead[2] / lead[1];
    {pointers}
    real *back = space, *slope = back + {states}, *sum = slope + {slopes}, *guess = sum + {gradient};
    real *query_kept = guess + {guess}, *work = query_kept + {query_residuals}, *tape = work + {work};
    real* now = tape;
    std::memset(sum, 0, {gradient} * sizeof(real));
    {begin}
    for (int64_t s = 0; s < steps; ++s) {{
      const real count = real(begin + s + 1);
      real *kept = now + {states}, *next = now + {tape};
      {step}
      now = next;
    }}
    if (call.predicts) {{
      const real count = real(begin + steps + 1);
      real* kept = query_kept;
      {query_taped}
      {query_back}
      {query_gathered}
    }} else {{
      {given}
    }}
    for (int64_t s = steps - 1; s >= 0; --s) {{
      const real count = real(begin + s + 1);
      now -= {tape};
      real* kept = now + {states};
      {step_back}
      {step_gathered}
    }}
    {returned}
  }}
  std::free(space);
}}

// Each thread takes a share of the networks. Returns whether memory ran out.
extern "C" int unroll(
    int backward, int threads, const int64_t* lead, int64_t steps, double begin, int predicts, const real* const* in,
    const int64_t* stride, const real* const* state, const real* const* cotangent, real* const* out) {{
  Call call{{lead, steps, begin, predicts, in, stride, state, cotangent, out, {{0}}}};
  const int64_t nets = lead[0] * lead[1] * lead[2], shares = threads < nets ? threads : nets;
  auto work = backward ? backward_nets : forward_nets;
  std::vector<std::thread> helpers;
  for (int64_t k = 1; k < shares; ++k)
    helpers.emplace_back(work, std::ref(call), nets * k / shares, nets * (k + 1) / shares);
  work(call, 0, nets / shares);
  for (auto& helper : helpers) helper.join();
  return call.failed;
}}
"""
