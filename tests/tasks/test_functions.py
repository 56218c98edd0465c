"""Functions of the plane: labels against definitions written out point by point, and the rules of episodes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from rulec.source import RuleError
from rulec.tasks.functions import HELD_OUT, TRAIN, functions
from rulec.tasks.planar import FUNCTIONS

ORACLES = {
    "xor": lambda x, y: (x > 0) != (y > 0),
    "nxor": lambda x, y: (x > 0) == (y > 0),
    "or": lambda x, y: x > 0 or y > 0,
    "and": lambda x, y: x > 0 and y > 0,
    "quadrant_and": lambda x, y: x < 0 and y > 0,
    "circle": lambda x, y: math.hypot(x, y) < math.sqrt(2 / math.pi),
    "small_circle": lambda x, y: math.hypot(x, y) < 0.5,
    "square": lambda x, y: max(abs(x), abs(y)) < 1 / math.sqrt(2),
    "cross": lambda x, y: min(abs(x), abs(y)) < 0.3,
    "triangle": lambda x, y: _inside((x, y), ((0, 1), (-1, -1), (1, -1))),
    "slice": lambda x, y: x / math.hypot(x, y) > 0.5,
}
SHARES = {
    "xor": 1 / 2,
    "nxor": 1 / 2,
    "or": 3 / 4,
    "and": 1 / 4,
    "quadrant_and": 1 / 4,
    "circle": 1 / 2,
    "small_circle": math.pi / 16,
    "square": 1 / 2,
    "cross": 0.51,
    "triangle": 1 / 2,
    "slice": (2 - 1 / math.sqrt(3)) / 4,
    "two_moons": 1 / 2,
    "rotated_moons": 1 / 2,
    "concentric_circles": 1 / 2,
    "blobs": 1 / 2,
}


def _inside(point, corners):
    sides = [
        (bx - ax) * (point[1] - ay) - (by - ay) * (point[0] - ax)
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True)
    ]
    return all(side > 0 for side in sides)


def _one(name, seed=0, steps=4, batch=500, query=500):
    """Return the points (n, 2) and the answers (n,) of the support and of the query of one task."""
    other = "xor" if name != "xor" else "and"
    episode = functions([name], [other]).episode(seed=seed, steps=steps, batch=batch, query=query)
    return (
        episode.support_x.reshape(-1, 2),
        episode.support_y.reshape(-1),
        episode.query_x.reshape(-1, 2),
        episode.query_y.reshape(-1),
    )


@pytest.mark.parametrize("name", ORACLES)
def test_answers_follow_the_definition(name):
    support_x, support_y, query_x, query_y = _one(name)
    points, answers = torch.cat((support_x, query_x)).tolist(), torch.cat((support_y, query_y)).tolist()
    assert answers == [1.0 if ORACLES[name](x, y) else -1.0 for x, y in points]
    assert set(answers) == {1.0, -1.0}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_points_fill_the_square_and_stay_in_it(name):
    points, answers, _, _ = _one(name)
    assert points.abs().max() <= 1
    assert (points.std(0) > 0.25).all()
    if SHARES.get(name):
        assert (answers > 0).double().mean().item() == pytest.approx(SHARES[name], abs=0.04)
    assert 0.05 < (answers > 0).double().mean() < 0.95


def test_random_xor_asks_one_question_in_support_and_query():
    support_x, support_y, query_x, query_y = _one("random_xor", seed=3)
    angles = torch.linspace(0, math.pi, 181)[:-1]
    side = torch.stack((angles.cos(), angles.sin()))
    signs = torch.sign(support_x @ side)  # (points, angles)
    agreement = torch.einsum("na,nb,n->ab", signs, signs, -support_y) / len(support_y)
    first, second = divmod(int(agreement.argmax()), len(angles))
    assert agreement[first, second] > 0.95
    predicted = -torch.sign(query_x @ side[:, first]) * torch.sign(query_x @ side[:, second])
    assert (predicted == query_y).double().mean() > 0.95


def test_random_circle_is_a_disc_that_differs_between_episodes():
    centres = []
    for seed in range(3):
        support_x, support_y, query_x, query_y = _one("random_circle", seed=seed)
        axis = torch.linspace(-0.5, 0.5, 41)
        grid = torch.cartesian_prod(axis, axis)
        reach = torch.cdist(grid, support_x)  # (centres, points)
        gap = reach[:, support_y < 0].min(1).values - reach[:, support_y > 0].max(1).values
        best = int(gap.argmax())
        radius = reach[best, support_y > 0].max()
        predicted = torch.where(torch.cdist(query_x, grid[best : best + 1])[:, 0] < radius, 1.0, -1.0)
        assert (predicted == query_y).double().mean() > 0.97
        centres.append(tuple(grid[best].tolist()))
    assert len(set(centres)) == 3


def test_two_moons_lie_on_two_half_circles():
    points, answers, _, _ = _one("two_moons")
    x, y = (points * 1.75 + torch.tensor([0.5, 0.25])).T
    upper, lower = torch.hypot(x, y) - 1, torch.hypot(x - 1, y - 0.5) - 1
    distance = torch.where(answers > 0, upper, lower)
    assert distance.std().item() == pytest.approx(0.05 * 1.75, rel=0.15)
    assert (y[answers > 0] > -0.4).all() and (y[answers < 0] < 0.9).all()


def test_concentric_circles_and_blobs_keep_their_radii():
    points, answers, _, _ = _one("concentric_circles")
    radii = points.norm(dim=1)
    assert radii[answers > 0].mean().item() == pytest.approx(0.4, abs=0.02)
    assert radii[answers < 0].mean().item() == pytest.approx(0.8, abs=0.02)
    points, answers, _, _ = _one("blobs", seed=1)
    centre = points[answers > 0].mean(0)
    assert centre.norm().item() == pytest.approx(0.65, abs=0.02)
    assert points[answers < 0].mean(0).tolist() == pytest.approx((-centre / 4).tolist(), abs=0.03)  # the other four


def test_episode_shapes_and_names():
    episode = functions().episode(seed=1, steps=5, batch=7, tasks=3, query=11, held_out=True)
    assert episode.support_x.shape == (5, 3, 7, 2) and episode.support_y.shape == (5, 3, 7, 1)
    assert episode.query_x.shape == (3, 11, 2) and episode.query_y.shape == (3, 11, 1)
    assert episode.names == HELD_OUT
    assert functions().episode(seed=1, steps=0, batch=7).support_x.shape == (0, 1, 7, 2)


def test_every_task_of_an_episode_asks_its_own_question():
    episode = functions().episode(seed=4, steps=3, batch=200, tasks=3, held_out=True)
    for task, name in enumerate(episode.names):
        for points, answers in [
            (episode.query_x[task], episode.query_y[task]),
            *zip(episode.support_x[:, task], episode.support_y[:, task], strict=True),
        ]:
            expected = [1.0 if ORACLES[name](x, y) else -1.0 for x, y in points.tolist()]
            assert answers[:, 0].tolist() == expected


def test_each_function_is_asked_once_before_any_twice():
    family = functions(["xor", "and", "circle"], ["or"])
    assert family.episode(seed=0, steps=1, batch=1, tasks=6).names == ("xor", "and", "circle") * 2
    singles = {family.episode(seed=seed, steps=1, batch=1).names[0] for seed in range(30)}
    assert singles == {"xor", "and", "circle"}
    pairs = {family.episode(seed=seed, steps=1, batch=1, tasks=2).names for seed in range(40)}
    assert pairs == {("xor", "and"), ("xor", "circle"), ("and", "circle")}  # always in the order they were named


def test_parts_never_mix():
    family = functions()
    for held_out, allowed in ((False, TRAIN), (True, HELD_OUT)):
        asked = {
            name
            for seed in range(20)
            for name in family.episode(seed=seed, steps=1, batch=1, tasks=2, held_out=held_out).names
        }
        assert asked == set(allowed)


def test_same_arguments_same_bits_other_seeds_other_points():
    def draw(**changes):
        return functions().episode(**{"seed": 1, "steps": 3, "batch": 8, "tasks": 2, **changes})

    one, again = draw(), draw(seed=np.int64(1))
    assert all(
        torch.equal(getattr(one, part), getattr(again, part))
        for part in ("support_x", "support_y", "query_x", "query_y")
    )
    assert not torch.equal(one.query_x, draw(seed=2).query_x)
    assert not torch.equal(one.query_x, draw(held_out=True).query_x)
    assert torch.equal(one.query_x, draw(steps=9).query_x)
    batches = [*one.support_x.flatten(0, 1), *one.query_x]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(batches, 2))


def test_accuracy_counts_signs():
    family = functions()
    target = torch.tensor([1.0, 1, 1, -1]).unsqueeze(-1)
    prediction = torch.tensor([[0.2, -3, 5, -1], [0, 0, 0, 0], [1, 1, 1, 1], [math.nan, 1, 1, 1]]).unsqueeze(-1)
    assert family.accuracy(prediction, target).tolist() == [0.75, 0, 0.75, 0.5]
    assert family.balanced_accuracy(prediction, target).tolist() == pytest.approx([5 / 6, 0, 0.5, 1 / 3])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: functions(["xr"]), "unknown-planar-function"),
        (lambda: functions(["xor"], ["xor", "or"]), "overlapping-parts"),
        (lambda: functions([]), "empty-part"),
        (lambda: functions().episode(seed=0, steps=1, batch=0), "wrong-count"),
        (lambda: functions().episode(seed=0, steps=-1, batch=1), "wrong-count"),
        (lambda: functions().episode(seed=0, steps=1, batch=1, tasks=1.5), "wrong-count"),
    ],
)
def test_mistakes_are_told(make, expected):
    with pytest.raises(RuleError) as caught:
        make()
    assert [d.id for d in caught.value.diagnostics] == [expected]
    assert caught.value.diagnostics[0].help


def test_training_on_a_held_out_function_takes_it_from_the_default():
    family = functions(["or", "xor"])
    assert family.held_out == ("quadrant_and", "nxor")
    assert family.describe()["held_out"] == ["quadrant_and", "nxor"]
