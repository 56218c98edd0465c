"""Inner problems that are more than the rule on the data as they come: compiled against interpreted, and against loops by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import rulec
from rulec.meta.evaluate import evaluate
from rulec.meta.genome_file import load_genome
from rulec.meta.hypergradients import READERS, Settings
from rulec.meta.hypergradients.descent import reverse_gradient
from rulec.meta.hypergradients.evograd import inner_loss
from rulec.meta.outer import fitted, on_inner_problem, stored_outer
from rulec.meta.train import meta_train
from rulec.oracle.interpreter import interpret
from rulec.semantics.inner_problems import DATA_FUNCTIONS
from rulec.semantics.typed import Call
from rulec.source import RuleError
from rulec.tasks.recast import FUNCTIONS, _draw, recast
from rulec.tasks.registry import task_from
from rulec.tasks.turning import turned
from tests.shipped import load

from .conftest import planned
from .test_hypergradients import _central_differences

EVERYTHING = """
outer everything
  genome
    angle = 0.3
    shift = 0.1
    smooth : unit = 0.1
    net judge : 1 -> 5 -> 1 (sigmoid)
  inner rule in layers 2 to -1 for 3 steps on support, weighted by judge(loss)PLUS
  tasks x = rotate(x, angle) on support
  tasks x = x + shift
  tasks y = (1 - smooth) * y + smooth / 4 on support
  meta genome
  minimize loss on query
  minimize 0.2 * loss on support
  minimize 0.01 * norm(judge)^2
  through unroll
  by adam(lr = 0.01)
"""
PLUS = ", plus 0.1 * norm(w - init(w))^2, plus smooth * norm(w)^2"


def outer_of(text: str, rule: str = "sgd", name: str | None = None):
    own = rulec.parse(load(rule).text + text)
    return own, own.outer(name or text.split("outer ", 1)[1].split(maxsplit=1)[0])


@pytest.mark.parametrize("net", ["1x5x6-conv(3)-4", "1x5x6-conv(3)-conv(2)-4"])
@pytest.mark.parametrize("rule", ["sgd", "adam", "backprop", "kolen_pollack", "node_perturbation", "blur"])
def test_compiled_is_interpreted(rule, net):
    text = EVERYTHING.replace("PLUS", PLUS if rule in ("sgd", "adam") else "")
    own, outer = outer_of(text, rule)
    plain = own.compile(net, input_shape=(1, 5, 6), outputs=4, dtype="float64", loss="cross_entropy")
    step = on_inner_problem(plain, outer)
    generator = torch.Generator().manual_seed(3)
    genome = step.init_genome(1)
    genome |= {n: torch.randn(v.shape, generator=generator).double() for n, v in genome.items() if "judge" in n}
    state = step.init_state(2, batch=6)
    x = torch.randn(6, 1, 5, 6, generator=generator).double()
    y = torch.softmax(torch.randn(6, 4, generator=generator).double(), -1)
    after, output = step(genome, state, x, y)
    sites = zip(step.lowered.noise, step.noise_of(step.lowered, int(state["seed"]), 1, 6), strict=True)
    noise = {site.name: value.numpy() for site, value in sites}
    arrays = {n: v.numpy() for n, v in state.items() if n not in ("t", "seed")}
    values = {n: v.numpy() for n, v in genome.items()}
    found = interpret(
        step.program, step.network, "cross_entropy", values, arrays, x.numpy(), y.numpy(), 1, lambda n, shape: noise[n]
    )
    for name, value in found.state.items():
        np.testing.assert_allclose(after[name].numpy(), value, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(output.prediction.numpy(), found.prediction, rtol=1e-10, atol=1e-13)
    assert float(output.loss) == pytest.approx(found.loss, rel=1e-10)
    torch.testing.assert_close(step.loss_on(genome, state, x, y), output.loss)
    still = [name for name in state if name.startswith(("w.c1", "b.hidden1"))]
    assert still and all(torch.equal(after[name], state[name]) for name in still)
    assert not torch.equal(after["t"], state["t"]) and any(
        not torch.equal(after[n], state[n]) for n in state if n.startswith("w.c2")
    )
    asked = step.predict(genome, state, x)  # the query is shifted, and not turned
    torch.testing.assert_close(asked, plain.predict(genome, state, x + genome["shift"]))


@pytest.mark.parametrize("rule", ["sgd", "backprop"])
@pytest.mark.parametrize("method", ["unroll", "forward", "first_order"])
def test_hypergradients_of_all_that_is_learned(rule, method):
    """Central differences, where the image is turned by no whole number of pixels; first order is exact for one update."""
    text = EVERYTHING.replace("PLUS", PLUS if rule == "sgd" else "")
    text = text if method == "unroll" else text.replace("  minimize 0.2 * loss on support\n", "")
    own, outer = outer_of(text, rule)
    compiled = own.compile("1x8x8-avgpool(4)-3-10 : tanh", dtype="float64", population=2)
    task = task_from("digits(layout=image)")
    made = planned(compiled, task, outer, inner_steps=1 if method == "first_order" else 3, batch=12)
    call = Call(method, (), {}, outer.through.span)
    found = READERS[method](replace(outer, through=call), Settings(1e9, 5, 2))
    score, gradient = found.gradient(made.problem, made.free, 0)
    assert set(gradient) == set(made.free) >= {"angle", "shift", "smooth", "judge.0.weight", "lr"}
    for name, value in _central_differences(made.problem, made.free).items():
        torch.testing.assert_close(gradient[name], value, rtol=2e-4, atol=1e-8)
        assert (value.abs() > 0).any()
    assert score.objective.shape == (2,)


def test_the_weight_of_the_loss_by_hand():
    """w' = w - lr (grad of mean V(l) l, V as it is, + 2 decay w): Meta-Weight-Net's virtual step, and its hypergradient."""
    own, outer = outer_of(
        """
outer mine
  genome
    decay : positive = 0.05
    net judge : 1 -> 3 -> 1 (tanh)
  inner sgd(lr = 0.3) for 2 steps on support, weighted by sigmoid(judge(loss)), plus decay * norm(w)^2
  meta decay, judge
  minimize loss on query
  through unroll
  by adam(lr = 0.01)
"""
    )
    compiled = own.compile("64-10", dtype="float64")
    made = planned(compiled, task_from("digits"), outer, inner_steps=None, batch=9)
    _, gradient = reverse_gradient(made.problem, made.free, 0)
    free = {name: value[0].clone().requires_grad_() for name, value in made.free.items()}
    start, data = made.problem.start(made.free, 0), made.problem.batches(0)
    w, b = start["w.c1.weight"][0].requires_grad_(), start["w.c1.bias"][0].requires_grad_()
    decay = (
        free["decay"].exp() if bool(made.problem.parameters.values(made.free)["decay"] == free["decay"].exp()) else None
    )
    decay = decay if decay is not None else torch.nn.functional.softplus(free["decay"])
    torch.testing.assert_close(decay.detach(), torch.tensor(0.05).double())

    def judge(loss):
        hidden = torch.tanh(loss[:, None] @ free["judge.0.weight"] + free["judge.0.bias"])
        return torch.sigmoid((hidden @ free["judge.1.weight"] + free["judge.1.bias"])[:, 0])

    for x, y in zip(data.x[:, 0], data.y[:, 0], strict=True):
        losses = -(torch.log_softmax(x @ w + b, -1) * y).sum(-1)
        weight = judge(losses)
        still = judge(losses.detach()).detach()  # the value alone, for the inner derivative
        slopes = torch.autograd.grad(losses, (w, b), weight / len(x), create_graph=True)
        torch.testing.assert_close(weight.detach(), still)
        w, b = (p - 0.3 * (g + 2 * decay * p) for p, g in zip((w, b), slopes, strict=True))
    query = torch.nn.functional.cross_entropy(data.query_x[0] @ w + b, data.query_y[0])
    for name, value in zip(free, torch.autograd.grad(query, list(free.values())), strict=True):
        torch.testing.assert_close(gradient[name][0], value, rtol=1e-9, atol=1e-14)


def test_stop_keeps_the_pull_and_cuts_its_gradient():
    text = """
outer pulled
  inner sgd(lr = 0.1) for 4 steps on support, plus norm(w - ORIGIN)^2
  meta init(w)
  minimize loss on query
  through unroll
  by adam(lr = 0.001)
"""
    found = {}
    for name, origin in (("whole", "init(w)"), ("stopped", "stop(init(w))")):
        own, outer = outer_of(text.replace("ORIGIN", origin))
        made = planned(own.compile("64-10", dtype="float64"), task_from("digits"), outer, inner_steps=None, batch=9)
        score, gradient = reverse_gradient(made.problem, made.free, 0)
        found[name] = score.objective, gradient["init(w.c1.weight)"]
    torch.testing.assert_close(found["whole"][0], found["stopped"][0])
    assert (found["whole"][1] - found["stopped"][1]).abs().max() > 1e-3 * found["whole"][1].abs().max()


# --- Connections -----------------------------------------------------------------------------


def test_initial_values_of_some_layers_are_learned():
    own, outer = outer_of(
        """
outer some
  inner sgd(lr = 0.1) in layer -1 for 2 steps on support
  meta init(w) in layers 1 to 2
  minimize loss on query
  through unroll
  by adam(lr = 0.01)
"""
    )
    made = planned(own.compile("64-8-6-10"), task_from("digits"), outer, inner_steps=None, batch=16)
    assert set(made.free) == {"init(w.c1.weight)", "init(w.c1.bias)", "init(w.c2.weight)", "init(w.c2.bias)"}
    inner = made.problem.begun(made.free, 0)
    after = made.problem.updated(inner, inner.state, 0, 2)
    moved = {name for name in after if name[0] == "w" and not torch.equal(after[name], inner.state[name])}
    assert moved == {"w.c3.weight", "w.c3.bias"}
    with pytest.raises(RuleError, match="no-such-layers") as error:
        planned(
            own.compile("64-10"), task_from("digits"), replace(outer, within=replace(outer.within, first=3, last=4))
        )
    assert "1 connection with weights" in str(error.value)


def test_rates_of_layers_are_learned_apart():
    own, outer = outer_of(
        """
outer rates
  inner sgd(lr = 0.2) for 2 steps on support
  meta sgd.lr per layer
  minimize loss on query
  through unroll
  by adam(lr = 0.01)
"""
    )
    compiled = own.compile("64-8-6-10", dtype="float64")
    made = planned(compiled, task_from("digits"), outer, inner_steps=None, batch=16)
    assert made.free["lr"].shape == (1, 3)
    torch.testing.assert_close(made.problem.fixed["lr"], torch.full((1, 3), 0.2).double())
    _, gradient = reverse_gradient(made.problem, made.free, 0)
    shared = planned(
        compiled,
        task_from("digits"),
        replace(outer, meta=(replace(outer.meta[0], per_layer=False),)),
        inner_steps=None,
        batch=16,
    )
    _, whole = reverse_gradient(shared.problem, shared.free, 0)
    torch.testing.assert_close(gradient["lr"].sum(1), whole["lr"])
    assert len(set(gradient["lr"].flatten().tolist())) == 3


# --- Keys ------------------------------------------------------------------------------------

KEYED = """
outer keyed
  key order = permutation
  key offset = uniform(-1, 1)
  key turn = one_of(0, 1.5707963267948966)
  tasks y = permute(y, order)
  tasks y = y + offset
  tasks x = rotate(x, turn)
  inner sgd(lr = 0.1) for 3 steps on support
  meta init(w)
  minimize loss on query
  through unroll
  by adam(lr = 0.01), tasks = 5
"""


def test_a_key_is_the_same_on_both_sides_of_a_task_and_another_for_each():
    _, outer = outer_of(KEYED)
    plain = task_from("digits(layout=image)")
    task = recast(plain, outer.changes, outer.keys)
    given = {"seed": 7, "steps": 3, "batch": 6, "tasks": 5, "query": 8}
    before, after = plain.episode(**given), task.episode(**given)
    orders, offsets, turns = set(), set(), set()
    for t in range(5):
        labels = [*before.support_y[:, t].reshape(-1, 10).argmax(-1).tolist(), *before.query_y[t].argmax(-1).tolist()]
        found = torch.cat([after.support_y[:, t].reshape(-1, 10), after.query_y[t]])
        offset = found.min()
        torch.testing.assert_close(found.sum(-1), 1 + 10 * offset.expand(len(found)))
        mapping = dict(zip(labels, found.argmax(-1).tolist(), strict=True))
        assert [mapping[label] for label in labels] == found.argmax(-1).tolist()  # one mapping for support and query
        assert len(set(mapping.values())) == len(mapping)
        quarter = torch.rot90(before.query_x[t], 1, (-2, -1)), torch.rot90(before.query_x[t], -1, (-2, -1))
        same = torch.equal(after.query_x[t], before.query_x[t])
        assert same or any(torch.allclose(after.query_x[t], q, atol=1e-5) for q in quarter)
        assert same == torch.equal(after.support_x[:, t], before.support_x[:, t])
        orders.add(tuple(mapping.get(k, -1) for k in range(10)))
        offsets.add(round(float(offset), 5))
        turns.add(same)
    assert len(orders) == 5 and len(offsets) == 5 and turns == {True, False}
    assert all(-1 <= o <= 1 for o in offsets)
    again = task.episode(**{**given, "steps": 1})
    torch.testing.assert_close(again.support_y[0], after.support_y[0])


def test_evaluation_draws_no_keys():
    own, outer = outer_of(KEYED)
    made = planned(own.compile("1x8x8-10"), task_from("digits(layout=image)"), outer, inner_steps=None, batch=16)
    assert made.problem.lessons is not made.problem.task
    assert made.problem.task.describe() == task_from("digits(layout=image)").describe()
    assert made.problem.lessons.describe()["changes"][0] == "tasks y = permute(y, order)"


def test_data_are_computed_with_what_the_text_may_say():
    assert set(FUNCTIONS) == DATA_FUNCTIONS
    _, outer = outer_of(KEYED.replace("y + offset", "where(y > offset, exp(-y^2) + min(y, offset), abs(y) / 2)"))
    before, after = (
        recast(task_from("digits(layout=image)"), changes, outer.keys).episode(seed=3, steps=1, batch=4, tasks=3)
        for changes in (outer.changes[:1], outer.changes[:2])
    )
    offset = torch.stack([_draw(outer.keys[1], 10, 3, task) for task in range(3)]).view(3, 1, 1)
    y = before.query_y
    wanted = torch.where(y > offset, torch.exp(-y.square()) + torch.minimum(y, offset), y.abs() / 2)
    torch.testing.assert_close(after.query_y, wanted)


def test_updates_of_a_meta_step_must_divide_the_inner_loop():
    own, outer = outer_of(GOING.replace("METHOD", "unroll"))
    with pytest.raises(RuleError, match="horizon-differs") as error:
        planned(own.compile("64-10"), task_from("digits"), outer, inner_steps=4)
    assert "divide 6: 1, 2, 3, 6" in str(error.value)


# --- Turning ---------------------------------------------------------------------------------


def test_turning_is_turning():
    image = torch.rand(2, 1, 7, 7)
    torch.testing.assert_close(turned(image, torch.tensor(0.0)), image)
    quarters = [torch.rot90(image, k, (-2, -1)) for k in (1, -1)]
    found = turned(image, torch.tensor(math.pi / 2))
    assert any(torch.allclose(found, q, atol=1e-5) for q in quarters)
    back = turned(turned(image[..., 1:-1, 1:-1], torch.tensor(0.4)), torch.tensor(-0.4))
    assert back.shape == (2, 1, 5, 5)


def test_turned_queries_are_what_the_outer_step_makes():
    """`digits(turned=30)` turns queries as `rotate(x, pi / 6)` turns a support."""
    plain, other = task_from("digits(layout=image)"), task_from("digits(layout=image, turned=30)")
    given = {"seed": 1, "steps": 1, "batch": 4, "query": 5}
    before, after = plain.episode(**given), other.episode(**given)
    assert torch.equal(before.support_x, after.support_x)
    own, outer = outer_of(
        """
outer turn
  genome
    angle = 0.5235987755982988
  inner sgd(lr = 0) for 1 steps on support
  tasks x = rotate(x, angle) on query
  meta angle
  minimize loss on query
  through unroll
  by adam(lr = 0.01)
"""
    )
    compiled = own.compile("1x8x8-conv(3)-10")
    step = on_inner_problem(compiled, outer)
    genome, state = step.init_genome(0), step.init_state(0)
    flat = task_from("digits(turned=30)").episode(**given)
    torch.testing.assert_close(flat.query_x.reshape(5, 1, 8, 8), after.query_x[0])
    torch.testing.assert_close(
        step.predict(genome, state, before.query_x[0]),
        compiled.predict(genome, state, after.query_x[0]),
        rtol=1e-4,
        atol=1e-5,
    )


def test_only_images_are_turned():
    own, outer = outer_of(EVERYTHING.replace("PLUS", ""))
    with pytest.raises(RuleError, match="not-an-image"):
        planned(own.compile("64-5-10"), task_from("digits"), outer).problem.step.lowered  # noqa: B018


# --- Inner loops that go on ------------------------------------------------------------------

GOING = """
outer going
  genome
    decay : positive = 0.01
  inner sgd(lr = 0.3) for 2 of 6 steps on support, plus decay * norm(w)^2
  meta decay
  minimize loss on query
  through METHOD
  by sgd(lr = 0.1), batch = 12
"""


@pytest.mark.parametrize("task", ["digits", "sinusoid(shots=12)"])
def test_inner_loops_go_on_with_the_new_meta_parameters(task):
    own, outer = outer_of(GOING.replace("METHOD", "unroll"))
    chosen = task_from(task)
    compiled = own.compile(
        "?-5-?", loss=chosen.loss, input_shape=chosen.input_shape, outputs=chosen.outputs, dtype="float64"
    )
    made = planned(compiled, chosen, outer, inner_steps=None, batch=None)
    problem, search = made.problem, made.method.begin(made.problem, made.free)
    expected = problem.start(made.free, 0)
    for number in range(4):
        if number == 3:  # the second inner loop begins
            expected = problem.start(search.free, 3)
            assert problem.place(3) == (1, 0)
        torch.testing.assert_close(search.memory["inner w.c1.weight"], expected["w.c1.weight"]) if number < 3 else None
        search, _ = made.method.step(problem, search, number)
        data = problem.batches(number)
        genome = problem.parameters.genome(search.free, problem.fixed)
        for x, y in zip(data.x, data.y, strict=True):
            expected, _ = problem.step(genome, expected, x, y)
        torch.testing.assert_close(search.memory["inner w.c1.weight"], expected["w.c1.weight"])
    whole = problem.lessons.episode(seed=1, steps=1, batch=12)
    assert whole.support_x.shape[0] == 1


def test_a_resumed_run_goes_on_bit_by_bit(tmp_path):
    own, outer = outer_of(GOING.replace("METHOD", "evograd").replace("sgd(lr = 0.1), batch", "adam(lr = 0.1), batch"))
    compiled = own.compile("64-5-10")
    given = {"seed": 3, "batch": 16, "episodes": 2, "save_every": 1}
    whole = meta_train(compiled, "digits", outer, steps=7, **given)
    meta_train(compiled, "digits", outer, steps=4, out=tmp_path / "run", **given)
    resumed = meta_train(compiled, "digits", outer, steps=7, out=tmp_path / "run", resume=True, **given)
    assert torch.equal(whole.genome["decay"], resumed.genome["decay"])
    assert whole.genome["decay"] != 0.01


def test_methods_that_begin_anew_refuse_to_go_on():
    own, outer = outer_of(GOING.replace("METHOD", "reptile").replace("meta decay", "meta init(w), decay"))
    own, outer = outer_of(
        GOING.replace("METHOD", "reptile")
        .replace("meta decay", "meta init(w)")
        .replace("  genome\n    decay : positive = 0.01\n", "")
        .replace("decay *", "0.1 *")
    )
    with pytest.raises(RuleError, match="inner-loop-goes-on"):
        planned(own.compile("64-5-10"), task_from("digits"), outer)


# --- What a run leaves -----------------------------------------------------------------------


def test_an_evaluation_knows_the_inner_problem(tmp_path):
    own, outer = outer_of(GOING.replace("METHOD", "unroll").replace("2 of 6", "3").replace("0.01", "2"))
    compiled = own.compile("64-5-10")
    result = meta_train(compiled, "digits", outer, steps=1, batch=16, episodes=2, out=tmp_path / "run")
    held = load_genome(result.paths["genome"])
    stored = stored_outer(held.about)
    assert stored is not None and stored.plus == outer.plus and stored.genome == outer.genome
    pulled = evaluate(fitted(stored, compiled), result.genome, "digits", updates=(3,), batch=16)
    free = evaluate(compiled, result.genome, "digits", updates=(3,), batch=16)
    assert pulled.loss != free.loss


# --- EvoGrad ---------------------------------------------------------------------------------

LEARNED = {
    "a term": ("decay : positive = 0.3", ", plus decay * norm(w)^2", "", "decay"),
    "a weight": ("net judge : 1 -> 3 -> 1 (tanh)", ", weighted by sigmoid(judge(loss))", "", "judge"),
    "the targets": ("smooth : unit = 0.2", "", "  tasks y = (1 - smooth) * y on support\n", "smooth"),
}


def support_loss(what, genome, w, b, x, y):
    """What the inner problem minimises, on 1-1, for each of many tasks."""
    target = (1 - genome["smooth"]) * y if what == "the targets" else y
    losses = (x * w + b - target).square()[..., 0]
    if what == "a weight":
        first = torch.tanh(losses[..., None] @ genome["judge.0.weight"][0] + genome["judge.0.bias"][0])
        losses = losses * torch.sigmoid((first @ genome["judge.1.weight"][0] + genome["judge.1.bias"][0])[..., 0])
    extra = genome["decay"] * (w.square() + b.square()).flatten() if what == "a term" else 0
    return losses.mean(-1) + extra


@pytest.mark.parametrize("candidates", [2, 10])
@pytest.mark.parametrize("what", LEARNED)
def test_evograd_estimates_one_step_of_gradient_descent(what, candidates):
    """Its mean is -(sigma^2 / tau) (1 - 1 / candidates) M^T dV/dw, with M = d2 L / dw dphi of the loss on the support."""
    entry, more, changes, name = LEARNED[what]
    own, outer = outer_of(
        f"""
outer chosen
  genome
    {entry}
  inner sgd(lr = 0.001) for 1 steps on support{more}
{changes}  meta {name}
  minimize loss on query
  through evograd
  by sgd(lr = 1)
"""
    )
    compiled = own.compile("1-1", loss="mse", dtype="float64", tasks=600)
    sigma, tau = 1e-4, 0.05
    made = planned(compiled, task_from("sinusoid(shots=6)"), outer, inner_steps=None, batch=None)
    settings = {"candidates": candidates, "sigma": sigma, "tau": tau}
    through = replace(outer, through=Call("evograd", (), settings, outer.through.span))
    method = READERS["evograd"](through, Settings(1e9, 5, None))
    data, start, draws = made.problem.batches(0), made.problem.start(made.free, 0), []
    for seed in range(40):  # of the candidates alone
        problem = replace(made.problem, seed=seed)
        object.__setattr__(problem, "batches", lambda number: data)
        object.__setattr__(problem, "start", lambda free, number: start)
        draws.append(method.gradient(problem, made.free, 0)[1])

    free = {n: v.clone().requires_grad_() for n, v in made.free.items()}
    genome = made.problem.parameters.genome(free, made.problem.fixed)
    w, b = (start[f"w.c1.{n}"][0].reshape(-1, 1, 1).requires_grad_() for n in ("weight", "bias"))
    inner = support_loss(what, genome, w, b, data.x[0, 0], data.y[0, 0])
    query = (data.query_x[0] * w + b - data.query_y[0]).square().mean()
    towards = torch.autograd.grad(query, (w, b))
    slopes = torch.autograd.grad(inner.sum(), (w, b), create_graph=True)
    mixed = torch.autograd.grad(sum((g * s).sum() for g, s in zip(towards, slopes, strict=True)), list(free.values()))
    for entry_name, value in zip(free, mixed, strict=True):
        wanted = -(sigma**2) / tau * (1 - 1 / candidates) * value
        estimates = torch.stack([draw[entry_name] for draw in draws])
        error = estimates.std(0) / len(draws) ** 0.5
        assert ((estimates.mean(0) - wanted).abs() < 4 * error + 0.01 * wanted.abs()).all()
        assert error.max() < 0.2 * wanted.abs().max()  # so that it says something


def test_what_evograd_compares_is_what_the_inner_rule_descends():
    """The gradient of `inner_loss` by the weights is what gradient descent subtracts; decays belong to layers."""
    own, outer = outer_of(
        """
outer decayed
  genome
    decay : positive per layer = 0.3
  inner sgd(lr = 1) for 1 steps on support, plus 0.5 * decay * norm(w)^2, plus 0.2 * norm(w - init(w))^2
  meta decay
  minimize loss on query
  through evograd
  by adam(lr = 1)
"""
    )
    made = planned(
        own.compile("64-5-10", dtype="float64", population=2), task_from("digits"), outer, inner_steps=None, batch=7
    )
    problem, free = made.problem, {"decay": torch.tensor([[0.1, -0.5], [0.3, 0.2]]).double()}
    inner = problem.begun(free, 0)
    state = {n: v + 0.1 if n.startswith("w.") else v for n, v in inner.state.items()}
    leaves = {n: v.clone().requires_grad_() for n, v in state.items() if n.startswith("w.")}
    x, y = inner.batches.x[0], inner.batches.y[0]
    total = inner_loss(problem.step, outer, inner.genome, {**state, **leaves}, x, y)
    after, _ = problem.step(inner.genome, state, x, y)
    for name, slope in zip(leaves, torch.autograd.grad(total.sum(), list(leaves.values())), strict=True):
        torch.testing.assert_close(state[name] - after[name], slope)


def test_evograd_wants_something_that_the_loss_depends_on():
    sgd = load("sgd")
    outer = replace(sgd.outer("adam"), through=Call("evograd", (), {}, sgd.outer("adam").through.span))
    with pytest.raises(RuleError, match="the loss of the support does not depend on it"):
        planned(sgd.compile("64-5-10"), task_from("digits"), outer)
